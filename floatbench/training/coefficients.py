"""Between the phases: the motion coefficients of every frame are computed once, and their scale is made plain."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from floatbench.errors import ClipError, DataError
from floatbench.files import atomic_path
from floatbench.methods.frame_conditions import face_emotions, head_pose
from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.layers import EqualConv2d, EqualLinear, ModulatedConv2d
from floatbench.progress import NullProgress, Progress
from floatbench.training.batches import MotionClip, unit
from floatbench.training.clips import ClipSet, TrainingClip, check_share
from floatbench.training.ground_truth import true_motion
from floatbench.types import ClipMedia

SAVE_SECONDS = 60.0
"""Work that a killed start may lose."""


@dataclass(frozen=True)
class Wanted:
    """What clips of phase 2 carry besides coefficients and sound: head pose, each face's emotion, true motion.

    With true motion, only every `every`-th frame is encoded: those serve as sources.
    """

    pose: bool = False
    faces: bool = False
    truth: bool = False
    every: int = 1


@torch.no_grad()
def motion_clips(
    clips: ClipSet,
    indices: Sequence[int],
    autoencoder: MotionAutoencoder,
    cache: Path | None = None,
    progress: Progress | None = None,
    batch: int = 32,
    wanted: Wanted | None = None,
    workers: int = 1,
    shares: Mapping[str, int] | None = None,
) -> list[MotionClip]:
    """The coefficients lambda (T, M) of every clip, with sound and label; unusable clips are noted and left out.

    Args:
        cache: safetensors file of earlier coefficients by `ClipSet.key`; missing ones are added, the pictures of the
            others are not decoded. It must belong to this auto-encoder. It is written as the work goes on, so that a
            start that was killed goes on; of several processes one works, the others wait and read.
        wanted: what a clip carries besides; pose comes raw, see `standardised_pose`.
        workers: clips that are decoded ahead, each in a thread, while the one before them is encoded. Each is held
            whole: 0.8 MB a frame at 512 px.
        shares: data set -> how often windows of its clips come, 1 by default.

    Raises:
        DataError: too many clips are unusable.
    """
    wanted = wanted or Wanted()
    every = wanted.every if wanted.truth else 1
    autoencoder.eval()
    found: list[MotionClip] = []
    unusable: list[ClipError] = []
    progress = progress or NullProgress()
    with (
        CoefficientCache(cache) as known,
        progress.task("coefficients", len(indices), "clip") as task,
    ):

        def read(index: int) -> tuple[str, TrainingClip]:
            key = f"{clips.key(index)}/{every}"
            seen = key not in known or wanted.pose or wanted.faces
            return key, clips.load(index) if seen else clips.heard(index)

        for index, waiting in _read_ahead(read, indices, workers):
            try:
                key, clip = waiting.result()
            except ClipError as error:
                unusable.append(error)
                progress.note(f"clip {index}: {error}")
                continue
            if key not in known:
                known.add(key, _coefficients(autoencoder, clip.frames[::every], batch))
            share = (shares or {}).get(clips.origin(index)[0], 1)
            found.append(replace(_motion_clip(clip, known[key].numpy(), wanted), number=index, share=share))
            task.advance()
    check_share(unusable, len(indices))
    return found


def _read_ahead(
    read: Callable[[int], tuple[str, TrainingClip]], indices: Sequence[int], workers: int
) -> Iterator[tuple[int, Future[tuple[str, TrainingClip]]]]:
    """What `read` gives for each index, in their order; so many are under way or waiting to be taken."""
    waiting: deque[tuple[int, Future[tuple[str, TrainingClip]]]] = deque()
    with ThreadPoolExecutor(workers) as threads:
        for index in indices:
            waiting.append((index, threads.submit(read, index)))
            if len(waiting) >= workers:
                yield waiting.popleft()
        yield from waiting


class CoefficientCache:
    """Coefficients (T, M) by a clip's key in one safetensors file, which one process at a time has open.

    It is written every SAVE_SECONDS and when it is left, be it by an error.

    Args:
        file: None keeps nothing.
    """

    def __init__(self, file: Path | None) -> None:
        self._file, self._known, self._changed, self._saved = file, {}, False, time.monotonic()
        self._lock = FileLock(file.with_name(f".{file.name}.lock")) if file is not None else nullcontext()

    def __enter__(self) -> Self:
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        self._lock.__enter__()
        self._known = _cached(self._file)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._save()
        finally:
            self._lock.__exit__(None, None, None)

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> Tensor:
        return self._known[key]

    def add(self, key: str, coefficients: Tensor) -> None:
        """Keeps a clip's coefficients."""
        self._known[key], self._changed = coefficients.contiguous(), True
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        if self._file is not None and self._changed:
            with atomic_path(self._file) as partial:
                save_file(self._known, partial)
            self._changed, self._saved = False, time.monotonic()


