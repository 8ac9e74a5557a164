"""Reduce: from rows and features to scores, with coverage, replicates and the common subset."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from floatbench.engine.features import FeatureStore
from floatbench.engine.judges import self_judged
from floatbench.engine.plan import Plan
from floatbench.engine.records import MetricRecord, Row, ScoreRow
from floatbench.engine.reduction import Reducer, Reduction, one_reference, pair_of, plain
from floatbench.errors import ClipError
from floatbench.metrics import paired
from floatbench.metrics.base import Backbone, DistanceFolds, Folds, Interval, Metric, Score, guarded_value
from floatbench.metrics.statistics import MIN_IDENTITIES, content_seed

Rows = dict[tuple[str, str, int], Row]
Reduce = Callable[[Metric, Sequence[Row]], Score]


def score_method(
    plan: Plan,
    rows: Rows,
    store: FeatureStore,
    method: str,
    metric_id: str,
    common: set[str],
    reduce: Reduce | None = None,
) -> ScoreRow:
    """One cell of the table: the mean over replicates, with what failed in any of them and why.

    A clip counts where every replicate has it; one replicate below the coverage floor voids the mean.

    Args:
        common: the clips of a second score for comparison with other methods; empty for none.
        reduce: makes the scores; by default from the features, whatever was kept of another call.
    """
    metric = plan.metrics[metric_id]
    reduce = reduce or (lambda metric, chosen: Reduction(metric, tuple(chosen)).compute(store))
    results = [_replicate(plan, rows, reduce, method, metric, replicate) for replicate in range(plan.replicates)]
    first = results[0]
    values = [_finite(result.value) for result in results]
    failures = _failures(results)
    measured = {clip.id for clip in plan.available} - failures.keys()
    interval, no_interval = _interval(results, metric_id)
    row = ScoreRow(
        method=method,
        metric=metric_id,
        column=metric.info.column,
        value=_mean(values),
        void=min(_coverage(plan, result) for result in results) < plan.protocol.coverage_floor,
        n=len(measured) if len(results) > 1 else first.n,
        n_available=len(plan.available),
        n_protocol=len(plan.protocol.clips),
        interval=asdict(interval) if interval else None,
        no_interval=no_interval,
        replicate_values=values if plan.replicates > 1 else [],
        replicate_spread=statistics.stdev(known) if len(known := [v for v in values if v is not None]) > 1 else None,
        failures=failures,
        details=plain(first.details),
        pictures=sum(result.pictures for result in results),
        of_pictures=sum(result.of_pictures for result in results),
        marks=[
            *dict.fromkeys(mark for result in results for mark in result.marks),
            *self_judged(plan.methods.get(method, {}), metric.info.backbones),
        ],
        folds=_all_folds(results),
    )
    if common and common != measured:
        again = [_on(common, rows, reduce, method, metric, r) for r in range(plan.replicates)]
        row.common_value = _mean([_finite(score.value) for score in again])
        row.common_n, row.common_folds = len(common), _all_folds(again)
    return row


def _interval(results: Sequence[Score], metric_id: str) -> tuple[Interval | None, str]:
    """The interval of the mean over replicates: that of the clips, with the spread over seeds added."""
    folds = _all_folds(results)
    if len(results) == 1:
        return results[0].interval, results[0].no_interval
    if not folds:
        return None, next((r.no_interval for r in results if r.no_interval), "the metric keeps no parts of its score")
    return paired.score_interval(folds, content_seed(metric_id))


def _all_folds(results: Sequence[Score]) -> list[Folds]:
    """The folds of every replicate; none where one of them has none."""
    found = [result.folds for result in results if result.folds is not None and result.value is not None]
    return found if len(found) == len(results) else []


def dependent(rows: Iterable[Row]) -> str:
    """Why the clips of a method cannot be told apart as independent; empty when they can.

    A control that borrows one other clip for all of its own shows the same pictures again and again.
    """
    partners = [row.details.get("partner") for row in rows]
    distinct = {partner for partner in partners if partner}
    if not distinct or len(distinct) >= min(MIN_IDENTITIES, len(partners)):
        return ""
    return f"its {len(partners)} clips borrow from the same {len(distinct)} and are not independent"


def _honest(score: Score, rows: Iterable[Row]) -> Score:
    """The score without an interval where its clips are not independent."""
    why = dependent(rows)
    if not why or score.value is None:
        return score
    folds = score.folds
    if isinstance(folds, DistanceFolds):
        folds = replace(folds, left_out=(), why=why)
    elif folds is not None:
        folds = replace(folds, why=why)
    return replace(score, interval=None, no_interval=why, folds=folds)


def _coverage(plan: Plan, score: Score) -> float:
    """Share of the available clips' pictures that were measured; a failed clip counts as none of its pictures."""
    return score.n / len(plan.available) * score.measured_share if plan.available else 0.0


