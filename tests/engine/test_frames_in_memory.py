"""Frames go from the method to the metrics without a file in between, and the file that is kept holds the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_toys import FRAMES, SIZE, ToyBackbone, ToyDataset, media, protocol

from floatbench.engine import admission, decoded
from floatbench.engine.runner import RunOptions, RunResult, run
from floatbench.errors import DependencyError, Interrupted, UsageError
from floatbench.media import read_video
from floatbench.methods.baseline import _kept
from floatbench.methods.baseline_files import resample_index
from floatbench.methods.float_method import FloatMethod
from floatbench.methods.method import ClipRequest, Generated, Method
from floatbench.types import ClipMedia

CLIP = FRAMES * SIZE * SIZE * 3


class Noise(Method):
    """Frames from the seed, in memory."""

    name = "noise"

    def generate(self, request: ClipRequest) -> Generated:
        shape = (request.n_frames, *request.source.shape)
        return Generated(media=ClipMedia(np.random.default_rng(request.seed).integers(0, 256, shape, np.uint8)))


pytestmark = pytest.mark.usefixtures("toys")


def run_toy(out: Path, *methods: str | Method, clips: int = 2, **options: Any) -> RunResult:
    dataset = options.pop("dataset", None) or ToyDataset(protocol(clips))
    settings = {"methods": methods, "controls": False, "out": out, "workers": 0, "device": "cpu", **options}
    return run(dataset.protocol, dataset, RunOptions(**settings))


def told(result: RunResult) -> list[dict[str, Any]]:
    """The rows without what a clock says."""
    return [row.model_dump(exclude={"seconds", "timing"}) for row in result.rows.values()]


def scores(folder: Path) -> bytes:
    return (folder / "scores.json").read_bytes()


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The videos of methods that were decoded."""
    calls, real = [], admission.decode

    def decode(output: Generated, spec: str) -> np.ndarray:
        calls.append(str(output.video))
        return real(output, spec)

    monkeypatch.setattr(admission, "decode", decode)
    return calls


def test_rows_from_memory_from_a_file_and_from_a_resumed_run_are_identical(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decodes: list[str]
) -> None:
    method, both = FloatMethod(str(checkpoint), name="ours", nfe=2), ["toy-mean", "toy-max", "psnr-grey128"]
    handed = run_toy(tmp_path / "handed", method, metrics=both)
    assert not handed.failed and not decodes
    run_toy(tmp_path / "resumed", method, metrics=["toy-mean"])
    resumed = run_toy(tmp_path / "resumed", method, metrics=both)
    assert (resumed.new_rows, len(decodes)) == (2, 2)
    monkeypatch.setattr(decoded, "IN_MEMORY", 0)
    by_file = run_toy(tmp_path / "file", method, metrics=both)
    assert len(decodes) == 4
    assert told(handed) == told(resumed) == told(by_file)
    assert scores(tmp_path / "handed") == scores(tmp_path / "resumed") == scores(tmp_path / "file")


def test_frames_in_memory_are_byte_for_byte_those_of_the_file_that_is_kept(tmp_path: Path) -> None:
    row = run_toy(tmp_path / "r", Noise(), clips=1).rows["noise", "clip 0", 0]
    request = ClipRequest("clip 0", "", media("clip 0").frames[0], None, FRAMES, row.seed, tmp_path)
    made = Noise().generate(request).media
    assert made is not None and Path(row.video).parent == Path("generated/noise")
    assert read_video(tmp_path / "r" / row.video)[0].tobytes() == made.frames.tobytes()
    assert row.pixels_sha256 == made.pixels_sha256


@pytest.mark.parametrize(("limit", "files"), [(CLIP, 0), (CLIP - 1, 1)])
def test_a_clip_of_more_bytes_than_the_limit_goes_by_file(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decodes: list[str], limit: int, files: int
) -> None:
    monkeypatch.setattr(decoded, "IN_MEMORY", limit * 4)  # this network's frames are twice as wide and high
    run_toy(tmp_path / "r", FloatMethod(str(checkpoint), name="ours", nfe=1), clips=1)
    assert len(decodes) == files


def test_little_free_memory_lowers_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded, "free_memory", lambda: 8 << 20)
    assert decoded.memory_to_spare() == 1 << 20
    monkeypatch.setattr(decoded, "free_memory", lambda: 1 << 40)
    request = ClipRequest("clip", "clip", np.zeros((1, 1, 3)), None, 1, 0, Path(), memory=decoded.memory_to_spare())
    assert request.in_memory(682, 512, 512) and not request.in_memory(683, 512, 512)


