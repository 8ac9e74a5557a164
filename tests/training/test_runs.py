"""Both phases as runs: resuming, stopping, refusing; seconds each."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from floatbench.errors import DataError, Interrupted, RunIncomplete, UsageError
from floatbench.model import checkpoint
from floatbench.sampling.loading import card_of
from floatbench.training import loop, train
from floatbench.training.autoencoder_phase import AutoencoderPhase
from floatbench.training.batches import draw_windows
from floatbench.training.checkpoints import check_clips
from floatbench.training.clips import ClipPool, ClipSet
from floatbench.training.configs import CONFIGS
from floatbench.training.devices import Devices
from floatbench.training.flow_phase import FlowPhase
from floatbench.training.train import train_autoencoder, train_flow
from floatbench.training.validation import ValidationPlan

TIMES = ("seconds", "step_seconds")
AUTOENCODER = "autoencoder.safetensors"


def _log(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def _stop_after(monkeypatch: pytest.MonkeyPatch, phase: type, step: int) -> None:
    """Sends this process SIGTERM while a step is being taken."""
    original = phase.step

    def step_and_signal(self: object, number: int) -> dict[str, float]:
        if number == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, number)

    monkeypatch.setattr(phase, "step", step_and_signal)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, clips, toy):
    """Both phases run to the end."""
    out = tmp_path_factory.mktemp("whole")
    train_autoencoder(toy, out, device="cpu", clips=clips)
    train_flow(_flow(toy), out, device="cpu", clips=clips)
    return out


def _flow(toy):
    return replace(toy, data=replace(toy.data, seconds=1.0))


def test_an_interrupted_first_phase_ends_with_the_losses_of_an_uninterrupted_one(
    finished, tmp_path, clips, toy, monkeypatch
):
    with monkeypatch.context() as patch:
        _stop_after(patch, AutoencoderPhase, 0)
        with pytest.raises(Interrupted, match="step 1"):
            train_autoencoder(toy, tmp_path, device="cpu", clips=clips)
    train_autoencoder(toy, tmp_path, resume=True, device="cpu", clips=clips)
    assert _log(tmp_path / "autoencoder") == _log(finished / "autoencoder")
    assert len(_log(tmp_path / "autoencoder")) == 4


def test_an_interrupted_second_phase_ends_with_the_losses_of_an_uninterrupted_one(
    finished, tmp_path, clips, toy, monkeypatch
):
    (tmp_path / "autoencoder.safetensors").write_bytes((finished / "autoencoder.safetensors").read_bytes())
    with monkeypatch.context() as patch:
        _stop_after(patch, FlowPhase, 2)
        with pytest.raises(Interrupted, match="step 3"):
            train_flow(_flow(toy), tmp_path, device="cpu", clips=clips)
    train_flow(_flow(toy), tmp_path, resume=True, device="cpu", clips=clips)
    assert _log(tmp_path / "flow") == _log(finished / "flow")


def test_a_second_phase_draws_windows_by_shares_and_when_resumed_goes_on_with_them(
    finished, tmp_path, clips, toy, monkeypatch
):
    drawn = []
    monkeypatch.setattr(clips, "origin", lambda index: ("spoken" if index else "acted", str(index)))
    data = replace(toy.data, protocol="acted, spoken", shares={"acted": 6})
    shared = replace(toy, data=data)

    def recorded(motions, *rest):
        drawn.append([motion.share for motion in motions])
        return draw_windows(motions, *rest)

    monkeypatch.setattr("floatbench.training.flow_phase.draw_windows", recorded)
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
        (tmp_path / name / AUTOENCODER).write_bytes((finished / AUTOENCODER).read_bytes())
    train_flow(shared, tmp_path / "whole", device="cpu", clips=clips)
    with monkeypatch.context() as patch:
        _stop_after(patch, FlowPhase, 2)
        with pytest.raises(Interrupted, match="step 3"):
            train_flow(shared, tmp_path / "stopped", device="cpu", clips=clips)
    train_flow(shared, tmp_path / "stopped", resume=True, device="cpu", clips=clips)
    assert drawn == [[6, 1, 1]] * 8
    assert _log(tmp_path / "stopped" / "flow") == _log(tmp_path / "whole" / "flow")


def test_loading_clips_ahead_changes_no_loss_and_leaves_no_thread(tmp_path, clips, toy, monkeypatch):
    small = replace(toy, data=replace(toy.data, pool=2, refresh=1))  # three clips: one comes in at every step
    before = set(threading.enumerate())
    train_autoencoder(small, tmp_path / "ahead", device="cpu", clips=clips)
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("training-clips")]
    monkeypatch.setattr(ClipPool, "__enter__", lambda self: self)
    monkeypatch.setattr(ClipPool, "__exit__", lambda *_: None)
    train_autoencoder(small, tmp_path / "alone", device="cpu", clips=clips)
    assert _log(tmp_path / "ahead" / "autoencoder") == _log(tmp_path / "alone" / "autoencoder")


def test_what_is_exported_is_a_checkpoint_of_the_library_with_its_training_inside(finished, toy):
    model = checkpoint.load(finished / "float.safetensors")
    assert model.config == toy.model
    notes = json.loads(checkpoint.read_metadata(finished / "float.safetensors").notes)
    assert notes["training"]["flow"]["steps"] == 4 and len(notes["autoencoder_sha256"]) == 64
    assert card_of(finished / "float.safetensors").sampling == toy.sampling == {"nfe": 4}


def test_a_loss_that_is_not_a_number_stops_and_leaves_the_last_good_checkpoint(tmp_path, clips, toy, monkeypatch):
    original = loop.update

    def poisoned(optimiser, loss, *rest):
        state["calls"] += 1
        return original(optimiser, loss * float("nan") if state["calls"] > 3 else loss, *rest)

    state = {"calls": 0}
    plain = replace(
        toy, autoencoder=replace(toy.autoencoder, full_adv=0, eye_adv=0, lip_adv=0, eye_style=0, lip_style=0)
    )
    monkeypatch.setattr("floatbench.training.autoencoder_phase.update", poisoned)
    with pytest.raises(RunIncomplete, match="at step 3; the checkpoint of step 2 is the last good one"):
        train_autoencoder(plain, tmp_path, device="cpu", clips=clips)
    tensors, kept = loop.read_checkpoint(tmp_path / "autoencoder" / loop.CHECKPOINT, plain.hash("autoencoder"))
    assert kept["step"] == 2 and all(bool(torch.isfinite(value).all()) for value in tensors.values())


def test_a_checkpoint_of_another_configuration_is_refused(finished, clips, toy):
    other = replace(toy, autoencoder=replace(toy.autoencoder, rate=1e-5))
    with pytest.raises(UsageError, match="another configuration"):
        train_autoencoder(other, finished, resume=True, device="cpu", clips=clips)


@pytest.mark.parametrize("phase", ["autoencoder", "flow"])
def test_a_checkpoint_of_another_list_of_clips_is_refused_with_both_counts(finished, tmp_path, clips, toy, phase):
    class Fewer(ClipSet):
        """The first two of the clips."""

        def __len__(self) -> int:
            return 2

        def load(self, index: int):
            return clips.load(index)

        def origin(self, index: int):
            return clips.origin(index)

        def named(self, index: int):
            return clips.named(index)

    shutil.copytree(finished, tmp_path / "run")
    train = train_autoencoder if phase == "autoencoder" else train_flow
    longer = replace(toy, **{phase: replace(getattr(toy, phase), steps=5)})
    with pytest.raises(DataError, match=r"another list of 3 clips, here are 2.*\nfix: bring the data back"):
        train(longer, tmp_path / "run", resume=True, device="cpu", clips=Fewer())
    assert train(longer, tmp_path / "run", resume=True, device="cpu", clips=clips)["steps_now"] == 1


def test_a_checkpoint_of_before_lists_of_clips_were_kept_goes_on():
    now = {"count": 2, "sha256": "b"}
    check_clips(Path("old"), {"step": 1}, now)
    check_clips(Path("same"), {"step": 1, "clips": dict(now)}, now)
    with pytest.raises(DataError, match="another list"):  # as many, but others
        check_clips(Path("other"), {"step": 1, "clips": {"count": 2, "sha256": "a"}}, now)


def test_resuming_without_or_with_a_damaged_checkpoint_says_so(tmp_path, clips, toy):
    with pytest.raises(DataError, match="no checkpoint"):
        train_autoencoder(toy, tmp_path, resume=True, device="cpu", clips=clips)
    file = tmp_path / "autoencoder" / loop.CHECKPOINT
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"not tensors")
    with pytest.raises(DataError, match="cannot be read"):
        train_autoencoder(toy, tmp_path, resume=True, device="cpu", clips=clips)


def test_a_fresh_start_never_replaces_a_training(finished, tmp_path, clips, toy):
    before = {path: path.read_bytes() for path in finished.rglob("*.*") if path.is_file()}
    for phase in (train_autoencoder, train_flow):
        with pytest.raises(UsageError, match="of a training that was begun here") as caught:
            phase(_flow(toy), finished, device="cpu", clips=clips)
        assert "--resume" in str(caught.value.fix) and "--out" in str(caught.value.fix)
    assert before == {path: path.read_bytes() for path in finished.rglob("*.*") if path.is_file()}
    for name, phase in (("autoencoder", train_autoencoder), ("float", train_flow)):
        for exported in ("autoencoder.safetensors", f"{name}.safetensors"):
            (tmp_path / exported).write_bytes((finished / exported).read_bytes())
        with pytest.raises(UsageError, match=f"{name}.safetensors would be replaced"):
            phase(_flow(toy), tmp_path, device="cpu", clips=clips)


def test_a_training_with_more_steps_than_asked_for_is_refused(finished, clips, toy):
    shorter = replace(toy, autoencoder=replace(toy.autoencoder, steps=2))
    with pytest.raises(UsageError, match="has 4 steps already, not only 2"):
        train_autoencoder(shorter, finished, resume=True, device="cpu", clips=clips)


@pytest.fixture
def nothing_begun(monkeypatch):
    """Clips that are asked for, and networks that would learn first, fail the test."""
    for name in ("clip_set", "trained_reader", "trained_recogniser", "motion_clips"):
        monkeypatch.setattr(train, name, None)


def test_no_mistake_of_a_phase_waits_for_its_clips(finished, tmp_path, toy, nothing_begun, monkeypatch):
    monkeypatch.setenv("FLOATBENCH_HOME", str(tmp_path / "home"))
    with pytest.raises(DataError, match="no checkpoint"):
        train_autoencoder(toy, tmp_path, resume=True, device="cpu")
    (tmp_path / "autoencoder.safetensors").write_bytes((finished / "autoencoder.safetensors").read_bytes())
    with pytest.raises(DataError, match="no checkpoint"):
        train_flow(toy, tmp_path, resume=True, device="cpu")
    seen = replace(toy, autoencoder=replace(toy.autoencoder, network="vgg19"))
    with pytest.raises(DataError, match="phase 1 needs vgg19"):
        train_autoencoder(seen, tmp_path / "new", device="cpu")
    with pytest.raises(UsageError, match="nosuch"):
        train_flow(toy, tmp_path, device="cpu", validation=ValidationPlan("synthetic", metrics=("nosuch",)))
    with pytest.raises(DataError, match="inception-fid"):
        train_flow(toy, tmp_path, device="cpu", validation=ValidationPlan("synthetic", metrics=("fid",)))
    with pytest.raises(DataError, match="hdtf has no clip to validate on"):
        train_flow(toy, tmp_path, device="cpu", validation=ValidationPlan("hdtf", metrics=("fid-tiny",)))
    for memory in (replace(toy, autoencoder=replace(toy.autoencoder, across=0.5)), CONFIGS["float-tiny"]):
        with pytest.raises(UsageError, match="need clips in memory"):
            from_files = replace(memory, data=replace(memory.data, pool=0))
            train_autoencoder(from_files, tmp_path / "new", device="cpu")
    monkeypatch.setattr(Devices, "count", 3)
    for phase, out in ((train_autoencoder, tmp_path / "new"), (train_flow, tmp_path)):
        with pytest.raises(UsageError, match="cannot be shared by 3 processes"):
            phase(toy, out, device="cpu")


def test_a_full_disk_while_saving_leaves_the_checkpoint_before_it(tmp_path, monkeypatch):
    from floatbench.errors import DependencyError
    from floatbench.training import checkpoints

    path = tmp_path / "checkpoint.safetensors"
    checkpoints.write_checkpoint(path, {"a": torch.ones(2)}, {"step": 1, "config_hash": "h"})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(DependencyError, match="disk is full"):
        checkpoints.write_checkpoint(path, {"a": torch.zeros(2)}, {"step": 2, "config_hash": "h"})
    assert checkpoints.read_checkpoint(path, "h")[1]["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_phase_two_without_phase_one_names_the_command(tmp_path, clips, toy):
    with pytest.raises(DataError, match="autoencoder") as caught:
        train_flow(toy, tmp_path, device="cpu", clips=clips)
    assert "floatbench train autoencoder" in str(caught.value)
