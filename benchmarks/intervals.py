"""How often intervals cover what they say and how often two systems are told apart, on clips whose truth is known.

    python benchmarks/intervals.py [--trials 400] [--json FILE]

People differ (a mean of their own), their clips differ (hard and easy ones, for every system alike), and so do rows.
Coverage is that of the expected score at the same number of people. Decisions: two systems that differ by `effect`, by
the paired test and by intervals that do not overlap; no effect shows how often either is wrong. The figures of a run
stand in docs/evidence/statistics-measured.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from floatbench.metrics import paired
from floatbench.metrics.base import DistanceFolds, Folds, Interval, Metric, MetricInfo, Pair, Score
from floatbench.metrics.corpus import FrechetMetric
from floatbench.metrics.kid import KernelMetric
from floatbench.metrics.paired import PairedDifference
from floatbench.metrics.statistics import resampled

METRIC = FrechetMetric(
    MetricInfo(
        id="simulated",
        title="",
        higher_is_better=False,
        backbones=("b",),
        sides=("generated", "reference"),
        level="corpus",
    )
)
KERNEL = KernelMetric(METRIC.info, METRIC)
DISTANCES = ((24, 10, 6), (78, 20, 6), (78, 20, 64), (24, 10, 64))
"""(people, rows of each, dimensions)"""
KERNELS = ((24, 10, 6, 0.0), (24, 10, 6, 0.09), (48, 6, 32, 0.0), (48, 6, 32, 0.02), (8, 10, 6, 0.0), (8, 10, 6, 0.3))
"""(people, rows of each, dimensions, effect) of the kernel distance"""


def pair(clip: str, person: str, generated: np.ndarray, reference: np.ndarray) -> Pair:
    sides = {"generated": {"features": generated}, "reference": {"features": reference}}
    return Pair(clip, person, lambda side, backbone: sides[side])


def systems(
    rng: np.random.Generator, people: int, rows: int, d: int, effects: tuple[float, ...], of: int = 0
) -> list[list[Pair]]:
    """Clips of several systems on the same people; `of` > 0 makes that many people with `people` clips in all."""
    names = [f"p{k % of if of else k}" for k in range(people)]
    own = {name: rng.standard_normal(d) for name in sorted(set(names))}
    reference = [own[name] + rng.standard_normal((rows, d)) for name in names]
    hard = 0.5 * rng.standard_normal((people, 1, d))
    found = []
    for effect in effects:
        clips = []
        for k, name in enumerate(names):
            noise = 0.2 * rng.standard_normal((1, d)) + 0.3 * rng.standard_normal((rows, d))
            clips.append(pair(f"c{k:03}", name, reference[k] + hard[k] + 0.1 + effect + noise, reference[k]))
        found.append(clips)
    return found


def plain_interval(folds: Folds) -> tuple[float, float]:
    """The interval of before: jackknife of the distance itself."""
    assert isinstance(folds, DistanceFolds)
    g, left = len(folds.left_out), np.array(folds.left_out)
    half = float(stats.t.ppf(0.975, g - 1) * np.sqrt((g - 1) / g * np.square(left - left.mean()).sum()))
    return folds.value - half, folds.value + half


def coverage(rng: np.random.Generator, trials: int, people: int, rows: int, d: int, of: int = 0) -> dict[str, Any]:
    """Share of intervals that hold the expected score, on the root scale and on the plain one."""
    scores: list[Score] = []
    for _ in range(trials):
        scores.append(METRIC.reduce(systems(rng, people, rows, d, (0.0,), of)[0]))
    truth = float(np.mean([score.value or 0.0 for score in scores]))
    roots = [(score.interval.low, score.interval.high) for score in scores if score.interval]
    plain = [plain_interval(score.folds) for score in scores if score.folds is not None]
    return {
        "people": of or people, "clips": people, "rows": rows, "dimensions": d,
        "root": float(np.mean([low <= truth <= high for low, high in roots])),
        "plain": float(np.mean([low <= truth <= high for low, high in plain])),
        "plain_below_zero": float(np.mean([low < 0 for low, _ in plain])),
    }  # fmt: skip


def decisions(
    rng: np.random.Generator, trials: int, people: int, rows: int, d: int, effect: float, metric: Metric = METRIC
) -> dict[str, Any]:
    """Share of trials in which two systems are told apart, paired and by intervals that do not overlap.

    `covered`: share of the differences' intervals that hold the expected difference; `covered_score` of one system's
    own that hold its expected score.
    """
    counts, found = {"paired": 0, "overlap": 0}, list[tuple[Score, PairedDifference]]()
    for _ in range(trials):
        a, b = (metric.reduce(clips) for clips in systems(rng, people, rows, d, (0.0, effect)))
        assert a.folds is not None and b.folds is not None and a.interval is not None and b.interval is not None
        gap = paired.difference([a.folds], [b.folds], 0)
        counts["paired"] += gap.p is not None and gap.p < paired.ALPHA
        counts["overlap"] += a.interval.high < b.interval.low or b.interval.high < a.interval.low
        found.append((a, gap))
    covered = {
        "covered": held([gap.interval for _, gap in found], [gap.difference for _, gap in found]),
        "covered_score": held([score.interval for score, _ in found], [score.value or 0.0 for score, _ in found]),
    }
    return {"people": people, "dimensions": d, "effect": effect} | {k: n / trials for k, n in counts.items()} | covered


def held(intervals: Sequence[Interval | None], values: Sequence[float]) -> float:
    """Share of intervals that hold the mean of the values."""
    truth = float(np.mean(values))
    return float(np.mean([one is not None and one.low <= truth <= one.high for one in intervals]))


def means(rng: np.random.Generator, trials: int, people: int, clips: int, conditional: bool) -> dict[str, Any]:
    """Coverage of the mean over clips: that of all people, or that of these people where they are taken as given."""
    hits = 0
    fixed = rng.standard_normal(people)
    for trial in range(trials):
        own = fixed if conditional else rng.standard_normal(people)
        values = {f"p{k}": (own[k] + 0.5 * rng.standard_normal(clips)).tolist() for k in range(people)}
        interval = resampled(values, trial, 1000, conditional).interval()
        hits += interval.low <= (float(fixed.mean()) if conditional else 0.0) <= interval.high
    return {"people": people, "clips_each": clips, "conditional": conditional, "covered": hits / trials}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rng, trials = np.random.default_rng(0), options.trials
    found: dict[str, Any] = {"trials": trials, "distances": [], "decisions": [], "kernel": [], "means": []}
    for people, rows, d in DISTANCES:
        found["distances"].append(coverage(rng, trials, people, rows, d))
        print(found["distances"][-1], flush=True)
    found["distances"].append(coverage(rng, trials, 24, 10, 6, of=2))
    print(found["distances"][-1], flush=True)
    for people, rows, d, effect in ((24, 10, 6, 0.0), (24, 10, 6, 0.07), (48, 6, 32, 0.0), (48, 6, 32, 0.03)):
        found["decisions"].append(decisions(rng, trials, people, rows, d, effect))
        print(found["decisions"][-1], flush=True)
    for people, clips, conditional in ((8, 1, False), (8, 6, False), (78, 1, False), (2, 12, True), (2, 30, True)):
        found["means"].append(means(rng, 4 * trials, people, clips, conditional))
        print(found["means"][-1], flush=True)
    own = np.random.default_rng(1)
    for people, rows, d, effect in KERNELS:
        found["kernel"].append(decisions(own, trials, people, rows, d, effect, KERNEL))
        print("kernel", found["kernel"][-1], flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
