"""Seeded weights for the metric networks: made once a session, put where a test asks for them."""

import pytest

from floatbench import weights


@pytest.fixture(scope="session")
def _weight_store(tmp_path_factory):
    return tmp_path_factory.mktemp("seeded-weights")


@pytest.fixture
def seeded(monkeypatch, _weight_store):
    """Makes seeded random weights available by name for this test; returns the path of the file."""
    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    monkeypatch.setenv("FLOATBENCH_WEIGHTS", str(_weight_store))
    return lambda name: weights.path(name) if weights.available(name) else weights.fabricate(name, 0)
