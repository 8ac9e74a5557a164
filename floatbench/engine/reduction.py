"""One reduction: from the features of some clips to a score; done once for equal content, in several processes.

A score is kept under the hash of all that it came from: the bytes of the features, the clips and people they belong to,
and the code, libraries and settings that reduce them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache, partial
from inspect import getfile
from pathlib import Path
from types import FunctionType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from floatbench import paths
from floatbench.code_hash import Code, code_of
from floatbench.engine.features import FeatureStore
from floatbench.engine.records import Row
from floatbench.errors import ClipError, DependencyError
from floatbench.files import atomic_path, file_sha256
from floatbench.metrics import base
from floatbench.metrics.base import Metric, Pair, Score, Side
from floatbench.processes import Death, as_finished
from floatbench.types import Features

PARALLEL_BYTES = 2**28
"""Features from which on processes are worth their start."""
_SCORE = TypeAdapter(Score)


def pair_of(row: Row, store: FeatureStore) -> Pair:
    """The features of one row as a metric sees them."""

    def load(side: Side, backbone: str) -> Features:
        return store.get(row.features[side][backbone])

    return Pair(row.clip, row.identity, load, row.emotion)


@dataclass(frozen=True)
class Reduction:
    """One metric over some rows of one method and replicate."""

    metric: Metric
    rows: tuple[Row, ...]

    def feature_keys(self) -> set[str]:
        """Keys of the features that the metric reads."""
        names, sides = self.metric.info.backbones, self.metric.info.sides
        found = (row.features.get(side, {}).get(name) for row in self.rows for side in sides for name in names)
        return {key for key in found if key}

    def compute(self, store: FeatureStore) -> Score:
        """The score; raises ClipError where a metric that guards nothing finds too little material."""
        return self.metric.reduce([pair_of(row, store) for row in self.rows])


class Reducer:
    """Makes the scores of a run and keeps them.

    Args:
        store: of the run's features.
        folder: where scores are kept for other calls and runs; None: in memory only.
        workers: processes; 0 or 1: in this one.
    """

    def __init__(self, store: FeatureStore, folder: Path | None = None, workers: int = 0) -> None:
        self.store, self.folder, self.workers = store, folder, workers
        self._hashes: dict[str, str] = {}
        self._known: dict[str, Score] = {}

    def __call__(self, metric: Metric, rows: Sequence[Row]) -> Score:
        """The score of some rows; raises ClipError as `Reduction.compute` does."""
        reduction = Reduction(metric, tuple(rows))
        key = self.key(reduction)
        known = None if key is None else self._find(key)
        if known is not None:
            return known
        score = reduction.compute(self.store)
        if key is not None:
            self._keep(key, score)
        return score

    def prepare(self, reductions: Sequence[Reduction], done: Callable[[int], None] = lambda index: None) -> None:
        """Makes the scores that are not known yet, in several processes where there is much to read.

        Args:
            done: called with the number of each reduction when its score is there, in any order.
        """
        keys = [self.key(reduction) for reduction in reductions]
        open_ones = [i for i, key in enumerate(keys) if key is not None and self._find(key) is None]
        for index in set(range(len(reductions))) - set(open_ones):
            done(index)
        workers = min(self.workers, len(open_ones)) if self._bytes(reductions, open_ones) > PARALLEL_BYTES else 1
        # of one metric one after another, so that a process meets the same reference again
        open_ones.sort(key=lambda i: (reductions[i].metric.info.id, i))
        work = partial(_computed, self.store)
        results = as_finished(work, [reductions[i] for i in open_ones], workers, one_reference, threads=1)
        with contextlib.closing(results):
            for position, result in results:
                index = open_ones[position]
                if isinstance(result, Death):
                    what = f"a process that scores {reductions[index].metric.info.id} died: {result.detail}"
                    raise DependencyError(what, fix="run again with fewer --workers; finished scores are kept")
                key = keys[index]
                if result is not None and key is not None:
                    self._keep(key, result)
                done(index)

    def _bytes(self, reductions: Sequence[Reduction], chosen: Sequence[int]) -> int:
        needed = {key for index in chosen for key in reductions[index].feature_keys()}
        return sum(path.stat().st_size for key in needed if (path := self.store.path(key)).exists())

    def key(self, reduction: Reduction) -> str | None:
        """SHA-256 of all that the score comes from; None for a metric whose settings are not plain data."""
        settings = identity_of(reduction.metric)
        if settings is None:
            return None
        rows = sorted((row.clip, row.identity, self._contents(reduction, row)) for row in reduction.rows)
        labels = sorted((row.clip, row.emotion) for row in reduction.rows if reduction.metric.info.needs_label)
        record = json.dumps([settings, rows, labels] if labels else [settings, rows], sort_keys=True)
        return hashlib.sha256(record.encode("utf-8", "surrogatepass")).hexdigest()

    def _contents(self, reduction: Reduction, row: Row) -> list[str]:
        info = reduction.metric.info
        return [self._content(row.features.get(side, {}).get(name)) for side in info.sides for name in info.backbones]

    def _content(self, key: str | None) -> str:
        """SHA-256 of a file of features: its name says what it was made from, not what it holds."""
        if key is None:
            return ""
        if key not in self._hashes:
            path = self.store.path(key)
            self._hashes[key] = file_sha256(path) if path.exists() else "absent"
        return self._hashes[key]

    def _path(self, key: str) -> Path | None:
        return self.folder / key[:2] / f"{key}.json" if self.folder else None

    def _find(self, key: str) -> Score | None:
        path = self._path(key)
        if key not in self._known and path is not None:
            with contextlib.suppress(OSError, ValidationError):
                self._known[key] = _SCORE.validate_json(path.read_bytes())
        return self._known.get(key)

    def _keep(self, key: str, score: Score) -> None:
        self._known[key], path = score, self._path(key)
        if path is None:
            return
        data = json.dumps(plain(asdict(score))).encode()
        with contextlib.suppress(ValidationError):  # a part that is not finite is not kept for another call
            self._known[key] = _SCORE.validate_json(data)
            with contextlib.suppress(DependencyError, OSError), atomic_path(path) as part:  # the next call takes longer
                part.write_bytes(data)


def plain(value: Any) -> Any:
    """JSON types only; NaN and infinity become null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def kept_scores() -> Path:
    """Where runs share their scores."""
    return paths.cache_dir() / "scores"


