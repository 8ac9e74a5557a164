"""Pairs of phase 1 that know their true motion. B batch, M directions, P surface points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from floatbench.errors import DataError
from floatbench.training.batches import WHOLE, Frame, FramePair, Pairs, draw_pair, gathered, step_random
from floatbench.training.clips import ClipPool, TrainingClip
from floatbench.training.ground_truth import MIRRORED, mirror_tracks, true_motion
from floatbench.training.tiny.variation import Variation, background


@dataclass(frozen=True)
class PairTruth:
    """What is known of a batch.

    Attributes:
        motion, change: (B, M) true motion of the driving picture, and its change since the source picture.
        source_tracks, driving_tracks: (B, P, 3) surface points of both pictures, see `surface_tracks`.
        relative: (B,) bool, which pairs are decoded by relative transfer, from the true change.
    """

    motion: Tensor
    change: Tensor
    source_tracks: Tensor
    driving_tracks: Tensor
    relative: Tensor


@dataclass(frozen=True)
class VariedFrame(Frame):
    """A frame as a variation shows it.

    Attributes:
        still: (R, R) of `background`, None where nothing is replaced.
    """

    variation: Variation
    still: np.ndarray | None

    def picture(self, mirrored: bool) -> np.ndarray:
        still = self.still if self.still is None or not mirrored else self.still[:, ::-1]
        return self.variation.picture(super().picture(mirrored), still)

    def boxes(self, mirrored: bool) -> np.ndarray:
        return self.variation.boxes(super().boxes(mirrored))


@dataclass(frozen=True)
class TinyPairs(Pairs):
    """Pairs with their truth, where it was asked for."""

    truth: PairTruth | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        truth = self.truth and PairTruth(*(change(value) for value in vars(self.truth).values()))
        return replace(super().each(change), truth=truth)


def draw_tiny_pairs(
    pool: ClipPool,
    batch: int,
    seed: int,
    step: int,
    flip: bool,
    both_ways: bool = False,
    relative: float | None = None,
    across: float = 0.0,
    part: slice = WHOLE,
    vary: float = 0.0,
) -> TinyPairs:
    """As `draw_pairs`, with what the paper's pairs have not.

    Args:
        both_ways: the second half is the first with source and driving picture exchanged; `batch` is even.
        relative: share of pairs decoded from the true change of motion; None leaves the truth out.
        across: share of pairs whose second frame is of another clip of the same person, if the pool has one.
        part: rows of the batch, those of one process.
        vary: share of pairs that are shown as a `Variation`.

    Raises:
        DataError: the truth is wanted of clips that have none.
    """
    rng = step_random(seed, step, "pairs")
    clips = pool.at(step)
    rows: list[FramePair] = []
    for index in rng.integers(len(clips), size=batch // 2 if both_ways else batch):
        pair = draw_pair(rng, clips[index], flip)
        pair = _across(rng, clips, pair) if across and rng.random() < across else pair
        rows.append(_varied(rng, pair) if vary and rng.random() < vary else pair)
    if both_ways:
        rows += [replace(row, source=row.driving, driving=row.source) for row in rows]
    truth = None if relative is None else _truth(rows[part], (rng.random(len(rows)) < relative)[part])
    return TinyPairs(**vars(gathered(rows[part])), truth=truth)


def _across(rng: np.random.Generator, clips: Sequence[TrainingClip], pair: FramePair) -> FramePair:
    """The pair with its driving picture from another clip of the person, where there is one."""
    own = pair.source.clip
    others = [other for other in clips if other.identity == own.identity and other is not own]
    if not others:
        return pair
    other = others[int(rng.integers(len(others)))]
    return replace(pair, driving=Frame(other, int(rng.integers(len(other.frames)))))


def _varied(rng: np.random.Generator, pair: FramePair) -> FramePair:
    """The pair as one variation shows it."""
    clips = pair.source.clip, pair.driving.clip
    variation, still = Variation(rng, clips[0].frames.shape[1]), background(clips)
    source, driving = (VariedFrame(frame.clip, frame.at, variation, still) for frame in (pair.source, pair.driving))
    return replace(pair, source=source, driving=driving)


def _truth(rows: Sequence[FramePair], relative: np.ndarray) -> PairTruth:
    motion, change, source, driving = [], [], [], []
    for row in rows:
        before, from_tracks = _frame_truth(row.source, row.mirrored)
        after, to_tracks = _frame_truth(row.driving, row.mirrored)
        motion.append(after)
        change.append(after - before)
        source.append(from_tracks)
        driving.append(to_tracks)
    m, c, s, d = (torch.from_numpy(np.stack(part).astype(np.float32)) for part in (motion, change, source, driving))
    return PairTruth(m, c, s, d, torch.from_numpy(relative))


def _frame_truth(frame: Frame, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
    """True motion (M,) and surface points (P, 3)."""
    known = frame.clip.truth
    if "tracks" not in known:
        fix = "set truth_motion, truth_warp and truth_share to 0"
        raise DataError(f"{frame.clip.id} has no ground truth", fix=fix)
    numbers = true_motion(known["pose"][[frame.at]], known["expression"][[frame.at]])[0]
    tracks = known["tracks"][frame.at]
    numbers, tracks = (numbers * MIRRORED, mirror_tracks(tracks)) if mirrored else (numbers, tracks)
    if isinstance(frame, VariedFrame):
        return frame.variation.motion(numbers), frame.variation.tracks(tracks)
    return numbers, tracks
