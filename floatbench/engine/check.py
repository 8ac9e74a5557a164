"""The response matrix: how every metric answers to known damage, read off a run with controls of rising strength.

A metric that does not react to a damage cannot see it (a sound metric should ignore blur); the matrix shows what each
one sees, in which direction, how steadily. Nothing here decodes or scores: resuming, workers, failures are the run's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from floatbench.data.dataset import TRUTH_OF_CLIP, Availability, Dataset, Reference
from floatbench.engine import runner
from floatbench.engine.records import ScoreRow
from floatbench.errors import DataError, UsageError
from floatbench.files import atomic_path
from floatbench.methods.controls import control
from floatbench.methods.damage import PICTURE_DAMAGES
from floatbench.metrics import registry
from floatbench.progress import Progress
from floatbench.protocol.protocol import Clip, Protocol
from floatbench.text import near
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia

REACTS = 0.05
"""A metric reacts to a damage whose strongest form moves it by this share of its widest move in the whole matrix."""
SHIFTS = tuple(range(-10, 11))
Direction = Literal["worse", "better", "none", "no score"]


@dataclass(frozen=True)
class Damage:
    """One row of the matrix: a control at rising strengths (`control:strength`)."""

    name: str
    unit: str
    strengths: tuple[float, ...]
    control: str

    def methods(self) -> list[str]:
        return [f"{self.control}:{strength:g}" for strength in self.strengths]


DAMAGES = (
    *(Damage(d.name, d.unit, d.strengths, d.name) for d in PICTURE_DAMAGES.values()),
    Damage("sound-shift", "frames", (2, 5, 10), "shifted"),
    Damage("swapped-sound", "share of the clip", (0.25, 0.5, 1.0), "swapped"),
    Damage("wrong-identity", "share of the clip", (0.25, 0.5, 1.0), "wrong-identity"),
)


def chosen(names: Sequence[str] = (), strengths: int = 3) -> tuple[Damage, ...]:
    """The damages of these names (none = all), each at its `strengths` greatest strengths; UsageError for others."""
    known = [damage.name for damage in DAMAGES]
    for name in names:
        if name not in known:
            raise UsageError(f"unknown damage {name!r}", fix=near(name, known))
    return tuple(replace(d, strengths=d.strengths[-strengths:]) for d in DAMAGES if not names or d.name in names)


@dataclass(frozen=True)
class Response:
    """One cell of the matrix.

    Attributes:
        strengths, scores: the damage's strengths and the metric's scores; `clean` is the score without damage.
        move: score at the greatest strength minus `clean`, None where there is no score.
        share: move divided by the metric's widest move in the matrix, positive = worse.
        direction: what the strongest damage does to the score; `none` when the metric does not react.
        monotonicity: Spearman correlation of strength (0 included) and badness, in -1..1; None when flat.
        failures: failed clips over all strengths.
    """

    metric: str
    damage: str
    strengths: tuple[float, ...]
    clean: float | None
    scores: tuple[float | None, ...]
    move: float | None
    share: float | None
    direction: Direction
    monotonicity: float | None
    failures: int


@dataclass(frozen=True)
class Shift:
    """The offsets a sound metric finds for planted ones, less its offset on the untouched clips (frames)."""

    metric: str
    planted: tuple[int, ...]
    found: tuple[float | None, ...]
    largest_error: float | None


@dataclass(frozen=True)
class CheckResult:
    """The whole matrix and what it was made of."""

    protocol: str
    clips: tuple[str, ...]
    frames: int
    responses: tuple[Response, ...]
    shifts: tuple[Shift, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    failed_clips: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class FirstFrames(Dataset):
    """The clips of another data set, cut to their first frames."""

    def __init__(self, inner: Dataset, frames: int) -> None:
        super().__init__(inner.protocol)
        self._inner, self._frames = inner, frames
        self.auto_prepare = inner.auto_prepare

    def availability(self) -> list[Availability]:
        return self._inner.availability()

    def prepare(self, progress: Progress, workers: int = 1) -> None:
        self._inner.prepare(progress, workers)

    def content_keys(self, clips: Sequence[Clip]) -> dict[str, str]:
        return self._inner.content_keys(clips)

    def load(self, clip: Clip) -> Reference:
        whole = self._inner.load(clip)
        audio = None if whole.media.audio is None else whole.media.audio[: self._frames * SAMPLES_PER_FRAME]
        truth = whole.truth
        if truth is not None:
            truth = {k: v if k in TRUTH_OF_CLIP else v[: self._frames] for k, v in truth.items()}
        return replace(whole, media=ClipMedia(whole.media.frames[: self._frames], audio), truth=truth)


def check(
    protocol: Protocol,
    dataset: Dataset,
    metric_ids: Sequence[str],
    progress: Progress,
    out: Path,
    clips: int = 8,
    frames: int = 75,
    device: str = "auto",
    damages: Sequence[Damage] = DAMAGES,
    workers: int | None = None,
) -> CheckResult:
    """Runs every damage at every strength through the engine and reads the matrix off the scores.

    Args:
        out: the folder of the runs (`run-<protocol hash>-<frames>`); the same call carries on there.
        clips: how many ready clips are used, spread over identities. frames: of each, from its start.
        damages: which, and at which strengths; see `chosen`. workers: see `floatbench run`.

    Raises:
        DataError: no clip is ready. UsageError: an unknown metric.
    """
    cut = FirstFrames(dataset, frames)
    if cut.auto_prepare:
        cut.prepare(progress)
    ids = tuple(_spread_over_people(protocol, cut, clips))
    methods = ["reference", *(name for damage in damages for name in damage.methods())]
    options = runner.RunOptions(
        methods=methods, metrics=list(metric_ids), controls=False, clips=ids, workers=workers, device=device,
        skip_unavailable=True, keep_videos=False, out=out / f"run-{protocol.hash[:8]}-{frames}",
    )  # fmt: skip
    plan = runner.plan_run(protocol, cut, options)
    skipped = {m.name: f"{m.what}; fix: {m.fix}" for m in plan.missing if m.name in metric_ids}
    if not plan.metrics:
        return CheckResult(protocol.label, ids, frames, (), (), skipped)
    run = runner.run(protocol, cut, options, progress)
    shifts = _shifts(protocol, cut, options, run, progress)
    failed = {row.clip: f"{row.reason}: {row.detail}" for row in run.failed if row.method == "reference"}
    return CheckResult(
        protocol.label, ids, frames, _responses(run.scores.scores, damages, list(plan.metrics)), shifts, skipped, failed
    )


def _spread_over_people(protocol: Protocol, dataset: Dataset, clips: int) -> list[str]:
    """Ids of ready clips: one of each identity first, then the second ones, in the protocol's order."""
    states = dataset.availability()
    ready = {state.clip_id for state in states if state.state == "ready"}
    seen: dict[str, int] = {}
    rank: list[tuple[int, int, str]] = []
    for position, clip in enumerate(clip for clip in protocol.clips if clip.id in ready):
        seen[clip.identity] = seen.get(clip.identity, 0) + 1
        rank.append((seen[clip.identity], position, clip.id))
    if not rank:
        fix = next((state.fix for state in states if state.fix), None)
        raise DataError(f"no clip of {protocol.id} is ready", fix)
    return [name for _, _, name in sorted(rank)[:clips]]


