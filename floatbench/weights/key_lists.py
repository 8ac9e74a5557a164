"""What the published weight files hold, as their authors and other projects show it: never as our own networks have it.

`published/<name>.csv` lists the entries of a file in its own order (key, shape, dtype) below lines of facts: `source`
(where the list comes from), `file` (of a folder), `container` (`torch-legacy`, `torch-zip` or `safetensors`), `mapping`
(`dict` or `OrderedDict`),
`tensors` (`torch-0.3` for files older than version 2 of torch's pickled tensors), `under` (the entry of the file that
holds the list) and `beside` (further entries that the file has and that nobody here needs).

Fabricated files are brought into the form of the published ones (`conform`), so that what loads them would load these.
"""

from __future__ import annotations

import csv
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from floatbench.errors import FloatbenchError
from floatbench.files import atomic_path, write_safetensors

FOLDER = Path(__file__).parent / "published"


@dataclass(frozen=True)
class KeyList:
    """The entries of one published file: key -> (shape, dtype), and the facts about its container."""

    name: str
    facts: Mapping[str, str]
    entries: Mapping[str, tuple[tuple[int, ...], str]]

    @property
    def source(self) -> str:
        """Where the list comes from."""
        return self.facts["source"]

    @property
    def beside(self) -> tuple[str, ...]:
        """Entries of the file that are no part of the network: named here, and ignored."""
        return tuple(self.facts.get("beside", "").split())


def names() -> tuple[str, ...]:
    """The weights whose published entries are listed."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.csv")))


def read(name: str) -> KeyList | None:
    """The list of a weight file, None where no public fact is known."""
    path = FOLDER / f"{name}.csv"
    if not path.is_file():
        return None
    lines = path.read_text("utf-8").splitlines()
    facts = dict(line.removeprefix("# ").split(": ", 1) for line in lines if line.startswith("# "))
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    shapes = {row["key"]: (tuple(int(side) for side in row["shape"].split("x") if side), row["dtype"]) for row in rows}
    return KeyList(name, facts, shapes)


def conform(name: str, path: Path) -> None:
    """Rewrites a fabricated file with the entries, the order and the container of the published one.

    Raises FloatbenchError when the network behind the fabricator lacks an entry of the published file or has it in
    another shape: then the published file could not be loaded either.
    """
    import torch
    from safetensors.torch import load_file

    listed = read(name)
    if listed is None:
        return
    path = path / listed.facts.get("file", "")
    if listed.facts["container"] == "safetensors":
        made = load_file(path)
    else:
        made = torch.load(path, map_location="cpu", weights_only=True)
        made = made.get(listed.facts.get("under", ""), made)
    state: OrderedDict[str, Any] = OrderedDict()
    for key, (shape, dtype) in listed.entries.items():
        if key not in made or tuple(made[key].shape) != shape or str(made[key].dtype) != f"torch.{dtype}":
            found = f"{tuple(made[key].shape)} {made[key].dtype}" if key in made else "nothing"
            raise FloatbenchError(
                f"weights {name!r}: the published file has {key} {shape} {dtype}, the network {found}"
            )
        state[key] = made[key]
    if listed.facts["container"] == "safetensors":
        return write_safetensors(path, state, {"format": "pt"})
    with atomic_path(path) as partial:
        torch.save(_document(listed, state), partial, _use_new_zipfile_serialization=_zipped(listed))


def _zipped(listed: KeyList) -> bool:
    return listed.facts["container"] == "torch-zip"


def _document(listed: KeyList, state: OrderedDict[str, Any]) -> dict[str, Any]:
    """What the file holds at its top."""
    plain = listed.facts["mapping"] == "dict"
    old = listed.facts.get("tensors") == "torch-0.3"
    if plain or old:
        state = OrderedDict((key, _Pickled(tensor, old)) for key, tensor in state.items())
    top: dict[str, Any] = dict(state) if plain else state
    if "under" in listed.facts:
        top = {listed.facts["under"]: top}
    for name in listed.beside:  # an optimiser's or a schedule's state: plain containers, of no interest here
        top[name] = {"state": {}, "param_groups": [{"lr": 1e-4, "params": []}]}
    return top


class _Pickled:
    """A tensor that is pickled as older versions of torch did: without an OrderedDict of hooks, or in version 1."""

    def __init__(self, tensor: Any, old: bool) -> None:
        self._tensor, self._old = tensor, old

    def __reduce__(self) -> tuple[Any, ...]:
        from torch import _utils

        tensor = self._tensor.contiguous()
        shape = (tensor.storage(), tensor.storage_offset(), tuple(tensor.size()), tensor.stride())
        if self._old:
            return _utils._rebuild_tensor, shape
        return _utils._rebuild_tensor_v2, (*shape, False, {})
