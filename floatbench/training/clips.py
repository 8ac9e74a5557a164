"""Training clips: what one is, rendered synthetic ones, and the pool of those in memory.

T frames, R pixels. Boxes are those of `floatbench.training.losses.components`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Self

import numpy as np
from filelock import FileLock

from floatbench.errors import ClipError, DataError, UsageError
from floatbench.files import atomic_path
from floatbench.paths import cache_dir
from floatbench.processes import in_order
from floatbench.progress import NullProgress, Progress
from floatbench.synthetic.camera import project, rotation
from floatbench.synthetic.clip import TEST_FIRST, SyntheticClip
from floatbench.synthetic.motion import pose_track
from floatbench.synthetic.shape import anatomy
from floatbench.training.ground_truth import surface_tracks
from floatbench.types import SAMPLES_PER_FRAME

NO_EMOTION = -1


@dataclass(frozen=True)
class TrainingClip:
    """One clip in memory.

    Attributes:
        frames: (T, R, R, 3) uint8 RGB. audio: (640 T,) int16.
        boxes: (T, 3, 4) float32, mouth and eyes as fractions of the side; zeros where unknown.
        emotion: position in FLOAT's list, or NO_EMOTION where the data have no label.
        truth: ground truth of synthetic clips, else empty; `tracks` are those of `surface_tracks`.
        lips: (T, 20, 2) float32, outer edge of the lips as fractions of the side; None where unknown.
    """

    id: str
    identity: str
    frames: np.ndarray
    audio: np.ndarray
    boxes: np.ndarray
    emotion: int
    truth: dict[str, np.ndarray]
    lips: np.ndarray | None = None


class MissingClips(DataError):
    """A data set of which nothing is on this machine."""


class ClipSet(ABC):
    """A list of clips that are loaded one by one."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def load(self, index: int) -> TrainingClip:
        """One clip; raises ClipError when it is unusable."""

    def check(self, index: int) -> int:
        """Frames of a clip before training begins; raises ClipError when it is unusable."""
        return len(self.load(index).frames)

    def known(self, index: int) -> bool:
        """Whether `check` is cheap: nothing has to be looked at, or it was looked at before."""
        return True

    def count(self, index: int) -> int:
        """Frames that `load` has; raises ClipError when the clip is unusable."""
        return self.check(index)

    def picked(self, index: int, numbers: Sequence[int]) -> TrainingClip:
        """Some frames of `load`, with boxes and lips, without sound; others are not decoded where files allow it."""
        clip, chosen = self.load(index), list(numbers)
        lips = None if clip.lips is None else clip.lips[chosen]
        silence = np.zeros(0, np.int16)
        return replace(clip, frames=clip.frames[chosen], boxes=clip.boxes[chosen], audio=silence, truth={}, lips=lips)

    def beginning(self, index: int, frames: int) -> TrainingClip:
        """The first frames of a clip with their sound; later ones are not decoded where files allow it."""
        clip = self.load(index)
        return replace(
            clip, frames=clip.frames[:frames], boxes=clip.boxes[:frames], audio=clip.audio[: frames * SAMPLES_PER_FRAME]
        )

    def origin(self, index: int) -> tuple[str, str]:
        """Data set and person of a clip, known without loading it."""
        return "", str(index)

    def named(self, index: int) -> str:
        """Tells a clip from the others of its data set without loading it."""
        return str(index)

    def key(self, index: int) -> str:
        """Names the content of a clip's pictures, for what is kept about it from run to run."""
        return hashlib.sha256(self.load(index).frames.tobytes()).hexdigest()

    def heard(self, index: int) -> TrainingClip:
        """The clip, without its frames (0, R, R, 3) where they cost time; raises ClipError when it is unusable."""
        return self.load(index)


def component_boxes(clip: SyntheticClip) -> np.ndarray:
    """(T, 3, 4): where mouth and eyes of a synthetic clip are, from its anatomy and pose."""
    a = anatomy(clip.person)
    mouth = (-a.mouth_w - 0.06, a.mouth_w + 0.06, a.mouth_y - 0.26, a.mouth_y + 0.1, 0.75)
    reach = a.eye_w + 0.03
    eyes = [(s * a.eye_x - reach, s * a.eye_x + reach, a.eye_y - 0.11, a.eye_y + 0.13, 0.72) for s in (-1, 1)]
    corners = np.array([[(x, y, z) for x in (x0, x1) for y in (y0, y1)] for x0, x1, y0, y1, z in (mouth, *eyes)])
    boxes = np.empty((clip.n_frames, 3, 4), np.float32)
    for t, pose in enumerate(clip.pose):
        turn = rotation(*(float(v) for v in pose[:3]))
        at = project(corners.reshape(-1, 3).astype(np.float32), turn, np.asarray(pose[3:], np.float32), 1000)
        at = (at.reshape(3, 4, 2) + 0.5) / 1000
        boxes[t] = np.concatenate([at.min(1), at.max(1)], -1)
    return boxes


