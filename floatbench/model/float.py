"""FLOAT (Ki, Min, Chae, ICCV 2025; arXiv 2412.01064): one frozen configuration and one module with an entry per stage.

A picture and a sound become a talking portrait in five stages, each of them public:

    s_r, features = model.encode_image(image)          # identity latent and source feature maps
    wr = model.motion(model.coefficients(s_r))         # motion latent of the source
    wa = model.encode_audio(wave, n_frames)            # audio features per video frame
    we = model.predict_emotion(wave)[:, None]          # emotion of the speech
    v = model.vector_field(t, x, wa, wr, we, prev_x, prev_wa)   # integrated over t in `floatbench.sampling`
    picture, flow = model.decode(s_r + r_d, features)  # one frame per motion latent

B batch, N samples at 16 kHz, T frames at 25 fps, L window (50), L' previous frames (10), D latent, M directions,
A audio features, E emotions (7), R pixels. Pictures are in [-1, 1], sound in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from floatbench.model.autoencoder import GridKind, MotionAutoencoder, ToFlow
from floatbench.model.conditioning import (
    EMOTIONS,
    AudioEncoder,
    EmotionEncoder,
    LogMel,
    MelAudioEncoder,
    MelEmotionEncoder,
    check_wave,
    normalise_audio,
)
from floatbench.model.layers import Impl, set_impl
from floatbench.model.transformer import Conditioning, EmotionCondition, FlowMatchingTransformer
from floatbench.model.wav2vec2 import BASE, LARGE

Prediction = Literal["velocity", "epsilon", "x0"]
SpeechNets = Literal["wav2vec2", "logmel"]


@dataclass(frozen=True)
class FloatConfig:
    """Sizes and variants of a FLOAT model; the defaults are the official release (`float-512`).

    Attributes:
        name: of the configuration.
        image_size: R, a power of two from 64 to 1,024.
        channel_max, channel_base: a level of resolution r has min(channel_max, channel_base / r) channels.
        dim_w: D, identity and motion latent. dim_m: M, motion directions. dim_a: A. dim_e: E. dim_h: transformer width.
        depth, heads, mlp_ratio, attention_window: the transformer; a frame sees attention_window frames to either side.
        fps, sample_rate: of video and sound. window: L. previous: L'.
        speech: `wav2vec2` (official, needs weights) or `logmel` (small, trained from scratch).
        all_layers: concatenate all wav2vec 2.0 layers (official), else the last one.
        mel_bands, mel_width: of the log-mel encoders.
        conditioning: `adaln` (paper) or the ablations `cross`, `cross_only`.
        prediction: what the network output means: `velocity` (flow matching) or the ablations `epsilon`, `x0`.
        emotion_condition: `speech` (paper), `none` (A-S2E) or `image`, one vector per frame (A-S2E+I2E).
        pose_condition: six pose numbers per frame as a further condition (A+3DPose).
        grid: `lia` (official; stretches by R / (R - 1)) or `pixel_centre`, for training from scratch.
    """

    name: str = "float-512"
    image_size: int = 512
    channel_max: int = 512
    channel_base: int = 16_384
    dim_w: int = 512
    dim_m: int = 20
    dim_a: int = 512
    dim_e: int = len(EMOTIONS)
    dim_h: int = 1024
    depth: int = 8
    heads: int = 8
    mlp_ratio: float = 4.0
    attention_window: int = 2
    fps: int = 25
    sample_rate: int = 16_000
    window: int = 50
    previous: int = 10
    speech: SpeechNets = "wav2vec2"
    all_layers: bool = True
    mel_bands: int = 64
    mel_width: int = 128
    conditioning: Conditioning = "adaln"
    prediction: Prediction = "velocity"
    emotion_condition: EmotionCondition = "speech"
    pose_condition: bool = False
    grid: GridKind = "lia"

    def __post_init__(self) -> None:
        self._check_types()
        if self.image_size not in (64, 128, 256, 512, 1024):
            raise ValueError(f"image_size must be 64, 128, 256, 512 or 1024, got {self.image_size}")
        if self.channel_base < self.image_size:
            raise ValueError(f"channel_base {self.channel_base} leaves no channel at {self.image_size} px")
        positive = (
            "channel_max",
            "dim_w",
            "dim_m",
            "dim_a",
            "dim_h",
            "depth",
            "heads",
            "window",
            "previous",
            "mel_width",
        )
        for name in (*positive, "mel_bands", "mlp_ratio"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.attention_window < 0:
            raise ValueError(f"attention_window must not be negative, got {self.attention_window}")
        if self.dim_m > self.dim_w:
            raise ValueError(f"dim_m {self.dim_m} orthonormal directions do not fit into dim_w {self.dim_w}")
        if self.dim_h % self.heads:
            raise ValueError(f"dim_h {self.dim_h} must be a multiple of heads {self.heads}")
        if self.dim_e != len(EMOTIONS):
            raise ValueError(f"dim_e must be {len(EMOTIONS)}: {', '.join(EMOTIONS)}")
        if (self.fps, self.sample_rate) != (25, 16_000):
            raise ValueError("only 25 fps and 16 kHz are supported: the positions are tied to the frame rate")

    def _check_types(self) -> None:
        choices = {
            "speech": SpeechNets,
            "conditioning": Conditioning,
            "prediction": Prediction,
            "emotion_condition": EmotionCondition,
            "grid": GridKind,
        }
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in choices:
                allowed = get_args(choices[field.name])
                if value not in allowed:
                    raise ValueError(f"{field.name} must be one of {', '.join(allowed)}, got {value!r}")
            elif field.type == "int" and (not isinstance(value, int) or isinstance(value, bool)):
                raise ValueError(f"{field.name} must be a whole number, got {value!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FloatConfig:
        """The inverse of `to_dict`; an unknown name raises ValueError."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown configuration field {', '.join(unknown)}")
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
    speech="logmel",
    mel_bands=48,
    mel_width=96,
    grid="pixel_centre",
)
CONFIGS: dict[str, FloatConfig] = {
    "float-512": FLOAT_512,
    "float-tiny": FLOAT_TINY,
    "float-tiny-64": replace(FLOAT_TINY, name="float-tiny-64", image_size=64, channel_max=64, channel_base=512),
}
"""Named configurations."""