@pytest.mark.parametrize(("limit", "loads"), [(decoded.IN_MEMORY, 3), (0, 9)])
def test_a_clip_of_the_data_set_is_decoded_once_while_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, loads: int
) -> None:
    monkeypatch.setattr(decoded, "IN_MEMORY", limit)
    seen: list[str] = []

    class Counted(ToyDataset):
        def load(self, clip):
            seen.append(clip.id)
            return super().load(clip)

    names = ("reference", "swapped", "wrong-identity")
    result = run_toy(tmp_path / "r", *names, dataset=Counted(protocol(3, 3)))
    assert not result.failed and len(seen) == loads


def test_a_run_killed_between_generating_and_scoring_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ToyBackbone.extract

    def killed(self, clip):
        raise KeyboardInterrupt

    monkeypatch.setattr(ToyBackbone, "extract", killed)
    with pytest.raises(Interrupted):
        run_toy(tmp_path / "r", Noise())
    assert not (tmp_path / "r/rows.jsonl").exists() and not (tmp_path / "r/generated").exists()
    monkeypatch.setattr(ToyBackbone, "extract", real)
    assert run_toy(tmp_path / "r", Noise()).new_rows == 2
    run_toy(tmp_path / "fresh", Noise())
    assert scores(tmp_path / "r") == scores(tmp_path / "fresh")


def test_a_disk_that_is_full_while_frames_are_written_ends_the_run_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path, frames):
        raise DependencyError("the disk is full", fix="free space, then run again")

    monkeypatch.setattr("floatbench.media.write_lossless", full)
    with pytest.raises(DependencyError, match="the disk is full"):
        run_toy(tmp_path / "r", Noise())
    assert not (tmp_path / "r/rows.jsonl").exists()


def test_without_videos_nothing_is_written_and_a_metric_added_later_gives_the_same_scores(
    tmp_path: Path, decodes: list[str]
) -> None:
    kept = run_toy(tmp_path / "kept", Noise(), metrics=["toy-mean", "toy-max"])
    run_toy(tmp_path / "none", Noise(), metrics=["toy-mean"], keep_videos=False)
    later = run_toy(tmp_path / "none", Noise(), metrics=["toy-mean", "toy-max"], keep_videos=False)
    assert not list(tmp_path.glob("none/**/*.mkv")) and not decodes
    assert {row.video for row in later.rows.values()} == {""} and all(row.video for row in kept.rows.values())
    assert scores(tmp_path / "none") == scores(tmp_path / "kept")


def test_a_call_without_videos_loses_none_that_are_there(tmp_path: Path) -> None:
    first = run_toy(tmp_path / "r", Noise(), metrics=["toy-mean"])
    second = run_toy(tmp_path / "r", Noise(), metrics=["toy-mean", "toy-max"], keep_videos=False)
    assert [row.video for row in second.rows.values()] == [row.video for row in first.rows.values()] != ["", ""]


def test_a_system_that_no_seed_reaches_must_keep_its_videos(tmp_path: Path) -> None:
    class Moody(Noise):
        uses_seed = False

    with pytest.raises(UsageError, match=r"no seed reaches it.*\nfix: leave out --no-keep-videos"):
        run_toy(tmp_path / "r", Moody(), keep_videos=False)
    assert not run_toy(tmp_path / "r", Moody()).failed


@pytest.mark.parametrize("fps", [25.0, 24.0])
def test_a_baselines_frames_are_those_of_its_file(tmp_path: Path, fps: float) -> None:
    drawn = media("clip 0").frames[:24]
    raw = tmp_path / "frames.raw"
    raw.write_bytes(drawn.tobytes())
    frames = np.memmap(raw, np.uint8, "r", shape=drawn.shape)
    request = ClipRequest("clip 0", "clip", drawn[0], None, 24, 0, tmp_path)
    by_file = _kept(frames, fps, None, request, {})
    handed = _kept(frames, fps, None, replace(request, memory=CLIP), {})
    assert by_file.media is None and by_file.video is not None and handed.video is None and handed.media is not None
    expected = drawn if fps == 25 else drawn[resample_index(24, fps)]
    assert read_video(by_file.video)[0].tobytes() == handed.media.frames.tobytes() == expected.tobytes()
    assert by_file.original == handed.original == (None if fps == 25 else tmp_path / "clip-original.mkv")
