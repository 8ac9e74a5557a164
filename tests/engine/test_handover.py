"""What is handed out for a system that runs elsewhere is what a method is given, and what comes back is held to it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import floatbench
from floatbench.cli.app import main
from floatbench.errors import UsageError
from floatbench.media import read_audio, read_image, read_video, write_lossless, write_mp4
from floatbench.seeds import derive_seed
from floatbench.types import FPS

N, SIDE = 30, 96


def scene(seed: int) -> np.ndarray:
    """(N, SIDE, SIDE, 3) uint8: blocks of grey with one bright square that moves."""
    blocks = np.random.default_rng(seed).integers(40, 200, (12, 12), np.uint8)
    frames = np.repeat(np.kron(blocks, np.ones((8, 8), np.uint8))[None, ..., None], N, 0).repeat(3, -1).copy()
    for n in range(N):
        frames[n, 40:48, n : n + 8] = 255
    return frames


@pytest.fixture
def real(tmp_path: Path) -> Path:
    root = tmp_path / "real"
    root.mkdir()
    sound = (np.sin(np.arange(N * 640) / 20) * 9000).astype(np.int16)
    for seed, name in enumerate(("ann", "ben", "cat")):
        write_mp4(root / f"{name}.mp4", scene(seed), sound)
    return root


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["protocol", *map(str, words)])
    done = capsys.readouterr()
    return int(str(stopped.value.code)), done.out, done.err


def test_the_way_out_and_back(real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Export, make the videos by hand, check: everything is well; then one mistake for each kind, each named."""
    where = (f"folder:{real}", "--boxes", "none", "--size", SIDE, "-q")
    out = tmp_path / "out"
    code, said, _ = run(capsys, "export", *where, "--for-method", "folder", "--out", out)
    assert code == 0 and "3 clips" in said
    with (out / "names.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == ["ann.mp4", "ben.mp4", "cat.mp4"]
    made = tmp_path / "made"
    made.mkdir()
    for row in rows:
        picture, sound = read_image(out / row["picture"]), read_audio(out / row["sound"])
        assert picture.shape == (SIDE, SIDE, 3) and len(sound) == int(row["frames"]) * 640
        assert int(row["seed"]) == derive_seed(0, row["id"], 0)
        write_mp4(made / row["video"], np.repeat(picture[None], int(row["frames"]), 0), sound)
    code, said, _ = run(capsys, "check", *where, "--videos", made)
    assert code == 0 and "3 of 3 videos" in said, said
    assert run(capsys, "export", *where, "--out", out)[0] == 0  # the same again
    assert json.loads((out / "export.json").read_text())["hash"]

    first = {row["id"]: read_image(out / row["picture"]) for row in rows}
    shutil.copy(made / rows[1]["video"], made / rows[0]["video"])  # ben's video under ann's name
    write_mp4(made / rows[1]["video"], np.repeat(first["ben.mp4"][None], N - 3, 0))
    (made / rows[2]["video"]).unlink()
    code, said, _ = run(capsys, "check", *where, "--videos", made, "--json")
    found = {clip["clip"]: clip["errors"] for clip in json.loads(said)["clips"]}
    assert code == 1
    assert len(found["ann.mp4"]) == 1 and "more like that of ben.mp4" in found["ann.mp4"][0]
    assert found["ben.mp4"] == [f"length: {N - 3} frames for {N}"]
    assert len(found["cat.mp4"]) == 1 and found["cat.mp4"][0].startswith("missing")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frames: frames[:, 16:80], "framing: 96x64 is no 96x96 in another size"),
        (lambda frames: 255 - frames, "first picture: not the source picture"),
    ],
)
def test_another_section_and_another_picture_are_errors_of_their_clip(real, tmp_path, capsys, change, words):
    where = (f"folder:{real}", "--boxes", "none", "--size", SIDE, "-q", "--clip", "ann.mp4")
    made = tmp_path / "made"
    made.mkdir()
    write_mp4(made / "ann.mp4", np.ascontiguousarray(change(scene(0))))
    code, said, _ = run(capsys, "check", *where, "--videos", made)
    assert code == 1 and f"ann.mp4: {words}" in said