def _responses(cells: Sequence[ScoreRow], damages: Sequence[Damage], metrics: Sequence[str]) -> tuple[Response, ...]:
    by_name = {(cell.method, cell.metric): cell for cell in cells}
    rows = [(metric, damage) for damage in damages for metric in metrics]
    moves = {
        (metric, damage.name): _move(
            by_name[canonical(damage.methods()[-1]), metric].value, by_name["reference", metric].value
        )
        for metric, damage in rows
    }
    widest = dict.fromkeys(metrics, 0.0)
    for (metric, _), move in moves.items():
        widest[metric] = max(widest[metric], abs(move or 0.0))
    return tuple(
        _response(
            metric,
            damage,
            [by_name[canonical(name), metric] for name in damage.methods()],
            by_name["reference", metric].value,
            moves[metric, damage.name],
            widest[metric],
        )
        for metric, damage in rows
    )


def canonical(name: str) -> str:
    """The name under which the engine runs a control: `freeze:1` is `frozen`."""
    found = control(name)
    return name if found is None else found.name


def _move(last: float | None, clean: float | None) -> float | None:
    return None if last is None or clean is None else last - clean


def _response(
    metric: str, damage: Damage, cells: Sequence[ScoreRow], clean: float | None, move: float | None, widest: float
) -> Response:
    sign = -1.0 if registry.metric(metric).info.higher_is_better else 1.0
    share = None if move is None else sign * move / widest if widest > 0 else 0.0
    direction: Direction = "no score"
    if share is not None:
        direction = "none" if abs(share) < REACTS else "worse" if share > 0 else "better"
    values = tuple(cell.value for cell in cells)
    known = [(0.0, clean), *zip(damage.strengths, values, strict=True)]
    points = [(x, sign * y) for x, y in known if y is not None]
    flat = len(points) < 3 or len({y for _, y in points}) == 1
    rho = None if flat or direction == "none" else float(np.asarray(stats.spearmanr(points)[0]))
    failures = sum(len(cell.failures) for cell in cells)
    return Response(metric, damage.name, damage.strengths, clean, values, move, share, direction, rho, failures)


