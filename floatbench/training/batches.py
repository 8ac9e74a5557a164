"""Batches of both phases; what a batch holds follows from the seed and the step alone.

B batch, R pixels, P previous frames, L window, M directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from floatbench.errors import DataError
from floatbench.seeds import derive_seed
from floatbench.synthetic.expression import POSE
from floatbench.training.clips import NO_EMOTION, ClipPool, TrainingClip
from floatbench.training.losses.components import LEFT_EYE, LIP_POINTS, RIGHT_EYE
from floatbench.types import SAMPLES_PER_FRAME


def step_generator(seed: int, step: int, purpose: str) -> torch.Generator:
    """The random numbers of one step for one purpose."""
    return torch.Generator().manual_seed(derive_seed(seed, f"training/{purpose}/{step}"))


def step_random(seed: int, step: int, purpose: str) -> np.random.Generator:
    """The same for numpy."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, f"training/{purpose}/{step}")))


@dataclass(frozen=True)
class Pairs:
    """Phase 1: two random frames of a clip; boxes (B, 3, 4), lips (B, 20, 2) of the driving one, zeros where unknown.

    Pictures are drawn as bytes (B, R, R, 3); `on` a device they become (B, 3, R, R) in [-1, 1].
    """

    source: Tensor
    driving: Tensor
    boxes: Tensor
    lips: Tensor

    def each(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Every tensor changed."""
        return replace(self, **{name: change(value) for name, value in vars(self).items() if torch.is_tensor(value)})

    def parts(self, count: int) -> list[Self]:
        """The rows in so many equal parts."""
        return [self.each(lambda value, part=part: value[part::count]) for part in range(count)]

    def on(self, device: torch.device | str) -> Self:
        """The batch as networks take it."""
        moved = self.each(lambda value: value.to(device, non_blocking=True))
        return replace(moved, source=unit(moved.source), driving=unit(moved.driving))

    def pin_memory(self) -> Self:
        """In memory from which a GPU copies while it computes."""
        return self.each(torch.Tensor.pin_memory)


@dataclass(frozen=True)
class Frame:
    """One frame of a clip."""

    clip: TrainingClip
    at: int

    def picture(self, mirrored: bool) -> np.ndarray:
        """(R, R, 3) uint8."""
        return self.clip.frames[self.at][:, :: -1 if mirrored else 1]

    def boxes(self, mirrored: bool) -> np.ndarray:
        """(3, 4) of mouth and eyes."""
        boxes = self.clip.boxes[self.at]
        return mirror_boxes(boxes) if mirrored else boxes

    def lips(self, mirrored: bool) -> np.ndarray:
        """(20, 2) of the lips' outer edge, zeros where unknown."""
        if self.clip.lips is None:
            return np.zeros((LIP_POINTS, 2), np.float32)
        return mirror_points(self.clip.lips[self.at]) if mirrored else self.clip.lips[self.at]


@dataclass(frozen=True)
class FramePair:
    """The two frames of a pair, mirrored together."""

    source: Frame
    driving: Frame
    mirrored: bool


WHOLE = slice(None)
"""All rows of a batch."""


def draw_pairs(pool: ClipPool, batch: int, seed: int, step: int, flip: bool, rows: slice = WHOLE) -> Pairs:
    """A batch of pairs: clips uniformly, then two frames of each uniformly; mirrored together with chance one half.

    Args:
        rows: of the batch, those of one process.
    """
    rng = step_random(seed, step, "pairs")
    clips = pool.at(step)
    return gathered([draw_pair(rng, clips[i], flip) for i in rng.integers(len(clips), size=batch)][rows])


def draw_pair(
    rng: np.random.Generator, clip: TrainingClip, flip: bool, chosen: tuple[int, int] | None = None
) -> FramePair:
    """Two frames of a clip, or the chosen two; mirrored or not."""
    a, b = chosen or tuple(int(value) for value in rng.integers(len(clip.frames), size=2))
    return FramePair(Frame(clip, a), Frame(clip, b), bool(flip and rng.random() < 0.5))


def gathered(rows: Sequence[FramePair]) -> Pairs:
    """The pictures and boxes of a batch."""
    return Pairs(
        torch.from_numpy(np.stack([row.source.picture(row.mirrored) for row in rows])),
        torch.from_numpy(np.stack([row.driving.picture(row.mirrored) for row in rows])),
        torch.from_numpy(np.stack([row.driving.boxes(row.mirrored) for row in rows])),
        torch.from_numpy(np.stack([row.driving.lips(row.mirrored) for row in rows])),
    )


def mirror_boxes(boxes: np.ndarray) -> np.ndarray:
    """Boxes (3, 4) of the mirrored picture; the left eye becomes the right one, unknown boxes stay zero."""
    known = np.abs(boxes).sum(-1, keepdims=True) > 0
    turned = np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], -1) * known
    turned[[LEFT_EYE, RIGHT_EYE]] = turned[[RIGHT_EYE, LEFT_EYE]]
    return turned.astype(np.float32)


