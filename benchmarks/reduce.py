"""What a table's Frechet distances cost: the reduction of several systems against a plain twin, in one run.

    python benchmarks/reduce.py [--systems 3] [--dimension 2048] [--people 54] [--frames 375] [--twin 1] [--json FILE]

The twin is what was done before: rows of every union joined again, and for each distance two eigenproblems. Features
are drawn: people differ, frames of a person vary with a spectrum over two decades. Processor seconds of one thread
(OMP_NUM_THREADS=1), so that other work on the machine changes little. The last line adds one system to a kept table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from floatbench.engine.features import FeatureStore
from floatbench.engine.records import Row
from floatbench.engine.reduction import Reducer, Reduction
from floatbench.metrics.fid import FID
from floatbench.metrics.frechet import Moments, Sample, forget_reference

BACKBONE = FID().info.backbones[0]


class PlainFID(FID):
    """FID with every union made from its rows and every distance from eigenvectors of the generated side."""

    def _union(self, groups: Any, numbers: Any) -> tuple[float, float]:
        x, y = (self._moments(side, numbers) for side in (groups.generated, groups.reference))
        values, vectors = torch.linalg.eigh(x.covariance())
        root = vectors * clipped(values).sqrt()
        inner = root.T @ y.covariance() @ root
        cross = clipped(torch.linalg.eigvalsh((inner + inner.T) / 2)).sqrt().sum()
        traces = x.covariance().trace() + y.covariance().trace()
        return float(x.n), float((x.mean - y.mean).square().sum() + traces - 2 * cross)

    @staticmethod
    def _moments(side: dict[int, Sample], numbers: Any) -> Moments:
        rows = [side[g].rows() for g in numbers]
        if any(part is None for part in rows):  # a group with as many rows as dimensions keeps its moments only
            return Sample.join([side[g] for g in numbers]).moments()
        return Moments.of(torch.cat([part for part in rows if part is not None]))


def clipped(values: torch.Tensor) -> torch.Tensor:
    """Eigenvalues without rounding noise."""
    floor = len(values) ** 0.5 * torch.finfo(torch.float64).eps * values.max().clamp(min=0)
    return torch.where(values > floor, values, 0.0)


class Drawn:
    """Features of people by frames, written once."""

    def __init__(self, store: FeatureStore, people: int, frames: int, dimension: int) -> None:
        self.store, self.people, self.frames, self.dimension = store, people, frames, dimension
        rng = np.random.default_rng(0)
        scale = np.logspace(0, -2, dimension) / dimension**0.5
        self.mix = (rng.standard_normal((dimension, dimension)) * scale).astype(np.float32)

    def side(self, seed: int) -> list[str]:
        """Keys of one side's clips, one a person."""
        rng = np.random.default_rng(seed)
        keys = [f"{seed:032x}{k:032x}" for k in range(self.people)]
        for key in keys:
            own = 0.7 * rng.standard_normal(self.dimension, dtype=np.float32)
            rows = rng.standard_normal((self.frames, self.dimension), dtype=np.float32) + own
            self.store.put(key, {"features": rows @ self.mix + 0.4})
        return keys

    def rows(self, system: int, reference: list[str]) -> tuple[Row, ...]:
        """The rows of one system."""
        made = zip(self.side(system + 2), reference, strict=True)
        return tuple(
            Row(
                method=f"system {system}", clip=f"c{k:03d}", identity=f"p{k:03d}", status="ok",
                features={"generated": {BACKBONE: generated}, "reference": {BACKBONE: real}},
            )
            for k, (generated, real) in enumerate(made)
        )  # fmt: skip


def timed(function: Any) -> tuple[float, Any]:
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds of the table, of the twin's systems, and of one system more; and how far the values are apart."""
    store = FeatureStore(folder / "run", None)
    drawn = Drawn(store, options.people, options.frames, options.dimension)
    reference = drawn.side(1)
    tasks = [Reduction(FID(), drawn.rows(k, reference)) for k in range(options.systems)]
    fast, _ = timed(lambda: Reducer(store, folder / "scores").prepare(tasks[:-1]))
    forget_reference()
    again = Reducer(store, folder / "scores")
    one_more, _ = timed(lambda: again.prepare(tasks))
    twin = []
    for task in tasks[: options.twin]:
        seconds, plain = timed(lambda task=task: Reduction(PlainFID(), task.rows).compute(store))
        ours = again(task.metric, task.rows)
        low = ours.interval.low / plain.interval.low - 1 if ours.interval and plain.interval else None
        twin.append({"seconds": seconds, "value": ours.value / plain.value - 1, "low": low})
    return {
        "rows": options.people * options.frames, "dimension": options.dimension, "systems": options.systems,
        "seconds_of_the_others": fast, "seconds_of_one_more": one_more, "twin": twin,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("systems", 3), ("dimension", 2048), ("people", 54), ("frames", 375), ("twin", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        found = measure(options, Path(folder))
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