def config(name: str) -> FloatConfig:
    """A named configuration; an unknown name raises ValueError with the list."""
    if name not in CONFIGS:
        raise ValueError(f"unknown model configuration {name!r}; there are {', '.join(CONFIGS)}")
    return CONFIGS[name]


class FLOAT(nn.Module):
    """All networks of FLOAT; `state_dict()` has the key names of the official release.

    Weights start as in training from scratch. The frozen speech networks never take gradients and ignore `train()`.

    Args:
        config: sizes and variants.
        impl: `fast` shares one convolution weight between samples; `plain` writes the per-sample weights of the paper.
    """

    def __init__(self, config: FloatConfig = FLOAT_512, impl: Impl = "fast") -> None:
        super().__init__()
        self.config = config
        self.motion_autoencoder = MotionAutoencoder(
            config.image_size, config.dim_w, config.dim_m, config.channel_max, config.channel_base, config.grid
        )
        if config.speech == "wav2vec2":
            self.audio_encoder: AudioEncoder | MelAudioEncoder = AudioEncoder(BASE, config.dim_a, config.all_layers)
        else:
            self.audio_encoder = MelAudioEncoder(config.mel_bands, config.mel_width, config.dim_a)
        self.emotion_encoder: EmotionEncoder | MelEmotionEncoder | None = None
        if config.emotion_condition == "speech":
            wav2vec2 = config.speech == "wav2vec2"
            self.emotion_encoder = (
                EmotionEncoder(LARGE) if wav2vec2 else MelEmotionEncoder(config.mel_bands, config.mel_width)
            )
        self.fmt = FlowMatchingTransformer(
            latent_dim=config.dim_w,
            audio_dim=config.dim_a,
            emotion_dim=config.dim_e,
            width=config.dim_h,
            heads=config.heads,
            depth=config.depth,
            mlp_ratio=config.mlp_ratio,
            window=config.window,
            previous=config.previous,
            reach=config.attention_window,
            conditioning=config.conditioning,
            emotion=config.emotion_condition,
            pose=config.pose_condition,
        )
        set_impl(self, impl)

    def restore_constants(self) -> None:
        """Computes the constants that no file stores; needed after construction on the `meta` device."""
        for module in self.modules():
            if isinstance(module, ToFlow | LogMel):
                module.restore_constants()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.fmt.c_embedder.weight.device

    def encode_image(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Picture (B, 3, R, R) -> identity latent s_r (B, D) and feature maps from 8 x 8 up to R x R."""
        return self.motion_autoencoder.encode(image)

    def coefficients(self, latent: Tensor) -> Tensor:
        """Encoder latent (B, D) -> motion coefficients lambda (B, M)."""
        return self.motion_autoencoder.coefficients(latent)

    def basis(self) -> Tensor:
        """The orthonormal motion directions Q (D, M), float32, with the signs of LAPACK's Householder QR."""
        return self.motion_autoencoder.dec.direction.basis()

    def motion(self, coefficients: Tensor) -> Tensor:
        """Coefficients (..., M) -> motion latent r (..., D) = Q lambda."""
        return self.motion_autoencoder.motion(coefficients)

    def project(self, motion: Tensor) -> Tensor:
        """Motion latent (..., D) -> coefficients of its part in the motion space (..., M) = Q^T r."""
        return self.motion_autoencoder.project(motion)

    def decode(self, latent: Tensor, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Latent s_r + r_d (B, D) and maps of B sources or of one -> picture (B, 3, R, R), flow (B, 64, 64, 2).

        The picture is not clamped; the flow holds the sampling coordinates of the 64 x 64 level, grid included.
        """
        return self.motion_autoencoder.decode(latent, features)

    def encode_audio(self, wave: Tensor, n_frames: int, normalise: bool = True) -> Tensor:
        """Sound (B, N) -> audio features wa (B, T, A) of T = n_frames frames.

        The sound is normalised over its whole length (unless that was done before), then cut or padded with its last
        sample to 640 T samples.

        Raises:
            ValueError: an empty or non-finite sound, or n_frames below 1.
        """
        check_wave(wave)
        if n_frames < 1:
            raise ValueError(f"n_frames must be at least 1, got {n_frames}")
        wave = normalise_audio(wave) if normalise else wave
        lean = not torch.is_grad_enabled()
        return self.audio_encoder.forward_lean(wave, n_frames) if lean else self.audio_encoder(wave, n_frames)

    def predict_emotion(self, wave: Tensor, normalise: bool = True) -> Tensor:
        """Sound (B, N) -> probabilities (B, E) in the order of `EMOTIONS`.

        Raises:
            ValueError: a bad sound, or a model without speech emotion.
        """
        check_wave(wave)
        if self.emotion_encoder is None:
            raise ValueError(
                f"{self.config.name} has no speech emotion (emotion_condition {self.config.emotion_condition})"
            )
        return self.emotion_encoder(normalise_audio(wave) if normalise else wave)

    def vector_field(
        self,
        t: Tensor,
        x: Tensor,
        wa: Tensor,
        wr: Tensor,
        we: Tensor | None = None,
        prev_x: Tensor | None = None,
        prev_wa: Tensor | None = None,
        *,
        pose: Tensor | None = None,
        prev_pose: Tensor | None = None,
        prev_we: Tensor | None = None,
    ) -> Tensor:
        """The transformer's output for L' previous and L current frames, (B, L' + L, D).

        Args:
            t: (B,), (1,) or () flow time in [0, 1] (or the diffusion step of the ablations).
            x: (B, L, D) noisy motion. wa: (B, L, A). wr: (B, D) source motion. we: (B, 1, E), or (B, L, E) of `image`.
            prev_x, prev_wa: (B, L', D) and (B, L', A), clean; None means zeros, as before the first window.
            pose, prev_pose, prev_we: (B, L, 6), (B, L', 6), (B, L', E) of the ablations.

        No input is written to. A dropped condition is a tensor of zeros; None for `we`, `prev_*` or `pose` means zeros.
        """
        return self.fmt(t, x, wa, wr, we, prev_x, prev_wa, pose=pose, prev_pose=prev_pose, prev_we=prev_we)
