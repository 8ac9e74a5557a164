"""The rows of the ablations: one network each where the model changes, the sampler alone where it does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import floatbench
from floatbench.engine.runner import RunOptions
from floatbench.errors import DataError, DependencyError, UsageError
from floatbench.media import read_video
from floatbench.methods import catalogue
from floatbench.methods.method import ClipRequest
from floatbench.model.checkpoint import Metadata, read_metadata, save
from floatbench.model.float import FloatModel
from floatbench.progress import NullProgress
from floatbench.reports.ablation import markdown, published_sweep, published_table
from floatbench.synthetic.clip import SyntheticClip
from floatbench.training import variants
from floatbench.training.batches import pictures
from floatbench.training.configs import load_config
from floatbench.training.shared_autoencoder import require_same_autoencoder, shared_autoencoder
from floatbench.training.train import load_autoencoder, train_autoencoder, train_flow
from floatbench.training.variants import (
    GUIDANCE,
    NFE,
    TABLE_2,
    TABLE_3,
    AblationPlan,
    budget,
    folder_of,
    missing_networks,
    rows,
    train_variants,
)

FLOAT_TINY = Path(floatbench.__file__).parent / "assets" / "float-tiny.safetensors"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, clips, toy):
    """A toy model and all variants on its auto-encoder, two steps each."""
    out = tmp_path_factory.mktemp("ablation")
    train_autoencoder(toy, out / "base", device="cpu", clips=clips)
    train_flow(toy, out / "base", device="cpu", clips=clips)
    model = out / "base" / "float.safetensors"
    seconds = train_variants((*TABLE_3, *TABLE_2), toy, out, 2, model, device="cpu", clips=clips)
    assert sorted(seconds) == ["B", "C", "D", "cross-attention", "diffusion-epsilon", "diffusion-x0", "float"]
    return out, model


def test_every_row_has_the_key_of_the_paper():
    for number, table in ((2, TABLE_2), (3, TABLE_3)):
        assert {variant.row for variant in table} == {row for row, _ in published_table(number)}
    assert {variant.row for variant in NFE} == {row for row, _ in published_sweep("nfe")}
    assert {variant.row for variant in GUIDANCE} == {row for row, _ in published_sweep("guidance")}
    assert published_table(3)["float", "FID"] == "21.100"
    assert published_sweep("nfe")["2", "FID"] == "21.785"


@pytest.mark.slow
def test_variants_share_the_auto_encoder_and_differ_in_what_they_say(trained, toy):
    out, _ = trained
    for variant in (*TABLE_3, *TABLE_2):
        place = folder_of(out, variant)
        assert (place / "autoencoder.safetensors").samefile(out / "autoencoder.safetensors")
        config = read_metadata(place / "float.safetensors").config
        assert {name: getattr(config, name) for name in variant.model} == variant.model
        assert replace(config, name="toy", **{name: getattr(toy.model, name) for name in variant.model}) == toy.model
    assert folder_of(out, TABLE_2[0]) == folder_of(out, TABLE_3[3])


@pytest.mark.slow
def test_the_shared_auto_encoder_counts_motion_as_phase_one_did(trained, toy, clips):
    out, model = trained
    assert json.loads(read_metadata(model).notes)["coefficients"]["gain"] != pytest.approx(1, abs=0.05)
    picture = pictures(clips.load(0).frames[:3])
    found = []
    for file in (out / "autoencoder.safetensors", out / "base" / "autoencoder.safetensors"):
        autoencoder = FloatModel(toy.model).motion_autoencoder
        load_autoencoder(autoencoder, file)
        with torch.no_grad():
            found.append(autoencoder.coefficients(autoencoder.encode(picture)[0]))
    assert torch.allclose(*found, atol=1e-3 * float(found[1].abs().max()))


@pytest.mark.slow
def test_every_row_is_a_method_that_makes_a_video(trained, toy, tmp_path):
    out, model = trained
    clip = SyntheticClip(7, 0, 0.4, 5)
    media = clip.media(64)
    found = [*rows((*TABLE_3, *TABLE_2), out, str(model), own=True), *rows((NFE[0],), out, str(model), own=False)]
    assert missing_networks(found) is None
    for number, row in enumerate(found):
        method = catalogue.create(row.method)
        method.load("cpu")
        folder = tmp_path / str(number)
        folder.mkdir()
        needs = "reference" in method.needs
        assert needs == (row.variant.row in "BD") and method.ranked != needs
        made = method.generate(
            ClipRequest("c", "c", media.frames[0], media.audio, 10, 3, folder, reference=media if needs else None,
                    truth=clip.truth() if needs else None)
        )  # fmt: skip
        assert made.video is not None
        frames, fps = read_video(made.video)
        assert frames.shape == (10, 64, 64, 3) and fps == 25
        own = row.variant.sampling.get("nfe", toy.sampling["nfe"])
        assert made.details["nfe"] == (50 if "diffusion" in row.variant.row else own)
        assert budget(out, row).startswith("2 steps" if number < 8 else "")


def test_missing_networks_are_named_with_the_way_to_get_them(tmp_path):
    error = missing_networks(rows(TABLE_3[:1], tmp_path, "float", own=True))
    assert isinstance(error, DataError) and "cross-attention" in str(error) and "--train" in str(error)


def test_unknown_tables_sweeps_and_options_are_refused(tmp_path):
    with pytest.raises(UsageError, match="Tables 2 and 3"):
        AblationPlan("synthetic", (4,), (), False, 1, "float-tiny", "", tmp_path).chosen()
    with pytest.raises(UsageError, match="sweep"):
        AblationPlan("synthetic", (), ("solver",), False, 1, "float-tiny", "", tmp_path).chosen()
    with pytest.raises(UsageError, match="'speed'"):
        catalogue.create(f"checkpoint:{FLOAT_TINY}?speed=2")
    with pytest.raises(UsageError, match="valid integer"):
        catalogue.create(f"checkpoint:{FLOAT_TINY}?nfe=many")
    with pytest.raises(UsageError, match="no such checkpoint"):
        catalogue.create(f"checkpoint:{tmp_path / 'none.safetensors'}")


def test_the_table_says_what_is_missing_and_shows_the_paper():
    text = markdown("Table 3", [("float", "FLOAT", "", "")], None, published_table(3))
    assert "| FLOAT | - | 21.100 | 162.052 |" in text


def test_what_the_name_of_the_weights_chooses_holds_for_every_row_unless_the_row_changes_it(tmp_path):
    found = rows(NFE[:2], tmp_path, "float?dtype=bfloat16&nfe=7&emotion=happy", own=False)
    assert [row.method for row in found] == [
        "float?nfe=2&emotion=happy&dtype=bfloat16", "float?nfe=5&emotion=happy&dtype=bfloat16",
    ]  # fmt: skip
    assert [row.method for row in rows(GUIDANCE[:1], tmp_path, "float", own=False)] == ["float?a_cfg=1.0&e_cfg=1.0"]
    assert rows(TABLE_3[3:], tmp_path, "float@official?compile=1", own=False)[0].method == "float@official?compile=true"


def test_a_shared_choice_is_left_out_of_rows_whose_network_never_reads_it(make_network, tmp_path):
    by_row = {variant.row: variant for variant in TABLE_3}
    for row, prediction in (("diffusion-x0", "x0"), ("float", "velocity")):
        file = folder_of(tmp_path, by_row[row]) / "float.safetensors"
        file.parent.mkdir(parents=True)
        network = make_network(prediction=prediction)
        save(network, file, Metadata(network.config))
    found = rows(
        [by_row["diffusion-x0"], by_row["float"]], tmp_path, "float-tiny?nfe=5&ddim_steps=10&e_cfg=2", own=True
    )
    assert [row.method.partition("?")[2] for row in found] == ["ddim_steps=10&e_cfg=2", "nfe=5&e_cfg=2"]
    for row in found:
        catalogue.create(row.method)


@pytest.fixture
def training(monkeypatch):
    """The devices of trainings that were begun; none goes on."""
    devices: list[str] = []

    def noting(variants_, config, folder, steps, autoencoder, progress, device, clips, workers):
        devices.append(device)
        assert workers == 3
        raise DataError("enough")

    monkeypatch.setattr(variants, "train_variants", noting)
    return devices


@pytest.mark.parametrize(("asked", "told"), [("auto", "cpu"), ("cpu", "cpu")])
def test_the_device_of_ablate_is_that_of_its_training(asked, told, training, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = RunOptions(device=asked, workers=3)
    with pytest.raises(DataError, match="enough"):
        variants.ablate(AblationPlan("synthetic", (3,), (), True, 1, "float-tiny", "", tmp_path, options))
    assert training == [told]


@pytest.mark.parametrize(
    ("weights", "device", "message"),
    [
        ("float-tiny?dtyp=bfloat16", "cpu", "dtyp"),
        ("float?dtyp=bfloat16", "cpu", "dtyp"),
        ("float-tiny?graphs=1", "cpu", "need a CUDA device"),
        ("none.safetensors", "cpu", "no such checkpoint"),
        ("float-tiny", "cuda", "sees no CUDA device"),
        ("float-tiny", "cuda:1", "takes the cards that it is shown"),
    ],
)
def test_what_the_rows_cannot_be_is_said_before_a_variant_is_trained(
    weights, device, message, training, monkeypatch, tmp_path
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan = AblationPlan("synthetic", (3,), (), True, 1, "float-tiny", weights, tmp_path, RunOptions(device=device))
    with pytest.raises((UsageError, DependencyError), match=message):
        variants.ablate(plan)
    assert training == []


@pytest.mark.parametrize(
    ("metrics", "message"), [(["nosuch"], "nosuch"), (["fid"], "inception-fid"), (["fid", "fid-tiny"], "never mixed")]
)
def test_what_cannot_be_scored_is_said_before_a_variant_is_trained(metrics, message, training, monkeypatch, tmp_path):
    monkeypatch.setenv("FLOATBENCH_HOME", str(tmp_path / "home"))
    options = RunOptions(device="cpu", metrics=metrics)
    plan = AblationPlan("synthetic", (3,), (), True, 1, "float-tiny", "", tmp_path / "out", options)
    with pytest.raises((UsageError, DataError), match=message) as caught:
        variants.ablate(plan)
    assert training == [] and "--skip-unavailable" not in str(caught.value)


@pytest.fixture(scope="module")
def own_sizes(tmp_path_factory, clips, toy):
    """A folder in which a variant of a model of own sizes was trained, without a checkpoint for its auto-encoder."""
    out = tmp_path_factory.mktemp("own")
    brief = replace(toy, autoencoder=replace(toy.autoencoder, steps=1))
    train_variants(TABLE_3[3:], brief, out, 1, "", device="cpu", clips=clips)
    return out, brief


def test_without_a_model_of_its_sizes_phase_1_is_trained_first(own_sizes, clips, monkeypatch):
    out, brief = own_sizes
    assert (out / "autoencoder" / "log.jsonl").is_file() and (
        out / "variants" / "float" / "float.safetensors"
    ).is_file()
    monkeypatch.setattr(variants, "train_flow", None)
    assert train_variants(TABLE_3[3:], brief, out, 1, "", device="cpu", clips=clips) == {}


def test_a_folder_that_was_trained_with_something_else_is_refused(own_sizes, clips):
    out, brief = own_sizes
    louder = replace(brief, flow=replace(brief.flow, rate=0.1))
    other = replace(brief, autoencoder=replace(brief.autoencoder, rate=0.1))
    for config, steps, weights, said in (
        (brief, 2, "", "was trained for 1 steps, not 2"),
        (louder, 1, "", "was trained with another configuration"),
        (other, 1, "", "autoencoder.safetensors was trained with another configuration"),
        (brief, 1, str(FLOAT_TINY), "is not the auto-encoder of"),
    ):
        with pytest.raises(UsageError, match=said):
            train_variants(TABLE_3, config, out, steps, weights, device="cpu", clips=clips)
    assert train_variants(TABLE_3[3:], replace(brief, flow=replace(brief.flow, save_every=1)), out, 1, "") == {}


def test_the_auto_encoder_of_a_model_is_taken_once_and_its_origin_kept(tmp_path):
    config, quiet = load_config("float-tiny"), NullProgress()
    target = shared_autoencoder(config, tmp_path, "", quiet, "cpu", None)
    require_same_autoencoder(config, target, "float-tiny")
    require_same_autoencoder(config, target, "")
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, other)
    with pytest.raises(UsageError, match="is not the auto-encoder of"):
        require_same_autoencoder(config, target, other)
    with pytest.raises(UsageError, match="has another dim_w"):
        wide = replace(config, model=replace(config.model, dim_w=96))
        shared_autoencoder(wide, tmp_path / "wide", "float-tiny", quiet, "cpu", None)


def test_of_processes_that_train_together_the_first_one_alone_scores(monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(variants, "train_variants", lambda *_: {"float": 1.0})
    monkeypatch.setattr(variants.runner, "run", None)
    plan = AblationPlan("synthetic", (), ("nfe",), True, 1, "float-tiny", "", tmp_path, RunOptions())
    assert variants.ablate(plan).result is None
