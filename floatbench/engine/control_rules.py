"""What a sound metric must do with the control systems, checked in every run that has them.

The rules compare a control's score with those of `reference` and `reencoded`. A metric that breaks one is flagged in
every table; the thresholds ("far", "about equal") are stated here once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from floatbench.engine.records import ControlCheck, MetricRecord, ScoreRow

Cells = dict[str, ScoreRow]
SOUND_CONTROLS = ("shifted:5", "shifted:20", "swapped")


def check_controls(
    records: dict[str, MetricRecord], cells: Sequence[ScoreRow], blind: Collection[str] = ()
) -> list[ControlCheck]:
    """One entry per metric and rule whose controls were run; `blind` controls are not what they say and judge none."""
    checks = []
    for metric, record in records.items():
        mine = {cell.method: cell for cell in cells if cell.metric == metric and cell.value is not None}
        mine = {name: cell for name, cell in mine.items() if name not in blind}
        for rule in RULES.get(record.column) or RULES.get(record.column.partition(" (")[0], ()):
            checks += rule(metric, record, mine)
    return checks


Rule = Callable[[str, MetricRecord, Cells], list[ControlCheck]]


def _value(cells: Cells, name: str) -> float | None:
    cell = cells.get(name)
    return None if cell is None else cell.value


def _check(metric: str, rule: str, held: bool, detail: str) -> list[ControlCheck]:
    return [ControlCheck(metric=metric, rule=rule, held=bool(held), detail=detail)]


def reference_is_zero(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
    """A distribution is at distance 0 from itself, up to rounding (1e-6 of the largest control's distance, or 1e-6)."""
    zero = _value(cells, "reference")
    if zero is None:
        return []
    largest = max((cell.value or 0.0 for cell in cells.values()), default=0.0)
    return _check(metric, "reference is 0", abs(zero) <= 1e-6 * max(1.0, largest), f"reference {zero:.3g}")


def reference_is_not_above_zero(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
    """An unbiased estimate of a set's distance from itself lies a little below 0, by about 2/n."""
    own = _value(cells, "reference")
    if own is None:
        return []
    largest = max((cell.value or 0.0 for cell in cells.values()), default=0.0)
    return _check(metric, "reference is not above 0", own <= 1e-6 * max(1.0, largest), f"reference {own:.3g}")


def sound_changes_nothing(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
    """A picture metric gives the same number with moved or swapped sound."""
    base = _value(cells, "reference")
    found = {name: value for name in SOUND_CONTROLS if (value := _value(cells, name)) is not None}
    if base is None or not found:
        return []
    same = all(abs(value - base) <= 1e-9 * max(1.0, abs(base)) for value in found.values())
    return _check(metric, "sound changes nothing", same, ", ".join(f"{k} {v:.4g}" for k, v in found.items()))


def far_worse(name: str, than: str, factor: float) -> Rule:
    """Distance of control `name` at least `factor` times that of `than`."""

    def rule(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
        value, base = _value(cells, name), _value(cells, than)
        if value is None or base is None:
            return []
        return _check(
            metric, f"{name} far worse than {than}", value > factor * max(base, 0.0), f"{value:.4g} against {base:.4g}"
        )

    return rule


def identity_is_lowest(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
    """The similarity of another person is below that of every other system, by at least 0.1."""
    wrong = _value(cells, "wrong-identity")
    others = {name: cell.value for name, cell in cells.items() if name != "wrong-identity" and cell.value is not None}
    if wrong is None or not others:
        return []
    nearest = min(others, key=lambda name: others[name])
    return _check(
        metric,
        "wrong-identity far below all",
        wrong < others[nearest] - 0.1,
        f"{wrong:.3f}, next {nearest} {others[nearest]:.3f}",
    )


def identity_is_told_apart(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
    """Another person is less than half as similar as the person: networks that know no faces call everybody alike."""
    wrong, right = _value(cells, "wrong-identity"), _value(cells, "reference")
    if wrong is None or right is None:
        return []
    rule = "wrong-identity below half of reference"
    return _check(metric, rule, wrong < 0.5 * right, f"{wrong:.3f} against {right:.3f}")


def reference_is_best(best: float) -> Rule:
    """A video against itself has the best value there is; what is encoded again is nearer to it than another person."""

    def rule(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
        own, mild, wrong = (_value(cells, name) for name in ("reference", "reencoded", "wrong-identity"))
        checks = []
        if own is not None:
            checks += _check(metric, f"reference is {best:g}", abs(own - best) <= 1e-9 * best, f"{own:.4g}")
        if mild is not None and wrong is not None:
            detail = f"{wrong:.4g} against {mild:.4g}"
            checks += _check(metric, "wrong-identity worse than reencoded", wrong < mild, detail)
        return checks

    return rule


def sync_is_kept(within: float) -> Rule:
    """`reencoded` and `shifted:5` score like `reference`, up to that share: the offset search finds a shift of 5."""

    def rule(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
        base = _value(cells, "reference")
        checks = []
        for name in ("reencoded", "shifted:5"):
            value = _value(cells, name)
            if base is not None and value is not None:
                held, detail = abs(value - base) <= within * abs(base), f"{value:.4g} against {base:.4g}"
                checks += _check(metric, f"{name} about equal to reference", held, detail)
        return checks

    return rule


def clearly_worse(*names: str) -> Rule:
    """These controls score worse than `reference` by more than 2 % of it."""

    def rule(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
        base = _value(cells, "reference")
        sign = 1.0 if record.higher_is_better else -1.0
        checks = []
        for name in names:
            value = _value(cells, name)
            if base is not None and value is not None:
                held, detail = sign * (base - value) > 0.02 * abs(base), f"{value:.4g} against {base:.4g}"
                checks += _check(metric, f"{name} clearly worse than reference", held, detail)
        return checks

    return rule


sync_is_lost = clearly_worse("shifted:20", "swapped", "frozen", "frozen-reencoded")


def stillness_earns_little(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
    """A re-encoded still picture earns less than a quarter of `reference`, or what cannot be told from nothing.

    A judge that takes the best of many lags finds something in noise, too.
    """
    still, base = cells.get("frozen-reencoded"), _value(cells, "reference")
    if still is None or still.value is None or base is None:
        return []
    held = still.value < 0.25 * base or (still.interval is not None and still.interval["low"] <= 0)
    rule = "frozen-reencoded below a quarter of reference"
    return _check(metric, rule, held, f"{still.value:.4g} against {base:.4g}")


def about_equal(name: str, within: float) -> Rule:
    """Control `name` scores like `reference`, up to that share of it."""

    def rule(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
        value, base = _value(cells, name), _value(cells, "reference")
        if value is None or not base:
            return []
        held = abs(value - base) <= within * abs(base)
        return _check(metric, f"{name} about equal to reference", held, f"{value:.4g} against {base:.4g}")

    return rule


def stillness_does_nothing(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
    """A still picture has none of what the measure counts; after encoding it has less than a quarter of `reference`."""
    base, still, trembling = (_value(cells, name) for name in ("reference", "frozen", "frozen-reencoded"))
    checks = []
    if still is not None and base:
        checks += _check(metric, "frozen is 0", abs(still) <= 1e-6 * base, f"{still:.4g} against {base:.4g}")
    if trembling is not None and base:
        rule = "frozen-reencoded below a quarter of reference"
        checks += _check(metric, rule, trembling < 0.25 * base, f"{trembling:.4g} against {base:.4g}")
    return checks


def stillness_is_far(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
    """Both still pictures are more than half of the way from the reference (0) to a clip that does nothing (1)."""
    found = {name: value for name in ("frozen", "frozen-reencoded") if (value := _value(cells, name)) is not None}
    checks = []
    for name, value in found.items():
        checks += _check(metric, f"{name} above a half", value > 0.5, f"{value:.4g}")
    return checks


def drift_is_seen(name: str) -> Rule:
    """Control `name` drifts by more than 1.25 times `reference`; `reencoded` goes at most a quarter of that way."""

    def rule(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
        seen, base, mild = (_value(cells, one) for one in (name, "reference", "reencoded"))
        if seen is None or base is None:
            return []
        checks = _check(metric, f"{name} drifts", seen > 1.25 * base, f"{seen:.4g} against {base:.4g}")
        if mild is not None:
            held, detail = abs(mild - base) <= 0.25 * abs(seen - base), f"{mild:.4g}, {base:.4g} to {seen:.4g}"
            checks += _check(metric, f"reencoded drifts less than {name}", held, detail)
        return checks

    return rule


def stillness_stands(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
    """Nothing drifts in a still picture, up to rounding."""
    still = _value(cells, "frozen")
    return [] if still is None else _check(metric, "frozen is 0", abs(still) <= 1e-5, f"{still:.4g}")


def prefers_the_own_sound(metric: str, record: MetricRecord, cells: Cells) -> list[ControlCheck]:
    """A judge of lips and sound is right more often than a coin, and what is generated changes nothing about it."""
    base = _value(cells, "reference")
    if base is None:
        return []
    same = all(abs((cell.value or 0.0) - base) <= 1e-9 for cell in cells.values())
    checks = _check(metric, "better than chance", base > 0.5, f"{base:.3f}")
    return checks + _check(metric, "the same beside every method", same, f"{len(cells)} methods")


_FRECHET: tuple[Rule, ...] = (reference_is_zero, sound_changes_nothing)
_MOTION: tuple[Rule, ...] = (
    *_FRECHET,
    far_worse("frozen", "reencoded", 2.0),
    far_worse("frozen-reencoded", "reencoded", 2.0),
)
_KERNEL: tuple[Rule, ...] = (reference_is_not_above_zero, sound_changes_nothing)
_KERNEL_MOTION: tuple[Rule, ...] = (*_KERNEL, *_MOTION[len(_FRECHET) :])
_SYNC: tuple[Rule, ...] = (sync_is_kept(within=0.10), sync_is_lost)
_LIVELY: tuple[Rule, ...] = (
    sound_changes_nothing,
    about_equal("reencoded", 0.1),
    about_equal("mirrored", 0.1),
    stillness_does_nothing,
)
_GAP: tuple[Rule, ...] = (
    reference_is_zero,
    sound_changes_nothing,
    stillness_is_far,
    far_worse("frozen", "reencoded", 2.0),
    far_worse("wrong-identity", "reencoded", 1.0),
)
_CALM: tuple[Rule, ...] = (sound_changes_nothing, stillness_does_nothing, far_worse("jitter:4", "reference", 1.25))
_BESIDE: tuple[Rule, ...] = (
    reference_is_zero,
    sound_changes_nothing,
    far_worse("frozen", "reencoded", 2.0),
    far_worse("wrong-identity", "reencoded", 2.0),
)
_EMOTION: tuple[Rule, ...] = (
    sound_changes_nothing,
    about_equal("reencoded", 0.1),
    about_equal("mirrored", 0.1),
    clearly_worse("emotion-flat"),
)
_GAP_COLUMNS = (
    "HEAD-DIV", "BLINKS", "GAZE", "JERK", "FLICKER", "FLICKER (face)", "LIPS", "HEAD", "THEval lips",
    "THEval head (MediaPipe)", "THEval brows",
)  # fmt: skip
RULES: dict[str, tuple[Rule, ...]] = {
    "FID": (*_FRECHET, far_worse("wrong-identity", "reencoded", 5.0)),
    "FVD": _MOTION,
    "E-FID": _MOTION,
    "P-FID": _MOTION,
    "KID": (*_KERNEL, far_worse("wrong-identity", "reencoded", 5.0)),
    "KVD": _KERNEL_MOTION,
    "E-KID": _KERNEL_MOTION,
    "CMMD": (*_FRECHET, far_worse("wrong-identity", "reencoded", 5.0)),
    "JEDi": _MOTION,
    "DESYNC": (about_equal("reencoded", 0.25), clearly_worse("shifted:20", "swapped")),
    "CSIM": (identity_is_lowest, identity_is_told_apart, sound_changes_nothing),
    "LSE-D": _SYNC,
    "LSE-C": _SYNC,
    "AVCORR": (*_SYNC, stillness_earns_little),
    # without its chance the value is smaller, its noise is not: a lag found by chance leaves the window with the shift
    "AVCORR (excess)": (sync_is_kept(within=0.25), sync_is_lost, stillness_earns_little),
    # a crop that wanders is not a head that turns
    "HEAD-DIV": (*_LIVELY, about_equal("crop-drift:8", 0.25)),
    "BLINKS": _LIVELY,
    "GAZE": _LIVELY,
    "JERK": (*_CALM, about_equal("crop-drift:8", 0.25)),
    "FLICKER": _CALM,
    "FLICKER (face)": _CALM,
    "LIPS": _LIVELY,
    "HEAD": (*_LIVELY, about_equal("crop-drift:8", 0.25)),
    "THEval lips": _LIVELY,
    "THEval head": (*_LIVELY, about_equal("crop-drift:8", 0.25)),
    "THEval brows": _LIVELY,
    "EMO-FID": (*_FRECHET, far_worse("emotion-flat", "reencoded", 2.0)),
    "EMO-ACC": _EMOTION,
    "EMO-PROB": _EMOTION,
    "THEval silent lips": (about_equal("reencoded", 0.25), clearly_worse("shifted:20", "swapped")),
    "THEval lip-sync": (about_equal("reencoded", 0.1), sync_is_lost),
    **dict.fromkeys(("LMD", "AED", "APD", "DTW lips", "DTW head", "LPIPS"), _BESIDE),
    "PSNR": (reference_is_best(100.0), sound_changes_nothing),
    "SSIM": (reference_is_best(1.0), sound_changes_nothing),
    "BEAT-ALIGN": (about_equal("reencoded", 0.25), clearly_worse("shifted:5", "shifted:20", "swapped")),
    **{f"JUDGE-ACC {judge}": (prefers_the_own_sound,) for judge in ("LSE", "AVCORR", "THEval lip-sync", "DESYNC")},
    "DRIFT CSIM": (sound_changes_nothing, stillness_stands, drift_is_seen("wrong-identity:0.5")),
    "DRIFT sharpness": (sound_changes_nothing, stillness_stands, drift_is_seen("fade:20")),
    "DRIFT colour": (sound_changes_nothing, stillness_stands, drift_is_seen("fade:20")),
    "DRIFT place": (sound_changes_nothing, stillness_stands, drift_is_seen("crop-drift:8")),
    "DRIFT lips": (sound_changes_nothing, stillness_stands, drift_is_seen("freeze:0.5")),
    **{f"DRIFT {judge}": (drift_is_seen("swapped:0.5"),) for judge in ("LSE-D", "LSE-C", "AVCORR")},
    **{f"{column} (gap)": _GAP for column in _GAP_COLUMNS},
    **{f"{column} (gap)": (reference_is_zero,) for column in ("THEval silent lips", "THEval lip-sync")},
}
"""Rules by column; "E-FID (MediaPipe)" keeps those of "E-FID"."""
