"""A key holds the code that decides a result: all of it, and nothing else."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from floatbench import code_hash
from floatbench.code_hash import code_of
from floatbench.metrics import registry

MAIN = '''"""A plugin."""
import cv2
import numpy as np
from toy_plugin.helper import scaled
from toy_plugin import tables

SIDE = 8
OTHER = 9

class Brightness:
    """Mean brightness."""

    def extract(self, clip):
        """Of every frame."""  # a comment
        return scaled(np.asarray(clip), SIDE) + tables.SHIFT

class Unrelated:
    def extract(self, clip):
        return cv2.resize(clip, (OTHER, OTHER))
'''
HELPER = """import os

def scaled(x, side):
    from scipy import ndimage
    return ndimage.zoom(x, _factor(side))

def _factor(side):
    return 1 / side

def unused():
    return os.sep
"""
TABLES = "SHIFT = 1\nUNUSED = 2\n"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "toy_plugin"
    folder.mkdir()
    for name, text in (("__init__", ""), ("main", MAIN), ("helper", HELPER), ("tables", TABLES)):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("toy_plugin")]:
        del sys.modules[name]


def code(plugin: Path, what: str = "Brightness") -> code_hash.Code:
    code_hash._code_of.cache_clear()
    code_hash._module.cache_clear()
    importlib.invalidate_caches()
    return code_of(getattr(importlib.import_module("toy_plugin.main"), what))


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("main", "SIDE = 8", "SIDE = 16"),
        ("main", "+ tables.SHIFT", "- tables.SHIFT"),
        ("helper", "1 / side", "2 / side"),
        ("helper", "ndimage.zoom", "ndimage.shift"),
        ("tables", "SHIFT = 1", "SHIFT = 3"),
    ],
)
def test_a_change_of_anything_that_is_used_changes_the_code(plugin, file, old, new):
    before = code(plugin)
    edit(plugin / f"{file}.py", old, new)
    assert code(plugin) != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("main", "# a comment", "# another"),
        ("main", '"""Of every frame."""', '"""Of every frame,\n        one number each."""'),
        ("main", "OTHER = 9", "OTHER = 10"),
        ("helper", "return os.sep", "return os.linesep"),
        ("helper", "\n\ndef _factor", "\n\n\n\ndef _factor"),
        ("tables", "UNUSED = 2", "UNUSED = 5"),
    ],
)
def test_words_and_what_is_not_used_change_nothing(plugin, file, old, new):
    before = code(plugin)
    edit(plugin / f"{file}.py", old, new)
    assert code(plugin) == before


def test_the_libraries_are_those_that_are_used(plugin):
    assert set(code(plugin).libraries) == {"numpy", "scipy"}
    assert any("opencv" in name for name in code(plugin, "Unrelated").libraries)


def test_what_a_module_does_when_it_is_imported_counts(plugin):
    before = code(plugin)
    (plugin / "helper.py").write_text(HELPER + "\nos.environ['A'] = '1'\n")
    assert code(plugin) != before


def test_a_class_typed_into_a_session_has_a_code(tmp_path):
    space: dict[str, object] = {"__name__": "no_such_module"}
    exec("class Typed:\n    pass\n", space)
    assert set(code_of(space["Typed"]).sources) == {"no_such_module"}  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", registry.backbone_ids())
def test_every_backbone_of_ours_names_its_modules_and_numpy(name):
    kind = type(registry.backbone(name))
    found = code_of(kind)
    assert kind.__module__ in found.sources and "numpy" in found.libraries
    assert not [module for module in found.sources if module.startswith(code_hash.NEUTRAL)]
