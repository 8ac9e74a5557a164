"""A small data set, methods and a metric for the engine's tests; loaded by worker processes as a plugin."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

import numpy as np

from floatbench.data.dataset import Availability, Dataset, Reference
from floatbench.errors import ClipError
from floatbench.media import write_lossless
from floatbench.methods.method import ClipRequest, Generated, Method
from floatbench.metrics.base import Backbone, ClipValue, Metric, MetricInfo, Pair, Score, split_failures
from floatbench.protocol.protocol import Clip, Preprocessing, Protocol
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia, Features

SIZE, FRAMES = 32, 26


def media(clip_id: str, frames: int = FRAMES) -> ClipMedia:
    """Noise and a tone that depend on the clip only."""
    rng = np.random.default_rng(int(hashlib.sha256(clip_id.encode()).hexdigest()[:8], 16))
    base = rng.integers(0, 200, (1, SIZE, SIZE, 3))
    moving = rng.integers(0, 50, (frames, SIZE, SIZE, 3))
    sound = rng.normal(0, 3000, frames * SAMPLES_PER_FRAME).astype(np.int16)
    return ClipMedia((base + moving).astype(np.uint8), sound)


def protocol(n_clips: int = 4, n_identities: int = 2, metrics: tuple[str, ...] = ("toy-mean",), **more) -> Protocol:
    clips = [Clip(id=f"clip {k}", identity=f"person {k % n_identities}") for k in range(n_clips)]
    return Protocol(
        id="toy", dataset="toy", preprocessing=Preprocessing(spec="as-is"), metrics=metrics, clips=tuple(clips), **more
    )


class ToyDataset(Dataset):
    """`rejected` ids raise when they are loaded, `missing` ones are not on this machine."""

    def __init__(self, protocol: Protocol, rejected: tuple[str, ...] = (), missing: tuple[str, ...] = ()) -> None:
        super().__init__(protocol)
        self.rejected, self.missing = rejected, missing

    def availability(self) -> list[Availability]:
        def state(clip: Clip) -> str:
            return "missing" if clip.id in self.missing else "rejected" if clip.id in self.rejected else "ready"

        reasons = {"rejected": "no_face"}
        found = [(clip.id, state(clip)) for clip in self.protocol.clips]
        return [Availability(name, its, reasons.get(its, ""), fix="fetch the toys") for name, its in found]

    def load(self, clip: Clip) -> Reference:
        if clip.id in self.rejected:
            raise ClipError("no_face")
        found = media(clip.id)
        return Reference(media=found, source=found.frames[0])


class Jitter(Method):
    """The source with noise from the seed; `FLOATBENCH_TOY_LOG` counts the calls, `FLOATBENCH_TOY_SLEEP` slows it."""

    name = "jitter"

    def generate(self, request: ClipRequest) -> Generated:
        if "FLOATBENCH_TOY_LOG" in os.environ:
            with Path(os.environ["FLOATBENCH_TOY_LOG"]).open("a") as stream:
                stream.write(request.clip_id + "\n")
        time.sleep(float(os.environ.get("FLOATBENCH_TOY_SLEEP", "0")))
        rng = np.random.default_rng(request.seed)
        noise = rng.integers(0, 40, (request.n_frames, *request.source.shape))
        video = request.folder / f"{request.slug}.mkv"
        write_lossless(video, np.clip(request.source + noise, 0, 255).astype(np.uint8))
        return Generated(video=video, timing={"solve": 0.5}, details={"nfe": 10})


class Bad(Method):
    """Fails in the way its preset says, on the clip `clip 1` only."""

    name = "bad"

    def __init__(self, how: str) -> None:
        self.how = how

    def load(self, device: str = "cpu") -> None:
        if self.how == "load":
            raise RuntimeError("weights of the wrong shape")
        if self.how == "load-memory":
            raise RuntimeError("CUDA error: out of memory")

    def generate(self, request: ClipRequest) -> Generated:
        if request.clip_id != "clip 1":
            return Generated(media=media(request.clip_id))
        if self.how == "raise":
            raise ValueError("broken <b>method</b>")
        if self.how == "memory":
            raise MemoryError
        if self.how == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.how == "hang":
            time.sleep(600)
        if self.how == "nothing":
            return Generated(video=request.folder / "absent.mkv")
        if self.how == "garbage":
            (request.folder / "x.mp4").write_bytes(b"not a video" * 100)
            return Generated(video=request.folder / "x.mp4")
        lengths = {"short": FRAMES - 3, "trim": FRAMES - 2, "long": FRAMES + 2}
        return Generated(media=media(request.clip_id, lengths[self.how]))


class ToyBackbone(Backbone):
    """Mean of every frame, and the sound's power; `scale` is a setting that changes the fingerprint."""

    id = "toy"
    uses = frozenset({"frames", "audio"})

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def settings(self):
        return {"scale": self.scale}

    def load(self, device: str = "cpu") -> None:
        return None

    def extract(self, clip: ClipMedia) -> Features:
        return {"mean": clip.frames.reshape(clip.n_frames, -1).mean(1) * self.scale}


class ToyMean(Metric):
    """Absolute difference of the mean brightness, averaged over clips."""

    info = MetricInfo(
        id="toy-mean", column="TOY", title="toy", higher_is_better=False, level="clip", backbones=("toy",),
        sides=("generated", "reference"), formula="|mean g - mean r|", source="none", parity="none",
    )  # fmt: skip

    def clip_value(self, pair: Pair) -> ClipValue:
        gap = np.abs(pair.generated("toy")["mean"] - pair.reference("toy")["mean"])
        return ClipValue(float(gap.mean()), {"frames": float(len(gap))}, {"gap": gap})

    def reduce(self, pairs) -> Score:
        good, failures = split_failures(self, pairs)
        values = [found.value for _, found in good]
        return Score(self.info.id, float(np.mean(values)) if values else None, len(good), failures)


class ToyMax(ToyMean):
    info = MetricInfo(**{**ToyMean.info.__dict__, "id": "toy-max", "column": "TOYMAX"})


METHODS = {"jitter": Jitter, "bad": Bad}
METRICS = {"toy-mean": ToyMean, "toy-max": ToyMax}
BACKBONES = {"toy": ToyBackbone}
