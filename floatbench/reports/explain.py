"""Why two runs differ: what was recorded differently, and what each difference is worth, one factor at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from floatbench.engine.features import FeatureStore
from floatbench.engine.records import Row
from floatbench.errors import ClipError
from floatbench.metrics import registry
from floatbench.metrics.base import Metric, Pair, Side
from floatbench.reports.loading import RecordedRun
from floatbench.reports.table import number
from floatbench.types import Features

SAME_MACHINE, OTHER_MACHINE = 1e-6, 1e-3  # relative; below it two scores count as equal


@dataclass(frozen=True)
class Difference:
    """One recorded difference: protocol, media, weights, code, libraries, packages, seed, subset, device, method ..."""

    factor: str
    what: str
    a: str
    b: str


@dataclass(frozen=True)
class Gap:
    """One score in both runs, and the same score of A with one factor taken from B.

    `steps` maps a factor (clips, settings, weights, features of one side) to the score after it alone was
    changed; `missing` says why a factor could not be tried.
    """

    method: str
    metric: str
    a: float
    b: float
    equal: bool
    steps: dict[str, float]
    missing: dict[str, str]

    @property
    def named(self) -> str:
        """The factor that alone brings A nearest to B; empty when none moves it towards B."""
        closer = {name: abs(value - self.b) for name, value in self.steps.items()}
        best = min(closer, key=lambda name: closer[name], default="")
        return best if best and closer[best] < abs(self.a - self.b) else ""


def differences(a: RecordedRun, b: RecordedRun) -> list[Difference]:
    """Everything that the records of two runs say differently."""
    first, second = a.info.protocol.model_dump(mode="json"), b.info.protocol.model_dump(mode="json")
    for protocol in (first, second):
        protocol["clips"] = {clip["id"]: clip for clip in protocol["clips"]}
        for name in ("title", "licence", "origin", "root", "notes"):
            protocol.pop(name)
    found = _compare("protocol", first, second)
    for name in ("seed", "replicates", "subset"):
        found += _compare(name, {name: getattr(a.info, name)}, {name: getattr(b.info, name)})
    found += _compare("clips", {"available": sorted(a.info.available)}, {"available": sorted(b.info.available)})
    found += _media(a, b)
    for name in sorted({*a.info.metrics} & {*b.info.metrics}):
        one, two = a.info.metrics[name], b.info.metrics[name]
        found += _compare("weights", {f"{name} weights": one.weights}, {f"{name} weights": two.weights})
        found += _compare("settings", {f"{name} settings": one.settings}, {f"{name} settings": two.settings})
    found += _made_with(a, b)
    for name in sorted({*a.info.methods} & {*b.info.methods}):
        found += _compare("method", {name: a.info.methods[name]}, {name: b.info.methods[name]})
    one, two = dict(a.info.environment), dict(b.info.environment)
    found += _compare("packages", {"packages": one.pop("packages", {})}, {"packages": two.pop("packages", {})})
    found += _compare("device", {"device": one.pop("device", None)}, {"device": two.pop("device", None)})
    return found + _compare("environment", one, two)


def _made_with(a: RecordedRun, b: RecordedRun) -> list[Difference]:
    """Code, libraries and device of the backbones that both runs used; each backbone is named once."""
    one, two = ({n: m for r in run.info.metrics.values() for n, m in r.made_with.items()} for run in (a, b))
    shared = {n for v in a.info.metrics.keys() & b.info.metrics.keys() for n in a.info.metrics[v].backbones}
    found = [  # the first version did not keep it
        Difference("code", f"code of {name}", *("recorded" if name in run else "not recorded" for run in (one, two)))
        for name in sorted(shared)
        if (name in one) != (name in two)
    ]
    for factor in ("code", "libraries", "device"):
        for name in sorted(one.keys() & two.keys()):
            place = f"{factor} of {name}"
            found += _compare(factor, {place: one[name].get(factor)}, {place: two[name].get(factor)})
    return found


def _compare(factor: str, a: Any, b: Any, place: str = "") -> list[Difference]:
    """Leaves of two nested records that differ."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        names = sorted({*a, *b}, key=str)
        return [
            found
            for name in names
            for found in _compare(factor, a.get(name), b.get(name), f"{place}.{name}" if place else str(name))
        ]
    return [] if a == b else [Difference(factor, place, _short(a), _short(b))]


def _short(value: Any) -> str:
    if isinstance(value, (list, tuple)) and len(value) > 4:
        return f"{len(value)} entries"
    text = "absent" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _media(a: RecordedRun, b: RecordedRun) -> list[Difference]:
    """Clips whose decoded reference, or whose generated video, differs though method and clip are the same."""
    result = []
    shared = sorted(key for key in {*a.rows} & {*b.rows} if a.rows[key].status == b.rows[key].status == "ok")
    for field, what in (("reference_pixels_sha256", "reference frames"), ("pcm_sha256", "sound")):
        clips = sorted({key[1] for key in shared if getattr(a.rows[key], field) != getattr(b.rows[key], field)})
        if clips:
            result.append(Difference("media", what, f"{len(clips)} clips differ", _short(", ".join(clips))))
    methods: dict[str, int] = {}
    for key in shared:
        if a.rows[key].pixels_sha256 != b.rows[key].pixels_sha256:
            methods[key[0]] = methods.get(key[0], 0) + 1
    result += [Difference("generated", f"videos of {m}", f"{n} clips differ", "") for m, n in methods.items()]
    states = [key for key in {*a.rows} & {*b.rows} if a.rows[key].status != b.rows[key].status]
    if states:
        result.append(Difference("failures", "rows that failed in one run only", str(len(states)), ""))
    return result