def _shifts(
    protocol: Protocol, dataset: Dataset, options: runner.RunOptions, run: runner.RunResult, progress: Progress
) -> tuple[Shift, ...]:
    """Planted shifts through the same run, for the metrics that say which offset they found."""
    clean = {cell.metric: cell for cell in run.scores.scores if cell.method == "reference"}
    metrics = [name for name, cell in clean.items() if {"offset", "lag"} & set(cell.details)]
    if not metrics:
        return ()
    planted = {shift: "reference" if shift == 0 else f"shifted:{shift}" for shift in SHIFTS}
    more = replace(options, methods=list(planted.values()), metrics=metrics)
    folder = runner.run(protocol, dataset, more, progress).folder
    values = pd.read_parquet(folder / "clip_values.parquet").to_dict("records")
    offsets = {(v["metric"], v["method"], v["clip"]): v["value"] for v in values if v["name"] in ("offset", "lag")}
    return tuple(_shift(name, offsets, planted) for name in metrics)


def _shift(metric: str, offsets: dict[tuple[str, str, str], float], planted: dict[int, str]) -> Shift:
    """Median over clips of the offset found, less the clip's own offset without a shift."""
    own = {clip: value for (of, method, clip), value in offsets.items() if (of, method) == (metric, "reference")}
    found: list[float | None] = []
    for method in planted.values():
        both = [(offsets.get((metric, method, clip)), value) for clip, value in own.items()]
        moved = [value - before for value, before in both if value is not None]
        found.append(float(np.median(moved)) if moved else None)
    sign = -1.0 if _falls(found) else 1.0  # SyncNet counts late sound as negative
    errors = [abs(sign * f - s) for f, s in zip(found, planted, strict=True) if f is not None]
    return Shift(metric, tuple(planted), tuple(found), max(errors) if errors else None)


def _falls(found: Sequence[float | None]) -> bool:
    known = [f for f in found if f is not None]
    return len(known) > 1 and known[-1] < known[0]


def draw(result: CheckResult, target: Path) -> None:
    """The matrix as a picture: red = the metric calls it worse, blue = better; see `label` for the numbers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys(r.metric for r in result.responses))
    damages = list(dict.fromkeys(r.damage for r in result.responses))
    if not metrics:
        raise UsageError("no metric could be checked; there is nothing to draw")
    cells = {(r.damage, r.metric): r for r in result.responses}
    shares = np.array([[cells[d, m].share or 0.0 for m in metrics] for d in damages])
    figure = Figure(figsize=(3.2 + 1.25 * len(metrics), 1.9 + 0.42 * len(damages)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    axes.set_xticks(range(len(metrics)), metrics, rotation=30, ha="right")
    axes.set_yticks(range(len(damages)), damages)
    for row, damage in enumerate(damages):
        for column, metric in enumerate(metrics):
            dark = abs(shares[row, column]) > 0.6
            text = label(cells[damage, metric])
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    figure.colorbar(image, ax=axes, label="share of the metric's widest move (red = worse)")
    axes.set_title(f"{result.protocol}: {len(result.clips)} clips of up to {result.frames} frames", fontsize=10)
    with atomic_path(target) as partial:
        figure.savefig(partial, dpi=130)


def label(cell: Response) -> str:
    """`+0.42 ρ1.0`: signed share of the widest move (positive = worse) and monotonicity; `.` where nothing moves."""
    if cell.share is None:
        return "n/a"
    if cell.direction == "none":
        return "."
    rho = "" if cell.monotonicity is None else f" ρ{cell.monotonicity:.1f}"
    return f"{cell.share:+.2f}{rho}"
