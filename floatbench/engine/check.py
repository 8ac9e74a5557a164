"""How the metrics of a protocol answer to controlled damage: the response matrix of `floatbench metrics check`.

The generated side is the reference itself, damaged; so every answer has a known cause. A metric need not react to
everything (a sound metric should ignore blur); the matrix shows what each one sees, in which direction, how steadily.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import stats

from floatbench.data.dataset import Dataset
from floatbench.errors import ClipError, DataError, UsageError
from floatbench.methods.damage import DAMAGES, Damage, sound_shift
from floatbench.metrics import registry
from floatbench.metrics.base import Backbone, Metric, Pair, Score, Side
from floatbench.progress import Progress
from floatbench.protocol.protocol import Clip, Protocol
from floatbench.seeds import derive_seed
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia, Features

REACTS = 0.05
"""A metric reacts to a damage whose strongest form moves it by this share of its widest move in the whole matrix."""
SHIFTS = tuple(range(-10, 11))


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
    direction: Literal["worse", "better", "none", "no score"]
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


@dataclass
class _Subject:
    clip: Clip
    media: ClipMedia
    source: ClipMedia
    partner: ClipMedia | None = None


class _Extractor:
    """Features by content, so that a damage of the sound costs nothing for the metrics of the picture."""

    def __init__(self, backbones: dict[str, Backbone]) -> None:
        self.backbones = backbones
        self._kept: dict[tuple[str, str, str], Features | ClipError] = {}

    def __call__(self, name: str, media: ClipMedia, keep: bool) -> Features:
        backbone = self.backbones[name]
        pixels = media.pixels_sha256 if "frames" in backbone.uses else ""
        sound = media.pcm_sha256 if "audio" in backbone.uses else ""
        key = (name, pixels, sound)
        found = self._kept.get(key)
        if found is None:
            try:
                found = backbone.extract(media)
            except ClipError as error:
                found = error
            if keep:
                self._kept[key] = found
        if isinstance(found, ClipError):
            raise found
        return found


def check(
    protocol: Protocol,
    dataset: Dataset,
    metric_ids: Sequence[str],
    progress: Progress,
    clips: int = 8,
    frames: int = 75,
    device: str = "cpu",
    damages: Sequence[Damage] = DAMAGES,
) -> CheckResult:
    """Scores every damage at every strength with every metric whose weights are present.

    Args:
        clips: how many ready clips are used, spread over identities; frames: of each, from its start.
        damages: which, and at which strengths; see `floatbench.methods.damage.chosen`.

    Raises:
        DataError: no clip is ready. UsageError: an unknown metric.
    """
    metrics, backbones, skipped = _loaded(metric_ids, device)
    subjects, failed = _subjects(protocol, dataset, clips, frames)
    extract = _Extractor(backbones)
    clean = {m.info.id: _score(m, subjects, [s.media for s in subjects], extract, keep=True) for m in metrics}
    cells: list[tuple[Metric, Damage, list[Score]]] = [(m, d, []) for d in damages for m in metrics]
    steps = sum(len(damage.strengths) for damage in damages)
    with progress.task("damage", steps, "step") as bar:
        for damage in damages:
            for strength in damage.strengths:
                used, media = _damaged(damage, strength, subjects, protocol.seed)
                for metric, of, scores in cells:
                    if of is damage:
                        scores.append(_score(metric, used, media, extract, keep=False))
                bar.advance(note=f"{damage.name} {strength:g}")
    responses = _responses(cells, clean)
    shifts = tuple(_shift(m, subjects, extract) for m in metrics if _offset(clean[m.info.id]) is not None)
    ids = tuple(s.clip.id for s in subjects)
    return CheckResult(protocol.label, ids, frames, responses, shifts, skipped, failed)


def _loaded(metric_ids: Sequence[str], device: str) -> tuple[list[Metric], dict[str, Backbone], dict[str, str]]:
    metrics: list[Metric] = []
    backbones: dict[str, Backbone] = {}
    skipped: dict[str, str] = {}
    for name in metric_ids:
        metric = registry.metric(name)
        try:
            for backbone_id in metric.info.backbones:
                if backbone_id not in backbones:
                    backbone = registry.backbone(backbone_id)
                    backbone.load(device)
                    backbones[backbone_id] = backbone
            metrics.append(metric)
        except DataError as error:
            skipped[name] = str(error).replace("\n", "; ")
    return metrics, backbones, skipped


def _subjects(protocol: Protocol, dataset: Dataset, clips: int, frames: int) -> tuple[list[_Subject], dict[str, str]]:
    states = dataset.availability()
    ready = {state.clip_id for state in states if state.state == "ready"}
    candidates = [clip for clip in protocol.clips if clip.id in ready]
    found: list[_Subject] = []
    failed: dict[str, str] = {}
    for clip in _spread(candidates):
        if len(found) == clips:
            break
        try:
            reference = dataset.load(clip)
        except ClipError as error:
            failed[clip.id] = str(error)
            continue
        found.append(_Subject(clip, _cut(reference.media, frames), ClipMedia(reference.source[None])))
    if not found:
        fix = next((state.fix for state in states if state.fix), None)
        raise DataError(f"no clip of {protocol.id} is ready", fix)
    for i, subject in enumerate(found):
        others = [o for o in found[i + 1 :] + found[:i] if o.clip.identity != subject.clip.identity]
        subject.partner = others[0].media if others else None
    return found, failed


def _spread(clips: Sequence[Clip]) -> list[Clip]:
    """One clip of each identity first, then the second ones, in the protocol's order."""
    seen: dict[str, int] = {}
    rank: list[tuple[int, int]] = []
    for position, clip in enumerate(clips):
        seen[clip.identity] = seen.get(clip.identity, 0) + 1
        rank.append((seen[clip.identity], position))
    return [clips[position] for _, position in sorted(rank)]


