"""The offline variants: the same metrics on small bundled networks that know synthetic heads only.

Their numbers say something inside one table of synthetic clips and nothing beside official ones: another scale, another
world. Every variant is marked `tiny`, and reports refuse to put it into a column with an official variant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from floatbench import assets
from floatbench.errors import ClipError, DataError
from floatbench.metrics import tiny_networks as tiny
from floatbench.metrics.base import Backbone, ClipValue, Metric, MetricInfo, Pair, Side
from floatbench.metrics.clip import ClipMetric
from floatbench.metrics.csim import CSIM
from floatbench.metrics.efid import FaceFrechet
from floatbench.metrics.fid import FID
from floatbench.metrics.fvd import FVD
from floatbench.metrics.network import exact_float32
from floatbench.metrics.syncnet import SHIFT, distances, judge
from floatbench.types import ClipMedia, Features

_LICENCE = "Apache-2.0, trained by this project on synthetic heads"


class TinyBackbone(Backbone):
    """A backbone on bundled networks.

    Class attributes:
        files: names of the bundled networks it needs, see `metrics.tiny_networks.NETWORKS`.
    """

    files: tuple[str, ...] = ()
    licence = _LICENCE
    on_device = False

    def __init__(self) -> None:
        self.networks: dict[str, nn.Module] = {}

    def weight_hashes(self) -> dict[str, str]:
        return {name: assets.sha256(name) for name in self.files}

    def load(self, device: str = "cpu") -> None:
        """Loads the bundled files; the networks are so small that they always run on the CPU."""
        self.networks = {name: load_network(name) for name in self.files}

    def network(self, name: str) -> Any:
        if name not in self.networks:
            raise RuntimeError(f"backbone {self.id}: load() was not called")
        return self.networks[name]


def load_network(name: str) -> nn.Module:
    """A bundled network with its verified weights in float32; raises DataError for a damaged or misfitting file."""
    from safetensors.torch import load_file

    file = assets.path(name)
    network = tiny.NETWORKS[name]()
    state = {key: value.float() for key, value in load_file(file).items()}
    expected = {key for key, value in network.state_dict().items() if value.is_floating_point()}
    try:
        if set(state) != expected:
            raise RuntimeError("other tensor names")
        network.load_state_dict(state, strict=False)  # only the batch counters of the norms are absent
    except RuntimeError as error:
        raise DataError(f"the bundled file {file.name} does not fit its network: {error}", _RETRAIN) from error
    return network.eval().requires_grad_(False)


_RETRAIN = "git checkout -- floatbench/assets (or train anew: floatbench train backbones)"


def _in_batches(run: Callable[[torch.Tensor], Any], items: np.ndarray, batch: int = 64) -> list[Any]:
    with torch.inference_mode(), exact_float32():
        return [run(torch.from_numpy(np.ascontiguousarray(items[i : i + batch]))) for i in range(0, len(items), batch)]


def read_poses(network: nn.Module, frames: np.ndarray) -> np.ndarray:
    """Head poses (T, 6) that the frame network reads off pictures (T, H, W, 3) uint8."""
    parts = _in_batches(network, tiny.scaled(tiny.frame_pixels(frames)))
    return torch.cat([part["pose"] for part in parts]).numpy()


class FrameBackbone(TinyBackbone):
    """features (T, 64), pose (T, 6; see floatbench.synthetic.expression.POSE), expression (T, 14), found (T,)."""

    id = "tiny-frames"
    files = ("tiny-frames",)

    def extract(self, clip: ClipMedia) -> Features:
        parts = _in_batches(self.network("tiny-frames"), tiny.scaled(tiny.frame_pixels(clip.frames)))
        found = {key: torch.cat([p[key] for p in parts]).numpy() for key in ("features", "pose", "expression")}
        return found | {"found": np.ones(clip.n_frames, np.uint8)}


class ExpressionBackbone(TinyBackbone):
    """expression (T, 14; see floatbench.synthetic.expression.EXPRESSION), found (T,).

    The pose by which a face is unwrapped is the one that `tiny-frames` reads.
    """

    id = "tiny-expression"
    files = ("tiny-frames", "tiny-expression")

    def extract(self, clip: ClipMedia) -> Features:
        return {"expression": self.read(clip.frames), "found": np.ones(clip.n_frames, np.uint8)}

    def read(self, frames: np.ndarray) -> np.ndarray:
        """Pictures (T, H, W, 3) uint8 -> (T, 14)."""
        poses = read_poses(self.network("tiny-frames"), frames)
        read = self.network("tiny-expression")
        found = []
        for start in range(0, len(frames), 64):  # a few at a time, since every part of a face is larger than its frame
            eyes, mouth = tiny.face_parts(frames[start : start + 64], poses[start : start + 64])
            with torch.inference_mode(), exact_float32():
                found.append(read(*(torch.from_numpy(tiny.scaled(part)) for part in (eyes, mouth))).numpy())
        return np.concatenate(found)


class IdentityBackbone(TinyBackbone):
    """embeddings (T, 64); every frame of a framed head counts as one face."""

    id = "tiny-identity"
    files = ("tiny-identity",)

    def extract(self, clip: ClipMedia) -> Features:
        parts = _in_batches(self.network("tiny-identity"), tiny.scaled(tiny.face_pixels(clip.frames)))
        ones = np.ones(clip.n_frames, np.uint8)
        return {"embeddings": torch.cat(parts).numpy(), "found": ones, "faces": ones}


class ClipBackbone(TinyBackbone):
    """features (K, 32) of consecutive windows of 16 frames from frame 0, frames (1,)."""

    id = "tiny-clips"
    files = ("tiny-frames", "tiny-clips")

    def extract(self, clip: ClipMedia) -> Features:
        count = clip.n_frames // tiny.WINDOW
        if count == 0:
            raise ClipError("too_short", f"{clip.n_frames} frames, {tiny.WINDOW} are needed")
        frames = tiny.scaled(tiny.frame_pixels(clip.frames[: count * tiny.WINDOW]))
        parts = _in_batches(lambda x: self.network("tiny-frames")(x)["features"], frames)
        windows = torch.cat(parts).numpy().reshape(count, tiny.WINDOW, -1)
        features = _in_batches(lambda x: self.network("tiny-clips")(x)["features"], windows)
        return {"features": torch.cat(features).numpy(), "frames": np.array([clip.n_frames])}


class LipBackbone(TinyBackbone):
    """lips (T - 4, 64): an embedding of every five neighbouring frames."""

    id = "tiny-lips"
    files = ("tiny-sync",)

    def extract(self, clip: ClipMedia) -> Features:
        if clip.n_frames < 6:
            raise ClipError("too_short", f"{clip.n_frames} frames, 6 are needed")
        network = self.network("tiny-sync")
        parts = _in_batches(lambda x: network.lips(x)[0], tiny.lip_windows(tiny.lip_input(clip.frames)))
        return {"lips": torch.cat(parts).numpy()}


class SoundBackbone(TinyBackbone):
    """sound (T - 4, 64): an embedding of the 200 ms that belong to five neighbouring frames."""

    id = "tiny-sound"
    files = ("tiny-sync",)
    uses = frozenset({"audio"})

    def extract(self, clip: ClipMedia) -> Features:
        if clip.audio is None:
            raise ClipError("no_audio")
        if len(clip.audio) < 6 * 640:
            raise ClipError("too_short", f"{len(clip.audio) / 16000:.2f} s of sound, 0.24 are needed")
        network = self.network("tiny-sync")
        windows = tiny.mel_windows(tiny.log_mel(clip.audio))
        return {"sound": torch.cat(_in_batches(lambda x: network.sound(x)[0], windows)).numpy()}


_LEAST = "m[k] = mean over windows of |lip_i - sound_(i+k-15) + 1e-6|; "


class TinyLSE(ClipMetric):
    """LSE-D or LSE-C of the small sync network; SyncNet's distance, confidence and offset over T - 5 windows.

    Extras of a clip: `offset` in frames (late sound is negative), `distance`, `confidence`, `windows`. Track
    `distance`: of every window at the best offset.
    """

    def __init__(self, part: Literal["d", "c"]) -> None:
        self.info = _info(
            f"lse-tiny-{part}",
            f"LSE-{part.upper()}",
            "Least lip-sound distance" if part == "d" else "Confidence of the least lip-sound distance",
            ("tiny-lips", "tiny-sound"),
            _LEAST + ("min m" if part == "d" else "median m - min m"),
            higher=part == "c",
            level="clip",
            needs_audio=True,
        )

    def clip_value(self, pair: Pair) -> ClipValue:
        lips, sound = pair.generated("tiny-lips")["lips"], pair.generated("tiny-sound")["sound"]
        count = min(len(lips) - 1, len(sound))  # T - 5, as the reference counts
        table = distances(lips[:count], sound[:count])
        result = judge(table)
        extra = {key: float(value) for key, value in result._asdict().items()} | {"windows": float(count)}
        number = result.distance if self.info.column == "LSE-D" else result.confidence
        return ClipValue(number, extra, {"distance": table[:, SHIFT - result.offset]}, len(lips), len(lips))


_SIDES: dict[str, tuple[Side, ...]] = {
    "CSIM": ("generated", "reference", "source"),
    "LSE-D": ("generated",),
    "LSE-C": ("generated",),
}


def _info(
    name: str,
    column: str,
    title: str,
    backbones: str | tuple[str, ...],
    formula: str,
    higher: bool = False,
    level: Literal["corpus", "clip"] = "corpus",
    needs_audio: bool = False,
) -> MetricInfo:
    return MetricInfo(
        id=name,
        column=column,
        title=f"{title} (small offline network)",
        higher_is_better=higher,
        level=level,
        backbones=(backbones,) if isinstance(backbones, str) else backbones,
        sides=_SIDES.get(column, ("generated", "reference")),
        formula=formula,
        source="own offline variant; see docs/synthetic.md",
        parity="none: the network is this project's own, the formula's code is that of the official variant",
        tiny=True,
        needs_audio=needs_audio,
    )


_FRECHET = "|m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), pooled over all clips, unbiased covariance"


def _fid() -> Metric:
    return FID(info=_info("fid-tiny", "FID", "Frechet distance of frame features", "tiny-frames", _FRECHET))


def _fvd() -> Metric:
    title = "Frechet distance of features of 16 frames"
    return FVD(info=_info("fvd-tiny", "FVD", title, "tiny-clips", _FRECHET))


def _csim() -> Metric:
    formula = "mean over frames of cos(e(frame), e(source)), then mean over clips"
    title = "Cosine of identity embeddings with the source picture"
    return CSIM(info=_info("csim-tiny", "CSIM", title, "tiny-identity", formula, higher=True, level="clip"))


def _efid() -> Metric:
    title = "Frechet distance of expression coefficients"
    return FaceFrechet(_info("efid-tiny", "E-FID", title, "tiny-expression", _FRECHET), partial(_column, "expression"))


def _pfid() -> Metric:
    info = _info("pfid-tiny", "P-FID", "Frechet distance of head pose", "tiny-frames", _FRECHET)
    parts = {"rotation_only": slice(0, 3), "translation_only": slice(3, 6)}
    return FaceFrechet(info, partial(_column, "pose"), parts)


class ExpressionGap(ClipMetric):
    """Mean over frames and coefficients of abs(generated - reference), frame by frame, cut to the shorter clip."""

    def __init__(self) -> None:
        formula = "mean over frames of mean |difference| of 14 expression coefficients"
        title = "Mean distance of expression coefficients to the reference"
        self.info = _info("aed-tiny", "AED", title, "tiny-expression", formula, level="clip")

    def clip_value(self, pair: Pair) -> ClipValue:
        made, real = (side("tiny-expression")["expression"] for side in (pair.generated, pair.reference))
        length = min(len(made), len(real))
        track = np.abs(made[:length].astype(np.float64) - real[:length]).mean(1)
        return ClipValue(float(track.mean()), {}, {"value": track.astype(np.float32)}, length, len(made))


def _column(key: str, features: Features) -> np.ndarray:
    return features[key]


METRICS: dict[str, Callable[..., Metric]] = {
    "fid-tiny": _fid,
    "fvd-tiny": _fvd,
    "csim-tiny": _csim,
    "efid-tiny": _efid,
    "pfid-tiny": _pfid,
    "aed-tiny": ExpressionGap,
    "lse-tiny-d": partial(TinyLSE, "d"),
    "lse-tiny-c": partial(TinyLSE, "c"),
}
BACKBONES: dict[str, Callable[..., Backbone]] = {
    backbone.id: backbone
    for backbone in (
        FrameBackbone,
        ExpressionBackbone,
        IdentityBackbone,
        ClipBackbone,
        LipBackbone,
        SoundBackbone,
    )
}
