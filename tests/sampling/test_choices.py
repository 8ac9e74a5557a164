"""Choices in a name: one parser and one list, each checked, and one canonical form."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from floatbench.cli.generate import GenerateChoices
from floatbench.errors import DataError, UsageError
from floatbench.methods.float_method import FloatMethod
from floatbench.model.checkpoint import Metadata, save
from floatbench.sampling.choices import LIST, ModelChoices, canonical_name, model_of, parse_name
from floatbench.sampling.control import Control, read_pose
from floatbench.sampling.loading import card_of
from floatbench.sampling.options import SamplingOptions

EVERYTHING = (
    "float-tiny@official?control=yaw:10&graphs=1&compile=max&dtype=bfloat16&impl=fast&nfe=5&emotion=happy&e_cfg=5"
)


def test_a_name_carries_every_choice_at_once():
    found = parse_name(EVERYTHING)
    chosen = found.choices
    assert (found.weights, chosen.preset, chosen.options.nfe, chosen.options.e_cfg) == (
        "float-tiny",
        "official",
        5,
        5.0,
    )
    assert (chosen.emotion, chosen.controls) == ("happy", (Control(0, 10.0),))
    assert (chosen.dtype, chosen.impl, chosen.compile, chosen.graphs) == ("bfloat16", "fast", "max", True)
    assert chosen.options.evaluations() == 4  # the preset's grid of points stayed


@pytest.mark.parametrize(
    "name",
    [
        "float?nfe=5&e_cfg=5",
        "float?e_cfg=5&nfe=5",
        "float?e_cfg=5.0&nfe=05",
        "float? e_cfg = 5 & nfe = 5",
        "float?e_cfg=5&&nfe=5&",
    ],
)
def test_the_same_choices_have_one_name(name: str):
    assert parse_name(name).name == canonical_name(name) == "float?nfe=5&e_cfg=5"


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("graphs=1", "graphs=true"),
        ("compile=on", "compile=true"),
        ("compile=MAX", "compile=max"),
        ("emotion=Happy", "emotion=happy"),
        ("emotion=0, 0,0,1.0,0,0,.5", "emotion=0,0,0,1,0,0,0.5"),
        ("control=roll=1.50&control=0:set:2", "control=yaw:set:2&control=roll:1.5"),
        ("rtol=0.00001&solver=dopri5", "solver=dopri5&rtol=1e-05"),
    ],
)
def test_values_are_written_in_one_way(typed: str, name: str):
    assert parse_name(f"float-tiny?{typed}").name == f"float-tiny?{name}"


@pytest.mark.parametrize(
    "name", ["float", "float@official", "float@official?nfe=5", "float-tiny?nfe=5&emotion=happy&dtype=bfloat16",
             "float?e_cfg=5", "videos:a?b=c", "float?nfe=none"],
)  # fmt: skip
def test_names_that_older_rows_have_stay_as_they_are(name: str):
    assert canonical_name(name) == name


@pytest.mark.parametrize(
    ("query", "what", "fix"),
    [
        ("dtyp=bfloat16", "unknown option 'dtyp'", "did you mean dtype?"),
        ("dtype=bfloat", "dtype: should be 'float32', 'bfloat16' or 'float16'", "did you mean bfloat16"),
        ("emotion=hapy", "emotion 'hapy' is neither", "did you mean happy?"),
        ("control=jaws:1", "no direction 'jaws'", "did you mean jaw?"),
        ("control=yaw", "takes DIR=VALUE", None),
        ("control=yaw:1&control=0:2", "names direction 0 twice", None),
        ("control=20:1", "directions 0 to 19", None),
        ("compile=maxx", "compile: should be true, false or max", "did you mean max?"),
        ("nfe", "'nfe' is no choice", "nfe=VALUE"),
        ("nfe=0", "nfe: should be greater", None),
        ("nfe=2&nfe=3", "nfe is chosen twice", "leave out one nfe"),
        ("prediction=x0", "prediction belongs to the checkpoint", "leave out prediction"),
        ("impl=plain&compile=true", "the plain arithmetic is float32", "leave out impl=plain"),
        ("impl=plain&dtype=float16", "the plain arithmetic is float32", "leave out impl=plain"),
        ("solver=dopri5&nfe=5", "nfe does nothing with solver=dopri5", "leave out nfe"),
        ("rtol=0.1", "rtol does nothing with solver=euler", "leave out rtol"),
        ("r_cfg=2", "r_cfg acts only through the reference branch", "add reference_branch"),
        ("pose=nowhere.npy", "float-tiny takes no pose", "leave out the pose"),
        ("ddim_steps=10", "ddim_steps does nothing with a network that predicts velocity", "leave out ddim_steps"),
        ("diffusion_time=index", "diffusion_time does nothing with", "leave out diffusion_time"),
        ("crop_face=first", "crop_face does nothing where the protocol crops", "leave out crop_face"),
    ],
)
def test_what_cannot_be_is_one_line_with_the_methods_name_and_what_mends_it(query: str, what: str, fix: str | None):
    from floatbench.methods.catalogue import create

    with pytest.raises(UsageError) as caught:
        create(f"float-tiny?{query}")
    assert caught.value.what.startswith(f"float-tiny?{query}: ") and what in caught.value.what
    assert "\n" not in caught.value.what and (fix or "") in (caught.value.fix or "")


def test_directions_without_names_are_numbers():
    assert parse_name("float?control=3:0.5").choices.controls == (Control(3, 0.5),)
    with pytest.raises(UsageError, match="have no names, only numbers"):
        parse_name("float?control=yaw:1")


def test_a_checkpoint_brings_the_names_of_its_directions(network, tmp_path: Path):
    file = tmp_path / "named.safetensors"
    names = ["yaw", "pitch", "roll", "jaw"]
    save(network, file, Metadata(network.config, notes=json.dumps({"directions": names})))
    assert card_of(file).directions == tuple(names)
    assert parse_name(f"checkpoint:{file}?control=jaw:2").choices.controls == (Control(3, 2.0),)
    save(network, file, Metadata(network.config, notes=json.dumps({"directions": names[:3]})))
    assert card_of(file).directions == ()  # names of another model


def test_a_checkpoint_samples_its_own_way_unless_a_preset_or_a_choice_says_otherwise(network, tmp_path: Path):
    file = tmp_path / "patient.safetensors"
    save(network, file, Metadata(network.config, notes=json.dumps({"sampling": {"nfe": 20, "a_cfg": 3}})))

    def sampled(choices: str, preset_name: str | None = None) -> tuple[int, float]:
        options = parse_name(f"checkpoint:{file}{choices}", preset_given=preset_name).choices.options
        return options.nfe, options.a_cfg

    assert sampled("") == sampled("", "default") == (20, 3)
    assert sampled("?nfe=5") == (5, 3)
    assert sampled("", "paper") == sampled("", "official") == (10, 2)
    assert FloatMethod(str(file))._choices.options.nfe == 20  # not by a name
    assert canonical_name(f"checkpoint:{file}?nfe=20") == f"checkpoint:{file}?nfe=20"
    save(network, file, Metadata(network.config, notes=json.dumps({"sampling": {"nfe": 0}})))
    with pytest.raises(DataError, match="notes ask for a sampling that cannot be: nfe"):
        parse_name(f"checkpoint:{file}")


def test_generate_has_an_option_for_every_choice():
    options = {field.name.rstrip("_") for field in fields(GenerateChoices)}
    assert set(LIST) <= options


def test_the_documentation_lists_every_choice_in_the_order_of_a_name():
    text = (Path(__file__).resolve().parents[2] / "docs" / "float.md").read_text(encoding="utf-8")
    table = text.partition("| choice |")[2].partition("\n\n")[0]
    first = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert re.findall(r"`(\w+)`", " ".join(first)) == list(LIST)


def test_what_is_given_beside_a_name_wins_over_it():
    named = model_of("float@official?nfe=5&emotion=sad", [("nfe", "7")], "default")
    assert (named.choices.options.nfe, named.choices.options.ode_grid, named.choices.emotion) == (7, "steps", "sad")


def test_a_file_is_a_model_whatever_its_name(checkpoint: Path):
    odd = checkpoint.with_name("a@b.safetensors")
    odd.write_bytes(checkpoint.read_bytes())
    assert model_of(odd).weights == model_of(str(odd)).weights == str(odd)
    assert model_of(f"{odd}?nfe=3").choices.options.nfe == 3


@pytest.mark.parametrize("form", ["npy", "csv", "csv with names"])
def test_poses_are_read_from_tables(tmp_path: Path, form: str):
    pose = np.arange(12, dtype=np.float32).reshape(2, 6)
    file = tmp_path / f"pose.{form[:3]}"
    if form == "npy":
        np.save(file, pose)
    else:
        head = "yaw,pitch,roll,x,y,z\n" if "names" in form else ""
        file.write_text(head + "\n".join(",".join(map(str, row)) for row in pose))
    assert np.array_equal(read_pose(file), pose)


@pytest.mark.parametrize("body", ["", "1,2,3\n", "1,2,3,4,5,x\n1,2,3,4,5,6\n", "1,2,3,4,5,nan\n", "1,2\n1,2,3,4,5,6\n"])
def test_damaged_poses_are_refused(tmp_path: Path, body: str):
    file = tmp_path / "pose.csv"
    file.write_text(body)
    with pytest.raises(DataError, match="pose file"):
        read_pose(file)
    with pytest.raises(DataError, match="does not exist"):
        read_pose(tmp_path / "none.npy")


@pytest.mark.parametrize(
    "changed",
    [
        {"options": SamplingOptions(solver="dopri5"), "changed": frozenset({"nfe"})},
        {"dtype": "int8"},
        {"impl": "slow"},
        {"compile": "min"},
        {"emotion": "joyful"},
        {"graphs": 1},
    ],
)
def test_choices_made_in_python_are_checked_too(changed: dict[str, Any]):
    with pytest.raises(UsageError):
        ModelChoices(**changed)
    with pytest.raises(UsageError):
        replace(ModelChoices(), **changed)
