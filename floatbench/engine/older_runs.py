"""What a run folder of an earlier version was begun with, so that the same command carries on in it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from floatbench.data.catalogue import dataset_for
from floatbench.data.dataset import Dataset
from floatbench.engine.records import RunInfo
from floatbench.methods import catalogue
from floatbench.methods.method import Method
from floatbench.metrics import sets
from floatbench.metrics.landmarker import FaceLandmarker
from floatbench.protocol.protocol import Protocol
from floatbench.records import read_record


def as_begun(protocol: Protocol, dataset: Dataset, folder: Callable[[Protocol], Path]) -> tuple[Protocol, Dataset]:
    """The protocol that the run folder was begun with, where that had other defaults.

    Until version 0.2 clips of a folder were prepared by pp1, AVCORR was not corrected for chance, and `ravdess-13` did
    not ask for emotions.

    Args:
        folder: where the run of a protocol lies.
    """
    fields = protocol.model_dump()
    for changes in _earlier(protocol):
        older = Protocol.model_validate(fields | changes)
        record = folder(older) / "run.json"
        if older.hash != protocol.hash and record.exists() and read_record(record, RunInfo).protocol_hash == older.hash:
            return older, dataset if older.dataset == "as-is" else dataset_for(older)
    return protocol, dataset


def _earlier(protocol: Protocol) -> Iterator[dict[str, Any]]:
    """Fields that earlier versions had otherwise, one choice of them after another."""
    if protocol.id == "ravdess-13-v1":
        emotion = sets.members("emotion")
        pins = {name: pin for name, pin in protocol.backbone_weights.items() if name != FaceLandmarker.weights[0]}
        yield {"metrics": [name for name in protocol.metrics if name not in emotion], "backbone_weights": pins}
    if protocol.dataset not in ("folder", "as-is"):
        return
    rule = protocol.preprocessing.model_dump()
    rules = [rule] if protocol.preprocessing.spec == "pp1" else [rule, rule | {"spec": "pp1"}]
    metrics = [protocol.metrics, tuple("avcorr" if name == "avcorr-excess" else name for name in protocol.metrics)]
    for rule, names in itertools.product(rules, metrics):
        yield {"preprocessing": rule, "metrics": names}


def as_named(folder: Path, methods: Sequence[str | Method]) -> list[Method]:
    """The methods, under the names that the rows of this folder have: until version 0.2 a name kept the order in which
    its choices were typed."""
    found, record = catalogue.resolve(methods), folder / "run.json"
    if any("?" in method.name for method in found) and record.exists():
        from floatbench.sampling.choices import canonical_name

        typed = read_record(record, RunInfo).methods
        earlier = {canonical_name(name): name for name in typed}
        for method in found:
            if method.name not in typed:
                method.name = earlier.get(method.name, method.name)
    return found