@contextmanager
def one_reference() -> Iterator[None]:
    """Frees what metrics keep of the last reference side when the scores are made."""
    from floatbench.metrics.frechet import forget_reference  # with it comes torch, which a refused call does not need

    try:
        yield
    finally:
        forget_reference()


def _computed(store: FeatureStore, reduction: Reduction) -> Score | None:
    try:
        return reduction.compute(store)
    except ClipError:  # said again, clip by clip, where the score is asked for
        return None


def identity_of(metric: Metric) -> dict[str, Any] | None:
    """What decides a metric's scores beside the features: class, settings, code and libraries; JSON types."""
    try:
        settings = _described(vars(metric))
    except TypeError:
        return None
    codes = [code_of(type(metric)), *(code_of(function.__module__) for function in _functions(vars(metric)))]
    return {
        "class": f"{type(metric).__module__}.{type(metric).__qualname__}",
        "settings": settings,
        "code": [_listed(code) for code in codes],
        "contract": _contract(),
    }


def _listed(code: Code) -> list[Any]:
    return [sorted(code.sources.items()), sorted(code.libraries.items())]


@cache
def _contract() -> str:
    """The guard of all metrics is in the contract's module, which counts as deciding nothing for a backbone."""
    return file_sha256(Path(getfile(base)))


def _described(value: Any) -> Any:
    """Settings as JSON types; raises TypeError for what has no lasting description."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, partial):
        return ["partial", _described(value.func), _described(value.args), _described(value.keywords)]
    if isinstance(value, FunctionType) and "<" not in value.__qualname__:
        return ["function", value.__module__, value.__qualname__]
    if isinstance(value, slice):
        return ["slice", value.start, value.stop, value.step]
    if isinstance(value, Metric):
        return identity_of(value) or _described(object())
    if is_dataclass(value) and not isinstance(value, type):
        return [type(value).__qualname__, _described(vars(value))]
    if isinstance(value, Mapping):
        return [[_described(key), _described(item)] for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [_described(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no lasting description")


def _functions(value: Any) -> Iterator[FunctionType]:
    """The functions among settings."""
    if isinstance(value, FunctionType):
        yield value
    elif isinstance(value, partial):
        yield from _functions([value.func, *value.args, *value.keywords.values()])
    elif isinstance(value, Mapping):
        yield from _functions(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _functions(item)
