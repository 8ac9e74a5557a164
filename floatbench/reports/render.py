"""Writes a laid-out table as Markdown, CSV, JSON, HTML or LaTeX."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable
from dataclasses import asdict

from floatbench.errors import UsageError
from floatbench.reports.table import escape
from floatbench.reports.table_parts import Intervals, Line, PaperTable, TableBlock, TableNumber


def render(table: PaperTable, style: str) -> str:
    """The table in one of `FORMATS`; UsageError for another."""
    if style not in FORMATS:
        raise UsageError(f"unknown format {style!r}", fix=f"--format {'|'.join(FORMATS)}")
    return FORMATS[style](table)


# Markdown


def markdown(table: PaperTable) -> str:
    """A Markdown table for each block, then the notes."""
    blocks = []
    for heading, part in table.parts:
        blocks += [f"### {heading}"] if heading else []
        blocks += [_markdown_block(block, table.intervals) for block in part]
    notes = "\n".join(f"- {escape(note)}" for note in table.notes)
    return f"## {table.title}\n\n" + "\n\n".join(blocks) + f"\n\n{notes}\n"


def _markdown_block(block: TableBlock, intervals: Intervals) -> str:
    heading = [c.heading + (f"<br>`{c.variant}`" if c.variant else "") for c in block.columns]
    lines = [f"**{escape(block.title)}**, {' / '.join(map(escape, block.datasets))}", ""]
    lines += ["| method | " + " | ".join(heading) + " |", "|" + "---|" * (len(heading) + 1)]
    return "\n".join([*lines, *(_markdown_line(line, intervals) for line in block.lines)])


def _markdown_line(line: Line, intervals: Intervals) -> str:
    cells = [" / ".join(_markdown_part(part, intervals) for part in parts) for parts in line.cells]
    return f"| {escape(line.label)} | " + " | ".join(cells) + " |"


def _markdown_part(part: TableNumber, intervals: Intervals) -> str:
    text = part.shown + ("‡" if part.second_hand else "")
    if part.mark:
        text = f"**{text}**" if part.mark == "best" else f"<u>{text}</u>"
    return f"{text} {part.beside(intervals)}".rstrip()


# CSV and JSON


def to_csv(table: PaperTable) -> str:
    """One line per number, ours and the paper's told apart by `origin`."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    head = ["origin", "table", "method", "size_256", "dataset", "column", "variant", "value", "low", "high", "spread"]
    writer.writerow([*head, "n", "of", "ranked", "place", "tied", "mark", "note", "made"])
    for origin, block in table.blocks.items():
        for line in block.lines:
            for column, parts in zip(block.columns, line.cells, strict=True):
                for dataset, part in zip(block.datasets, parts, strict=True):
                    note = (
                        "second-hand" if part.second_hand else part.why if part.value is None else "; ".join(part.marks)
                    )
                    writer.writerow(
                        [origin, table.number, line.name, line.dagger, dataset, column.title, column.variant,
                         part.value, part.low, part.high, part.spread, part.n, part.of, part.ranked, part.place,
                         part.tied, part.mark, note,
                         "; ".join(line.marks)]
                    )  # fmt: skip
    return stream.getvalue()


def to_json(table: PaperTable) -> str:
    """The whole table as one JSON document."""
    return json.dumps(asdict(table), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


# HTML


def to_html(table: PaperTable) -> str:
    """A page with all blocks; every name is escaped."""
    blocks = "\n".join(
        (f"<h2>{html.escape(heading)}</h2>\n" if heading else "")
        + "\n".join(_html_block(block, table.intervals) for block in part)
        for heading, part in table.parts
    )
    notes = "\n".join(f"<li>{html.escape(note)}</li>" for note in table.notes)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(table.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(table.title)}</h1>\n{blocks}\n<ul>\n{notes}\n</ul>\n</body>\n</html>\n"
    )


_STYLE = (
    ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;"
    "padding:0 1rem}div{overflow-x:auto}table{border-collapse:collapse;margin:1rem 0}caption{text-align:left;"
    "font-weight:600}th,td{padding:.35rem .7rem;text-align:left;border-bottom:1px solid #8886;white-space:nowrap}"
    "small{opacity:.75}"
)