def mirror_points(points: np.ndarray) -> np.ndarray:
    """Points (..., 2) of the mirrored picture; unknown ones stay zero."""
    known = np.abs(points).sum(-1, keepdims=True) > 0
    return (np.stack([1 - points[..., 0], points[..., 1]], -1) * known).astype(np.float32)


def unit(pictures: Tensor) -> Tensor:
    """(B, R, R, 3) uint8 -> (B, 3, R, R) in [-1, 1], on the device where it is."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def pictures(frames: Sequence[np.ndarray] | np.ndarray) -> Tensor:
    """(R, R, 3) uint8 each -> (B, 3, R, R) in [-1, 1]."""
    return unit(torch.from_numpy(np.stack(list(frames))))


@dataclass(frozen=True)
class MotionClip:
    """What phase 2 keeps of a clip: coefficients (T, M), sound (640 T,) int16, emotion or NO_EMOTION.

    `references` (T / every, M) are the motion of every `every`-th frame as a source, where that differs from
    `coefficients`: windows are moved so that the source's own frame has it.
    `identity` names the person, "" when unknown; `number` is the clip's place in its data set; `share` is how often its
    windows come where those of other data sets come once.
    `states` (T, S) float16 and `felt` (E,) are what the frozen speech networks hear in the whole sound, see
    `floatbench.training.hearing`.
    Networks with these conditions also need the head pose (T, 6), standardised, and the emotion of each frame's face
    (T, E).
    """

    id: str
    coefficients: np.ndarray
    audio: np.ndarray
    emotion: int
    pose: np.ndarray | None = None
    faces: np.ndarray | None = None
    references: np.ndarray | None = None
    identity: str = ""
    number: int = 0
    share: int = 1
    every: int = 1
    states: np.ndarray | None = None
    felt: np.ndarray | None = None

    def source(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Motion (M,) of a frame as it is seen when it is the source, and as `coefficients` have it."""
        if self.references is None:
            return self.coefficients[frame], self.coefficients[frame]
        kept = frame // self.every
        return self.references[kept], self.coefficients[kept * self.every]


@dataclass(frozen=True)
class MotionWindows:
    """Phase 2: coefficients (B, P + L, M), reference (B, M), wave (B, 640 (P + L)) in [-1, 1], emotion (B,) long.

    Where every clip has them: pose (B, P + L, 6) and faces (B, P + L, E), states (B, P + L, S) and felt (B, E).
    """

    coefficients: Tensor
    reference: Tensor
    wave: Tensor
    emotion: Tensor
    pose: Tensor | None = None
    faces: Tensor | None = None
    states: Tensor | None = None
    felt: Tensor | None = None

    def share(self, part: Callable[[Tensor], Tensor]) -> MotionWindows:
        """A process's rows of everything."""
        shared: dict[str, Any] = {name: None if value is None else part(value) for name, value in vars(self).items()}
        return MotionWindows(**shared)


Reference = Literal["any", "inside", "outside", "either"]


