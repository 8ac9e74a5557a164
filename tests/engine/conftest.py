"""The systems and metrics of `engine_toys`, as a user's plugin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from floatbench.methods import catalogue
from floatbench.metrics import registry


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toys, known to catalogue and registry for one test."""
    monkeypatch.setenv("FLOATBENCH_PLUGINS", "engine_toys")
    for cached in (catalogue.factories, registry._catalogue):
        cached.cache_clear()
    yield
    for cached in (catalogue.factories, registry._catalogue):
        cached.cache_clear()
