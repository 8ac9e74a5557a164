"""The bundled small networks: files beside this module, each verified by SHA-256 before it is opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from floatbench.errors import DataError
from floatbench.files import file_sha256

FOLDER = Path(__file__).resolve().parent
MANIFEST = "backbones.json"


def manifest(folder: Path | None = None) -> dict[str, Any]:
    """How the bundled backbones were trained: config, seed, figures on held-out people, hash and size of each file."""
    file = (folder or FOLDER) / MANIFEST
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"the bundled file {MANIFEST} is missing or damaged: {error}", _restore(MANIFEST)) from error


def path(name: str) -> Path:
    """The verified file of a bundled backbone (``tiny-frames``); raises DataError that names the restoring command."""
    file = FOLDER / f"{name}.safetensors"
    if not file.is_file():
        raise DataError(f"the bundled file {file.name} is missing", _restore(file.name))
    found, expected = file_sha256(file), sha256(name)
    if found != expected:
        what = f"the bundled file {file.name} is damaged: SHA-256 {found[:12]}..., expected {expected[:12]}..."
        raise DataError(what, _restore(file.name))
    return file


def sha256(name: str) -> str:
    """The recorded hash of a bundled backbone's file; raises DataError for a name that is not bundled."""
    files = manifest()["files"]
    if name not in files:
        raise DataError(f"no bundled backbone {name!r}", "floatbench train backbones")
    return str(files[name]["sha256"])


def _restore(name: str) -> str:
    return f"git checkout -- floatbench/assets/{name} (or train anew: floatbench train backbones)"