class StillClip(SyntheticClip):
    """A clip of its own, during which the head keeps the pose of its first frame."""

    @property
    def id(self) -> str:
        return f"{super().id}-still"

    @cached_property
    def pose(self) -> np.ndarray:
        """(T, 6) float32 in the order of POSE, all rows alike."""
        moving = pose_track(self._rng("pose"), self.times, self.timeline, self.mood)
        return np.repeat(moving[:1], self.n_frames, axis=0)


class RenderedClips(ClipSet):
    """Rendered talking heads of training people; frames are kept in the cache folder, so that they are drawn once.

    Args:
        size: R. identities, per_identity, seconds, seed: as in `floatbench.synthetic.clip.synthetic_clips`.
        first: number of the first person; people of protocols (`TEST_FIRST` on) are refused.
        still: seconds of a further clip of each person whose head is held still; 0 for none.
        tracks: whether clips carry `surface_tracks`, which take most of the time of loading one.
    """

    def __init__(
        self,
        size: int,
        identities: int,
        per_identity: int = 1,
        seconds: float = 4.0,
        seed: int = 0,
        first: int = 0,
        still: float = 0.0,
        tracks: bool = True,
    ) -> None:
        if identities < 1 or per_identity < 1:
            raise UsageError(f"at least one identity and clip are needed, got {identities} and {per_identity}")
        if first + identities > TEST_FIRST:
            raise UsageError(f"people from {TEST_FIRST} on belong to protocols: training must not see them")
        self.size, self.tracks = size, tracks
        people = range(first, first + identities)
        self.clips = [
            SyntheticClip(person, number, seconds, seed) for person in people for number in range(per_identity)
        ]
        if still:
            self.clips += [StillClip(person, per_identity, still, seed) for person in people]

    def __len__(self) -> int:
        return len(self.clips)

    def beginning(self, index: int, frames: int) -> TrainingClip:
        """The first frames of a clip with their sound; later ones are not decoded where files allow it."""
        clip = self.load(index)
        return replace(
            clip, frames=clip.frames[:frames], boxes=clip.boxes[:frames], audio=clip.audio[: frames * SAMPLES_PER_FRAME]
        )

    def origin(self, index: int) -> tuple[str, str]:
        return "synthetic", str(self.clips[index].identity)

    def named(self, index: int) -> str:
        return self.clips[index].id

    def load(self, index: int) -> TrainingClip:
        clip = self.clips[index]
        frames, audio = _rendered(clip, self.size)
        truth = clip.truth() | ({"tracks": surface_tracks(clip)} if self.tracks else {})
        return TrainingClip(
            clip.id, str(clip.identity), frames, audio, component_boxes(clip), int(truth["emotion"]), truth
        )

    def count(self, index: int) -> int:
        return self.clips[index].n_frames

    def key(self, index: int) -> str:
        return _cached(self.clips[index], self.size).stem

    def render(self, progress: Progress | None = None, workers: int = 1) -> None:
        """Draws what the cache lacks, in worker processes when asked for."""
        missing = [clip for clip in self.clips if not _cached(clip, self.size).is_file()]
        if not missing:
            return
        with (progress or NullProgress()).task("render", len(missing), "clip") as task:
            for _ in in_order(partial(_draw, size=self.size), missing, workers, "draws training clips"):
                task.advance()


def _cached(clip: SyntheticClip, size: int) -> Path:
    name = f"{clip.id}-{clip.n_frames}-{clip.seed}-{clip.mood}-{size}.npz"
    return cache_dir() / "training" / "synthetic-1" / name


def _draw(clip: SyntheticClip, size: int) -> None:
    _rendered(clip, size)


