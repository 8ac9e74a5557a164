"""`floatbench run`, `score`, `merge` and `cache` as a user types them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from floatbench.cli.app import main
from floatbench.media import write_lossless, write_wav
from floatbench.types import SAMPLES_PER_FRAME

ROOT = Path(__file__).resolve().parents[2]
METRICS = "psnr-grey128,ssim-grey128"
HOSTILE = ("-dash", "with space", "quote'\"", "new\nline", "señal", "a.b.c")


def floatbench(capfd, *arguments: str) -> tuple[int, str, str]:
    """Runs the command line in this process; returns exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    out, err = capfd.readouterr()
    return int(stopped.value.code or 0), out, err


def make_video(path: Path, seed: int, frames: int = 26, size: int = 64) -> None:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = rng.integers(0, 200, (1, 8, 8, 3)).repeat(size // 8, 1).repeat(size // 8, 2)
    write_lossless(path, (picture + rng.integers(0, 40, (frames, 1, 1, 3))).astype(np.uint8))
    write_wav(path.with_suffix(".wav"), rng.normal(0, 3000, frames * SAMPLES_PER_FRAME).astype(np.int16))


@pytest.fixture
def folder(tmp_path) -> Path:
    for seed, name in enumerate(HOSTILE):
        make_video(tmp_path / "videos" / f"{name}.mkv", seed)
    return tmp_path / "videos"


def run_folder(capfd, folder: Path, out: Path, *more: str) -> tuple[int, str, str]:
    fixed = (
        "--boxes",
        "none",
        "--size",
        "64",
        "--metrics",
        METRICS,
        "--out",
        str(out),
        "--workers",
        "0",
        "--device",
        "cpu",
    )
    return floatbench(capfd, "run", "--protocol", f"folder:{folder}", *fixed, *more)


def test_a_folder_of_hostile_names_is_scored_with_its_controls(capfd, folder, tmp_path):
    code, out, err = run_folder(capfd, folder, tmp_path / "run", "--quiet")
    assert code == 0, err
    assert "PSNR ↑" in out
    assert "| reference | 100 " in out
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert {cell["n"] for cell in scores["scores"]} == {len(HOSTILE)}
    assert (tmp_path / "run" / "table.csv").read_text().count("\n") == 1 + 8 * 2


def test_the_command_that_a_run_ends_with_makes_the_page(capfd, folder, tmp_path):
    _, out, _ = run_folder(capfd, folder, tmp_path / "a run's")
    hint = next(line for line in out.splitlines() if "floatbench report" in line)
    code, _, err = floatbench(capfd, *shlex.split(hint.partition(": ")[2])[1:], "--videos", "0")
    assert code == 0, err
    assert (tmp_path / "a run's" / "page" / "index.html").is_file()


def test_the_same_command_again_has_nothing_to_do_and_exits_0(capfd, folder, tmp_path):
    run_folder(capfd, folder, tmp_path / "run")
    code, out, _ = run_folder(capfd, folder, tmp_path / "run", "--json")
    assert code == 0
    assert json.loads(out)["new_rows"] == 0


def test_output_for_machines_is_one_json_document_without_colour(folder, tmp_path):
    command = [sys.executable, "-m", "floatbench", "run", "-p", f"folder:{folder}", "--boxes", "none", "--size", "64"]
    command += ["--metrics", METRICS]
    command += ["--out", str(tmp_path / "run"), "--workers", "0", "--methods", "reference", "--no-controls", "--json"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["protocol"].startswith("folder-")
    assert "\x1b" not in done.stdout + done.stderr
    assert "clips x methods: 6/6" in done.stderr


def test_a_damaged_video_is_a_row_and_the_others_keep_their_scores(capfd, folder, tmp_path):
    (folder / "broken.mkv").write_bytes((folder / "a.b.c.mkv").read_bytes()[:3000])
    code, out, _ = run_folder(capfd, folder, tmp_path / "run", "--quiet")
    assert code == 1
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    cell = scores["scores"][0]
    assert (cell["n"], cell["n_available"], cell["n_protocol"]) == (len(HOSTILE), len(HOSTILE), len(HOSTILE) + 1)
    assert list(scores["rejected"]) == ["broken.mkv"]
    assert "broken" in out


def test_videos_of_another_system_are_matched_by_id_and_missing_ones_reported(capfd, folder, tmp_path):
    made = tmp_path / "made"
    for seed, name in enumerate(HOSTILE[:5]):
        make_video(made / f"{name}.mkv", seed + 50)
    code, out, _ = run_folder(capfd, folder, tmp_path / "run", "--methods", f"videos:{made}", "--json")
    assert code == 1
    cells = [cell for cell in json.loads(out)["scores"] if cell["method"].startswith("videos:")]
    assert [cell["n"] for cell in cells] == [5, 5]
    assert "missing" in cells[0]["failures"]["a.b.c.mkv"]


def test_the_dry_run_prints_the_plan_and_writes_nothing(capfd, folder, tmp_path):
    code, out, _ = run_folder(capfd, folder, tmp_path / "run", "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 0
    assert (plan["clips"], plan["to_prepare"], plan["missing"]) == (6, 6, [])
    assert not (tmp_path / "run").exists()


def test_missing_weights_are_exit_code_4_with_the_command_that_gets_them(capfd, folder, tmp_path):
    code, out, err = run_folder(capfd, folder, tmp_path / "run", "--metrics", "fid")
    assert code == 4
    assert "floatbench weights fetch inception-fid" in err
    assert len(err.strip().splitlines()[-2:]) == 2
    code, _, _ = run_folder(capfd, folder, tmp_path / "run", "--metrics", f"fid,{METRICS}", "--skip-unavailable")
    assert code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "--protocol", "nosuch"),
        ("run", "--protocol", "folder:/nowhere/at all"),
        ("run", "--protocol", "hdtf", "--methods", "nosuch"),
        ("run", "--protocol", "hdtf", "--limit", "0"),
        ("run", "--nosuch"),
        ("score", "--generated", "/nowhere", "--reference", "/nowhere"),
        ("merge", "/nowhere", "--out", "/nowhere2"),
    ],
)
def test_wrong_usage_is_one_or_two_lines_and_exit_code_2(capfd, arguments):
    code, out, err = floatbench(capfd, *arguments)
    assert code == 2
    assert 1 <= len(err.strip().splitlines()) <= 2
    assert err.startswith("error: ")
    assert out == ""