def _coefficients(autoencoder: MotionAutoencoder, frames: np.ndarray, batch: int) -> Tensor:
    device = autoencoder.dec.direction.weight.device
    parts = (unit(torch.from_numpy(frames[i : i + batch]).to(device)) for i in range(0, len(frames), batch))
    return torch.cat([autoencoder.coefficients(autoencoder.encode(part)[0]).cpu() for part in parts])


def _motion_clip(clip: TrainingClip, coefficients: np.ndarray, wanted: Wanted) -> MotionClip:
    media = ClipMedia(clip.frames, clip.audio)
    references = None
    if wanted.truth:
        if "expression" not in clip.truth:
            raise DataError(f"{clip.id} has no ground truth", fix="set targets = 'encoded'")
        coefficients, references = true_motion(clip.truth["pose"], clip.truth["expression"]), coefficients
    return MotionClip(
        clip.id,
        coefficients,
        clip.audio,
        clip.emotion,
        pose=head_pose(media, clip.truth) if wanted.pose else None,
        faces=face_emotions(media, clip.truth) if wanted.faces else None,
        references=references,
        identity=clip.identity,
        every=wanted.every if wanted.truth else 1,
    )


def standardised_pose(clips: Sequence[MotionClip]) -> tuple[list[MotionClip], dict[str, list[float]]]:
    """Pose with mean zero and spread one over all frames, and what did it, for the checkpoint's notes."""
    every = np.concatenate([clip.pose for clip in clips if clip.pose is not None])
    mean, std = every.mean(0), every.std(0).clip(1e-6)
    moved = [replace(clip, pose=None if clip.pose is None else (clip.pose - mean) / std) for clip in clips]
    return moved, {"mean": mean.tolist(), "std": std.tolist()}


def _cached(cache: Path | None) -> dict[str, Tensor]:
    if cache is None or not cache.is_file():
        return {}
    try:
        return load_file(cache)
    except (SafetensorError, OSError):
        return {}  # a damaged cache is computed again


@torch.no_grad()
def standardise(autoencoder: MotionAutoencoder, mean: Tensor, gain: float) -> None:
    """Rewrites the auto-encoder so that its coefficients become gain (lambda - mean); every picture stays the same.

    The latent w = s_r + Q lambda becomes gain (w - Q mean). The last encoder convolution, what a reader writes and the
    coefficient head are scaled, and each style layer of the decoder takes the change back:
    W w + b = (W / gain) w' + (b + W Q mean).

    Args:
        mean: (M,). gain: above 0.
    """
    last = autoencoder.enc.net_app.convs[-1]
    assert isinstance(last, EqualConv2d)
    shift = autoencoder.motion(mean.to(autoencoder.dec.direction.weight.device))
    last.weight.mul_(gain)
    if autoencoder.enc.reader is not None:
        autoencoder.enc.reader.place.mul_(gain)
    if autoencoder.dec.painter is not None:
        painter = autoencoder.dec.painter
        painter.mean.add_(mean.to(painter.mean) / painter.gain)
        painter.gain.mul_(gain)
    head = [layer for layer in autoencoder.enc.fc if isinstance(layer, EqualLinear)]
    for layer in head:
        layer.bias.mul_(gain)
    head[-1].bias.sub_(gain * mean.to(head[-1].bias.device))
    for layer in autoencoder.dec.modules():
        if isinstance(layer, ModulatedConv2d):
            style = layer.modulation
            style.bias.add_(style.scale * style.weight @ shift)
            style.weight.div_(gain)
