"""Tables put only comparable numbers into a column, and every format can be read back."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from report_toys import toy_protocol, write_run

from floatbench.errors import DataError, UsageError
from floatbench.reports.layout import build_table
from floatbench.reports.loading import load_run
from floatbench.reports.render import FORMATS, latex_escape, render

HOSTILE = "<script>alert(1)</script>|_&%${}\\~^#[x]\n"


def runs(tmp_path, **more):
    a = write_run(tmp_path / "a", {"one": 3.0, "two": 2.0, "three": 1.0}, **more)
    b = write_run(tmp_path / "b", {"one": 30.0, "two": 40.0}, dataset="ravdess")
    return [load_run(a), load_run(b)]


def cells(table, name, column):
    (line,) = [line for line in table.ours.lines if line.name == name]
    return line.cells[[c.title for c in table.ours.columns].index(column)]


def test_two_data_sets_stand_in_one_cell_with_interval_and_count(tmp_path):
    table = build_table(1, runs(tmp_path))
    assert table.ours.datasets == ("HDTF", "RAVDESS")
    hdtf, ravdess = cells(table, "one", "FID")
    assert (hdtf.shown, hdtf.extra) == ("3", "[2.5, 3.5] (4 of 4)")
    assert ravdess.value == 30
    assert "3 [2.5, 3.5] (4 of 4) / 30 [29.5, 30.5] (4 of 4)" in render(table, "md")


def test_best_and_second_are_marked_for_each_direction_by_the_paired_test(tmp_path):
    folder = write_run(tmp_path / "a", {"one": 3.0, "two": 2.0, "three": 1.0}, protocol=toy_protocol(n=12))
    table = build_table(1, [load_run(folder)])
    assert [cells(table, name, "FID")[0].mark for name in ("three", "two", "one")] == ["best", "second", ""]
    assert [cells(table, name, "CSIM")[0].mark for name in ("three", "two", "one")] == ["", "second", "best"]
    assert [cells(table, name, "FID")[0].place for name in ("three", "two", "one")] == [1, 2, 3]
    assert "**1** [0.5, 1.5]" in render(table, "md") and "adjusted for 6 comparisons" in render(table, "md")


def test_what_is_not_decided_is_not_bold_and_shares_a_place(tmp_path):
    """The values differ, the clips do not say which is better."""
    noise = np.random.default_rng(0).standard_normal(12)
    folder = write_run(
        tmp_path / "a", {"near": 3.0 + noise, "by": 3.1 - noise, "far": 50.0}, protocol=toy_protocol(n=12)
    )
    table = build_table(1, [load_run(folder)])
    found = [cells(table, name, "FID")[0] for name in ("near", "by", "far")]
    assert [(part.place, part.tied, part.mark) for part in found] == [
        (1, True, "best"), (1, True, "best"), (3, False, "second"),
    ]  # fmt: skip
    two = write_run(tmp_path / "b", {"near": 3.0 + noise, "by": 3.1 - noise}, protocol=toy_protocol(n=12))
    text = render(build_table(1, [load_run(two)]), "md")
    assert "**3" not in text.partition("as published")[0] and "Nothing is decided in FID, CSIM." in text


def test_without_an_interval_nobody_wins(tmp_path):
    """Four people are too few: 7.2999 beats 7.3000 in no table."""
    folder = write_run(tmp_path / "a", {"one": 7.2999, "two": 7.3})
    table = build_table(1, [load_run(folder)])
    found = [cells(table, name, "FID")[0] for name in ("one", "two")]
    assert {(part.place, part.tied, part.mark) for part in found} == {(1, True, "")}
    assert "no pair of systems could be tested" in render(table, "md")


def test_a_run_that_is_not_ranked_has_no_marks_and_says_why(tmp_path):
    folder = write_run(tmp_path / "a", {"one": 3.0}, ranked=False, unranked_because=["only 4 of 9 clips were run"])
    table = build_table(1, [load_run(folder)])
    assert cells(table, "one", "FID")[0].mark == ""
    assert "only 4 of 9 clips were run" in render(table, "md")


def test_a_void_score_shows_its_coverage_and_no_number(tmp_path):
    folder = write_run(tmp_path / "a", {"one": 3.0, "two": 1.0}, failed={"one": ("clip 0", "clip 1")})
    table = build_table(1, [load_run(folder)])
    assert cells(table, "one", "FID")[0].shown == "void (2 of 4)"
    assert cells(table, "two", "FID")[0].place == 1


def test_the_dagger_comes_from_the_size_of_the_videos(tmp_path):
    small = write_run(tmp_path / "a", {"small": 3.0}, size=256)
    large = write_run(tmp_path / "b", {"large": 3.0}, size=512)
    table = build_table(1, [load_run(small), load_run(large)])
    assert {line.name: line.dagger for line in table.ours.lines} == {"small": True, "large": False}


def test_table_3_counts_network_evaluations(tmp_path):
    assert cells(build_table(3, runs(tmp_path)), "one", "NFE")[0].value == 10


def test_table_3_counts_evaluations_a_window_as_the_paper_does(tmp_path):
    """A clip of two windows took 20, the paper prints 10."""
    folder = write_run(tmp_path / "a", {"one": 3.0}, details={"nfe": 20, "windows": 2})
    assert cells(build_table(3, [load_run(folder)]), "one", "NFE")[0].value == 10


def test_another_protocol_in_one_column_is_refused_with_both_names(tmp_path):
    a = write_run(tmp_path / "a", {"one": 1.0})
    b = write_run(tmp_path / "b", {"two": 1.0}, protocol=toy_protocol(seed=7))
    with pytest.raises(UsageError, match=r"a and .*b cannot share a column: protocol"):
        build_table(1, [load_run(a), load_run(b)])


@pytest.mark.parametrize(
    ("change", "why"),
    [({"available": ["clip 0"]}, "other clips"), ({"seed": 1}, "seed"), ({"replicates": 2}, "replicates")],
)
def test_other_clips_seeds_and_replicates_in_one_column_are_refused(tmp_path, change, why):
    a, b = (load_run(write_run(tmp_path / name, {name: 1.0})) for name in "ab")
    b = replace(b, info=b.info.model_copy(update=change))
    with pytest.raises(UsageError, match=rf"a and .*b cannot share a column: .*{why}"):
        build_table(1, [a, b])


def test_other_weights_under_one_variant_are_refused_also_across_data_sets(tmp_path):
    a, b = runs(tmp_path)
    b.scores.metrics["toy-fid"].weights["toy.pth"] = "b" * 64
    with pytest.raises(UsageError, match="cannot share the column toy-fid: made with other weights"):
        build_table(1, [a, b])


def test_other_coverage_in_one_column_is_refused_with_the_command_that_mends_it(tmp_path):
    a = write_run(tmp_path / "a", {"one": 1.0}, protocol=toy_protocol(coverage_floor=0.5))
    b = write_run(tmp_path / "b", {"two": 1.0}, protocol=toy_protocol(coverage_floor=0.5), failed={"two": ("clip 0",)})
    with pytest.raises(UsageError, match="other coverage") as caught:
        build_table(1, [load_run(a), load_run(b)])
    assert "floatbench merge" in (caught.value.fix or "")


def test_two_variants_in_one_column_are_refused_until_one_is_chosen(tmp_path):
    names = ("toy-fid", "toy-fid-double")
    folder = write_run(tmp_path / "a", {"one": 1.0}, metrics=names, protocol=toy_protocol(metrics=names))
    with pytest.raises(UsageError, match="toy-fid and toy-fid-double"):
        build_table(1, [load_run(folder)])
    assert cells(build_table(1, [load_run(folder)], ["toy-fid-double"]), "one", "FID")[0].value == 2


def test_clashing_method_names_are_refused(tmp_path):
    folders = [write_run(tmp_path / name, {"one": 1.0}) for name in "ab"]
    with pytest.raises(UsageError, match="both have the method one"):
        build_table(1, [load_run(folder) for folder in folders])


def test_half_a_run_an_unfinished_one_and_a_newer_schema_are_refused(tmp_path):
    folder = write_run(tmp_path / "a", {"one": 1.0})
    lines = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
    (folder / "rows.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match="half a run, 1 of 4 rows"):
        load_run(folder)
    (folder / "scores.json").rename(folder / "away.json")
    with pytest.raises(DataError, match="has not finished"):
        load_run(folder)
    record = json.loads((folder / "away.json").read_text())
    (folder / "scores.json").write_text(json.dumps({**record, "schema_version": 99}))
    with pytest.raises(UsageError, match="schema version 99"):
        load_run(folder)


def test_a_run_that_is_going_on_is_refused(tmp_path):
    from filelock import FileLock

    folder = write_run(tmp_path / "a", {"one": 1.0})
    with FileLock(folder / ".lock"), pytest.raises(DataError, match="still going on"):
        load_run(folder)
    assert load_run(folder).systems == ["one"]


def test_csv_holds_every_number_of_both_blocks(tmp_path):
    rows = list(csv.DictReader(io.StringIO(render(build_table(1, runs(tmp_path)), "csv"))))
    assert sum(row["origin"] == "published" for row in rows) == 84
    (found,) = [r for r in rows if (r["method"], r["dataset"], r["column"]) == ("two", "RAVDESS", "FID")]
    assert (float(found["value"]), found["n"], found["variant"]) == (40.0, "4", "toy-fid")


def test_json_is_one_document_with_ours_and_theirs_apart(tmp_path):
    document = json.loads(render(build_table(2, runs(tmp_path)), "json"))
    assert [line["name"] for line in document["ours"]["lines"]] == ["one", "three", "two"]
    assert document["paper"]["lines"][1]["cells"][-1][0]["value"] is None


def test_names_cannot_break_out_of_any_format(tmp_path):
    folder = write_run(tmp_path / "a", {HOSTILE: 1.0})
    table = build_table(1, [load_run(folder)])
    for style in ("html", "md"):
        assert "<script>" not in render(table, style)
    assert "\n|" not in render(table, "md").partition("alert(1)")[2].splitlines()[0]
    check_latex(render(table, "latex"))
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert rows[0]["method"] == HOSTILE


@pytest.mark.parametrize("number", [1, 2, 3])
def test_latex_is_balanced_and_every_row_has_every_column(tmp_path, number):
    check_latex(render(build_table(number, runs(tmp_path)), "latex"))


def test_controls_stand_in_a_block_of_their_own_and_are_never_marked(tmp_path):
    folder = write_run(tmp_path / "a", {"one": 3.0, "reference": 0.0, "frozen": 9.0})
    table = build_table(1, [load_run(folder)])
    assert [line.name for line in table.ours.lines] == ["one"]
    assert [line.name for line in table.controls.lines] == ["frozen", "reference"]
    assert not any(part.mark for line in table.controls.lines for parts in line.cells for part in parts)
    text = render(table, "md")
    assert text.index("| one |") < text.index("controls, not ranked") < text.index("| reference |")
    check_latex(render(table, "latex"), tabulars=3)


def check_latex(text: str, tabulars: int = 2) -> None:
    """Braces and environments are balanced; each row of a tabular has as many cells as columns."""
    bare = re.sub(r"\\[{}&%$#_\\]", "", re.sub(r"(?m)(^|(?<=\{))%.*$", "", text))
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert re.findall(r"\\begin\{(\w+)\}", text) == ["table", *["tabular"] * tabulars]
    assert re.findall(r"\\end\{(\w+)\}", text) == [*["tabular"] * tabulars, "table"]
    assert bare.count("$") % 2 == 0
    for columns, body in re.findall(r"\\begin\{tabular\}\{([lcr]+)\}(.*?)\\end\{tabular\}", text, re.S):
        rows = [row for row in body.split("\\\\\n") if "&" in row]
        assert len(rows) >= 2
        for row in rows:
            assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1
        for rule in ("toprule", "midrule", "bottomrule"):
            assert body.count(f"\\{rule}") == 1
    text.encode("utf-8")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_latex_compiles_with_booktabs(tmp_path):
    folder = write_run(tmp_path / "a", {HOSTILE: 3.0, "two": 2.0, "reference": 0.0}, size=256)
    body = render(build_table(2, [load_run(folder)]), "latex")
    head = "\\documentclass{article}\n\\usepackage[utf8]{inputenc}\n\\usepackage{booktabs,graphicx}\n"
    (tmp_path / "t.tex").write_text(f"{head}\\begin{{document}}\n{body}\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-1500:]
    assert (tmp_path / "t.pdf").read_bytes().startswith(b"%PDF")


def test_latex_escapes_every_special_character():
    assert latex_escape("50%_a&b$#{}") == r"50\%\_a\&b\$\#\{\}"
    assert latex_escape("\x00\n") == "  "


def test_an_unknown_format_lists_the_known_ones(tmp_path):
    with pytest.raises(UsageError) as caught:
        render(build_table(1, runs(tmp_path)), "pdf")
    assert all(name in (caught.value.fix or "") for name in FORMATS)
