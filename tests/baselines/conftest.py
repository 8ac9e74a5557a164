"""An installed dummy system: a git repository with its code, an environment without packages, weights in a file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
NETWORK = """
class Network:
    def __init__(self, level):
        self.level = level

    def draw(self, generator, side):
        return bytes((generator.getrandbits(8) + self.level) % 256 for _ in range(side * side * 3))
"""


def git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *settings, "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with the dummy's official code."""
    folder = tmp_path_factory.mktemp("official repository")  # a space in the path
    git(folder, "init", "--quiet")
    (folder / "network.py").write_text(NETWORK)
    (folder / "docs").mkdir()
    (folder / "docs" / "big.txt").write_text("not needed")
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "code")
    return folder


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own for the system, with the standard library alone."""
    folder = tmp_path_factory.mktemp("env") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder


@pytest.fixture
def systems(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes the folder of a dummy system; a search path holds all that a test makes."""
    root = tmp_path / "systems"
    monkeypatch.setenv("FLOATBENCH_BASELINES", str(root))

    def make(name: str = "dummy", **replaced: str) -> Path:
        folder = root / name
        shutil.copytree(HERE / "dummy", folder, ignore=shutil.ignore_patterns("__pycache__"))
        text = (folder / "manifest.toml").read_text()
        text = text.replace('id = "dummy"', f'id = "{name}"').replace("0" * 40, git(repository, "rev-parse", "HEAD"))
        tree = git(repository, "rev-parse", "HEAD^{tree}")
        text = text.replace('repo = "example/dummy"', f'repo = "file://{repository}"\ntree_sha = "{tree}"')
        for key, lines in replaced.items():
            text = re.sub(rf"(?m)^{key} = .*$", lambda _, lines=lines: lines, text)
        (folder / "manifest.toml").write_text(text)
        return folder

    return make


@pytest.fixture
def dummy(tmp_path: Path, systems: Callable[..., Path], repository: Path, environment: Path) -> Callable[..., Any]:
    """Installs a dummy system whose weights hold the given switches; returns its manifest."""
    from floatbench.baselines import manifest as manifests
    from floatbench.baselines.install import Choices, install

    def make(name: str = "dummy", profile: str = "modern", replaced: dict[str, str] | None = None, **switches: Any):
        if not (tmp_path / "systems" / name).exists():
            systems(name, **(replaced or {}))
        weights = tmp_path / "weights" / name
        (weights / "ckpts").mkdir(parents=True, exist_ok=True)
        content = {"level": 3, "state": str(tmp_path), **switches}
        (weights / "ckpts" / "level.json").write_text(json.dumps(content))
        manifest = manifests.load(name)
        install(manifest, profile, Choices(source=repository, weights=weights, environment=environment))
        return manifest

    return make
