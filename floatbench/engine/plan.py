"""The plan of a run: what is there, what is missing, what is done, and the jobs that remain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from floatbench.data.dataset import Availability, Dataset
from floatbench.engine.features import FeatureStore
from floatbench.engine.job import Item, Job
from floatbench.engine.records import Row
from floatbench.errors import TRANSIENT_REASONS, DataError, FloatbenchError, UsageError
from floatbench.methods import catalogue
from floatbench.metrics import registry
from floatbench.metrics.base import Backbone, Metric, Side
from floatbench.protocol.protocol import Clip, Protocol


@dataclass(frozen=True)
class Missing:
    """Something a run needs that is not on this machine, and the command that gets it."""

    what: str
    fix: str


@dataclass
class Plan:
    """A checked run: metrics with their backbones, clips, methods and what is missing."""

    protocol: Protocol
    clips: list[Clip]  # of this run, in protocol order
    subset: list[str] | None
    available: list[Clip]  # of this run: prepared, so that a method can be given them
    ready: list[Clip]  # of the whole protocol: what controls may borrow from
    methods: list[str]
    metrics: dict[str, Metric]
    backbones: dict[str, Backbone]
    fingerprints: dict[str, str]
    sides: dict[str, tuple[Side, ...]]
    replicates: int
    missing: list[Missing] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    unprepared: int = 0  # clips that the run will prepare first
    rejected: dict[str, str] = field(default_factory=dict)  # clip id -> why preprocessing refused it
    keys: dict[str, str] = field(default_factory=dict)  # method -> what its rows must have been made with

    def summary(self) -> dict[str, Any]:
        """The plan as plain data, for `--dry-run`."""
        return {
            "protocol": self.protocol.label,
            "protocol_hash": self.protocol.hash,
            "clips": len(self.clips),
            "available": len(self.available),
            "to_prepare": self.unprepared,
            "rejected": self.rejected,
            "methods": self.methods,
            "metrics": list(self.metrics),
            "backbones": sorted(self.backbones),
            "replicates": self.replicates,
            "missing": [{"what": item.what, "fix": item.fix} for item in self.missing],
            "skipped": self.skipped,
        }


def choose_clips(
    protocol: Protocol, limit: int | None, clips: Sequence[str] | None
) -> tuple[list[Clip], list[str] | None]:
    """The clips of a run in protocol order, and their ids when they are not the whole protocol."""
    chosen = list(protocol.clips)
    if clips:
        known = {clip.id for clip in protocol.clips}
        unknown = [name for name in clips if name not in known]
        if unknown:
            raise UsageError(
                f"{unknown[0]!r} is no clip of {protocol.id}", fix=f"floatbench protocol show {protocol.id}"
            )
        chosen = [clip for clip in chosen if clip.id in set(clips)]
    if limit is not None:
        if limit < 1:
            raise UsageError(f"--limit {limit}: at least one clip is needed")
        chosen = chosen[:limit]
    if not chosen:
        raise UsageError(f"{protocol.id} has no clip", fix="give a protocol or folder with at least one video")
    whole = len(chosen) == len(protocol.clips)
    return chosen, None if whole else [clip.id for clip in chosen]


def make_plan(
    protocol: Protocol,
    dataset: Dataset,
    method_names: Sequence[str],
    metric_names: Sequence[str] | None,
    limit: int | None,
    clip_ids: Sequence[str] | None,
    replicates: int,
) -> Plan:
    """Checks names, weights and data; anything missing is listed, nothing is loaded or decoded."""
    if replicates < 1:
        raise UsageError(f"--replicates {replicates}: at least one is needed")
    clips, subset = choose_clips(protocol, limit, clip_ids)
    for name in method_names:
        catalogue.create(name)
    plan = Plan(protocol, clips, subset, [], [], list(method_names), {}, {}, {}, {}, replicates)
    wanted = metric_names if metric_names is not None else protocol.metrics
    _refuse_mixed_columns(wanted, protocol)
    for name in wanted:
        _add_metric(plan, name)
    _look_for_methods(plan)
    _look_for_clips(plan, dataset.availability(), prepares_itself=dataset.auto_prepare)
    return plan


def _add_metric(plan: Plan, name: str) -> None:
    settings = plan.protocol.settings
    found = registry.metric(name, **settings.get(name, {}))
    backbones: dict[str, Backbone] = {}
    fingerprints: dict[str, str] = {}
    try:
        for backbone_id in found.info.backbones:
            known = plan.backbones.get(backbone_id)
            backbones[backbone_id] = known or registry.backbone(backbone_id, **settings.get(backbone_id, {}))
            fingerprints[backbone_id] = backbones[backbone_id].fingerprint()
    except (DataError, ImportError) as error:
        fix = error.fix if isinstance(error, DataError) and error.fix else "pip install -e '.[metrics]'"
        what = error.what if isinstance(error, DataError) else str(error)
        plan.missing.append(Missing(f"metric {name}: {what}", fix))
        plan.skipped.append(name)
        return
    plan.metrics[name] = found
    plan.backbones.update(backbones)
    plan.fingerprints.update(fingerprints)
    for backbone_id in found.info.backbones:
        sides = {*plan.sides.get(backbone_id, ()), *found.info.sides}
        plan.sides[backbone_id] = tuple(side for side in ("generated", "reference", "source") if side in sides)


def _refuse_mixed_columns(names: Sequence[str], protocol: Protocol) -> None:
    """One column, one variant kind: the small bundled networks never share a column with official ones.

    Said of what is asked for, whether its weights are here or not.
    """
    kinds: dict[str, tuple[bool, str]] = {}
    for name in names:
        info = registry.metric(name, **protocol.settings.get(name, {})).info
        first = kinds.setdefault(info.column, (info.tiny, name))
        if first[0] != info.tiny:
            raise UsageError(
                f"{first[1]} and {name} would share the column {info.column}: "
                "bundled offline networks and official ones are never mixed",
                fix="run them as two runs with --metrics",
            )


def _look_for_methods(plan: Plan) -> None:
    for name in list(plan.methods):
        try:
            method = catalogue.create(name)
            method.describe()
            plan.keys[name] = method.key()
        except (DataError, FloatbenchError) as error:
            plan.missing.append(Missing(f"method {name}: {error.what}", error.fix or "floatbench doctor"))
            plan.methods.remove(name)
            plan.skipped.append(name)


def _look_for_clips(plan: Plan, states: Sequence[Availability], prepares_itself: bool) -> None:
    """Sorts the clips; those of a data set that a run prepares itself count as available in a dry run."""
    by_id = {state.clip_id: state for state in states}
    plan.ready = [clip for clip in plan.protocol.clips if clip.id in by_id and by_id[clip.id].state == "ready"]
    missing = []
    for clip in plan.clips:
        state = by_id.get(clip.id)
        if state is not None and state.state == "ready":
            plan.available.append(clip)
        elif state is not None and state.state == "rejected":
            plan.rejected[clip.id] = f"{state.reason}: {state.detail}"
        elif state is not None and state.state == "unprepared" and prepares_itself:
            plan.available.append(clip)
            plan.unprepared += 1
        elif state is not None and state.state in ("missing", "unprepared"):
            missing.append(state)
    if missing:
        fix = missing[0].fix or f"floatbench protocol prepare {plan.protocol.id}"
        plan.missing.append(Missing(f"{len(missing)} of {len(plan.clips)} clips are not prepared", fix))


def remaining_jobs(plan: Plan, rows: dict[tuple[str, str, int], Row], store: FeatureStore, retry: bool) -> list[Job]:
    """Jobs for what has no finished row, a row of other weights or another adapter, or one that lacks features.

    Controls run together, so that their reference is decoded once; every other method has a phase of its own, so that
    at most one system is loaded at a time.
    """
    controls = [name for name in plan.methods if not catalogue.create(name).ranked]
    phases = [controls] if controls else []
    phases += [[name] for name in plan.methods if name not in controls]
    jobs = []
    for phase in phases:
        for clip in plan.available:
            items = tuple(
                _item(name, replicate, rows.get((name, clip.id, replicate)), plan)
                for name in phase
                for replicate in range(plan.replicates)
                if _open(rows.get((name, clip.id, replicate)), plan, store, retry)
            )
            if items:
                jobs.append(Job(clip, items, _partners(plan, clip)))
    return jobs


def _item(name: str, replicate: int, row: Row | None, plan: Plan) -> Item:
    """A stored video is handed on only where it was made with what the method is made of now."""
    key = plan.keys.get(name, "")
    return Item(name, replicate, row if row is not None and row.method_key == key else None, key)


def _open(row: Row | None, plan: Plan, store: FeatureStore, retry: bool) -> bool:
    if row is None or row.method_key != plan.keys.get(row.method, ""):
        return True
    if row.status == "failed":
        return retry or row.reason in TRANSIENT_REASONS
    for name, sides in plan.sides.items():
        for side in sides:
            key = row.features.get(side, {}).get(name)
            current = row.fingerprints.get(name) == plan.fingerprints[name]
            if key is None or not current or not store.has(key):
                return True
    return False


def _partners(plan: Plan, clip: Clip) -> dict[str, tuple[Clip, ...]]:
    """The clips that controls may borrow from, best first: other identities in protocol order, or from the clip on."""
    pool = [candidate for candidate in plan.ready if candidate.identity != clip.identity]
    if not pool:
        return {}
    order = {candidate.id: position for position, candidate in enumerate(plan.protocol.clips)}
    after = [candidate for candidate in pool if order[candidate.id] > order[clip.id]]
    before = [candidate for candidate in pool if order[candidate.id] < order[clip.id]]
    return {"first": tuple(pool), "next": (*after, *before)}
