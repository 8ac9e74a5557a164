"""Counts are those of all replicates, pictures are scored without sound, and what is odd about clips is said."""

from __future__ import annotations

from pathlib import Path

import engine_toys
import numpy as np
import pytest
from engine_toys import ToyDataset, media, protocol

import floatbench
from floatbench.data.as_is import AsIsDataset
from floatbench.data.dataset import Reference
from floatbench.engine.control_rules import check_controls
from floatbench.engine.records import MetricRecord, ScoreRow
from floatbench.engine.runner import RunOptions, RunResult, run
from floatbench.errors import ClipError
from floatbench.media import read_video, write_lossless
from floatbench.methods.controls import CONTROLS, control
from floatbench.methods.method import ClipRequest
from floatbench.protocol.protocol import Clip
from floatbench.protocol.two_folders import as_is_protocol
from floatbench.reports.table import format_cell, markdown
from floatbench.seeds import derive_seed
from floatbench.synthetic.clip import TEST_FIRST, SyntheticClip

pytestmark = pytest.mark.usefixtures("toys")


def run_here(folder: Path, dataset, *methods: str, **options) -> RunResult:
    settings = {"methods": methods, "controls": False, "out": folder, "workers": 0, "device": "cpu", **options}
    return run(dataset.protocol, dataset, RunOptions(**settings))


def cell(result: RunResult, method: str, metric: str = "toy-mean") -> ScoreRow:
    return next(c for c in result.scores.scores if (c.method, c.metric) == (method, metric))


@pytest.fixture
def failing_later(monkeypatch):
    """Makes `jitter` fail on ten of twelve clips, in the second replicate only."""
    lost = {derive_seed(0, f"clip {k}", 1) for k in range(10)}
    generate = engine_toys.Jitter.generate

    def sometimes(self, request):
        if request.seed in lost:
            raise ClipError("blank")
        return generate(self, request)

    monkeypatch.setattr(engine_toys.Jitter, "generate", sometimes)


def test_clips_lost_in_a_later_replicate_are_counted_and_void_the_score(tmp_path, failing_later):
    found = cell(run_here(tmp_path / "r", ToyDataset(protocol(12)), "jitter", replicates=2), "jitter")
    assert (found.n, found.n_available, found.void) == (2, 12, True)
    assert sorted(found.failures) == sorted(f"clip {k}" for k in range(10))
    assert found.failures["clip 3"] == "blank: every frame is one colour (replicate 1)"
    assert len(found.replicate_values) == 2


def test_the_common_clips_are_those_that_every_replicate_has(tmp_path, failing_later):
    data = ToyDataset(protocol(12))
    result = run_here(tmp_path / "r", data, "jitter", "bad@raise", replicates=2)
    alone = run_here(tmp_path / "two", data, "jitter", replicates=2, clips=["clip 10", "clip 11"])
    assert cell(result, "jitter").common_n is None  # its own clips are the common ones
    other = cell(result, "bad@raise")
    assert other.common_n == 2 and other.common_value is not None
    assert cell(alone, "jitter").n == 2


def test_the_common_value_is_the_mean_over_all_replicates(tmp_path):
    data = ToyDataset(protocol(4))
    result = run_here(tmp_path / "r", data, "jitter", "bad@raise", replicates=2)
    kept = ["clip 0", "clip 2", "clip 3"]
    alone = run_here(tmp_path / "kept", data, "jitter", replicates=2, clips=kept)
    found = cell(result, "jitter")
    assert found.common_n == 3 and found.common_value == pytest.approx(cell(alone, "jitter").value)


def _folder(folder: Path, names: dict[str, int], frames: int = 10) -> AsIsDataset:
    """Silent videos of moving noise; equal numbers are equal films."""
    folder.mkdir()
    for name, seed in names.items():
        write_lossless(folder / f"{name}.mkv", media(str(seed), frames).frames)
    return AsIsDataset(as_is_protocol(folder, ("psnr-grey128", "lse-tiny-d")))


def test_silent_videos_of_ten_frames_lose_what_needs_sound_and_nothing_else(tmp_path):
    data = _folder(tmp_path / "real", {"a": 1, "b": 2})
    result = run_here(tmp_path / "run", data, f"videos:{tmp_path / 'real'}", controls=True)
    for method in (f"videos:{tmp_path / 'real'}", "reference", "shifted:5", "swapped"):
        assert cell(result, method, "psnr-grey128").value == 100
        lost = cell(result, method, "lse-tiny-d").failures
        assert lost == dict.fromkeys(("a", "b"), "no_audio: the clip has no sound")
    assert not any(found.failures for found in result.scores.scores if found.metric == "psnr-grey128")


def test_one_picture_can_be_scored(tmp_path):
    result = run_here(tmp_path / "run", _folder(tmp_path / "real", {"a": 1}, frames=1), f"videos:{tmp_path / 'real'}")
    assert cell(result, f"videos:{tmp_path / 'real'}", "psnr-grey128").value == 100


def test_one_film_under_two_names_is_said_and_no_rule_blames_a_metric_for_it(tmp_path):
    data = _folder(tmp_path / "real", {"a": 1, "b": 1})
    result = run_here(tmp_path / "run", data, controls=True, metrics=["psnr-grey128", "csim-tiny"])
    assert result.scores.notes == ["a, b are one film, pixel for pixel, given as 2 persons (a, b)"]
    blind = "wrong-identity borrows the clip's own pictures on a, b: no metric is judged by it"
    assert result.scores.blind_controls == {"wrong-identity": blind}
    judged = [check for check in result.scores.controls if "wrong-identity" in check.rule]
    assert judged == []
    assert "A, b are one film" in markdown(result.scores) and "FLAG" not in markdown(result.scores)


