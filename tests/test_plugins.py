"""Plugins of the working folder: found, with what lies beside them, and nothing else of the folder."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from floatbench import plugins
from floatbench.engine import ray_executor
from floatbench.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder of somebody else; what a test imports from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    modules, finders = set(sys.modules), list(sys.meta_path)
    yield tmp_path
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def offered(monkeypatch: pytest.MonkeyPatch, names: str) -> dict[str, object]:
    monkeypatch.setenv(plugins.VARIABLE, names)
    return plugins.collect("methods", ())


def test_a_plugin_finds_its_neighbours_when_it_is_loaded_and_when_it_is_used(folder, monkeypatch):
    (folder / "mine.py").write_text(
        "from somebodys_network import VALUE\n"
        "from somebodys_models.small import SIZE\n"
        "def late():\n    import somebodys_late\n    return somebodys_late.VALUE\n"
        "METHODS = {'mine': (VALUE, SIZE, late)}\n"
    )
    (folder / "somebodys_network.py").write_text("import somebodys_deeper\nVALUE = somebodys_deeper.VALUE\n")
    (folder / "somebodys_deeper.py").write_text("VALUE = 1\n")
    (folder / "somebodys_models").mkdir()  # no __init__.py: research code seldom has one
    (folder / "somebodys_models" / "small.py").write_text("SIZE = 2\n")
    (folder / "somebodys_late.py").write_text("VALUE = 3\n")
    value, size, late = offered(monkeypatch, "mine")["mine"]  # pyright: ignore[reportGeneralTypeIssues]
    assert (value, size, late()) == (1, 2, 3)
    assert str(folder) not in sys.path


def test_a_plugin_may_be_a_package_or_a_module_in_one(folder, monkeypatch):
    (folder / "somebodys").mkdir()
    (folder / "somebodys" / "__init__.py").write_text("from .part import METHODS\n")
    (folder / "somebodys" / "part.py").write_text("METHODS = {'part': int}\n")
    assert offered(monkeypatch, "somebodys") == offered(monkeypatch, "somebodys.part") == {"part": int}


def test_a_plugin_may_be_named_by_its_path(folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "placed.py").write_text("METHODS = {'placed': int}\n")
    for name in ("elsewhere/placed.py", str(folder / "elsewhere" / "placed")):
        assert offered(monkeypatch, name) == {"placed": int}


def test_the_folder_stands_in_for_no_library(folder, monkeypatch):
    """Libraries ask for packages that may be absent; a folder that happens to bear such a name is not meant."""
    (folder / "mine.py").write_text("import json, filelock\nMETHODS = {'mine': (json, filelock)}\n")
    for name in ("json", "filelock", "somebodys_option"):
        (folder / f"{name}.py").write_text("raise RuntimeError('not a library')\n")
    json, filelock = offered(monkeypatch, "mine")["mine"]  # pyright: ignore[reportGeneralTypeIssues]
    assert not {Path(json.__file__).parent, Path(filelock.__file__).parent} & {folder}
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("somebodys_option")


def test_the_folders_of_a_clone_do_not_hide_the_neighbours_of_a_plugin(folder, monkeypatch):
    """An editable install puts the clone on the path, where `metrics` and `protocols` lie."""
    monkeypatch.syspath_prepend(str(ROOT))
    (folder / "mine.py").write_text("import metrics\nMETHODS = {'mine': metrics.VALUE}\n")
    (folder / "metrics.py").write_text("VALUE = 1\n")
    assert offered(monkeypatch, "mine") == {"mine": 1}


def test_an_installed_plugin_comes_before_a_file_of_the_same_name(folder, monkeypatch):
    (folder / "filelock.py").write_text("METHODS = {'filelock': int}\n")
    assert offered(monkeypatch, "filelock") == {}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent", None, "no module of that name"),
        ("needs", "import somebodys_absent", "No module named 'somebodys_absent'"),
        ("broken", "def", "invalid syntax"),
        ("twice", "METHODS = {'twice': int}", "exists already"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_named_in_one_line(folder, monkeypatch, name, content, said):
    if content:
        (folder / f"{name}.py").write_text(content + "\n")
        (folder / f"{name}_again.py").write_text(content + "\n")
    with pytest.raises(UsageError, match=said) as raised:
        offered(monkeypatch, f"{name},{name}_again")
    assert name in raised.value.what and "\n" not in raised.value.what


def test_a_process_in_another_folder_is_told_where_the_plugins_lie(folder, monkeypatch):
    (folder / "mine.py").write_text("METHODS = {'mine': int}\n")
    monkeypatch.setenv(plugins.VARIABLE, "mine, filelock")
    told = plugins.environment()
    assert told == {plugins.VARIABLE: f"{folder.resolve() / 'mine'},filelock"}
    (folder / "another").mkdir()
    monkeypatch.chdir(folder / "another")
    assert offered(monkeypatch, told[plugins.VARIABLE]) == {"mine": int}


def test_an_actor_on_another_node_knows_the_plugins(monkeypatch):
    monkeypatch.setenv(plugins.VARIABLE, "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    seen: list[str] = []
    monkeypatch.setattr(ray_executor, "prepare_worker", lambda threads, device: None)
    monkeypatch.setattr(ray_executor, "Worker", lambda settings: seen.append(os.environ[plugins.VARIABLE]))
    settings = pickle.dumps(SimpleNamespace(device="cpu"))
    ray_executor._Actor(settings, 2, {plugins.VARIABLE: "/there/mine"})
    assert seen == ["/there/mine"]


def test_the_module_runs_in_a_folder_that_holds_files_named_as_libraries(tmp_path):
    for name in ("torch", "numpy", "typing", "json", "pathlib", "metrics", "typer", "pydantic"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not a library')\n")
    done = subprocess.run(
        [sys.executable, "-m", "floatbench", "--version"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
