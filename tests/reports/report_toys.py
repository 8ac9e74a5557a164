"""Finished run folders written by hand, with features, and two toy metrics that share a column of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from floatbench.engine.features import FeatureStore
from floatbench.engine.merge import plan_of
from floatbench.engine.records import (
    MetricRecord,
    Row,
    RowFile,
    RunInfo,
    ScoreFile,
)
from floatbench.engine.scoring import score_all
from floatbench.methods.controls import control
from floatbench.metrics.base import (
    Backbone,
    ClipFolds,
    ClipValue,
    Interval,
    Metric,
    MetricInfo,
    Pair,
    Score,
    split_failures,
)
from floatbench.protocol.protocol import Clip, Preprocessing, Protocol
from floatbench.records import write_record
from floatbench.types import ClipMedia, Features

LICENCE = {"free": "Apache-2.0", "bound": "non-commercial research only"}


class ToyBackbone(Backbone):
    id = "toy"

    def load(self, device: str = "cpu") -> None:
        return None

    def extract(self, clip: ClipMedia) -> Features:
        return {"mean": clip.frames.reshape(clip.n_frames, -1).mean(1)}


class Mean(Metric):
    """The mean over clips of |generated - reference| times `scale`, with an interval of `width` either way."""

    info = MetricInfo(
        id="fid", column="FID", title="toy", higher_is_better=False, level="clip", backbones=("toy",),
        sides=("generated", "reference"), formula="scale |g - r|", source="none", parity="none",
    )  # fmt: skip

    def __init__(self, scale: float = 1.0, width: float = 0.5) -> None:
        self.scale, self.width = scale, width

    def clip_value(self, pair: Pair) -> ClipValue:
        gap = np.abs(pair.generated("toy")["mean"] - pair.reference("toy")["mean"])
        return ClipValue(float(gap.mean()) * self.scale, {}, {"gap": gap})

    def reduce(self, pairs) -> Score:
        good, failures = split_failures(self, pairs)
        value = float(np.mean([found.value for _, found in good])) if good else None
        around = None if value is None else Interval(value - self.width, value + self.width, 0.95, "toy")
        folds = ClipFolds(tuple((pair.clip_id, pair.identity, found.value) for pair, found in good))
        return Score(self.info.id, value, len(good), failures, around, folds=folds)


def _variant(id: str, column: str, higher: bool, scale: float) -> Any:
    info = MetricInfo(**{**Mean.info.__dict__, "id": id, "column": column, "higher_is_better": higher})
    kind = type(f"Toy_{id}", (Mean,), {"info": info})
    return lambda scale=scale, width=0.5: kind(scale, width)


METRICS = {
    "toy-fid": _variant("toy-fid", "FID", False, 1.0),
    "toy-fid-double": _variant("toy-fid-double", "FID", False, 2.0),
    "toy-csim": _variant("toy-csim", "CSIM", True, 0.01),
}
BACKBONES = {"toy": ToyBackbone}


def toy_protocol(
    dataset: str = "hdtf", n: int = 4, metrics: tuple[str, ...] = ("toy-fid", "toy-csim"), **more
) -> Protocol:
    clips = tuple(Clip(id=f"clip {k}", identity=f"person {k}") for k in range(n))
    fixed = {"id": f"toy-{dataset}", "dataset": dataset, "preprocessing": Preprocessing(spec="as-is")}
    return Protocol(**{**fixed, "metrics": metrics, "clips": clips, **more})


def write_run(
    folder: Path,
    methods: dict[str, Any],
    dataset: str = "hdtf",
    size: int = 512,
    failed: dict[str, tuple[str, ...]] | None = None,
    metrics: tuple[str, ...] = ("toy-fid", "toy-csim"),
    protocol: Protocol | None = None,
    licence: str = "Apache-2.0",
    described: dict[str, Any] | None = None,
    reference: float = 0.0,
    seed: int = 0,
    details: dict[str, Any] | None = None,
    **scores: Any,
) -> Path:
    """A finished run: method -> its distance from the reference, one or one a clip; `scores` replaces fields.

    `details` are those of every row.
    """
    protocol = protocol or toy_protocol(dataset)
    info = RunInfo(
        protocol=protocol,
        protocol_hash=protocol.hash,
        seed=seed,
        available=[clip.id for clip in protocol.clips],
        methods={name: _described(name, licence, described or {}) for name in methods},
        metrics={name: _record(name, licence) for name in metrics},
        environment={"packages": {"numpy": "2"}, "device": "cpu", "commit": "abc", "dirty": False},
    )
    store, rows = FeatureStore(folder, None), {}
    for name, distance in methods.items():
        each = np.broadcast_to(distance, len(protocol.clips)).tolist()
        for clip, gap in zip(protocol.clips, each, strict=True):
            row = _row(store, name, clip, gap, reference, size, clip.id in (failed or {}).get(name, ()))
            rows[row.key] = row.model_copy(update={"details": details}) if details else row
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows.values():
        RowFile(folder / "rows.jsonl").append(row)
    write_record(folder / "run.json", info)
    record = ScoreFile(
        protocol=protocol.id,
        protocol_hash=protocol.hash,
        label=protocol.label,
        n_clips=len(protocol.clips),
        n_available=len(protocol.clips),
        n_run=len(protocol.clips),
        ranked=True,
        unranked_because=[],
        seed=seed,
        replicates=1,
        methods=info.methods,
        metrics=info.metrics,
        scores=score_all(plan_of(info), rows, store, lambda note: None),
        controls=[],
        environment=info.environment,
    )
    write_record(folder / "scores.json", record.model_copy(update=scores))
    return folder


def _row(
    store: FeatureStore, method: str, clip: Clip, distance: float, reference: float, size: int, failed: bool
) -> Row:
    base = {"method": method, "clip": clip.id, "identity": clip.identity}
    if failed:
        return Row(**base, status="failed", reason="no_face", detail="none")
    keys = {}
    for side, value in (("generated", reference + distance), ("reference", reference)):
        key = (f"{value:.6f}".encode().hex() + "0" * 64)[:64]
        store.put(key, {"mean": np.full(5, value)})
        keys[side] = {"toy": key}
    return Row(
        **base, status="ok", features=keys, width=size, height=size, n_frames=5, expected_frames=5,
        pixels_sha256=f"{distance}", reference_pixels_sha256=f"{reference}", details={"nfe": 10},
    )  # fmt: skip


def _record(name: str, licence: str) -> MetricRecord:
    info = METRICS[name]().info
    return MetricRecord(
        id=name,
        column=info.column,
        higher_is_better=info.higher_is_better,
        level=info.level,
        tiny=info.tiny,
        backbones={"toy": "f" * 64},
        weights={"toy.pth": "a" * 64},
        licences={"toy.pth": licence},
    )


def _described(name: str, licence: str, more: dict[str, Any]) -> dict[str, Any]:
    """What a run keeps of a method."""
    found = control(name)
    return found.record() if found else {"kind": "system", "licence": licence, "weights": {}, **more}