def _failures(results: Sequence[Score]) -> dict[str, str]:
    """Clip -> why it failed in the first replicate where it did, which is named unless all failed alike."""
    found: dict[str, str] = {}
    for clip in sorted({clip for result in results for clip in result.failures}):
        said = {number: result.failures[clip] for number, result in enumerate(results) if clip in result.failures}
        number, why = next(iter(said.items()))
        alike = len(said) == len(results) and len(set(said.values())) == 1
        found[clip] = why if alike else f"{why} (replicate {number})"
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean over replicates; None where one of them has no value."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _on(clips: set[str], rows: Rows, reduce: Reduce, method: str, metric: Metric, replicate: int) -> Score:
    """The score of one replicate on some of its clips; without a value where they are too few for any."""
    chosen = _ok_rows(rows, method, replicate, clips)
    try:
        return _honest(reduce(metric, chosen), chosen)
    except ClipError as error:
        return Score(metric.info.id, None, 0, no_interval=str(error))


def _replicate(plan: Plan, rows: Rows, reduce: Reduce, method: str, metric: Metric, replicate: int) -> Score:
    """The corpus score over the clips that were generated; the others are added to the failures."""
    failures: dict[str, str] = {}
    chosen = []
    for clip in plan.available:
        row = rows.get((method, clip.id, replicate))
        if row is None:
            failures[clip.id] = "missing: no row"
        elif row.status == "failed":
            failures[clip.id] = f"{row.reason}: {row.detail}"
        else:
            chosen.append(row)
    if not chosen:
        return Score(metric.info.id, None, 0, failures, no_interval="no clip was measured")
    try:
        score = _honest(reduce(metric, chosen), chosen)
        if score.value is not None and not math.isfinite(score.value):
            raise ClipError("not_finite", f"{metric.info.id} is {score.value}")
    except ClipError as error:  # too little material for any score at all, or a metric that guards nothing
        failures |= {row.clip: str(error) for row in chosen}
        return Score(metric.info.id, None, 0, failures, no_interval=str(error))
    return replace(score, failures={**failures, **score.failures})


def _ok_rows(rows: Rows, method: str, replicate: int, clips: set[str]) -> list[Row]:
    found = (row for row in rows.values() if (row.method, row.replicate, row.status) == (method, replicate, "ok"))
    return sorted((row for row in found if row.clip in clips), key=lambda row: row.clip)


def common_clips(plan: Plan, cells: Iterable[ScoreRow]) -> dict[str, set[str]]:
    """Per metric, the clips that every ranked method has; controls do not narrow it."""
    everything = {clip.id for clip in plan.available}
    common: dict[str, set[str]] = {}
    for cell in cells:
        if not plan.is_control(cell.method):
            common[cell.metric] = common.get(cell.metric, everything) - set(cell.failures)
    return common


def score_all(
    plan: Plan, rows: Rows, store: FeatureStore, advance: Callable[[str], None], reducer: Reducer | None = None
) -> list[ScoreRow]:
    """Every cell; a second pass adds the common-subset value where methods have different clips."""
    reducer = reducer or Reducer(store)
    names = [(method, metric_id) for method in plan.methods for metric_id in plan.metrics]
    with one_reference():
        _prepare(plan, rows, names, reducer, advance)
        cells = [score_method(plan, rows, store, *name, set(), reducer) for name in names]
        common = common_clips(plan, cells)
        everything = {clip.id for clip in plan.available}
        narrowed = {
            index: shared
            for index, cell in enumerate(cells)
            if (shared := common.get(cell.metric, everything))
            and shared != everything
            and not plan.is_control(cell.method)
        }
        reducer.prepare([r for i, shared in narrowed.items() for r in _of_cell(plan, rows, names[i], shared)])
        for index, shared in narrowed.items():
            cells[index] = score_method(plan, rows, store, *names[index], shared, reducer)
    return cells