def test_another_rate_is_an_error_and_what_cannot_be_exported_one_line(real, tmp_path, capsys):
    where = (f"folder:{real}", "--boxes", "none", "--size", SIDE, "-q")
    code, _, err = run(capsys, "export", *where, "--out", tmp_path / "o", "--for-method", "docker")
    assert code == 2 and "--for-method folder" in err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    code, _, err = run(capsys, "export", *where, "--out", tmp_path / "full")
    assert code == 2 and "holds other files" in err
    made = tmp_path / "made"
    made.mkdir()
    write_lossless(made / "ann.mkv", scene(0), 30)
    code, said, _ = run(capsys, "check", *where, "--clip", "ann.mp4", "--videos", made)
    assert code == 1 and "ann.mp4: rate: 29.9" in said and f"frames a second instead of {FPS}" in said


def test_a_protocol_whose_clips_are_not_here_says_what_to_do(tmp_path, capsys):
    code, _, err = run(capsys, "export", "hdtf", "--boxes", "mediapipe", "--out", tmp_path / "o")
    assert code == 4 and "fix: floatbench protocol prepare hdtf --boxes mediapipe" in err


def test_a_system_that_dubs_is_handed_videos_and_its_own_begin_as_those_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Export with a rule, dub by hand, check and run: each video begins as what was lent, and the row says so."""
    root = tmp_path / "real"
    root.mkdir()
    sound = (np.sin(np.arange(N * 640) / 20) * 9000).astype(np.int16)
    shown = {"a1.mp4": scene(0), "a2.mp4": scene(1), "ben.mp4": scene(2)}
    for name, frames in shown.items():
        write_mp4(root / name, frames, sound)
    (root / "clips.csv").write_text("id,identity\na1.mp4,ann\na2.mp4,ann\nben.mp4,ben\n")
    protocol = f"folder:{root}"
    where = (protocol, "--boxes", "none", "--size", SIDE, "--source-video", "other-clip", "-q")
    out, made = tmp_path / "out", tmp_path / "made"
    code, said, _ = run(capsys, "export", *where, "--out", out)
    assert code == 1 and "ben.mp4: no_source_video" in said, said  # nobody can lend it anything
    assert "--dubbed --source-video other-clip" in said
    with (out / "names.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["id"], row["lender"]) for row in rows] == [("a1.mp4", "a2.mp4"), ("a2.mp4", "a1.mp4")]
    made.mkdir()
    for row in rows:
        lent = read_video(out / row["source_video"])[0]
        assert len(lent) == int(row["frames"])
        assert np.abs(lent.astype(int) - shown[row["lender"]]).mean() < 4  # H.264 of the clip itself
        write_mp4(made / row["video"], lent, sound)
    only = ("--clip", "a1.mp4", "--clip", "a2.mp4")
    code, said, _ = run(capsys, "check", *where, *only, "--videos", made, "--dubbed")
    assert code == 0, said
    code, said, _ = run(capsys, "check", *where, *only, "--videos", made)
    assert code == 1 and "first picture: " in said  # taken for a system that was given the clip's own picture

    given = {"boxes": "none", "size": SIDE, "clips": ["a1.mp4", "a2.mp4"], "metrics": ["psnr-grey128"], "workers": 0}
    given |= {"controls": False, "out": tmp_path / "run"}
    with pytest.raises(UsageError, match="no finished videos of that name"):
        floatbench.run(protocol, [f"Ours=videos:{made}"], source_video="other-clip", dubbed=["Our"], **given)
    with pytest.raises(UsageError, match="Ours: a source video is needed"):
        floatbench.run(protocol, [f"Ours=videos:{made}"], dubbed=["Ours"], **given)
    result = floatbench.run(protocol, [f"Ours=videos:{made}"], source_video="other-clip", dubbed=["Ours"], **given)
    assert result.run.scores.methods["Ours"]["marks"] == ["source video: another clip"]
