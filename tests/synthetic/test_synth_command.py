"""`floatbench synth` as a user types it: files that others can read, equal from equal seeds, and clear refusals."""

from __future__ import annotations

import errno
import json

import numpy as np
import pandas as pd
import pytest

from floatbench.cli.app import main
from floatbench.media import read_audio, read_video
from floatbench.synthetic.clip import SyntheticClip, synthetic_clips
from floatbench.synthetic.expression import POSE


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as done:
        main([str(a) for a in arguments])
    return int(done.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("synth") / "data"
    command = ("synth", "--out", out, "--identities", 2, "--clips", 1, "--size", 64, "--seconds", 0.4, "--quiet")
    assert _run(*command) == 0
    return out


def test_the_videos_hold_the_rendered_frames_and_sound(folder):
    frames, fps = read_video(folder / "video" / "syn-1-0.mp4")
    clip = SyntheticClip(1, 0, 0.4)
    assert fps == 25 and frames.shape == (10, 64, 64, 3)
    assert np.abs(frames.astype(float) - clip.frames(64)).mean() < 6  # one H.264 generation
    assert np.array_equal(read_audio(folder / "audio" / "syn-1-0.wav"), clip.audio())


def test_the_tables_hold_the_truth_of_every_frame(folder):
    frames = pd.read_parquet(folder / "frames.parquet")
    mine = frames[frames["clip"] == "syn-1-0"]
    assert np.allclose(mine[list(POSE)], SyntheticClip(1, 0, 0.4).pose)
    assert list(pd.read_csv(folder / "clips.csv")["clip"]) == ["syn-0-0", "syn-1-0"]
    assert len(pd.read_csv(folder / "identities.csv")) == 2


def test_the_same_command_again_keeps_what_is_there(folder):
    video = folder / "video" / "syn-0-0.mp4"
    before = video.stat().st_mtime_ns
    assert _run("synth", "--out", folder, "--identities", 2, "--size", 64, "--seconds", 0.4, "-q") == 0
    assert video.stat().st_mtime_ns == before


def test_a_folder_of_other_settings_is_refused(folder, capsys):
    assert _run("synth", "--out", folder, "--identities", 2, "--size", 96, "--seconds", 0.4) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--identities", 0, "at least one identity"),
        ("--clips", 0, "at least one identity"),
        ("--size", 1024, "64 to 512 px"),
        ("--size", 65, "even size"),
        ("--seconds", 0, "seconds"),
        ("--first", -1, "start at 0"),
        ("--first", 89_999, "protocol people"),
    ],
)
def test_what_cannot_be_rendered_is_refused_before_anything_is_written(tmp_path, capsys, option, value, word):
    out = tmp_path / "x"
    assert _run("synth", "--out", out, option, value, "--json") == 2
    captured = capsys.readouterr()
    assert word in captured.err and json.loads(captured.out)["exit_code"] == 2
    assert not list(out.glob("video/*"))


def test_a_full_disk_is_one_line_and_leaves_no_half_file(tmp_path, capsys, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("wave.Wave_write.writeframes", full)
    assert _run("synth", "--out", tmp_path / "x", "--identities", 1, "--size", 64, "--seconds", 0.2) == 3
    assert "the disk is full" in capsys.readouterr().err
    assert not list((tmp_path / "x").rglob("*.wav")) and not list((tmp_path / "x").rglob("*partial*"))


def test_training_reads_clips_without_files():
    made = list(synthetic_clips(2, 3, 0.4))
    assert [clip.id for clip in made] == [f"syn-{i}-{k}" for i in range(2) for k in range(3)]
    assert len({clip.mood for clip in made}) > 1