def _rendered(clip: SyntheticClip, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames and sound; a damaged cache file is drawn again."""
    file = _cached(clip, size)
    if file.is_file():
        try:
            with np.load(file) as stored:
                return stored["frames"], stored["audio"]
        except (OSError, ValueError, KeyError, EOFError):
            file.unlink(missing_ok=True)
    frames, audio = clip.frames(size), clip.audio()
    with atomic_path(file) as partial_file:
        np.savez(partial_file, frames=frames, audio=audio)
    return frames, audio


MAX_UNUSABLE = 0.2
"""A data set of which more than this share cannot be used is an error, not a smaller data set."""


def usable(clips: ClipSet, least_frames: int, progress: Progress, workers: int = 1) -> list[int]:
    """Numbers of the clips that are sound and have at least that many frames; the others are noted and counted.

    Clips that were never looked at are looked at in `workers` processes first, and what was seen is kept: a start that
    was killed goes on, and of several processes that start together one looks.

    Raises:
        DataError: more than MAX_UNUSABLE of them are unusable.
    """
    with _one_at_a_time():
        unknown = [index for index in range(len(clips)) if workers > 1 and not clips.known(index)]
        if unknown:
            with progress.task("look", len(unknown), "clip") as task:
                for _ in in_order(partial(_look_at, clips), unknown, workers, "looks at training clips"):
                    task.advance()
        return _checked(clips, least_frames, progress)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """A lock for all processes of this machine; a cache folder that cannot hold one does without."""
    lock = FileLock(cache_dir() / "training" / "look.lock")
    with suppress(OSError):
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _look_at(clips: ClipSet, index: int) -> None:
    """What is wrong with a clip is said when it is checked."""
    with suppress(ClipError):
        clips.check(index)


def _checked(clips: ClipSet, least_frames: int, progress: Progress) -> list[int]:
    good: list[int] = []
    unusable: list[ClipError] = []
    with progress.task("clips", len(clips), "clip") as task:
        for index in range(len(clips)):
            try:
                frames = clips.check(index)
                if frames < least_frames:
                    raise ClipError("too_short", f"{frames} frames, {least_frames} are needed")
                good.append(index)
            except ClipError as error:
                unusable.append(error)
                progress.note(f"clip {index}: {error}")
            task.advance()
    check_share(unusable, len(clips))
    return good


def check_share(unusable: Sequence[ClipError], clips: int) -> None:
    """Raises DataError when more than MAX_UNUSABLE of the clips are unusable."""
    if len(unusable) > MAX_UNUSABLE * clips:
        raise DataError(f"{len(unusable)} of {clips} training clips are unusable, e.g. {unusable[0]}")


def check_batch_fits(available: int, batch: int, what: str) -> None:
    """Raises DataError when the data hold fewer different samples than one batch takes."""
    if available < batch:
        raise DataError(
            f"the training data hold {available} {what}, fewer than a batch of {batch}",
            fix="lower batch in the configuration, or add clips",
        )


class ClipOrder:
    """An endless order of clips, epoch after epoch: as they are listed. See `floatbench.training.clip_order`."""

    def __init__(self, indices: Sequence[int]) -> None:
        self.indices = list(indices)
        self.epoch: Callable[[int], Sequence[int]] = lambda _: self.indices

    def never(self, capacity: int, refresh: int, steps: int) -> int:
        """How many places of the first epoch `pool_indices` does not reach in so many steps."""
        return max(0, len(self.indices) - capacity - (steps - 1) // refresh)

    def entry(self, place: int) -> int:
        """The clip at a place."""
        epoch, within = divmod(place, len(self.indices))
        return self.epoch(epoch)[within]


def pool_indices(order: ClipOrder, capacity: int, refresh: int, step: int) -> list[int]:
    """Which clips are in memory at a step: `capacity` of them, one replaced every `refresh` steps, in turn.

    It depends on the step only, so that a resumed run sees the same clips.
    """
    if capacity >= len(order.indices):
        return order.indices
    newest = capacity - 1 + step // refresh
    return [order.entry(newest - (newest - slot) % capacity) for slot in range(capacity)]


class ClipPool:
    """Keeps the clips of `pool_indices` in memory; data sets that do not fit are walked through.

    Inside `with pool:` a thread of its own loads the clip that comes next while steps are taken, and memory holds one
    clip more. What a step sees does not depend on it; what goes wrong with a clip is raised by the step that needs it.
    """

    def __init__(self, clips: ClipSet, order: ClipOrder | Sequence[int], capacity: int, refresh: int) -> None:
        self.clips, self.order = clips, order if isinstance(order, ClipOrder) else ClipOrder(order)
        self.capacity, self.refresh = capacity, refresh
        self._held: dict[int, TrainingClip] = {}
        self._coming: dict[int, Future[TrainingClip]] = {}
        self._loader: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        self._loader = ThreadPoolExecutor(1, "training-clips")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loader is not None
        self._loader.shutdown(wait=True, cancel_futures=True)
        self._loader, self._coming = None, {}

    def at(self, step: int) -> list[TrainingClip]:
        """The clips of a step."""
        wanted = pool_indices(self.order, self.capacity, self.refresh, step)
        kept = set(wanted)
        self._held = {index: clip for index, clip in self._held.items() if index in kept}
        for index in wanted:
            if index not in self._held:
                self._held[index] = self._loaded(index)
        if self._loader is not None:
            self._load_ahead(self._loader, (step // self.refresh + 1) * self.refresh)
        return [self._held[index] for index in wanted]

    def _loaded(self, index: int) -> TrainingClip:
        """A clip; with a loader only that thread loads, as clip sets need not bear two at a time."""
        if self._loader is None:
            return self.clips.load(index)
        return (self._coming.pop(index, None) or self._loader.submit(self.clips.load, index)).result()

    def _load_ahead(self, loader: ThreadPoolExecutor, step: int) -> None:
        """Begins to load what a coming step needs, and forgets what it does not."""
        soon = [i for i in pool_indices(self.order, self.capacity, self.refresh, step) if i not in self._held]
        for index in [i for i in self._coming if i not in soon]:
            self._coming.pop(index).cancel()
        for index in soon:
            if index not in self._coming:
                self._coming[index] = loader.submit(self.clips.load, index)