def _cut(media: ClipMedia, frames: int) -> ClipMedia:
    audio = None if media.audio is None else media.audio[: frames * SAMPLES_PER_FRAME]
    return ClipMedia(media.frames[:frames], audio)


def _damaged(
    damage: Damage, strength: float, subjects: Sequence[_Subject], seed: int
) -> tuple[list[_Subject], list[ClipMedia]]:
    """The clips that can take the damage (sound, partner) and their damaged media."""
    used: list[_Subject] = []
    media: list[ClipMedia] = []
    for subject in subjects:
        try:
            damaged = damage.apply(subject.media, strength, subject.partner, derive_seed(seed, subject.clip.id))
        except ClipError:  # no sound or no partner: the clip cannot show this damage
            continue
        used.append(subject)
        media.append(damaged)
    return used, media


def _score(
    metric: Metric, subjects: Sequence[_Subject], media: Sequence[ClipMedia], extract: _Extractor, keep: bool
) -> Score:
    def pair(subject: _Subject, generated: ClipMedia) -> Pair:
        def load(side: Side, backbone: str) -> Features:
            if side == "generated":
                return extract(backbone, generated, keep or generated.pixels_sha256 == subject.media.pixels_sha256)
            return extract(backbone, subject.media if side == "reference" else subject.source, True)

        return Pair(subject.clip.id, subject.clip.identity, load)

    return metric.reduce([pair(s, m) for s, m in zip(subjects, media, strict=True)])


def _responses(cells: Sequence[tuple[Metric, Damage, list[Score]]], clean: dict[str, Score]) -> tuple[Response, ...]:
    moves = [_move(scores, clean[metric.info.id].value) for metric, _, scores in cells]
    widest: dict[str, float] = {}
    for (metric, _, _), move in zip(cells, moves, strict=True):
        widest[metric.info.id] = max(widest.get(metric.info.id, 0.0), abs(move or 0.0))
    return tuple(
        _response(metric, damage, scores, clean[metric.info.id].value, move, widest[metric.info.id])
        for (metric, damage, scores), move in zip(cells, moves, strict=True)
    )


def _move(scores: Sequence[Score], clean: float | None) -> float | None:
    last = scores[-1].value if scores else None
    return None if last is None or clean is None else last - clean


def _response(
    metric: Metric, damage: Damage, scores: Sequence[Score], clean: float | None, move: float | None, widest: float
) -> Response:
    sign = -1.0 if metric.info.higher_is_better else 1.0
    share = None if move is None else sign * move / widest if widest > 0 else 0.0
    direction: Literal["worse", "better", "none", "no score"] = "no score"
    if share is not None:
        direction = "none" if abs(share) < REACTS else "worse" if share > 0 else "better"
    values = [s.value for s in scores]
    known = [(0.0, clean), *zip((abs(x) for x in damage.strengths), values, strict=True)]
    points = [(x, sign * y) for x, y in known if y is not None]
    flat = len(points) < 3 or len({y for _, y in points}) == 1
    rho = None if flat or direction == "none" else _spearman(points)
    return Response(
        metric.info.id,
        damage.name,
        damage.strengths,
        clean,
        tuple(values),
        move,
        share,
        direction,
        rho,
        sum(len(s.failures) for s in scores),
    )


def _spearman(points: Sequence[tuple[float, float]]) -> float:
    """Pearson correlation of the ranks."""
    x, y = (stats.rankdata(column) for column in zip(*points, strict=True))
    return float(np.corrcoef(x, y)[0, 1])


def _offset(score: Score) -> float | None:
    value = score.details.get("offset", score.details.get("lag"))
    return None if value is None else float(value)


def _shift(metric: Metric, subjects: Sequence[_Subject], extract: _Extractor) -> Shift:
    """Median over clips of the offset found, less the clip's own offset without a shift."""
    found: list[float | None] = []
    own = _clip_offsets(metric, subjects, [s.media for s in subjects], extract)
    for shift in SHIFTS:
        used = [s for s in subjects if s.media.audio is not None]
        media = [sound_shift(s.media, shift, None, 0) for s in used]
        moved = _clip_offsets(metric, used, media, extract)
        differences = [moved[name] - own[name] for name in moved if name in own]
        found.append(float(np.median(differences)) if differences else None)
    sign = -1.0 if _falls(found) else 1.0  # SyncNet counts late sound as negative
    errors = [abs(sign * f - s) for f, s in zip(found, SHIFTS, strict=True) if f is not None]
    return Shift(metric.info.id, SHIFTS, tuple(found), max(errors) if errors else None)


def _falls(found: Sequence[float | None]) -> bool:
    known = [f for f in found if f is not None]
    return len(known) > 1 and known[-1] < known[0]


def _clip_offsets(
    metric: Metric, subjects: Sequence[_Subject], media: Sequence[ClipMedia], extract: _Extractor
) -> dict[str, float]:
    offsets: dict[str, float] = {}
    for subject, generated in zip(subjects, media, strict=True):
        score = _score(metric, [subject], [generated], extract, keep=False)
        value = _offset(score)
        if value is not None:
            offsets[subject.clip.id] = value
    return offsets


def draw(result: CheckResult, target: Path) -> None:
    """The matrix as a picture: red = the metric calls it worse, blue = better; see `label` for the numbers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from floatbench.files import atomic_path

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
