"""The plan of a run: what is there, what is missing, what is done, and the jobs that remain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from floatbench.data.dataset import Availability, Dataset
from floatbench.engine.features import FeatureStore
from floatbench.engine.inputs import RowInputs, inputs_of
from floatbench.engine.job import Item, Job
from floatbench.engine.matching import match
from floatbench.engine.missing import Missing, lacking, record_of
from floatbench.engine.needs import BOXES
from floatbench.engine.records import Row, kind_of
from floatbench.errors import TRANSIENT_REASONS, DataError, FloatbenchError, UsageError
from floatbench.methods import catalogue, source_video
from floatbench.methods.method import Method, PartnerRule
from floatbench.metrics import registry
from floatbench.metrics.base import Backbone, Metric, Side
from floatbench.metrics.sets import expanded
from floatbench.protocol.protocol import Clip, Protocol
from floatbench.text import near

SIDES: tuple[Side, ...] = ("generated", "reference", "source")


@dataclass(frozen=True)
class Plan:
    """A checked run: metrics with their backbones, clips, methods and what is missing. Nothing is loaded or decoded.

    Attributes:
        clips, available: of this run, in protocol order; the available ones can be given to a method.
        ready: clips of the whole protocol, which controls may borrow from. rejected: clip -> why it was refused.
        methods: name -> what the records keep of it. resolved: name -> the method; empty for a plan out of records.
        keys: name -> what its rows must have been made with, see `Method.key`.
        inputs: method -> clip -> what its rows must have been made from.
        fingerprints: backbone -> what its features must have been made with, on `device`.
        unprepared: clips that the run will prepare first. notes: what was passed over, and what does not match.
    """

    protocol: Protocol
    clips: tuple[Clip, ...]
    subset: list[str] | None
    available: tuple[Clip, ...]
    methods: dict[str, dict[str, Any]]
    metrics: dict[str, Metric]
    replicates: int
    ready: tuple[Clip, ...] = ()
    rejected: dict[str, str] = field(default_factory=dict)
    unprepared: int = 0
    resolved: dict[str, Method] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    backbones: dict[str, Backbone] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    sides: dict[str, tuple[Side, ...]] = field(default_factory=dict)
    inputs: dict[str, dict[str, RowInputs]] = field(default_factory=dict)
    missing: tuple[Missing, ...] = ()
    device: str = "cpu"
    notes: tuple[str, ...] = ()

    @property
    def skipped(self) -> list[str]:
        """Metrics and methods that are left out because something of them is missing."""
        return [item.name for item in self.missing if item.name]

    def is_control(self, method: str) -> bool:
        return kind_of(self.methods[method]) == "control"

    def summary(self) -> dict[str, Any]:
        """The plan as plain data, for `--dry-run`."""
        return {
            "protocol": self.protocol.label,
            "protocol_hash": self.protocol.hash,
            "clips": len(self.clips),
            "available": len(self.available),
            "to_prepare": self.unprepared,
            "rejected": self.rejected,
            "methods": list(self.methods),
            "metrics": list(self.metrics),
            "backbones": sorted(self.backbones),
            "replicates": self.replicates,
            "notes": list(self.notes),
            **record_of(self.missing, self.protocol),
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
            hint = near(unknown[0], known, f"floatbench protocol show {protocol.origin or protocol.id} --clips")
            raise UsageError(f"{unknown[0]!r} is no clip of {protocol.id}", fix=hint)
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
    methods: Sequence[str | Method],
    metric_names: Sequence[str] | None,
    limit: int | None,
    clip_ids: Sequence[str] | None,
    replicates: int,
    device: str = "cpu",
) -> Plan:
    """Checks names, weights and data; anything missing is listed, nothing is loaded or decoded."""
    if replicates < 1:
        raise UsageError(f"--replicates {replicates}: at least one is needed")
    clips, subset = choose_clips(protocol, limit, clip_ids)
    resolved = catalogue.resolve(methods)
    source_video.check_allowed(resolved, protocol)
    wanted = expanded(metric_names if metric_names is not None else protocol.metrics)
    _refuse_mixed_columns(wanted, protocol)
    measures = _find_metrics(wanted, protocol, device)
    matching = match(resolved, protocol.clips, clips)
    sorted_clips = _sort_clips(protocol, clips, dataset)
    ready, available = sorted_clips["ready"], sorted_clips["available"]
    without = matching.lacking | source_video.lacking(resolved, protocol, available, (*ready, *available))
    makers = _find_methods(resolved, without, protocol, device)
    content = dataset.content_keys(list({clip.id: clip for clip in (*ready, *available)}.values()))
    inputs = {
        name: inputs_of(
            method,
            available,
            _candidates(protocol, ready, available, method),
            content,
            protocol.preprocessing.spec,
        )
        for name, method in makers["resolved"].items()
    }
    missing = (*measures.pop("missing"), *makers.pop("missing"), *sorted_clips.pop("missing"))
    return Plan(
        protocol=protocol, clips=tuple(clips), subset=subset, replicates=replicates, missing=missing, device=device,
        inputs=inputs, notes=(*protocol.notes, *matching.notes),
        **measures, **makers, **sorted_clips,
    )  # fmt: skip


def _find_metrics(names: Sequence[str], protocol: Protocol, device: str) -> dict[str, Any]:
    """The metrics that can be computed here with their backbones, and what the others lack."""
    metrics: dict[str, Metric] = {}
    backbones: dict[str, Backbone] = {}
    fingerprints: dict[str, str] = {}
    sides: dict[str, set[Side]] = {}
    missing: list[Missing] = []
    for name in names:
        found = registry.metric(name, **protocol.settings.get(name, {}))
        own: dict[str, Backbone] = {}
        try:
            own = {of: backbones.get(of) or _backbone(of, protocol) for of in found.info.backbones}
            prints = {of: fingerprints.get(of) or backbone.fingerprint(device) for of, backbone in own.items()}
        except (DataError, ImportError) as error:
            missing.append(_metric_lacks(name, own, error))
            continue
        metrics[name] = found
        backbones |= own
        fingerprints |= prints
        for of in own:
            sides.setdefault(of, set()).update(found.info.sides)
    ordered = {of: tuple(side for side in SIDES if side in used) for of, used in sides.items()}
    return {
        "metrics": metrics, "backbones": backbones, "fingerprints": fingerprints, "sides": ordered, "missing": missing,
    }  # fmt: skip


def _metric_lacks(name: str, backbones: dict[str, Backbone], error: DataError | ImportError) -> Missing:
    """All weight files of the metric that are not here; where all are, what the error says."""
    absent = lacking(weight for backbone in backbones.values() for weight in backbone.weights)
    if isinstance(error, ImportError):
        return Missing(
            f"metric {name}: {error}", "pip install 'floatbench[metrics]'", name, thing=error.name or str(error)
        )
    return Missing(f"metric {name}: {error.what}", error.fix or "floatbench doctor", name, absent)


def _backbone(name: str, protocol: Protocol) -> Backbone:
    return registry.backbone(name, **protocol.settings.get(name, {}))


def _find_methods(
    methods: Sequence[Method], without: Mapping[str, DataError], protocol: Protocol, device: str
) -> dict[str, Any]:
    """The methods that can run here with their records and keys, and what the others lack.

    Args:
        without: method -> why nothing of the run can be given to it.

    Raises UsageError for one that was asked for with something that the device does not have.
    """
    resolved: dict[str, Method] = {}
    records: dict[str, dict[str, Any]] = {}
    keys: dict[str, str] = {}
    missing: list[Missing] = []
    for method in methods:
        method.check_device(device)
        try:
            if error := without.get(method.name):
                raise error
            record, key = method.record(), method.key()
        except FloatbenchError as error:
            fix, absent = error.fix or "floatbench doctor", lacking(method.weights)
            what = f"method {method.name}: {error.what}"
            missing.append(Missing(what, fix, method.name, absent, error.what, method.licence))
            continue
        record = source_video.marked(record, protocol) if source_video.asks(method) else record
        resolved[method.name], records[method.name], keys[method.name] = method, record, key
    return {"resolved": resolved, "methods": records, "keys": keys, "missing": missing}


def _sort_clips(protocol: Protocol, clips: Sequence[Clip], dataset: Dataset) -> dict[str, Any]:
    """Which clips are here; those of a data set that a run prepares itself count as available in a dry run."""
    states = {state.clip_id: state for state in dataset.availability()}
    state_of = {clip.id: states[clip.id] for clip in clips if clip.id in states}
    prepared_by_run = {
        name for name, state in state_of.items() if state.state == "unprepared" and dataset.auto_prepare
    }  # fmt: skip
    absent = [
        state for name, state in state_of.items()
        if state.state in ("missing", "unprepared") and name not in prepared_by_run
    ]  # fmt: skip
    here = {name for name, state in state_of.items() if state.state == "ready"} | prepared_by_run
    return {
        "available": tuple(clip for clip in clips if clip.id in here),
        "ready": tuple(clip for clip in protocol.clips if clip.id in states and states[clip.id].state == "ready"),
        "rejected": {n: f"{s.reason}: {s.detail}" for n, s in state_of.items() if s.state == "rejected"},
        "unprepared": len(prepared_by_run),
        "missing": _clips_lack(protocol, len(clips), absent, bool(prepared_by_run)),
    }


def _clips_lack(protocol: Protocol, n_clips: int, absent: Sequence[Availability], to_prepare: bool) -> list[Missing]:
    """The clips that are not here, and the weights that cut their faces out where that is still to be done."""
    missing = []
    boxes = lacking(BOXES.get(protocol.preprocessing.boxes, ())) if absent or to_prepare else ()
    if boxes:
        what = f"face boxes by {protocol.preprocessing.boxes} need weights that are not on this machine"
        missing.append(
            Missing(what, f"floatbench weights fetch {' '.join(boxes)}", weights=boxes, used_by="face boxes")
        )
    if absent:
        fixes = {state.state: state.fix or f"floatbench protocol prepare {protocol.id}" for state in reversed(absent)}
        fix = " && ".join(dict.fromkeys(fixes[state] for state in ("missing", "unprepared") if state in fixes))
        clips = f"{len(absent)} of {n_clips} clips"
        missing.append(
            Missing(f"{clips} are not prepared", fix, thing=clips, licence=protocol.licence, used_by="the run")
        )
    return missing


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


def remaining_jobs(plan: Plan, rows: dict[tuple[str, str, int], Row], store: FeatureStore, retry: bool) -> list[Job]:
    """Jobs for what has no finished row, a row of other weights or another adapter, or one that lacks features.

    Controls run together, so that their reference is decoded once; every other method has a phase of its own, so that
    at most one system is loaded at a time.
    """
    controls = [name for name, method in plan.resolved.items() if not method.ranked]
    phases = [controls] if controls else []
    phases += [[name] for name in plan.methods if name not in controls]
    jobs = []
    for phase in phases:
        for clip in plan.available:
            items = tuple(
                _item(name, clip, replicate, rows.get((name, clip.id, replicate)), plan)
                for name in phase
                for replicate in range(plan.replicates)
                if _open(rows.get((name, clip.id, replicate)), plan, store, retry)
            )
            if items:
                partners = {rule: partners_of(plan.protocol, plan.ready, clip, rule) for rule in get_args(PartnerRule)}
                jobs.append(Job(clip, items, partners, source_video.lenders(plan.protocol, plan.ready, clip)))
    return jobs


def _item(name: str, clip: Clip, replicate: int, row: Row | None, plan: Plan) -> Item:
    """A stored video is handed on only where it was made with what the method is made of now."""
    key = plan.keys.get(name, "")
    stored = row if row is not None and row.method_key == key else None
    return Item(name, replicate, stored, key, plan.inputs[name][clip.id])


def _open(row: Row | None, plan: Plan, store: FeatureStore, retry: bool) -> bool:
    if row is None or row.method_key != plan.keys.get(row.method, ""):
        return True
    if row.inputs != plan.inputs[row.method][row.clip].digest:
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


def partners_of(protocol: Protocol, ready: Sequence[Clip], clip: Clip, rule: PartnerRule) -> tuple[Clip, ...]:
    """The clips that a control may borrow from, best first: other identities in protocol order, or from the clip on.

    By the rule `neutral`: those of the same person that are labelled so, of the same sentence first.
    """
    if rule == "neutral":
        calm = [other for other in ready if other.identity == clip.identity and _emotion(other) == "neutral"]
        sentence = clip.labels.get("statement")
        return tuple(sorted(calm, key=lambda other: (other.id == clip.id, other.labels.get("statement") != sentence)))
    pool = [candidate for candidate in ready if candidate.identity != clip.identity]
    if rule == "first":
        return tuple(pool)
    order = {candidate.id: position for position, candidate in enumerate(protocol.clips)}
    return tuple(sorted(pool, key=lambda candidate: (order[candidate.id] < order[clip.id], order[candidate.id])))


def _emotion(clip: Clip) -> str:
    return clip.labels.get("float_label") or clip.labels.get("emotion", "")


def _candidates(
    protocol: Protocol, ready: Sequence[Clip], clips: Sequence[Clip], method: Method
) -> dict[str, tuple[Clip, ...]]:
    if source_video.asks(method):
        return {clip.id: source_video.lenders(protocol, ready, clip) for clip in clips}
    return {clip.id: partners_of(protocol, ready, clip, method.partner_rule) for clip in clips}