def test_two_clips_of_one_person_that_are_one_film_are_no_two_persons(tmp_path):
    clips = (Clip(id="x", identity="p"), Clip(id="y", identity="p"), Clip(id="z", identity="q"))

    class Twice(ToyDataset):
        def load(self, clip: Clip) -> Reference:
            found = media("x" if clip.id in "xy" else "z")
            return Reference(media=found, source=found.frames[0])

    data = Twice(protocol().model_copy(update={"clips": clips}))
    assert run_here(tmp_path / "r", data, "reference").scores.notes == ["x, y are one film, pixel for pixel"]


def test_clips_of_one_person_only_are_said_to_be(tmp_path):
    result = run_here(tmp_path / "r", ToyDataset(protocol(3, 1)), controls=True)
    assert result.scores.notes == ["all 3 clips are of one person: no control can borrow from another"]


def test_different_films_get_no_note(tmp_path):
    assert run_here(tmp_path / "r", ToyDataset(protocol()), controls=True).scores.notes == []


def test_a_re_encoded_still_trembles_by_no_more_than_the_codec(tmp_path):
    clip = SyntheticClip(TEST_FIRST, 0, 1.0).media(128)
    found = control("frozen-reencoded")
    assert found is not None and "frozen-reencoded" in CONTROLS and not found.ranked
    request = _request(clip, tmp_path)
    made = found.generate(request).video
    assert made is not None
    frames = read_video(made)[0].astype(int)
    assert frames.shape == clip.frames.shape
    assert np.ptp(frames, axis=0).max() > 0
    assert np.abs(frames - clip.frames[0]).mean() < 4


def _request(clip, folder: Path):
    return ClipRequest("c", "c", clip.frames[0], clip.audio, clip.n_frames, 0, folder, reference=clip)


def _check(
    still: float, base: float, low: float | None = None, column: str = "AVCORR", shifted: float | None = None
) -> dict[str, bool]:
    record = MetricRecord(
        id="avcorr", column=column, higher_is_better=True, level="clip", tiny=False, backbones={}, weights={},
        licences={},
    )  # fmt: skip
    cells = [
        ScoreRow(method=name, metric="avcorr", column=column, value=value, n=5, n_available=5, n_protocol=5)
        for name, value in {"reference": base, "frozen-reencoded": still, "shifted:5": shifted}.items()
    ]
    if low is not None:
        cells[1].interval = {"low": low, "high": 1.0}
    return {check.rule: check.held for check in check_controls({"avcorr": record}, cells)}


def test_a_judge_that_finds_speech_in_a_re_encoded_still_is_flagged():
    rule = "frozen-reencoded below a quarter of reference"
    assert _check(0.15, 0.39)[rule] is False
    assert _check(-0.05, 0.24)[rule] is True
    assert _check(0.08, 0.24)[rule] is False
    assert _check(0.08, 0.24, low=-0.02)[rule] is True  # cannot be told from nothing
    assert _check(0.24, 0.24)["frozen-reencoded clearly worse than reference"] is False


def _cell(**more) -> ScoreRow:
    kept = {"method": "m", "metric": "avcorr", "column": "AVCORR", "value": 0.43, "n": 12, "n_available": 12}
    return ScoreRow(**{**kept, "n_protocol": 12, "pictures": 900, "of_pictures": 900, **more})


def test_a_table_counts_clips_and_pictures_and_shows_marks():
    assert format_cell(_cell()) == "0.43"
    assert format_cell(_cell(n=11)) == "0.43 (11 of 12)"
    assert format_cell(_cell(pictures=800)) == "0.43 (12 of 12 clips, 800 of 900 pictures)"
    assert format_cell(_cell(n=6, pictures=300, void=True)) == "void (6 of 12 clips, 300 of 900 pictures)"
    assert format_cell(_cell(marks=["few rows: 2 rows of 8 numbers"])) == "0.43 (few rows)"


def test_the_table_says_how_many_pictures_its_clips_have(tmp_path):
    result = run_here(tmp_path / "r", _folder(tmp_path / "real", {"a": 1, "b": 2}), "reference")
    assert "2 of 2 clips (20 pictures), seed 0" in markdown(result.scores)


def test_the_excess_may_lose_a_quarter_to_a_shift_and_the_plain_correlation_a_tenth():
    rule = "shifted:5 about equal to reference"
    assert _check(0.0, 0.42, shifted=0.37)[rule] is False
    assert _check(0.0, 0.29, column="AVCORR (excess)", shifted=0.243)[rule] is True
    assert _check(0.0, 0.29, column="AVCORR (excess)", shifted=0.20)[rule] is False


def test_a_short_silent_file_is_measured_where_no_sound_is_needed(tmp_path):
    data = _folder(tmp_path / "real", {"a": 1})
    file = Path(data.protocol.root) / "a.mkv"
    assert floatbench.measure("psnr-grey128", [file], [file]).value == 100
    assert list(floatbench.measure("lse-tiny-c", [file]).failures.values()) == ["no_audio: the clip has no sound"]
