"""The plain top-level packages must be this clone's, not somebody else's `metrics` or `baselines`."""

from pathlib import Path

import baselines
import floatbench
import metrics
import protocols

ROOT = Path(__file__).resolve().parents[1]


def test_the_packages_are_those_of_this_clone():
    for package in (floatbench, metrics, baselines, protocols):
        assert Path(package.__file__).resolve().is_relative_to(ROOT)
