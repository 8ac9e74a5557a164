"""One video while it is made: its latest picture, how far it is, and how to stop it."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from floatbench.animate.pipeline import FLOAT, Video
from floatbench.errors import ClipError, DataError, FloatbenchError, Interrupted, OutOfMemory
from floatbench.sampling.picture import to_pixels
from floatbench.web.offers import check_weights
from floatbench.web.wish import NO_CROP, PRESET, Upload, VideoWish

LOOK_S = 0.08
"""Seconds between two looks at a video that is being made: what a browser shows without falling behind."""
KEPT_MODELS = 2  # one for each side of a comparison


class ShownFloat(FLOAT):
    """FLOAT that hands its pictures over while the video is made; everything else is as in `FLOAT`."""

    show: Callable[[Tensor], None] | None = None

    def pictures(self, latents: Tensor, source) -> Iterator[Tensor]:
        for made in super().pictures(latents, source):
            if self.show is not None:
                self.show(made)
            yield made


def make_video(model: ShownFloat, wish: VideoWish, image: Upload, audio: Upload, out: Path, watcher: Watcher) -> Video:
    """The one place where the page calls FLOAT: what `floatbench generate` does with the same settings.

    Raises:
        DataError: an unusable picture or sound, told as the command tells it. UsageError: impossible settings.
        Interrupted: stopped.
    """
    model.show = watcher.show
    try:
        return model.generate(
            image.path, audio.path, out, crop=None if wish.crop == NO_CROP else wish.crop, emotion=wish.emotion,
            control=wish.controls(), seed=wish.seed, preset=PRESET, progress=watcher, **wish.sampling(),
        )  # fmt: skip
    except OutOfMemory:
        raise
    except ClipError as error:
        raise DataError(f"{error.reason}: {error.what} ({image.name} with {audio.name})") from None
    finally:
        model.show = None


class Models:
    """The models that were used last, loaded."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[str, str], ShownFloat] = {}

    def get(self, weights: str, device: str) -> ShownFloat:
        """A model; raises DataError and DependencyError as `FLOAT.from_pretrained`."""
        model = self._loaded.pop((weights, device), None) or ShownFloat.from_pretrained(weights, device=device)
        self._loaded[weights, device] = model
        while len(self._loaded) > KEPT_MODELS:
            del self._loaded[next(iter(self._loaded))]
        return model


@dataclass
class Watcher:
    """What a video in the making says about itself, read by another thread.

    Attributes:
        stage: what is being done. done, total: frames. picture: the latest one, JPEG. stop: set to end it.
    """

    stage: str = "reading"
    done: int = 0
    total: int = 0
    picture: bytes | None = None
    notes: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    stop: threading.Event = field(default_factory=threading.Event)
    _shown: float = 0.0

    def show(self, pictures: Tensor) -> None:
        """Takes the last of (B, 3, R, R) pictures when the one before was looked at for long enough."""
        check(self.stop)
        now = time.monotonic()
        if now - self._shown >= LOOK_S:
            self._shown = now
            self.picture = jpeg(to_pixels(pictures[-1:])[0].cpu().numpy())

    def note(self, line: str) -> None:
        self.notes.append(line)

    @contextmanager
    def task(self, label: str, total: int | None, unit: str = "clip") -> Iterator[Watcher]:
        """The pipeline's progress: `label` is the video, which the page does not name."""
        self.stage, self.total, self.started = "making frames", total or 0, time.monotonic()
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done += amount
        check(self.stop)

    def line(self) -> str:
        """How far it is, for people."""
        if not self.done:
            return f"{self.stage} ..."
        rate = self.done / max(time.monotonic() - self.started, 1e-9)
        left = f", {(self.total - self.done) / rate:.0f} s left" if self.total > self.done else ""
        return f"frame {self.done} of {self.total}, {rate:.1f} frames/s{left}"


def check(stop: threading.Event) -> None:
    """Raises Interrupted once `stop` is set."""
    if stop.is_set():
        raise Interrupted("stopped; nothing was kept", fix="press the button again")


def jpeg(picture: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def make(
    models: Models, wish: VideoWish, image: Upload, audio: Upload, out: Path, watcher: Watcher
) -> Generator[Watcher, None, Video]:
    """Makes a video in a thread of its own and yields the watcher now and then; returns the video.

    A consumer that goes away stops the work.

    Raises:
        FloatbenchError: what `make_video` raises, and DataError for missing weights.
    """
    outcome: list[Video | BaseException] = []

    def work() -> None:
        try:
            check_weights(wish.weights, wish.crop)
            watcher.stage = "loading the model"
            model = models.get(wish.weights, wish.device)
            check(watcher.stop)
            watcher.stage = "reading picture and sound"
            outcome.append(make_video(model, wish, image, audio, out, watcher))
        except BaseException as error:  # raised again where the page can tell it
            outcome.append(error)

    thread = threading.Thread(target=work, name="make", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            yield watcher
            thread.join(LOOK_S)
    except GeneratorExit:  # nobody looks any more; a finished video must not stop the next one of a comparison
        watcher.stop.set()
        raise
    finally:
        thread.join()
    if isinstance(outcome[0], BaseException):
        raise told(outcome[0], (image, audio))
    return outcome[0]


def told(error: BaseException, uploads: tuple[Upload, ...]) -> BaseException:
    """An error with the files' own names instead of the places where the page keeps them."""
    if isinstance(error, FloatbenchError):
        for upload in uploads:
            error.what = error.what.replace(str(upload.path), upload.name)
            error.fix = error.fix and error.fix.replace(str(upload.path), upload.name)
    return error
