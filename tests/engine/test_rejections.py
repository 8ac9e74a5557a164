"""Refused clips: grouped with a mend each, and a run of which most are refused stops and asks."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from engine_toys import ToyDataset, protocol

import floatbench
from floatbench.cli.app import main
from floatbench.cli.output import Output
from floatbench.engine.rejections import MostRefused, grouped
from floatbench.engine.runner import RunOptions, RunResult, run
from floatbench.errors import REASONS
from floatbench.media import write_lossless
from floatbench.progress import NullProgress, Progress

THREE = ("clip 0", "clip 1", "clip 2")


class Notes:
    """A progress that keeps its notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)

    def task(self, label: str, total: int | None, unit: str = "clip"):
        return NullProgress().task(label, total, unit)


def run_toy(folder: Path, dataset: ToyDataset, progress: Progress | None = None, skip: bool = False) -> RunResult:
    options = RunOptions(["reference"], controls=False, out=folder, workers=0, device="cpu", skip_rejected=skip)
    return run(dataset.protocol, dataset, options, progress)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two videos that are good and three that are no videos."""
    (tmp_path / "real").mkdir()
    for name in ("a", "b"):
        write_lossless(tmp_path / "real" / f"{name}.mkv", np.full((26, 64, 64, 3), ord(name), np.uint8))
    for name in ("x", "y", "z"):
        (tmp_path / "real" / f"{name}.mkv").write_bytes(b"no video")
    return tmp_path / "real"


def call(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> tuple[int, str, str]:
    command = ["run", "-p", f"folder:{folder}", "--boxes", "none", "--size", "64", "--metrics", "psnr-grey128"]
    command += ["--no-controls", "-m", "reference", "--workers", "0", "-o", str(folder.parent / "run")]
    with pytest.raises(SystemExit) as stopped:
        main([*command, *more])
    out, err = capsys.readouterr()
    return int(str(stopped.value.code)), out, err


def test_each_reason_is_said_once_with_its_number_and_its_mend(folder: Path) -> None:
    own = floatbench.load_protocol(f"folder:{folder}", size=512)
    small = {f"{k}.mp4": f"too_small: the crop is {k} pixels wide" for k in range(130, 144)}
    groups = grouped({"z.mp4": "no_face: no face in the first frame", **small}, own)
    assert [group.line() for group in groups] == [
        "14 x too_small: --size 256 or --boxes none",
        "1 x no_face: --boxes none, or --boxes given",
    ]
    assert groups[0].example == "130.mp4: the crop is 130 pixels wide"
    smaller = grouped({"a": "too_small: the crop is 70 pixels wide", **small}, own)
    assert smaller[0].fix == "--size 128 or --boxes none"  # 70 is enough for 128, not for 256
    uncut = floatbench.load_protocol(f"folder:{folder}", boxes="none", size=512)
    assert grouped(small, uncut)[0].fix == "--size 256"
    (lost,) = grouped({"a": "truncated: "}, floatbench.load_protocol("hdtf"))
    assert "floatbench protocol fetch hdtf" in lost.fix and "prepare hdtf --retry" in lost.fix
    for reason in REASONS:
        assert "{" not in grouped({"a": f"{reason}: "}, own)[0].fix


def test_up_to_half_of_the_clips_are_a_note_and_more_stop_the_run(tmp_path: Path) -> None:
    notes = Notes()
    half = ToyDataset(protocol(4, metrics=("psnr-grey128",)), rejected=THREE[:2])
    run_toy(tmp_path / "half", half, notes)
    assert any(line.startswith("refused: 2 x no_face: ") for line in notes.lines)
    most = ToyDataset(protocol(4, metrics=("psnr-grey128",)), rejected=THREE)
    with pytest.raises(MostRefused, match="3 of 4 clips were refused") as caught:
        run_toy(tmp_path / "most", most)
    assert caught.value.exit_code == 4 and not (tmp_path / "most" / "run.json").exists()
    assert run_toy(tmp_path / "most", most, skip=True).scores.n_available == 1


def test_what_was_accepted_once_is_not_asked_again(tmp_path: Path) -> None:
    most = ToyDataset(protocol(4, metrics=("psnr-grey128",)), rejected=THREE)
    run_toy(tmp_path / "run", most, skip=True)
    assert run_toy(tmp_path / "run", most).new_rows == 0
    with pytest.raises(MostRefused, match="4 of 4"):
        run_toy(tmp_path / "run", ToyDataset(protocol(4, metrics=("psnr-grey128",)), rejected=(*THREE, "clip 3")))


def test_without_a_terminal_the_command_ends_with_the_table_and_goes_on_with_the_option(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    first = call(capsys, folder)[2]  # clips are prepared here
    assert sum("y.mkv" in line and "prepare" not in line for line in first.splitlines()) == 0
    code, out, err = call(capsys, folder, "-q")
    assert (code, out) == (4, "")
    assert err.splitlines()[0] == "error: 3 of 5 clips were refused"
    assert "| 3 x unreadable |" in err and "copy or encode them again" in err
    assert "--skip-rejected: the other 2 are scored" in err.splitlines()[-1]
    told = json.loads(call(capsys, folder, "--json")[1])
    assert told["rejected"][0]["clips"] == ["x.mkv", "y.mkv", "z.mkv"]
    code, out, _ = call(capsys, folder, "--skip-rejected", "--json")
    assert code == 1 and json.loads(out)["n_available"] == 2


@pytest.mark.parametrize(("answer", "code"), [("y\n", 1), ("n\n", 4)])
def test_on_a_terminal_the_command_asks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path, answer: str, code: int
) -> None:
    monkeypatch.setattr(Output, "can_ask", lambda self: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    found, out, err = call(capsys, folder, "-q")
    assert found == code and ("PSNR" in out) == (code == 1)
    assert err.count("3 x unreadable") == 1 and "Go on all the same?" in err
