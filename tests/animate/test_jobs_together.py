"""A table of jobs solved in batches: the videos of one after another, and no job costs another one."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from floatbench.animate import pipeline
from floatbench.animate.jobs import GenerateSettings, VideoJob, run
from floatbench.animate.pipeline import FLOAT
from floatbench.errors import ClipError, UsageError
from floatbench.media import read_video, write_image, write_wav
from floatbench.model.checkpoint import Metadata, save
from floatbench.progress import NullProgress
from floatbench.sampling import together
from floatbench.sampling.choices import ModelChoices
from floatbench.sampling.clock import StageClock
from floatbench.sampling.loading import Origin
from floatbench.sampling.options import SamplingOptions

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def jobs(tmp_path: Path) -> list[VideoJob]:
    """Three videos of several lengths, and one whose picture is missing."""
    made = []
    for k, frames in enumerate((3, 60, 5)):
        write_image(tmp_path / f"{k}.png", PICTURES[k])
        write_wav(tmp_path / f"{k}.wav", np.random.default_rng(k).normal(0, 3000, frames * 640).astype(np.int16))
        made.append(VideoJob(tmp_path / f"{k}.png", tmp_path / f"{k}.wav", tmp_path / f"out{k}.mkv", seed=k))
    made.insert(1, VideoJob(tmp_path / "none.png", tmp_path / "0.wav", tmp_path / "none.mkv"))
    return made


@pytest.fixture
def common(checkpoint: Path) -> GenerateSettings:
    choices = ModelChoices(options=SamplingOptions(nfe=2))
    return GenerateSettings(weights=str(checkpoint), choices=choices, device="cpu", crop="none")


def _states(outcomes) -> list[str]:
    return [one.record()["state"] for one in outcomes]


def _frames(jobs: list[VideoJob]) -> list[np.ndarray]:
    return [read_video(job.out)[0].astype(int) for job in jobs if job.out.is_file()]


def test_a_table_solved_in_batches_makes_the_same_videos(jobs, common, monkeypatch):
    sizes: list[int] = []
    solve = together.solve_together
    monkeypatch.setattr(
        pipeline, "solve_together", lambda streams, clock: sizes.append(len(streams)) or solve(streams, clock)
    )
    assert _states(run(common, jobs, NullProgress())) == ["made", "failed", "made", "made"] and sizes == []
    alone = _frames(jobs)
    for job in jobs:
        job.out.unlink(missing_ok=True)
    assert _states(run(common, jobs, NullProgress(), at_once=4)) == ["made", "failed", "made", "made"]
    assert sizes == [3]
    for one, other in zip(alone, _frames(jobs), strict=True):
        assert np.abs(one - other).max() <= 1 and (one != other).mean() < 1e-3  # float32 rounding, then 8 bits


def test_another_pose_is_another_video_and_the_same_one_is_already_made(make_network, jobs, tmp_path: Path):
    network, file = make_network(pose_condition=True), tmp_path / "posed.safetensors"
    save(network, file, Metadata(network.config))
    poses = np.random.default_rng(0).normal(size=(2, 60, 6)).astype(np.float32)

    def state(pose: np.ndarray) -> str:
        np.save(tmp_path / "pose.npy", pose)
        choices = ModelChoices(options=SamplingOptions(nfe=2), pose=tmp_path / "pose.npy")
        made = run(GenerateSettings(weights=str(file), choices=choices, crop="none"), jobs[:1], NullProgress())
        return _states(made)[0]

    assert [state(poses[0]), state(poses[0]), state(poses[1])] == ["made", "unchanged", "made"]
    assert state(np.vstack([poses[1][:3], poses[0]])) == "unchanged"  # the sound lasts three frames


@pytest.mark.parametrize("error", [ClipError("not_finite", "one of them"), MemoryError()])
def test_what_fails_as_a_batch_is_made_one_after_another(jobs, common, monkeypatch, error):
    def failing(*_):
        raise error

    monkeypatch.setattr(pipeline, "solve_together", failing)
    assert _states(run(common, jobs, NullProgress(), at_once=4)) == ["made", "failed", "made", "made"]


@pytest.mark.parametrize(
    ("settings", "at_once", "message"),
    [
        ({"seed": -1}, None, "seed: should be"),
        ({"boxes": Path("none.csv")}, None, "none.csv are read with --crop given alone"),
        ({}, 0, "at_once: should be a whole number from 1 on"),
    ],
)
def test_settings_that_cannot_be_are_refused(jobs, common, settings, at_once, message: str):
    with pytest.raises(UsageError, match=message):
        run(replace(common, **settings), jobs, NullProgress(), at_once=at_once)


def test_videos_written_side_by_side_are_those_written_in_turn(network, tmp_path, monkeypatch):
    model = FLOAT(network, Origin("float-test", {}), device="cpu")
    writers: set[str] = set()
    real = pipeline.write_stream

    def noting(*given, **more):
        writers.add(threading.current_thread().name)
        real(*given, **more)

    monkeypatch.setattr(pipeline, "write_stream", noting)
    sounds = [np.random.default_rng(k).normal(0, 3000, 640 * n).astype(np.int16) for k, n in enumerate((4, 9, 6))]
    for name, side_by_side in (("turn", False), ("side", True)):
        clock = StageClock(model.device)
        begun = [
            model._prepare(picture, sound, {"nfe": 2}, clock) for picture, sound in zip(PICTURES, sounds, strict=True)
        ]
        outs = [tmp_path / f"{name}{k}.mkv" for k in range(3)]
        made = model.finish_together(begun, outs, side_by_side=side_by_side)
        assert [video.n_frames for video in made] == [4, 9, 6]  # type: ignore[union-attr]
        assert (len(writers) > 1) == side_by_side
    for k in range(3):
        assert np.array_equal(*(read_video(tmp_path / f"{name}{k}.mkv")[0] for name in ("turn", "side")))
