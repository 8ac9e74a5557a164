"""Qualitative figures: what is shown is what was scored, drawn by the seed, as PNG and PDF."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest
from page_toys import write_page_run
from report_toys import toy_protocol, write_run

from floatbench.cli.app import main
from floatbench.data.dataset import Reference
from floatbench.errors import DataError, UsageError
from floatbench.reports.directions_figure import direction_pictures, write_directions
from floatbench.reports.frames_figure import drawn_clips, drawn_times, write_frames
from floatbench.reports.loading import load_run
from floatbench.reports.page.footage import Footage
from floatbench.sampling.animator import Animator
from floatbench.synthetic.clip import TEST_FIRST, SyntheticClip
from floatbench.types import ClipMedia


def test_frames_are_drawn_by_the_seed_and_are_those_that_were_scored(tmp_path):
    folder = write_page_run(tmp_path / "run", {"near": 1.0, "far": 3.0, "reference": 0.0}, 4, {"far": ("clip 1",)})
    run = load_run(folder)
    paths = write_frames([run], tmp_path / "fig.pdf")
    assert [path.name for path in paths] == ["fig.png", "fig.pdf", "fig.csv"]
    assert paths[1].read_bytes().startswith(b"%PDF")
    rows = list(csv.DictReader(paths[2].read_text().splitlines()))
    assert {row["system"] for row in rows} == {"reference", "near", "far"}
    assert len(rows) == 2 * 3 * 6 and "clip 1" not in {row["clip"] for row in rows}
    assert {row["pixels_sha256"] for row in rows} <= {row.pixels_sha256 for row in run.rows.values()}
    again = [path.read_bytes() for path in write_frames([run], tmp_path / "again")]
    assert again == [path.read_bytes() for path in paths]
    run.info.seed = 1  # of the systems; nobody chooses frames by it
    assert paths[2].read_bytes() == write_frames([run], tmp_path / "other")[2].read_bytes()


def test_the_pixels_of_a_system_stand_in_its_row(tmp_path):
    run = load_run(write_page_run(tmp_path / "run", {"near": 1.0}, 1))
    drawn = cv2.imread(str(write_frames([run], tmp_path / "fig")[0]))[..., ::-1]
    colour = Footage(run, None).load(run.rows["near", "clip 0", 0]).frames[50].reshape(-1, 3).max(0)
    assert (np.abs(drawn.astype(int) - colour).max(-1) < 12).mean() > 0.01


def test_times_cover_the_clip_and_are_different(tmp_path):
    run = load_run(write_run(tmp_path / "run", {"mine": 1.0}))
    clip = run.info.protocol.clips[0]
    times = drawn_times(run, clip, 100, 5)
    assert [time // 20 for time in times] == [0, 1, 2, 3, 4]
    assert drawn_times(run, clip, 3) == [0, 1, 2]
    run.info.protocol = run.info.protocol.model_copy(update={"seed": 1})
    assert drawn_times(run, clip, 100, 5) != times


def test_another_clip_in_the_protocol_does_not_change_the_order_of_the_rest(tmp_path):
    run = load_run(write_run(tmp_path / "run", {"mine": 1.0}))
    few, more = drawn_clips(run, toy_protocol(n=6).clips), drawn_clips(run, toy_protocol(n=7).clips)
    assert few == [clip for clip in more if clip.id != "clip 6"]
    assert few != list(toy_protocol(n=6).clips)


def test_a_video_that_is_gone_and_a_clip_that_nobody_has_are_said(tmp_path):
    folder = write_page_run(tmp_path / "run", {"mine": 1.0}, 1)
    for path in (folder / "generated").glob("*.mkv"):
        path.unlink()
    with pytest.raises(DataError, match="mine on clip 0 cannot be shown: the video is gone"):
        write_frames([load_run(folder)], tmp_path / "fig")
    failed = load_run(write_page_run(tmp_path / "failed", {"mine": 1.0}, 1, {"mine": ("clip 0",)}))
    with pytest.raises(UsageError, match="no clip that every system has"):
        write_frames([failed], tmp_path / "fig")


@pytest.fixture(scope="module")
def tiny() -> Animator:
    return Animator.from_pretrained("float-tiny")


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return SyntheticClip(TEST_FIRST, seconds=0.04).frames(128)[0]


def test_every_direction_moves_the_portrait_either_way_and_zero_is_the_portrait_itself(tiny, portrait):
    pictures = direction_pictures(tiny, portrait).astype(int)
    assert pictures.shape == (20, 3, 128, 128, 3)
    own = pictures[0, 1]
    assert (pictures[:, 1] == own).all()
    assert np.abs(own - portrait).mean() < 12
    moved = np.abs(pictures[:, (0, 2)] - own).mean((2, 3, 4))
    assert (moved > 0).all()
    assert np.abs(pictures[0, 0] - pictures[0, 2]).mean() > 10  # yaw: to the left and to the right


def test_the_sheet_shows_the_model_of_the_run_with_the_weights_of_the_run(tmp_path, tiny, portrait, monkeypatch):
    described = {"options": {}, "preset": "default", "weights": tiny.origin.files}
    folder = write_run(tmp_path / "run", {"float-tiny": 1.0}, described=described)
    reference = Reference(ClipMedia(portrait[None], None), portrait)
    monkeypatch.setattr(Footage, "reference", lambda self, clip: reference)
    paths = write_directions(load_run(folder), tmp_path / "directions.png")
    assert [path.name for path in paths] == ["directions.png", "directions.pdf"]
    run = load_run(folder)
    run.scores.methods["float-tiny"]["weights"] = {"float-tiny.safetensors": "0" * 64}
    with pytest.raises(DataError, match="the weights are not those"):
        write_directions(run, tmp_path / "x.png")


def test_the_command_says_what_it_needs_in_a_line(tmp_path, capfd):
    run = write_run(tmp_path / "run", {"mine": 1.0})
    cases = {
        ("--figure", "frames"): "error: a figure is written to files",
        ("--figure", "directions", "--out", "x.png"): f"error: {run} has no FLOAT model",
        ("--figure", "sheets", "--out", "x.png"): "fix: --figure fps|speed-quality|frames|directions",
    }
    for arguments, said in cases.items():
        with pytest.raises(SystemExit) as stopped:
            main(["report", str(run), *arguments])
        assert stopped.value.code == 2
        assert said in capfd.readouterr().err