def gaps(a: RecordedRun, b: RecordedRun) -> list[Gap]:
    """Every score that both runs have, with what each factor alone is worth where the features allow it."""
    same = a.info.environment.get("device") == b.info.environment.get("device")
    tolerance = SAME_MACHINE if same else OTHER_MACHINE
    found = []
    for cell in a.scores.scores:
        other = b.cell(cell.method, cell.metric)
        if other is None or cell.value is None or other.value is None:
            continue
        equal = abs(cell.value - other.value) <= tolerance * max(abs(cell.value), abs(other.value))
        steps, missing = ({}, {}) if equal else _steps(a, b, cell.method, cell.metric)
        found.append(Gap(cell.method, cell.metric, cell.value, other.value, equal, steps, missing))
    return sorted(found, key=lambda gap: (a.scores.is_control(gap.method), gap.method, gap.metric))


def _steps(a: RecordedRun, b: RecordedRun, method: str, variant: str) -> tuple[dict[str, float], dict[str, str]]:
    one, two = _ok(a, method), _ok(b, method)
    common = sorted(one.keys() & two.keys())
    metric = registry.metric(variant, **a.info.protocol.settings.get(variant, {}))
    other = registry.metric(variant, **b.info.protocol.settings.get(variant, {}))
    store_a, store_b = FeatureStore(a.folder, None), FeatureStore(b.folder, None)
    mixes: dict[str, tuple[Metric, Sequence[str], dict[str, tuple[FeatureStore, dict[str, Row]]]]] = {}
    mine, theirs = (store_a, one), (store_b, two)
    if one.keys() != two.keys():
        mixes["clips"] = (metric, common, {})
    if a.info.protocol.settings.get(variant) != b.info.protocol.settings.get(variant):
        mixes["settings"] = (other, sorted(one), {})
    if a.info.metrics[variant].backbones != b.info.metrics[variant].backbones:
        mixes["weights of all features"] = (metric, common, dict.fromkeys(metric.info.sides, theirs))
    else:  # only features of one network may be mixed
        for side in metric.info.sides:
            if any(one[clip].features.get(side) != two[clip].features.get(side) for clip in common):
                mixes[f"{side} features"] = (metric, common, {side: theirs})
    steps, missing = {}, {}
    for name, (kind, clips, sides) in mixes.items():
        try:
            value = kind.reduce([_pair(clip, mine, sides) for clip in clips]).value
            if value is not None:
                steps[name] = float(value)
        except (ClipError, KeyError) as error:
            missing[name] = f"cannot be scored: {error}"
    return steps, missing


def _ok(run: RecordedRun, method: str) -> dict[str, Row]:
    return {key[1]: row for key, row in run.rows.items() if key[0] == method and key[2] == 0 and row.status == "ok"}


def _pair(
    clip: str, mine: tuple[FeatureStore, dict[str, Row]], sides: dict[str, tuple[FeatureStore, dict[str, Row]]]
) -> Pair:
    def load(side: Side, backbone: str) -> Features:
        store, rows = sides.get(side, mine)
        return store.get(rows[clip].features[side][backbone])

    return Pair(clip, mine[1][clip].identity, load, mine[1][clip].emotion)


def markdown(a: RecordedRun, b: RecordedRun, found: Sequence[Difference], scores: Sequence[Gap]) -> str:
    """Both lists as Markdown."""
    from floatbench.reports.table import escape

    lines = [f"## A = {escape(a.name)}, B = {escape(b.name)}", ""]
    lines += ["| factor | what | A | B |", "|---|---|---|---|"] if found else ["The records say nothing different."]
    lines += [f"| {d.factor} | {escape(d.what)} | {escape(d.a)} | {escape(d.b)} |" for d in found]
    unequal = [gap for gap in scores if not gap.equal]
    lines += ["", f"{len(scores) - len(unequal)} of {len(scores)} shared scores are equal.", ""]
    if unequal:
        lines += ["| method | metric | A | B | A with one factor of B | nearest to B |", "|---|---|---|---|---|---|"]
    for gap in unequal:
        tried = "; ".join(f"{name}: {number(value)}" for name, value in gap.steps.items())
        tried += "".join(f"; {name}: {why}" for name, why in gap.missing.items())
        cells = [
            escape(gap.method),
            gap.metric,
            number(gap.a),
            number(gap.b),
            escape(tried) or "nothing to change",
            gap.named,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
