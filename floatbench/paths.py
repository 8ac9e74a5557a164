"""Where floatbench keeps things outside a run folder, and the global switches.

`FLOATBENCH_HOME` moves everything; `FLOATBENCH_WEIGHTS`, `FLOATBENCH_DATA` and `FLOATBENCH_CACHE` move one part.
"""

from __future__ import annotations

import getpass
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

import platformdirs

from floatbench.errors import DependencyError, UsageError

Shipped = Literal["baselines", "protocols", "results"]

_TRUE = {"1", "true", "yes", "on"}


def home() -> Path:
    """The root folder: `FLOATBENCH_HOME`, else the platform's user cache folder, else one among the temporary files.

    The last is for users without a home that can be written, which containers have.

    Raises:
        DependencyError: there is no such folder.
    """
    value = os.environ.get("FLOATBENCH_HOME")
    if value:
        return expanded(value)
    with suppress(RuntimeError):  # no HOME, and no entry for the user in the system's list
        folder = Path(platformdirs.user_cache_dir("floatbench"))
        if folder.is_absolute() and _can_be_used(folder):
            return folder
    return _temporary_home()


def _can_be_used(folder: Path) -> bool:
    """True when the folder is there (it may be a read-only one that holds weights) or can be made."""
    nearest = next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110 - never raises
    return nearest == folder or os.access(nearest, os.W_OK | os.X_OK)


def _temporary_home() -> Path:
    """A folder of this user alone, since whoever else can write there could exchange weights and their hashes."""
    user = os.getuid() if hasattr(os, "getuid") else "home"
    folder = Path(tempfile.gettempdir()) / f"floatbench-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and (user == "home" or (status.st_uid == user and not status.st_mode & 0o022)):
            return folder
        reason = "belongs to somebody else"
    except OSError as error:
        reason = f"cannot be made: {error.strerror}"
    what = f"the user has no home folder that can be written, and {folder} {reason}"
    raise DependencyError(what, fix="set FLOATBENCH_HOME to a folder that can be written")


def expanded(path: str | Path) -> Path:
    """The path with `~` as the home folder; UsageError when there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"{path}: the home folder is not known", fix="give the whole path, or set HOME") from None


def _part(variable: str, name: str) -> Path:
    value = os.environ.get(variable)
    return expanded(value) if value else home() / name


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
    return bool(offline_switches())


def offline_switches() -> list[str]:
    """The environment variables that forbid the network."""
    return [name for name in ("FLOATBENCH_OFFLINE", "HF_HUB_OFFLINE") if os.environ.get(name, "").lower() in _TRUE]


def in_clone() -> bool:
    """True when the package lies in a clone, where it is installed with the clone's own commands."""
    return (Path(__file__).resolve().parent.parent / "pyproject.toml").is_file()


def quiet_third_parties() -> None:
    """Switches off telemetry and look-ups of the libraries used that may fail; call before importing them."""
    for name in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "NO_ALBUMENTATIONS_UPDATE"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if offline():
        os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        getpass.getuser()
    except (KeyError, OSError):  # no entry for the user: torch's compiler asks for a name all the same
        os.environ["LOGNAME"] = "floatbench"


def is_output(folder: Path) -> bool:
    """True for a folder that a run or a page wrote: what floatbench writes is never what it reads."""
    held = {name for name in ("run.json", "rows.jsonl", ".lock", "data.js", "index.html") if (folder / name).exists()}
    return {"data.js", "index.html"} <= held or ("run.json" in held and bool({"rows.jsonl", ".lock"} & held))
