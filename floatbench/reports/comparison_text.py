"""Writes comparisons as text, Markdown, LaTeX or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from floatbench.errors import UsageError
from floatbench.metrics.paired import ALPHA
from floatbench.reports.comparison import Comparisons, Verdict, counted
from floatbench.reports.interval_notes import condition
from floatbench.reports.render import latex_escape
from floatbench.reports.table import escape, number
from floatbench.text import printable

HEADINGS = ("metric", "A", "B", "score of A", "score of B", "A - B", "p (Holm)", "A is", "clips", "people")


def render_comparisons(found: Comparisons, style: str) -> str:
    """The comparisons in one of `STYLES`; UsageError for another."""
    if style not in STYLES:
        raise UsageError(f"unknown format {style!r}", fix=f"--format {'|'.join(STYLES)}")
    return STYLES[style](found)


def notes(found: Comparisons) -> list[str]:
    """What a reader has to know beside the numbers."""
    lines = [
        f"Paired on the clips that both systems have; p two-sided, adjusted for {counted(found.count)} (Holm); "
        f"decided where it is below {ALPHA:.2g}.",
    ]
    tested = [verdict for verdict in found.verdicts if verdict.p is not None]
    if tested:
        lines.append(
            "The interval (95 %, not adjusted) is that of the expected difference at this number of people and clips."
        )
    units = dict.fromkeys(people for v in tested if (people := condition(v.method)))
    lines += [f"Some tests are {unit}: they say nothing of other people." for unit in units]
    lines += _taught(found)
    untested: dict[str, list[Verdict]] = {}
    for verdict in found.verdicts:
        if verdict.p is None:
            untested.setdefault(verdict.why, []).append(verdict)
    for why, verdicts in untested.items():
        metrics = list(dict.fromkeys(verdict.metric for verdict in verdicts))
        shown = ", ".join(metrics[:3]) + (f" and {len(metrics) - 3} more" if len(metrics) > 3 else "")
        lines.append(f"Not tested ({shown}, {len(verdicts)} of {len(found.verdicts)}): {why}.")
    return lines


def shown_difference(verdict: Verdict, sign: int = 1) -> str:
    """A - B with its interval, or B - A where `sign` is -1."""
    if verdict.difference is None:
        return "none"
    gap = number(sign * verdict.difference)
    if verdict.low is not None and verdict.high is not None:
        low, high = sorted((sign * verdict.low, sign * verdict.high))
        gap += f" [{number(low)}, {number(high)}]"
    return gap


def shown_p(verdict: Verdict) -> str:
    """p for the number of comparisons, two digits."""
    return "none" if verdict.adjusted is None else "<1e-4" if verdict.adjusted < 1e-4 else f"{verdict.adjusted:.2g}"


def _taught(found: Comparisons) -> list[str]:
    """Which systems learned from the network that judges them here, and under which metrics."""
    taught: dict[str, list[str]] = {}
    for verdict in found.verdicts:
        for name in verdict.self_judged:
            taught.setdefault(name, []).append(verdict.metric)
    return [
        f"Self-judged: {name} was trained against the network behind {', '.join(dict.fromkeys(metrics))}; "
        "a high score there is no evidence that it is better."
        for name, metrics in taught.items()
    ]


def _cells(verdict: Verdict) -> list[str]:
    value = lambda x: "none" if x is None else number(x)  # noqa: E731
    mark = lambda name: " (self-judged)" if name in verdict.self_judged else ""  # noqa: E731
    counts = [str(verdict.clips), str(verdict.people)]
    return [verdict.metric, verdict.a, verdict.b, value(verdict.value_a) + mark(verdict.a),
            value(verdict.value_b) + mark(verdict.b), shown_difference(verdict), shown_p(verdict), verdict.word,
            *counts]  # fmt: skip


def to_text(found: Comparisons) -> str:
    """Aligned columns, then the notes."""
    rows = [list(HEADINGS), *(_cells(verdict) for verdict in found.verdicts)]
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = (zip(row, widths, strict=True) for row in rows)
    lines = ["  ".join(cell.ljust(width) for cell, width in row).rstrip() for row in padded]
    return "\n".join([*lines, "", *map(printable, notes(found))]) + "\n"


def to_markdown(found: Comparisons) -> str:
    """A Markdown table, then the notes."""
    lines = [_row(HEADINGS), "|" + "---|" * len(HEADINGS)]
    lines += [_row([escape(cell) for cell in _cells(verdict)]) for verdict in found.verdicts]
    return "\n".join([*lines, "", *(f"- {escape(note)}" for note in notes(found))]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def to_latex(found: Comparisons) -> str:
    """A booktabs `table`; the notes stand below it."""
    rows = [" & ".join(latex_escape(cell) for cell in _cells(verdict)) + " \\\\" for verdict in found.verdicts]
    below = " ".join(latex_escape(note) for note in notes(found))
    return "\n".join(
        [
            "% needs \\usepackage{booktabs,graphicx}",
            "\\begin{table}\n\\centering\\scriptsize\n\\caption{Paired comparisons}",
            "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
            f"\\begin{{tabular}}{{lll{'c' * (len(HEADINGS) - 3)}}}\n\\toprule",
            " & ".join(map(latex_escape, HEADINGS)) + " \\\\",
            "\\midrule",
            *rows,
            "\\bottomrule\n\\end{tabular}}",
            f"\\par\\medskip\\raggedright {below}\n\\end{{table}}\n",
        ]
    )


def to_json(found: Comparisons) -> str:
    """One JSON document."""
    document = {**found.record(), "notes": notes(found)}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


STYLES: dict[str, Callable[[Comparisons], str]] = {
    "text": to_text,
    "md": to_markdown,
    "latex": to_latex,
    "json": to_json,
}