def draw_windows(
    clips: Sequence[MotionClip],
    batch: int,
    length: int,
    seed: int,
    step: int,
    reference: Reference,
    across: float = 0.0,
    begins: Sequence[int] = (),
) -> MotionWindows:
    """A batch of windows of `length` frames, every window of the data as likely as its clip's `share` says.

    Args:
        across: share of windows whose source frame is of another clip of the same person, if there is one. Where the
            coefficients are true motion, whose first six are the head's pose, the pose stays that of the clip.
        begins: L' of every window that begins at its source: the frame after so many is the source's; of others 0.

    Raises:
        DataError: no clip is long enough.
    """
    rng = step_random(seed, step, "windows")
    room = np.array([max(0, len(clip.coefficients) - length + 1) for clip in clips])
    if room.sum() < 1:
        raise DataError(f"no training clip has the {length} frames of a window")
    weight = room * np.array([clip.share for clip in clips])
    coefficients, references, waves, emotions = [], [], [], []
    framewise: dict[str, list[np.ndarray]] = {"pose": [], "faces": [], "states": []}
    felt = []
    for row, index in enumerate(rng.choice(len(clips), size=batch, p=weight / weight.sum())):
        clip, start = clips[index], int(rng.integers(room[index]))
        frame = reference_frame(rng, len(clip.coefficients), start, length, reference)
        if begins and begins[row]:
            start -= min(start, (start + begins[row]) % clip.every)  # only these frames can be a source
            frame = start + begins[row]
        seen, true = _source(rng, clips, clip, frame, across)
        change = seen - true  # zero unless the source's motion is seen differently
        coefficients.append(clip.coefficients[start : start + length] + change)
        references.append(seen)
        waves.append(clip.audio[start * SAMPLES_PER_FRAME : (start + length) * SAMPLES_PER_FRAME])
        emotions.append(clip.emotion)
        for name, rows in framewise.items():
            track = getattr(clip, name)
            if track is not None:
                rows.append(track[start : start + length].astype(np.float32))
        if clip.felt is not None:
            felt.append(clip.felt)
    given = {name: torch.from_numpy(np.stack(rows)) for name, rows in framewise.items() if len(rows) == batch}
    return MotionWindows(
        torch.from_numpy(np.stack(coefficients)),
        torch.from_numpy(np.stack(references)),
        torch.from_numpy(np.stack(waves).astype(np.float32) / 32768),
        torch.tensor(emotions),
        felt=torch.from_numpy(np.stack(felt)) if len(felt) == batch else None,
        **given,
    )


def _source(
    rng: np.random.Generator, clips: Sequence[MotionClip], clip: MotionClip, frame: int, across: float
) -> tuple[np.ndarray, np.ndarray]:
    """Motion (M,) of the source frame as it is seen, and as the clip has it."""
    own = clip.source(frame)
    if not (across and clip.identity and rng.random() < across):
        return own
    others = [other for other in clips if other.identity == clip.identity and other is not clip]
    if not others:
        return own
    other = others[int(rng.integers(len(others)))]
    found = other.source(int(rng.integers(len(other.coefficients))))
    if clip.references is None:
        return found
    head = len(POSE)
    seen, true = (np.concatenate((mine[:head], its[head:])) for mine, its in zip(own, found, strict=True))
    return seen, true


def reference_frame(rng: np.random.Generator, frames: int, start: int, length: int, kind: Reference) -> int:
    """The frame whose motion is the source's; `outside` falls back on `inside` when the window is the whole clip."""
    inside = kind == "inside" or (kind == "either" and rng.random() < 0.5)
    if kind == "any":
        return int(rng.integers(frames))
    if inside or frames == length:
        return start + int(rng.integers(length))
    other = int(rng.integers(frames - length))
    return other if other < start else other + length


def known_emotions(emotion: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Labels (B,) -> one-hot (B, E), zero rows where unknown, and which are known (B,) bool."""
    known = emotion != NO_EMOTION
    one_hot = torch.nn.functional.one_hot(emotion.clamp(min=0), classes).float()
    return one_hot * known[:, None], known
