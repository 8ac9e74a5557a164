"""Options: presets are the table, the table covers every difference, and bad values are refused."""

import pickle
from dataclasses import fields, replace
from pathlib import Path

import pytest

from floatbench.errors import UsageError
from floatbench.sampling.options import DIVERGENCES, PRESETS, SamplingOptions, from_text, preset


def test_the_default_preset_is_the_dataclass():
    assert preset() == SamplingOptions()


def test_every_numbered_row_has_an_entry():
    assert [d.row for d in DIVERGENCES if d.row.isdecimal()] == [str(i) for i in range(1, 18)]


def test_every_option_named_in_the_table_exists_or_says_where_it_is_decided():
    names = {f.name for f in fields(SamplingOptions)}
    elsewhere = {"fixed by the checkpoint", "training configuration", "network variant"}
    assert {d.option for d in DIVERGENCES} <= names | elsewhere


def test_the_official_preset_is_the_released_code():
    official = preset("official")
    assert official.evaluations() == 9
    assert (official.window_noise, official.crop_face, official.crop_filter) == ("shared", "first", "official")
    assert (official.unconditional_audio, official.pixels, official.audio_context) == ("keep", "truncate", "full")


def test_the_paper_preset_conditions_a_window_on_its_own_sound():
    paper = preset("paper")
    assert (paper.audio_context, paper.evaluations(), paper.window_noise) == ("window", 10, "independent")


@pytest.mark.parametrize("name", PRESETS)
def test_a_given_option_wins_over_the_preset_and_none_leaves_it(name: str):
    assert preset(name, nfe=4, ode_grid="steps").evaluations() == 4
    assert preset(name, nfe=None) == preset(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nfe": 0}, "nfe: should be"),
        ({"nfe": 1001}, "nfe: should be"),
        ({"nfe": 1, "ode_grid": "official"}, "no step"),
        ({"nfe": 3, "solver": "heun"}, "does not divide"),
        ({"solver": "leapfrog"}, "solver: unknown 'leapfrog'"),
        ({"a_cfg": float("nan")}, "a_cfg: should be a finite"),
        ({"e_cfg": -1.0}, "e_cfg: should be"),
        ({"r_cfg": 2.0}, "reference branch"),
        ({"ode_grid": "both"}, "ode_grid: should be 'steps' or 'official', not 'both'"),
        ({"window_noise": "none"}, "window_noise: should be"),
        ({"rtol": 0.0}, "rtol: should be greater"),
        ({"nfe": "5"}, "nfe: should be a valid integer, not '5'"),
        ({"nfe": 5.0}, "nfe: should be a valid integer"),
        ({"reference_branch": 1}, "reference_branch: should be a valid boolean"),
        ({"speed": 3}, "unknown sampling option"),
    ],
)
def test_options_out_of_range_are_refused(changes: dict, message: str):
    with pytest.raises(UsageError, match=message):
        preset("default", **changes)


def test_a_changed_copy_is_checked_too():
    with pytest.raises(UsageError, match="nfe: should be"):
        replace(SamplingOptions(), nfe=0)


def test_typed_values_become_what_their_options_are():
    typed = {"nfe": "5", "a_cfg": "1", "reference_branch": "true", "pixels": "truncate"}
    assert from_text(typed) == {"nfe": 5, "a_cfg": 1.0, "reference_branch": True, "pixels": "truncate"}
    for name, text in (("nfe", "5.5"), ("reference_branch", "perhaps"), ("pixels", "cut"), ("a_cfg", "much")):
        with pytest.raises(UsageError, match=f"{name}: should be"):
            from_text({name: text})


def test_options_survive_another_process():
    options = preset("official", nfe=7)
    assert pickle.loads(pickle.dumps(options)) == options


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(UsageError, match="default, official, paper"):
        preset("fast")


def test_the_documentation_prints_the_table_as_it_is():
    text = (Path(__file__).resolve().parents[2] / "docs" / "sampling.md").read_text(encoding="utf-8")
    printed = [
        [cell.strip(" `") for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    assert printed[2:] == [
        [d.row, d.option, d.difference, *map(str, (d.paper, d.official, d.default))] for d in DIVERGENCES
    ]
