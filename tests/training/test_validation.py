"""Held-out clips are scored while a phase trains: the same losses, the engine's scores, the best model kept."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import floatbench
from floatbench.cli.app import main
from floatbench.errors import DataError, Interrupted, UsageError
from floatbench.metrics import registry
from floatbench.metrics.base import Pair
from floatbench.model.checkpoint import read_metadata
from floatbench.protocol.load import load_protocol
from floatbench.training.flow_phase import FlowPhase
from floatbench.training.train import train_autoencoder, train_flow
from floatbench.training.validation import (
    HeldOutClips,
    ValidationPlan,
    Validator,
    metric_names,
    one_of_each_first,
    refuse_driven,
    untouched_random_numbers,
)
from floatbench.weights import store

HELD = """
id = "held-v1"
dataset = "synthetic"
metrics = ["fid-tiny", "psnr-grey128"]
[preprocessing]
spec = "rendered"
boxes = "none"
size = 64
[clips]
first_identity = 95000
identities = 2
seconds = 1.0
"""
TIMES = ("seconds", "step_seconds")


@pytest.fixture(scope="module")
def protocol(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("protocol") / "held.toml"
    file.write_text(HELD)
    return str(file)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, clips, toy) -> Path:
    """Both phases to the end, without validation."""
    out = tmp_path_factory.mktemp("plain")
    train_autoencoder(toy, out, device="cpu", clips=clips)
    train_flow(toy, out, device="cpu", clips=clips)
    return out


@pytest.fixture(scope="module")
def scored(tmp_path_factory, clips, toy, protocol, plain) -> Path:
    """The same with validation every two steps."""
    out = tmp_path_factory.mktemp("scored")
    plan = ValidationPlan(protocol, 2)
    train_autoencoder(toy, out, device="cpu", clips=clips, validation=plan)
    train_flow(toy, out, device="cpu", clips=clips, validation=replace(plan, best="psnr-grey128"))
    return out


def lines(path: Path, *left_out: str) -> list[dict]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in left_out} for row in rows]


def stop_after(patch: pytest.MonkeyPatch, phase: type, step: int) -> None:
    import os
    import signal

    original = phase.step

    def step_and_signal(self, number):
        if number == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, number)

    patch.setattr(phase, "step", step_and_signal)


@pytest.mark.parametrize("phase", ["autoencoder", "flow"])
def test_validation_changes_no_loss_and_no_weight(plain, scored, phase):
    assert lines(scored / phase / "log.jsonl", *TIMES) == lines(plain / phase / "log.jsonl", *TIMES)
    name = "autoencoder.safetensors" if phase == "autoencoder" else "float.safetensors"
    first, second = load_file(plain / name), load_file(scored / name)
    assert all(torch.equal(first[key], second[key]) for key in first) and first.keys() == second.keys()


@pytest.mark.parametrize("phase", ["autoencoder", "flow"])
def test_every_n_steps_have_a_line_with_a_score_of_each_metric(scored, phase):
    rows = lines(scored / phase / "validation.jsonl")
    assert [row["step"] for row in rows] == [2, 4]
    names = {"autoencoder": {"psnr-grey128", "ssim-grey128", "aed-tiny"}, "flow": {"fid-tiny", "psnr-grey128"}}[phase]
    assert all(set(row["scores"]) == names and None not in row["scores"].values() for row in rows)


def test_the_scores_of_phase_2_are_those_that_a_run_gives_the_exported_model(scored, protocol, tmp_path):
    """The file holds half-precision numbers, so that pictures differ by a level here and there."""
    method = f"checkpoint:{scored / 'float.safetensors'}"
    run = floatbench.run(protocol, [method], controls=False, out=tmp_path / "run", workers=0)
    found = {cell.metric: cell.value for cell in run.run.scores.scores}
    last = lines(scored / "flow" / "validation.jsonl")[-1]["scores"]
    assert last == pytest.approx(found, rel=5e-3)


@pytest.mark.parametrize("phase", ["autoencoder", "flow"])
def test_the_best_model_is_kept_with_what_it_scored(scored, phase):
    rows = lines(scored / phase / "validation.jsonl")
    values = [row["scores"]["psnr-grey128"] for row in rows]
    best = rows[int(np.argmax(values))]
    assert [row["best"] for row in rows] == [True, values[1] > values[0]]
    file = scored / phase / "best.safetensors"
    if phase == "flow":
        kept = json.loads(read_metadata(file).notes)["validation"]
        assert floatbench.FLOAT.from_pretrained(file).size == 64
    else:
        from safetensors import safe_open

        with safe_open(file, "pt") as stream:
            kept = json.loads(stream.metadata()["validation"])
    assert kept == {"step": best["step"], "metric": "psnr-grey128", "scores": best["scores"]}


@pytest.mark.parametrize("stop", [1, 2])
def test_a_stopped_training_goes_on_to_the_same_losses_and_the_same_curve(
    scored, clips, toy, protocol, tmp_path, monkeypatch, stop
):
    """Stopped where a validation was due (after step 2), and where none was (after step 3)."""
    (tmp_path / "autoencoder.safetensors").write_bytes((scored / "autoencoder.safetensors").read_bytes())
    plan = ValidationPlan(protocol, 2, best="psnr-grey128")
    with monkeypatch.context() as patch:
        stop_after(patch, FlowPhase, stop)
        with pytest.raises(Interrupted, match=f"step {stop + 1}"):
            train_flow(toy, tmp_path, device="cpu", clips=clips, validation=plan)
    train_flow(toy, tmp_path, resume=True, device="cpu", clips=clips, validation=plan)
    for name in ("log.jsonl", "validation.jsonl"):
        assert lines(tmp_path / "flow" / name, *TIMES) == lines(scored / "flow" / name, *TIMES)


@pytest.mark.slow
def test_pictures_of_phase_1_get_better_on_people_it_never_met(tmp_path, clips, toy, protocol):
    """Forty steps at a high rate: the curve rises from what random weights make."""
    quick = replace(toy.autoencoder, steps=40, rate=2e-3, save_every=0, full_adv=0.0, eye_adv=0.0, eye_style=0.0,
                    lip_adv=0.0, lip_style=0.0, ema_images=20.0)  # fmt: skip
    plan = ValidationPlan(protocol, 10, ("psnr-grey128",))
    train_autoencoder(replace(toy, autoencoder=quick), tmp_path, device="cpu", clips=clips, validation=plan)
    curve = [row["scores"]["psnr-grey128"] for row in lines(tmp_path / "autoencoder" / "validation.jsonl")]
    assert len(curve) == 4 and curve[-1] > curve[0] + 1


def test_a_clip_that_cannot_be_made_fails_alone(protocol):
    from floatbench.errors import ClipError
    from floatbench.progress import NullProgress

    names = ["psnr-grey128", "psnr-rgb"]
    held = HeldOutClips(ValidationPlan(protocol), names, NullProgress(), pictures=5)
    assert [clip.media.n_frames for clip in held.clips] == [5, 5]

    def made(clip):
        if clip is held.clips[0]:
            raise ClipError("no_audio")
        return clip.media.frames

    assert held.scores(made) == dict.fromkeys(names, 100.0)

    def never(clip):
        raise ClipError("no_audio")

    assert held.scores(never) == dict.fromkeys(names)
    half = held.scores(lambda clip: clip.media.frames // 2)
    assert 0 < half["psnr-rgb"] < 20 and half["psnr-rgb"] != half["psnr-grey128"]


def test_lpips_is_among_the_scores_of_phase_1_where_its_weights_are_and_is_missed_in_one_line_where_not(
    protocol, monkeypatch
):
    said = []
    told = SimpleNamespace(note=said.append)
    assert "lpips-alex" not in metric_names(ValidationPlan(protocol), True, told)
    assert said == ["LPIPS is not measured: floatbench weights fetch alexnet lpips-alex"]
    assert metric_names(ValidationPlan(protocol, metrics=("psnr-grey128",)), True, told) == ["psnr-grey128"]
    monkeypatch.setattr(store, "available", lambda name: True)
    assert metric_names(ValidationPlan(protocol), True, told)[-1] == "lpips-alex" and len(said) == 1


def test_aed_is_the_mean_distance_of_the_coefficients():
    sides = {
        "generated": np.array([[0.0, 1.0], [2.0, 0.0], [9.0, 9.0]]),
        "reference": np.array([[1.0, 1.0], [0.0, 0.5]]),
    }
    pair = Pair("a", "a", lambda side, backbone: {"expression": sides[side]})
    assert registry.metric("aed-tiny").clip_value(pair).value == pytest.approx((0.5 + 1.25) / 2)


def test_one_clip_of_each_person_comes_first():
    found = one_of_each_first(load_protocol("synthetic").clips)
    assert len({clip.identity for clip in found[:12]}) == 12 and len(found) == 24


def test_global_random_numbers_are_put_back():
    torch.manual_seed(3)
    np.random.seed(3)
    with untouched_random_numbers():
        torch.rand(5)
        np.random.rand(5)
    found = float(torch.rand(1)), float(np.random.rand())
    torch.manual_seed(3)
    np.random.seed(3)
    assert found == (float(torch.rand(1)), float(np.random.rand()))


def test_a_score_that_is_no_number_is_never_the_best(tmp_path):
    class Held:
        metrics = {"psnr-grey128": registry.metric("psnr-grey128")}  # noqa: RUF012
        values = iter([None, 3.0, 2.0])

        def scores(self, made):
            return {"psnr-grey128": next(self.values)}

    kept = []
    validator = Validator(
        Held(), ValidationPlan("x", 1), tmp_path, lambda: None, lambda path, record: kept.append(record)
    )
    assert validator.begin(0) is False
    assert [validator.measure(step) for step in (1, 2, 3)][1:] == [
        {"validation/psnr-grey128": 3.0}, {"validation/psnr-grey128": 2.0},
    ]  # fmt: skip
    assert [record["step"] for record in kept] == [2] and validator.record()["step"] == 2
    assert not math.isnan(kept[0]["scores"]["psnr-grey128"])


def test_what_cannot_be_validated_is_refused_before_training(protocol, toy, monkeypatch):
    from floatbench.progress import NullProgress

    with pytest.raises(UsageError, match="phase 1 makes single pictures"):
        metric_names(ValidationPlan(protocol, metrics=("csim-tiny",)), pictures=True)
    with pytest.raises(UsageError, match="--best fvd-tiny is not measured"):
        metric_names(ValidationPlan(protocol, best="fvd-tiny"), pictures=False)
    with pytest.raises(UsageError, match="psnr-rgb holds whole videos"):
        metric_names(ValidationPlan(protocol, metrics=("psnr-rgb",)), pictures=False)
    with pytest.raises(UsageError, match="driven by the real video"):
        refuse_driven(replace(toy.model, pose_condition=True), ValidationPlan(protocol))
    monkeypatch.setenv("FLOATBENCH_HOME", "/nonexistent")
    with pytest.raises(DataError, match="validation needs inception-fid"):
        HeldOutClips(ValidationPlan(protocol), ["fid"], NullProgress())


def test_the_command_takes_the_options_and_says_which_step_was_best(tmp_path, protocol, capfd):
    from toy_config import TOY

    (tmp_path / "toy.toml").write_text(TOY)
    arguments = ["train", "autoencoder", "--config", str(tmp_path / "toy.toml"), "--out", str(tmp_path / "out"), "-q"]
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--best", "psnr-grey128"])
    capfd.readouterr()
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--validate", protocol, "--every", "1", "--metrics", "psnr-grey128,aed-tiny",
              "--best", "aed-tiny", "--limit", "1"])  # fmt: skip
    out, _ = capfd.readouterr()
    rows = lines(tmp_path / "out" / "autoencoder" / "validation.jsonl")
    best = min(rows, key=lambda row: row["scores"]["aed-tiny"])
    assert f"best aed-tiny: {best['scores']['aed-tiny']:.4g} after {best['step']} steps" in out
