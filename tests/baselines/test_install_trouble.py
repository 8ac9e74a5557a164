"""Installs that are cut off, moved, or meet a full or locked disk: fine at the next call, or one line that mends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from floatbench import doctor
from floatbench.baselines import install as steps
from floatbench.baselines import manifest as manifests
from floatbench.baselines.install import Choices, install
from floatbench.baselines.installed import install_record, installed_profiles, resolve, root
from floatbench.cli.baseline import _row
from floatbench.errors import DataError, DependencyError

ROOT = Path(__file__).resolve().parents[2]
UV = """#!/bin/sh
# stands in for uv: `venv ... FOLDER` makes an environment, `pip sync ... LOCK` fills it
for last; do :; done
if [ "$1" = venv ]; then mkdir -p "$last/bin" && ln -s {python} "$last/bin/python"; exit; fi
{sync}
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A uv of a few lines; `sync` is what it does when packages are to be installed."""
    path = tmp_path / "uv"

    def make(sync: str = "exit 0") -> Path:
        path.write_text(UV.format(python=sys.executable, sync=sync))
        path.chmod(0o755)
        monkeypatch.setattr(steps, "find_uv", lambda: str(path))
        return path

    return make


@pytest.fixture
def choices(repository: Path, tmp_path: Path) -> Choices:
    """The clone is fetched and the environment made; the weights are here."""
    (tmp_path / "w" / "ckpts").mkdir(parents=True)
    (tmp_path / "w" / "ckpts" / "level.json").write_text('{"level": 1}')
    return Choices(weights=tmp_path / "w")


def test_two_installs_of_one_system_at_once_are_one_line_for_the_second(systems, stand_in, choices):
    systems()
    stand_in()
    manifest = manifests.load("dummy")
    root(manifest).mkdir(parents=True)
    busy = "dummy is being installed by another process"
    with FileLock(root(manifest) / ".install.lock"), pytest.raises(DependencyError, match=busy) as caught:
        install(manifest, "modern", choices)
    assert caught.value.fix == "wait for it"
    install(manifest, "modern", choices)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death is only told on Linux")
def test_an_install_killed_in_the_middle_leaves_no_uv_behind_and_the_next_one_is_whole(
    systems, stand_in, choices, tmp_path
):
    systems()
    uv = stand_in(f"echo $$ > {tmp_path}/begun; touch half; sleep 60")
    code = (
        "from pathlib import Path; from floatbench.baselines import install as s, manifest as m; "
        f"s.find_uv = lambda: {str(uv)!r}; "
        f"s.install(m.load('dummy'), 'modern', s.Choices(weights=Path({str(choices.weights)!r})))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    host = subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=tmp_path)
    pid = _number(tmp_path / "begun")
    os.kill(host.pid, signal.SIGKILL)
    host.wait()
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(timeout=20)
    manifest = manifests.load("dummy")
    assert install_record(manifest, "modern") is None and not (root(manifest) / "env-modern" / steps.DONE).exists()
    stand_in()
    install(manifest, "modern", choices)
    assert resolve(manifest).profile_name == "modern"


def _number(path: Path) -> int:
    for _ in range(1200):
        if path.exists() and path.read_text().strip():
            return int(path.read_text())
        time.sleep(0.05)
    pytest.fail("uv was not started")


def test_a_moved_home_is_one_line_and_the_command_in_it_needs_nothing_again(systems, stand_in, choices, monkeypatch):
    systems()
    stand_in()
    manifest = manifests.load("dummy")
    install(manifest, "modern", choices)
    before = Path(os.environ["FLOATBENCH_HOME"])
    moved = before.rename(before.with_name("moved-home"))
    monkeypatch.setenv("FLOATBENCH_HOME", str(moved))
    with pytest.raises(DependencyError, match="the environment of profile modern is gone") as caught:
        resolve(manifest)
    assert caught.value.fix == "floatbench baseline install dummy --profile modern"
    stand_in("echo nothing may be installed anew >&2; exit 1")
    record = install(manifest, "modern", choices)
    assert Path(record.environment).is_relative_to(moved) and resolve(manifest).python.exists()


def test_a_removed_home_is_an_install_that_was_never_made(systems, stand_in, choices):
    systems()
    stand_in()
    manifest = manifests.load("dummy")
    install(manifest, "modern", choices)
    shutil.rmtree(os.environ["FLOATBENCH_HOME"])
    with pytest.raises(DependencyError, match="dummy is not installed"):
        resolve(manifest)
    install(manifest, "modern", choices)
    assert resolve(manifest).source == root(manifest) / "src"


@pytest.mark.parametrize(
    ("said", "words", "fix"),
    [
        ("failed to copy: No space left on device (os error 28)", "the disk is full", "free space"),
        ("failed to open /cache/x.lock: Read-only file system (os error 30)", "uv may not write", "UV_CACHE_DIR"),
        ("failed to create directory: Permission denied (os error 13)", "uv may not write", "UV_CACHE_DIR"),
    ],
)
def test_what_stops_uv_is_one_line_and_the_next_install_is_whole(systems, stand_in, choices, said, words, fix):
    systems()
    stand_in(f"echo 'error: {said}' >&2; exit 2")
    manifest = manifests.load("dummy")
    with pytest.raises(DependencyError) as caught:
        install(manifest, "modern", choices)
    assert words in caught.value.what and fix in (caught.value.fix or "")
    assert install_record(manifest, "modern") is None
    stand_in()
    install(manifest, "modern", choices)


def test_a_fabricator_on_a_full_disk_says_so(systems, stand_in, repository):
    folder = systems()
    stand_in()
    (folder / "fabricate.py").write_text("raise OSError(28, 'No space left on device')\n")
    manifest = manifests.load("dummy")
    with pytest.raises(DependencyError, match="the disk is full"):
        install(manifest, "modern", Choices(fabricate="tiny", source=repository))


def _remove_python(manifest) -> None:
    python = root(manifest) / "env-modern" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python")


BREAKS: dict[str, Callable[..., None]] = {
    "environment": lambda manifest: shutil.rmtree(root(manifest) / "env-modern"),
    "interpreter": _remove_python,
    "clone": lambda manifest: shutil.rmtree(root(manifest) / "src"),
    "lock": lambda manifest: (manifest.folder / "lock-modern.txt").write_text("# another\n"),
}


@pytest.mark.parametrize("part", [*BREAKS, "weights", "nothing", "all"])
def test_doctor_and_the_list_agree_and_the_command_they_name_mends(systems, stand_in, choices, repository, part):
    systems()
    stand_in()
    choices = choices if part == "clone" else replace(choices, source=repository)
    manifest = manifests.load("dummy")
    if part != "all":
        install(manifest, "modern", choices)
    if part in BREAKS:
        BREAKS[part](manifest)
    if part == "weights":
        (choices.weights / "ckpts" / "level.json").unlink()
    row, found = _row(manifest), [one for one in doctor._baselines() if one.detail.startswith("dummy")]
    assert row["installed"] == (["modern"] if part == "nothing" else [])
    assert [one.state for one in found] == [{"nothing": "ok", "all": "note"}.get(part, "problem")]
    assert [one.detail for one in found if one.state == "problem"] == list(row["broken"].values())
    if part in (*BREAKS, "weights"):
        with pytest.raises((DependencyError, DataError)) as caught:  # what a run would say
            resolve(manifest)
        assert caught.value.what == found[0].detail
        assert (caught.value.fix or "").split(" --")[0] == "floatbench baseline install dummy"
    if part in BREAKS:
        install(manifest, "modern", choices)
        assert installed_profiles(manifest) == {"modern": None}