def _prepare(
    plan: Plan, rows: Rows, names: Sequence[tuple[str, str]], reducer: Reducer, advance: Callable[[str], None]
) -> None:
    """Makes the scores of all cells in several processes, counting the cells that are done."""
    reductions, owners = list[Reduction](), list[tuple[str, str]]()
    for name in names:
        found = _of_cell(plan, rows, name, {clip.id for clip in plan.available})
        reductions += found
        owners += [name] * len(found)
    left = Counter(owners)
    for name in names:
        if not left[name]:
            advance(" ".join(name))

    def done(index: int) -> None:
        left[owners[index]] -= 1
        if not left[owners[index]]:
            advance(" ".join(owners[index]))

    reducer.prepare(reductions, done)


def _of_cell(plan: Plan, rows: Rows, name: tuple[str, str], clips: set[str]) -> list[Reduction]:
    """The reductions of one method and metric, one a replicate, on some clips."""
    method, metric_id = name
    chosen = [_ok_rows(rows, method, replicate, clips) for replicate in range(plan.replicates)]
    return [Reduction(plan.metrics[metric_id], tuple(found)) for found in chosen if found]


def metric_record(metric: Metric, plan: Plan) -> MetricRecord:
    """The identity of a column, as scores.json keeps it."""
    from floatbench import weights

    used: dict[str, Backbone] = {name: plan.backbones[name] for name in metric.info.backbones}
    settings = plan.protocol.settings.get(metric.info.id, {})
    hashes = {name: digest for backbone in used.values() for name, digest in backbone.weight_hashes().items()}
    registered = {name for backbone in used.values() for name in backbone.weights}  # bundled networks are not
    bundled = {name: b.licence for b in used.values() for name in b.weight_hashes() if name not in registered}
    return MetricRecord(
        id=metric.info.id,
        column=metric.info.column,
        higher_is_better=metric.info.higher_is_better,
        level=metric.info.level,
        tiny=metric.info.tiny,
        backbones={name: plan.fingerprints[name] for name in used},
        made_with={name: backbone.made_with(plan.device) for name, backbone in used.items()},
        weights=hashes,
        licences={name: weights.entry(name).licence for name in sorted(registered)} | bundled,
        fabricated=sorted(name for name in registered if weights.is_fabricated(name)),
        settings={name: backbone.settings() for name, backbone in used.items()} | {metric.info.id: settings},
    )


def clip_values(plan: Plan, rows: Rows, store: FeatureStore) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Per-clip numbers and per-frame tracks of every row and metric, as flat records for Parquet."""
    values: list[dict[str, Any]] = []
    tracks: list[dict[str, Any]] = []
    for key in sorted(rows):
        row = rows[key]
        if row.status != "ok" or row.method not in plan.methods:
            continue
        for metric_id, metric in plan.metrics.items():
            base = {"method": row.method, "clip": row.clip, "replicate": row.replicate, "metric": metric_id}
            try:
                found = guarded_value(metric, pair_of(row, store))
            except ClipError as error:
                values.append({**base, "name": "value", "value": None, "failure": str(error)})
                continue
            numbers = {"value": found.value, **found.extra}
            values += [
                {**base, "name": name, "value": _finite(number), "failure": ""} for name, number in numbers.items()
            ]
            tracks += [{**base, "name": name, "values": array.tolist()} for name, array in found.tracks.items()]
    return values, tracks


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def unranked_because(
    plan: Plan, records: Sequence[MetricRecord], descriptions: dict[str, dict[str, Any]], rows: Rows
) -> list[str]:
    """Why the scores of this run may not enter a ranking; empty when they may."""
    reasons = []
    if plan.subset is not None:
        reasons.append(f"only {len(plan.clips)} of {len(plan.protocol.clips)} clips were run")
    if plan.rejected:
        reasons.append(f"{len(plan.rejected)} clips were rejected by preprocessing")
    absent = len(plan.clips) - len(plan.available) - len(plan.rejected)
    if absent:
        reasons.append(f"{absent} clips are not on this machine")
    fabricated = sorted({name for record in records for name in record.fabricated})
    fabricated += sorted(name for name, described in descriptions.items() if described.get("fabricated"))
    if any("fabricated_boxes" in row.flags for row in rows.values()):
        fabricated.append("face boxes")
    if fabricated:
        reasons.append(f"unscorable: seeded random weights ({', '.join(fabricated)})")
    for record in records:
        for name, digest in record.weights.items():
            expected = plan.protocol.backbone_weights.get(name)
            if expected and expected != digest and name not in record.fabricated:
                reasons.append(f"{name} is not the file that the protocol names")
    return reasons
