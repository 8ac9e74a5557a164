"""What trainers are used to: accumulated gradients, trackers, a projection, and data sets that are not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

from floatbench.cli.app import main
from floatbench.errors import DataError, DependencyError, UsageError
from floatbench.media.image import write_image
from floatbench.model.float import FloatModel
from floatbench.progress import NullProgress
from floatbench.training import autoencoder_phase, log
from floatbench.training.batches import MotionClip
from floatbench.training.clips import ClipPool
from floatbench.training.config import AutoencoderConfig
from floatbench.training.configs import CONFIGS
from floatbench.training.data_config import DataConfig
from floatbench.training.devices import Devices
from floatbench.training.flow_phase import FlowPhase
from floatbench.training.projection import project
from floatbench.training.tiny.phase import phase_class
from floatbench.training.train import clip_set, train_autoencoder, train_flow


def steps_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_accumulated_gradients_take_the_steps_of_the_whole_batch(toy, clips, tmp_path):
    """Phase 1 without the critic that sees a batch at once; two steps, so that the first update counts."""
    auto = replace(toy.autoencoder, full_adv=0.0, both_ways=False, steps=2)
    config = replace(toy, autoencoder=auto, flow=replace(toy.flow, steps=2))
    parts = replace(config, autoencoder=replace(auto, accumulate=2), flow=replace(config.flow, accumulate=4))
    for name, chosen in (("whole", config), ("parts", parts)):
        train_autoencoder(chosen, tmp_path / name, device="cpu", clips=clips)
        (tmp_path / name / "autoencoder.safetensors").write_bytes(
            (tmp_path / "whole" / "autoencoder.safetensors").read_bytes()
        )
        train_flow(chosen, tmp_path / name, device="cpu", clips=clips)
    together = {"full_critic", "r1"}  # of the critic that sees how a batch varies
    for phase in ("autoencoder", "flow"):
        for a, b in zip(*(steps_of(tmp_path / name / phase) for name in ("whole", "parts")), strict=True):
            assert set(a) == set(b)
            for term in set(a) - {"seconds", "step_seconds", *together}:
                assert b[term] == pytest.approx(a[term], rel=2e-3, abs=1e-6), (phase, term)


def test_a_batch_that_cannot_be_parted_evenly_is_refused_and_one_part_changes_no_hash(toy, clips, tmp_path):
    three = replace(toy, autoencoder=replace(toy.autoencoder, accumulate=3))
    with pytest.raises(UsageError, match="cannot be computed in 3 equal parts"):
        train_autoencoder(three, tmp_path, device="cpu", clips=clips)
    assert "accumulate" not in toy.record()["autoencoder"] and three.hash("autoencoder") != toy.hash("autoencoder")


def trained(config, folder, clips):
    train_autoencoder(config, folder, device="cpu", clips=clips)
    train_flow(config, folder, device="cpu", clips=clips)
    return {phase: steps_of(folder / phase) for phase in ("autoencoder", "flow")}


def with_both(config, **fields):
    return replace(config, autoencoder=replace(config.autoencoder, **fields), flow=replace(config.flow, **fields))


def test_computing_again_instead_of_keeping_changes_no_digit_and_fits_the_same_checkpoint(toy, clips, tmp_path):
    kept, again = with_both(toy, steps=2), with_both(toy, steps=2, recompute=True)
    first, second = (trained(config, tmp_path / str(number), clips) for number, config in enumerate((kept, again)))
    for phase in ("autoencoder", "flow"):
        for a, b in zip(first[phase], second[phase], strict=True):
            for term in set(a) - {"seconds", "step_seconds"}:
                assert a[term] == b[term], (phase, term)
        assert kept.hash(phase) == again.hash(phase)
    longer = with_both(toy, steps=3, recompute=True)
    train_autoencoder(longer, tmp_path / "0", device="cpu", clips=clips, resume=True)
    assert [row["step"] for row in steps_of(tmp_path / "0" / "autoencoder")][-1] > first["autoencoder"][-1]["step"]


@pytest.mark.slow  # minutes: a C++ compiler makes the kernels of five networks
def test_compiled_training_follows_the_plain_one(toy, clips, tmp_path):
    """The first losses differ by rounding alone; the weights that come out have the same names."""
    plain, fast = (
        trained(with_both(toy, steps=2, compiled=flag), tmp_path / str(flag), clips) for flag in (False, True)
    )
    for phase in ("autoencoder", "flow"):
        assert fast[phase][0]["total"] == pytest.approx(plain[phase][0]["total"], rel=1e-4)
        assert fast[phase][1]["total"] == pytest.approx(plain[phase][1]["total"], rel=2e-2)
    assert with_both(toy, compiled=True).hash("flow") != toy.hash("flow")


class Tracker:
    """Stands in for a tracker of accelerate."""

    made: ClassVar[list[Tracker]] = []

    def __init__(self, project: str, **settings: object) -> None:
        self.project, self.settings, self.rows, self.open = project, settings, [], False
        Tracker.made.append(self)

    def start(self) -> None:
        self.open = True

    def log(self, values: dict[str, float], step: int) -> None:
        self.rows.append((step, values["total"]))

    def finish(self) -> None:
        self.open = False


def test_trackers_get_every_step_and_are_closed(toy, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "accelerate.tracking.LOGGER_TYPE_TO_CLASS", {"wandb": Tracker, "trackio": Tracker, "tensorboard": None}
    )
    Tracker.made.clear()
    train_autoencoder(toy, tmp_path / "run", device="cpu", clips=clips, trackers=("wandb", "trackio"))
    rows = [(row["step"], row["total"]) for row in steps_of(tmp_path / "run" / "autoencoder")]
    assert [tracker.rows for tracker in Tracker.made] == [rows, rows]
    assert all(not tracker.open for tracker in Tracker.made)
    assert Tracker.made[0].settings["name"] == "run-autoencoder"
    assert not (tmp_path / "run" / "autoencoder" / "tensorboard").exists()


def test_a_tracker_joins_what_goes_on_and_nothing_else(tmp_path, monkeypatch):
    """wandb joins runs by their id, trackio by their name."""
    monkeypatch.setattr("accelerate.tracking.LOGGER_TYPE_TO_CLASS", {"wandb": Tracker, "trackio": Tracker})

    def ids(folder: str, first_step: int) -> tuple[object, object]:
        Tracker.made.clear()
        log.TrainingLog(tmp_path / folder / "run" / "flow", first_step, ("wandb", "trackio")).close()
        wandb, trackio = Tracker.made
        return wandb.settings["id"], trackio.settings["name"]

    first = ids("a", 0)
    assert ids("a", 5) == first
    for other in (ids("b", 0), ids("a", 0)):
        assert not set(other) & set(first)


def test_loggers_are_checked_before_anything_is_done(monkeypatch):
    assert log.parse_trackers("") is None and log.parse_trackers("none") == ()
    with pytest.raises(UsageError, match="unknown logger 'mlflow'"):
        log.parse_trackers("tensorboard,mlflow")
    assert log.parse_trackers("tensorboard,") == ("tensorboard",)
    with pytest.raises(UsageError, match="names none"):
        log.parse_trackers(",")
    monkeypatch.setattr(log, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="pip install wandb"):
        log.parse_trackers("wandb")


@pytest.mark.slow
def test_the_projection_counts_what_the_paper_s_networks_have(monkeypatch):
    """95.5 M numbers; 1.84 TFLOP a row for the generator, 0.46 for the critics and a sixteenth of R1."""
    monkeypatch.setattr("floatbench.training.projection.measured_speed", lambda *_: 1e14)
    first = project(CONFIGS["float-512"], "autoencoder", "cpu")
    assert first.trained / 1e6 == pytest.approx(95.5, abs=0.1)
    assert 2.29 < first.sample_tflop < 2.36
    assert first.hours == pytest.approx(first.step_seconds * 460_000 / 3600)
    assert first.step_seconds == pytest.approx(8 * first.sample_tflop / (0.35 * 100))
    halves = replace(CONFIGS["float-512"], autoencoder=replace(CONFIGS["float-512"].autoencoder, accumulate=2))
    assert project(halves, "autoencoder", "cpu").saved_gib == pytest.approx(first.saved_gib / 2)
    less = project(with_both(CONFIGS["float-512"], recompute=True), "autoencoder", "cpu")
    assert less.saved_gib < 0.6 * first.saved_gib and 1.1 < less.sample_tflop / first.sample_tflop < 4 / 3
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert project(CONFIGS["float-512"], "autoencoder", "cpu").samples == 1


def operations(work: Callable[[], object]) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return counter.get_total_flops()


def as_the_paper(config):
    names = {field.name for field in fields(AutoencoderConfig)}
    return replace(config, autoencoder=AutoencoderConfig(**{name: getattr(config.autoencoder, name) for name in names}))


def as_float_tiny(config):
    solved = replace(config.autoencoder, encoder="regression", truth_share=1.0)
    return replace(config, model=replace(config.model, dim_m=20, dim_w=48), autoencoder=solved)


@pytest.mark.parametrize("kind", [replace, as_the_paper, as_float_tiny])
def test_the_projection_counts_what_real_steps_of_phase_1_compute(kind, toy, clips, monkeypatch):
    monkeypatch.setattr("floatbench.training.projection.measured_speed", lambda *_: 1e14)
    monkeypatch.setattr(autoencoder_phase.weights, "path", lambda _: None)  # VGG-19 with random weights
    penalty = autoencoder_phase.r1_penalty  # torch's counter cannot follow the gradient of a leaf
    monkeypatch.setattr(autoencoder_phase, "r1_penalty", lambda critic, x: penalty(lambda real: critic(1 * real), x))
    config = kind(toy)
    c = replace(config.autoencoder, component_from=0)
    assert c.component and c.perceptual and c.adversarial and c.r1 and c.r1_every == 2
    config = replace(config, autoencoder=c)
    pool, autoencoder = ClipPool(clips, range(len(clips)), 3, 18), FloatModel(config.model).motion_autoencoder
    phase = phase_class(c)(config, autoencoder, pool, Devices("cpu"))
    counted = sum(operations(lambda step=step: phase.step(step)) for step in (0, 1)) / 2  # R1 is in one of the two
    assert project(config, "autoencoder", "cpu").sample_tflop == pytest.approx(counted / c.batch / 1e12, rel=0.003)


def test_the_projection_counts_what_a_real_step_of_phase_2_computes(toy, monkeypatch):
    monkeypatch.setattr("floatbench.training.projection.measured_speed", lambda *_: 1e14)
    clip = MotionClip("one", np.zeros((60, toy.model.dim_m), np.float32), np.zeros(640 * 60, np.int16), 0)
    phase = FlowPhase(toy, FloatModel(toy.model), [clip], Devices("cpu"))
    counted = operations(lambda: phase.step(0)) / toy.flow.batch
    assert project(toy, "flow", "cpu").sample_tflop == pytest.approx(counted / 1e12, rel=0.01)


def test_plan_prints_a_projection_and_trains_nothing(capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "flow", "--config", "float-tiny", "--out", str(tmp_path / "x"), "--plan", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert stopped.value.code == 0 and found["phase"] == "flow" and found["trained"] > 1e6
    assert not (tmp_path / "x").exists()


def test_every_data_set_that_is_missing_is_named_with_its_command():
    quiet = replace(CONFIGS["float-512"].autoencoder, component=0.0, eye_adv=0.0, eye_style=0.0, lip_adv=0.0)
    config = replace(CONFIGS["float-512"], autoencoder=replace(quiet, lip_style=0.0))
    with pytest.raises(DataError) as caught:
        clip_set(config, NullProgress(), pairs=True)
    for part in (
        "hdtf-train has no",
        "ravdess-train has no",
        "raw/vfhq",
        "protocol fetch hdtf-train",
        "--allow-missing",
    ):
        assert part in str(caught.value)
    with pytest.raises(DataError, match="hdtf-train has no prepared clip"):
        clip_set(config, NullProgress(), pairs=True, allow_missing=True)  # nothing is left
    with pytest.raises(DataError) as caught:
        clip_set(config, NullProgress())
    assert "vfhq" not in str(caught.value)  # phase 2 asks for sound alone


def test_training_goes_on_without_missing_data_sets_when_it_is_told_to(toy, tmp_path):
    class Notes(NullProgress):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def note(self, text: str) -> None:
            self.lines.append(text)

    for number in range(4):
        (tmp_path / "vfhq" / "one").mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / "vfhq" / "one" / f"{number}.png", np.full((64, 64, 3), 9, np.uint8))
    quiet = replace(CONFIGS["float-512"].autoencoder, component=0.0, eye_adv=0.0, eye_style=0.0, lip_adv=0.0)
    config = replace(
        CONFIGS["float-512"],
        data=DataConfig(protocol=f"hdtf-train, frames:{tmp_path / 'vfhq'}"),
        autoencoder=replace(quiet, lip_style=0.0),
    )
    notes = Notes()
    assert len(clip_set(config, notes, pairs=True, allow_missing=True)) == 1
    assert any("without hdtf-train" in line for line in notes.lines)
