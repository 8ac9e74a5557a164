"""Shared fixtures. Each test gets its own FLOATBENCH_HOME; `shared` points at the sample pack when it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytest_plugins = ["small_float", "loopback", "hosts", "chromium"]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two xdist workers share two cores


def shared_folder() -> Path | None:
    """The sample pack beside the project: `FLOATBENCH_SHARED`, else `../shared` of the clone."""
    for candidate in (os.environ.get("FLOATBENCH_SHARED"), ROOT.parent / "shared", ROOT / "shared"):
        if candidate and (Path(candidate) / "data").is_dir():
            return Path(candidate)
    return None


@pytest.fixture(autouse=True)
def _private_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOATBENCH_HOME", str(tmp_path_factory.mktemp("home")))
    for name in ("FLOATBENCH_WEIGHTS", "FLOATBENCH_DATA", "FLOATBENCH_CACHE", "FLOATBENCH_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _needs_cuda(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") is None:
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device: `make test-gpu` is for a machine with one")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The sample pack; the test is skipped where it is absent (the product must build and pass without it)."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("the sample pack ../shared is absent")
    return folder
