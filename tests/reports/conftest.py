"""Makes the toy metrics known to the registry."""

from __future__ import annotations

import pytest

from floatbench.metrics import registry


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLOATBENCH_PLUGINS", "report_toys")
    registry._catalogue.cache_clear()
    yield
    registry._catalogue.cache_clear()