def test_two_folders_are_scored_without_a_protocol(capfd, folder, tmp_path):
    out_folder = ("--out", str(tmp_path / "run"), "--workers", "0", "--metrics", METRICS)
    code, out, err = floatbench(
        capfd, "score", "--generated", str(folder), "--reference", str(folder), *out_folder, "--json"
    )
    assert code == 0, err
    cells = {(cell["method"], cell["metric"]): cell["value"] for cell in json.loads(out)["scores"]}
    assert cells[(f"videos:{folder}", "psnr-grey128")] == 100
    assert cells[("frozen", "psnr-grey128")] < 60


def test_halves_are_merged_from_the_command_line(capfd, folder, tmp_path):
    names = [f"{name}.mkv" for name in HOSTILE]
    run_folder(capfd, folder, tmp_path / "a", "--clips", ",".join(names[:3]), "--methods", "frozen")
    run_folder(capfd, folder, tmp_path / "b", "--clips", ",".join(names[3:]), "--methods", "frozen")
    code, out, err = floatbench(
        capfd, "merge", str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(tmp_path / "m"), "--json"
    )
    assert code == 0, err
    assert json.loads(out)["unranked_because"] == []


def test_options_come_from_line_environment_run_file_and_default_in_this_order(capfd, tmp_path, monkeypatch):
    file = tmp_path / "run.toml"
    file.write_text('methods = ["frozen", "swapped"]\nreplicates = 3\nthreads = 2\n')
    monkeypatch.setenv("FLOATBENCH_RUN_REPLICATES", "4")
    monkeypatch.setenv("FLOATBENCH_RUN_THREADS", "5")
    code, out, _ = floatbench(
        capfd, "run", "-p", "hdtf", "--config", str(file), "--threads", "6", "--show-config", "--json"
    )
    shown = {name: (row["value"], row["origin"]) for name, row in json.loads(out).items()}
    assert code == 0
    assert shown["threads"] == (6, "command line")
    assert shown["replicates"] == (4, "environment")
    assert shown["methods"] == ("frozen,swapped", "run file")
    assert shown["seed"] == (None, "default")


def test_an_unknown_option_in_a_run_file_is_named(capfd, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("metods = 'a'\n")
    code, _, err = floatbench(capfd, "run", "-p", "hdtf", "--config", str(file))
    assert code == 2
    assert "metods" in err


def test_the_cache_is_counted_and_cleared_without_harm_to_runs(capfd, folder, tmp_path):
    run_folder(capfd, folder, tmp_path / "run")
    _, out, _ = floatbench(capfd, "cache", "ls", "--json")
    assert json.loads(out)["features"]["files"] > 0
    floatbench(capfd, "cache", "gc", "--keep-days", "0", "--json")
    _, out, _ = floatbench(capfd, "cache", "ls", "--json")
    assert json.loads(out)["features"]["files"] == 0
    code, out, _ = run_folder(capfd, folder, tmp_path / "run", "--json")
    assert (code, json.loads(out)["new_rows"]) == (0, 0)


def test_help_does_not_import_torch():
    check = (
        "import sys\nsys.argv = ['floatbench', '--help']\nfrom floatbench.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'pandas', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True, capture_output=True)