def _html_block(block: TableBlock, intervals: Intervals) -> str:
    heads = "".join(
        f'<th scope="col">{html.escape(c.heading)}'
        + (f"<br><small>{html.escape(c.variant)}</small>" if c.variant else "")
        + "</th>"
        for c in block.columns
    )
    caption = html.escape(f"{block.title}, {' / '.join(block.datasets)}")
    body = "\n".join(_html_line(line, intervals) for line in block.lines)
    return (
        f'<div><table>\n<caption>{caption}</caption>\n<thead><tr><th scope="col">method</th>{heads}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _html_line(line: Line, intervals: Intervals) -> str:
    cells = "".join(f"<td>{' / '.join(_html_part(part, intervals) for part in parts)}</td>" for parts in line.cells)
    return f'<tr><th scope="row">{html.escape(line.label)}</th>{cells}</tr>'


def _html_part(part: TableNumber, intervals: Intervals) -> str:
    text = html.escape(part.shown) + ("‡" if part.second_hand else "")
    tag = {"best": "b", "second": "u"}.get(part.mark)
    text = f"<{tag}>{text}</{tag}>" if tag else text
    beside = part.beside(intervals)
    return f"{text} <small>{html.escape(beside)}</small>" if beside else text


# LaTeX

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "†": r"$^\dagger$", "‡": r"$^\ddagger$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "|": r"\textbar{}", "[": "{[}", "]": "{]}", '"': "''",
}  # fmt: skip

_FIT = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"  # shrinks what is too wide, no more


def latex_escape(text: str) -> str:
    """Text that LaTeX prints as it is; control characters become spaces."""
    return "".join(_LATEX.get(c, c if c.isprintable() else " ") for c in text)


def to_latex(table: PaperTable) -> str:
    """A `table` environment with a booktabs tabular for each block; needs booktabs and graphicx."""
    blocks = "\n\\par\\medskip\n".join(
        _latex_block(block, table.intervals, heading) for heading, part in table.parts for block in part
    )
    notes = " ".join(latex_escape(note) for note in table.notes)
    title = table.title.rpartition(": ")[2].capitalize()  # LaTeX counts tables itself
    label = f"\\label{{{table.label}}}" if table.label else ""
    return (
        "% needs \\usepackage{booktabs,graphicx} and UTF-8 input; names beyond Latin letters need LuaLaTeX\n"
        f"\\begin{{table}}\n\\centering\\scriptsize\n\\caption{{{latex_escape(title)}}}{label}\n{blocks}\n"
        f"\\par\\medskip\\raggedright {notes}\n\\end{{table}}\n"
    )


def _latex_block(block: TableBlock, intervals: Intervals, heading: str) -> str:
    heads = [latex_escape(c.heading) for c in block.columns]
    variants = [f"\\texttt{{{latex_escape(c.variant)}}}" if c.variant else "" for c in block.columns]
    width = len(heads) + 1
    title = latex_escape(", ".join(filter(None, (block.title, " / ".join(block.datasets), heading))))
    lines = [_FIT, f"\\begin{{tabular}}{{l{'c' * len(heads)}}}", "\\toprule"]
    lines.append(f"\\multicolumn{{{width}}}{{l}}{{{title}}} \\\\")
    lines.append(" & ".join(["method", *heads]) + " \\\\")
    if any(variants):
        lines.append(" & ".join(["", *variants]) + " \\\\")
    lines.append("\\midrule")
    lines += [_latex_line(line, intervals) for line in block.lines]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}}"])


def _latex_line(line: Line, intervals: Intervals) -> str:
    cells = [" / ".join(_latex_part(part, intervals) for part in parts) for parts in line.cells]
    return " & ".join([latex_escape(line.label), *cells]) + " \\\\"


def _latex_part(part: TableNumber, intervals: Intervals) -> str:
    text = latex_escape(part.shown + ("‡" if part.second_hand else ""))
    command = {"best": "\\textbf", "second": "\\underline"}.get(part.mark)
    text = f"{command}{{{text}}}" if command else text
    beside = part.beside(intervals)
    if intervals == "pm":
        return f"{text} {latex_escape(beside)}".rstrip()
    return f"{text} {{\\tiny {latex_escape(beside)}}}" if beside else text


FORMATS: dict[str, Callable[[PaperTable], str]] = {
    "md": markdown,
    "csv": to_csv,
    "json": to_json,
    "html": to_html,
    "latex": to_latex,
}


def render_rows(table: PaperTable, style: str) -> str:
    """The measured rows alone, to be put into a table that stands elsewhere; CSV and JSON as `render` gives them."""
    if style not in FORMATS:
        raise UsageError(f"unknown format {style!r}", fix=f"--format {'|'.join(FORMATS)}")
    block, intervals = table.ours, table.intervals
    heads = [column.heading for column in block.columns]
    if style == "md":
        head = "| method | " + " | ".join(heads) + " |\n|" + "---|" * (len(heads) + 1)
        return "\n".join([head, *(_markdown_line(line, intervals) for line in block.lines)]) + "\n"
    if style == "html":
        return "\n".join(_html_line(line, intervals) for line in block.lines) + "\n"
    if style == "latex":
        head = " & ".join(latex_escape(text) for text in ("method", *heads))
        return f"% {head}\n" + "\n".join(_latex_line(line, intervals) for line in block.lines) + "\n"
    return render(table, style)
