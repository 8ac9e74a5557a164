"""Sizes and variants of a FLOAT model, and the named ones."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, Literal

from floatbench.errors import UsageError
from floatbench.settings import Count, Positive, Whole, settings
from floatbench.text import near

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""The order of the emotion vector everywhere."""
POSES, FACES = 6, 14
"""Numbers of a head's pose (yaw, pitch, roll in radians; x, y, z in head units) and of its face: a reader's M."""

Prediction = Literal["velocity", "epsilon", "x0"]
SpeechNets = Literal["wav2vec2", "logmel"]
Conditioning = Literal["adaln", "cross", "cross_only"]
EmotionCondition = Literal["speech", "none", "image"]
GridKind = Literal["lia", "pixel_centre"]
Warp = Literal["bilinear", "bicubic"]
Transfer = Literal["lia", "anchored"]


@settings
class FloatConfig:
    """Sizes and variants of a FLOAT model; the defaults are the official release (`float-512`).

    Attributes:
        name: of the configuration.
        image_size: R, a power of two from 64 to 1,024.
        channel_max, channel_base: a level of resolution r has min(channel_max, channel_base / r) channels.
        dim_w: D, identity and motion latent. dim_m: M, motion directions. dim_a: A. dim_e: E. dim_h: transformer width.
        depth, heads, mlp_ratio, attention_window: the transformer; a frame sees attention_window frames to either side.
        fps, sample_rate: of video and sound; the network's positions are tied to them. window: L. previous: L'.
        speech: `wav2vec2` (official, needs weights) or `logmel` (small, trained from scratch).
        all_layers: concatenate all wav2vec 2.0 layers (official), else the last one.
        mel_bands, mel_width: of the log-mel encoders.
        conditioning: `adaln` (paper) or the ablations `cross`, `cross_only`.
        prediction: what the network output means: `velocity` (flow matching) or the ablations `epsilon`, `x0`.
        emotion_condition: `speech` (paper), `none` (A-S2E) or `image`, one vector per frame (A-S2E+I2E).
        pose_condition: six pose numbers per frame as a further condition (A+3DPose).
        grid: `lia` (official; stretches by R / (R - 1)) or `pixel_centre`, for training from scratch.
        warp: how maps of 64 px and more are sampled where the flow points: `bilinear` (official) or `bicubic`, which
            keeps twice as much of the sharpness half-way between two pixels.
        transfer: `lia` (official), or `anchored`: flow counts from the flow at rest, and what the decoder fails to show
            of the picture at rest moves along, so that without motion the source picture comes back exactly, whatever
            it shows. Colour is sampled at twice the resolution. The weights are the same.
        flow_limit: the farthest that anchored flow may reach, in half picture widths.
        reader: a network of its own reads pose and face off a picture and writes them into its latent, for encoders
            that are too small to see them (`floatbench.model.face_reader`); needs dim_m 20.
        painter: an anchored decoder paints what no warp brings into a face, teeth, lids and brows, where its reader
            reads the face (`floatbench.model.painter`).

    Raises:
        UsageError: a value that cannot work, with the name of its field.
    """

    name: str = "float-512"
    image_size: int = 512
    channel_max: Count = 512
    channel_base: Count = 16_384
    dim_w: Count = 512
    dim_m: Count = 20
    dim_a: Count = 512
    dim_e: Literal[7] = 7
    dim_h: Count = 1024
    depth: Count = 8
    heads: Count = 8
    mlp_ratio: Positive = 4.0
    attention_window: Whole = 2
    fps: Literal[25] = 25
    sample_rate: Literal[16_000] = 16_000
    window: Count = 50
    previous: Count = 10
    speech: SpeechNets = "wav2vec2"
    all_layers: bool = True
    mel_bands: Count = 64
    mel_width: Count = 128
    conditioning: Conditioning = "adaln"
    prediction: Prediction = "velocity"
    emotion_condition: EmotionCondition = "speech"
    pose_condition: bool = False
    grid: GridKind = "lia"
    warp: Warp = "bilinear"
    transfer: Transfer = "lia"
    flow_limit: Positive = 0.35
    reader: bool = False
    painter: bool = False

    def __post_init__(self) -> None:
        if self.image_size not in (64, 128, 256, 512, 1024):
            raise UsageError(f"image_size: should be 64, 128, 256, 512 or 1024, not {self.image_size}")
        if self.channel_base < self.image_size:
            raise UsageError(f"channel_base: {self.channel_base} leaves no channel at {self.image_size} px")
        if self.dim_m > self.dim_w:
            raise UsageError(f"dim_m: {self.dim_m} orthonormal directions do not fit into dim_w {self.dim_w}")
        if self.transfer == "anchored" and self.grid != "pixel_centre":
            raise UsageError("transfer: 'anchored' needs grid 'pixel_centre', where no flow means no change")
        if self.reader and self.dim_m != POSES + FACES:
            raise UsageError(f"reader: needs dim_m {POSES + FACES}, not {self.dim_m}")
        if self.painter and not self.reader:
            raise UsageError("painter: needs a reader, which says what the face is like")
        if self.dim_h % self.heads:
            raise UsageError(f"dim_h: should be a multiple of heads {self.heads}, not {self.dim_h}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FloatConfig:
        """The inverse of `to_dict`; an unknown name or a wrong value raises UsageError."""
        return cls(**values)


FLOAT_512 = FloatConfig()
FLOAT_TINY = FloatConfig(
    name="float-tiny",
    image_size=128,
    channel_max=96,
    channel_base=1024,
    dim_w=64,
    dim_a=64,
    dim_h=128,
    depth=4,
    heads=4,
    attention_window=4,
    speech="logmel",
    mel_bands=48,
    mel_width=96,
    grid="pixel_centre",
    warp="bicubic",
    transfer="anchored",
    reader=True,
    painter=True,
)
CONFIGS: dict[str, FloatConfig] = {
    "float-512": FLOAT_512,
    "float-tiny": FLOAT_TINY,
    "float-tiny-64": replace(
        FLOAT_TINY,
        name="float-tiny-64",
        image_size=64,
        channel_max=64,
        channel_base=512,
        transfer="lia",
        warp="bilinear",
        reader=False,
        painter=False,
    ),
}
"""Named configurations."""


def config(name: str) -> FloatConfig:
    """A named configuration; an unknown name raises UsageError with the list."""
    if name not in CONFIGS:
        raise UsageError(f"unknown model configuration {name!r}", fix=near(name, CONFIGS))
    return CONFIGS[name]
