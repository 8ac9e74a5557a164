"""Reads the tensors of a checkpoint that also holds its training's objects, without making any of these.

`torch.load(weights_only=True)` refuses such a file as a whole. Here everything that is no tensor, container or number
becomes an `Inert`: it can be called and filled, and does nothing, whatever it was named in the file.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import _utils as rebuilders

_PLAIN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): rebuilders._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): rebuilders._rebuild_parameter,
}


class Inert:
    """Stands for an object of a class that is not made; takes every call and state, and keeps nothing."""

    def __init__(self, *args: Any, **named: Any) -> None: ...

    def __call__(self, *args: Any, **named: Any) -> Inert:
        return self

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None: ...

    def extend(self, values: Any) -> None: ...


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _PLAIN.get((module, name), Inert)


class _Pickle:
    """What torch asks of a `pickle_module`; storages it makes itself."""

    Unpickler = _Unpickler
    UnpicklingError = pickle.UnpicklingError


def load(path: Path, device: str = "cpu") -> Any:
    """The document of a zip-form `.pt` file with its tensors on `device`; raises as `torch.load`."""
    return torch.load(path, map_location=device, weights_only=False, pickle_module=_Pickle)
