"""A table of twenty columns falls into one for each set of metrics; one that fits stays as it is."""

from __future__ import annotations

import json

import pytest
from page_toys import write_page_run
from report_toys import METRICS, _variant, toy_protocol, write_run

from floatbench.cli.app import main
from floatbench.metrics import registry, sets
from floatbench.reports import ablation
from floatbench.reports.column_groups import WIDEST, column_groups
from floatbench.reports.layout import build_table
from floatbench.reports.loading import load_run
from floatbench.reports.page.build import PageOptions, build_page
from floatbench.reports.render import render
from floatbench.reports.table import markdown, ordered_metrics

MANY = {f"toy-{i}": f"Toy {i}" for i in range(9)} | {"toy-e": "E-FID (toy)", "toy-head": "HEAD-DIV", "toy-gaze": "GAZE"}
"""Nine that no set knows, one in a column of the paper, two in columns of `motion`."""


def columns(*variants: str) -> dict[str, str]:
    return {variant: registry.metric(variant).info.column for variant in variants}


@pytest.fixture
def wide(tmp_path, monkeypatch):
    """A run with twelve metrics, and its folder."""
    made = {name: _variant(name, column, False, 1.0) for name, column in MANY.items()}
    for name, factory in made.items():
        monkeypatch.setitem(METRICS, name, factory)
        monkeypatch.setitem(registry._catalogue("metrics"), name, factory)
    names = tuple(MANY)
    protocol = toy_protocol(n=1, metrics=names)
    write_page_run(tmp_path / "run", {"mine": 3.0, "frozen": 9.0}, metrics=names, protocol=protocol)
    return tmp_path / "run"


def tables(text: str) -> list[list[str]]:
    """The headings of each Markdown table."""
    heads = [line for line in text.splitlines() if line.startswith("| method |") or line.startswith("| row |")]
    return [[cell.strip() for cell in line.split("|")[2:-1]] for line in heads]


def test_what_fits_stays_in_one_table():
    paper = columns(*sets.members("paper"), "psnr-grey128", "ssim-grey128")
    assert column_groups(paper) == [("", list(paper))]


def test_each_variant_stands_with_its_set_or_with_the_set_of_its_column():
    names = [*sets.members("paper"), "efid-mp52", "theval-brows-gap", "lip-dynamics", "avcorr", "kid"]
    assert dict(column_groups(columns(*names))) == {
        "paper": [*sets.members("paper"), "efid-mp52"], "theval": ["theval-brows-gap"], "motion": ["lip-dynamics"],
        "sync": ["avcorr"], "others": ["kid"],
    }  # fmt: skip


def test_the_order_and_the_sets_that_were_asked_for_are_kept():
    given = ["motion", "sync"]
    found = column_groups(columns(*sets.expanded(given)), given)
    assert [heading for heading, _ in found] == ["motion, 1 of 2", "motion, 2 of 2", "sync"]
    assert [v for _, members in found for v in members] == sets.expanded(given)
    assert max(len(members) for _, members in found) <= WIDEST
    assert dict(found)["sync"] == list(sets.members("sync")), "not with the paper, which was not asked for"


def test_the_table_of_a_run_falls_into_groups_and_loses_nothing(wide):
    text = markdown(load_run(wide).scores)
    assert [len(heads) for heads in tables(text)] == [1, 9, 2]
    assert "\n**motion**\n" in text and text.count("| mine |") == text.count("| frozen |") == 3
    assert [v for v in ordered_metrics(load_run(wide).scores) if v != "toy-e"] == [v for v in MANY if v != "toy-e"]


@pytest.mark.parametrize("style", ["md", "html", "latex"])
def test_a_wide_report_is_grouped_in_every_format_for_people(wide, style):
    text = render(build_table(None, [load_run(wide)]), style)
    found = {"md": text.count("### "), "html": text.count("<h2>"), "latex": text.count("\\begin{tabular}")}
    assert found[style] == {"md": 3, "html": 3, "latex": 6}[style]  # LaTeX: systems and controls of each group
    assert all(name.replace("_", "") in text for name in MANY)


def test_the_page_shows_one_set_at_a_time_and_knows_all(wide, tmp_path):
    build_page([load_run(wide)], tmp_path / "page", PageOptions(videos=0))
    text = (tmp_path / "page" / "data.js").read_text()
    data = json.loads(text.removeprefix("window.floatbench = ").rstrip().removesuffix(";"))
    named = {group["name"]: [data["metrics"][v]["id"] for v in group["metrics"]] for group in data["groups"]}
    assert named == {"paper": ["toy-e"], "others": [f"toy-{i}" for i in range(9)], "motion": ["toy-head", "toy-gaze"]}


def test_an_ablation_shows_the_paper_beside_the_first_of_its_tables(wide):
    scores = load_run(wide).scores
    text = ablation.markdown("Table 3", [("float", "FLOAT", "", "mine")], scores, {("float", "FID"): "21.1 / 31.7"})
    assert [("paper: FID" in heads, len(heads)) for heads in tables(text)] == [(True, 3), (False, 10), (False, 3)]
    assert text.count("21.1 / 31.7") == 1


def test_report_and_compare_take_sets_and_say_what_was_not_scored(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sets.SETS, "sync", ("toy-fid", "lse-direct-d"))
    run = write_run(tmp_path / "run", {"one": 3.0, "two": 4.0})
    for command, shown in (("report", "| method | FID ↓<br>`toy-fid` |"), ("compare", "toy-fid")):
        with pytest.raises(SystemExit, match="0"):
            main([command, str(run), "--metrics", "sync"])
        out, err = capfd.readouterr()
        assert shown in out and "toy-csim" not in out.split("- ", 1)[0]
        assert "sync: not scored here: lse-direct-d" in err
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(run), "--metrics", "theval"])
    assert "nothing of the set theval was scored" in capfd.readouterr().err
