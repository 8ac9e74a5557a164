"""Where floatbench keeps things outside a run folder, and the global switches.

`FLOATBENCH_HOME` moves everything; `FLOATBENCH_WEIGHTS`, `FLOATBENCH_DATA` and `FLOATBENCH_CACHE` move one part.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import platformdirs

Shipped = Literal["baselines", "protocols", "results"]

_TRUE = {"1", "true", "yes", "on"}


def home() -> Path:
    """The root folder: `FLOATBENCH_HOME`, else the platform's user cache folder."""
    value = os.environ.get("FLOATBENCH_HOME")
    return Path(value).expanduser() if value else Path(platformdirs.user_cache_dir("floatbench"))


def _part(variable: str, name: str) -> Path:
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else home() / name


def shipped(name: Shipped) -> Path:
    """A folder of data that comes with floatbench: inside the package in a wheel, at the top of a clone otherwise."""
    package = Path(__file__).resolve().parent
    inside = package / "_shipped" / name
    return inside if inside.is_dir() else package.parent / name


def weights_dir() -> Path:
    """Folder of verified weight files."""
    return _part("FLOATBENCH_WEIGHTS", "weights")


def data_dir() -> Path:
    """Folder of raw and prepared data sets: `raw/<dataset>/`, `prepared/<dataset>/<pp id>/`."""
    return _part("FLOATBENCH_DATA", "data")


def cache_dir() -> Path:
    """Folder of caches that may be deleted at any time: features, rendered synthetic clips, baseline checkouts."""
    return _part("FLOATBENCH_CACHE", "cache")


def offline() -> bool:
    """True when no network may be used: `--offline`, `FLOATBENCH_OFFLINE` or `HF_HUB_OFFLINE`."""
    return any(os.environ.get(name, "").lower() in _TRUE for name in ("FLOATBENCH_OFFLINE", "HF_HUB_OFFLINE"))


def quiet_third_parties() -> None:
    """Switches off telemetry and network look-ups of the libraries used; call before importing them."""
    for name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "NO_ALBUMENTATIONS_UPDATE"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if offline():
        os.environ["HF_HUB_OFFLINE"] = "1"
