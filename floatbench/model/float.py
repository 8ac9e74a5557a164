"""FLOAT (Ki, Min, Chae, ICCV 2025; arXiv 2412.01064): one module with an entry per stage.

A picture and a sound become a talking portrait in five stages, each of them public:

    s_r, features = model.encode_image(image)          # identity latent and source feature maps
    wr = model.motion(model.coefficients(s_r))         # motion latent of the source
    wa = model.encode_audio(wave, n_frames)            # audio features per video frame
    we = model.predict_emotion(wave)[:, None]          # emotion of the speech
    v = model.vector_field(t, x, Conditions(wr, wa, we))   # integrated over t in `floatbench.sampling`
    picture, flow = model.decode(s_r + r_d, features)  # one frame per motion latent

B batch, N samples at 16 kHz, T frames at 25 fps, L window (50), L' previous frames (10), D latent, M directions,
A audio features, E emotions (7), R pixels. Pictures are in [-1, 1], sound in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from floatbench.model.autoencoder import MotionAutoencoder, ToFlow
from floatbench.model.conditioning import (
    AudioEncoder,
    EmotionEncoder,
    LogMel,
    MelAudioEncoder,
    MelEmotionEncoder,
    check_wave,
    normalise_audio,
)
from floatbench.model.conditions import Conditions
from floatbench.model.config import FLOAT_512, FloatConfig
from floatbench.model.face_reader import FaceReader
from floatbench.model.layers import Impl, set_impl
from floatbench.model.painter import PatchPainter
from floatbench.model.transformer import FlowMatchingTransformer
from floatbench.model.wav2vec2 import BASE, LARGE


class FloatModel(nn.Module):
    """All networks of FLOAT; `state_dict()` has the key names of the official release.

    Weights start as in training from scratch. The frozen speech networks never take gradients and ignore `train()`.

    Args:
        config: sizes and variants.
        impl: `fast` shares one convolution weight between samples; `plain` writes the per-sample weights of the paper.
    """

    def __init__(self, config: FloatConfig = FLOAT_512, impl: Impl = "fast") -> None:
        super().__init__()
        self.config = config
        self.motion_autoencoder = MotionAutoencoder(config)
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
        self.fmt = FlowMatchingTransformer(config)
        set_impl(self, impl)

    def restore_constants(self) -> None:
        """Computes the constants that no file stores; needed after construction on the `meta` device."""
        for module in self.modules():
            if isinstance(module, ToFlow | LogMel | FaceReader | PatchPainter):
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

    def vector_field(self, t: Tensor, x: Tensor, conditions: Conditions) -> Tensor:
        """The transformer's output for L' previous and L current frames, (B, L' + L, D).

        Args:
            t: (B,), (1,) or () flow time in [0, 1] (or the diffusion step of the ablations).
            x: (B, L, D) noisy motion.

        No input is written to.
        """
        return self.fmt(t, x, conditions)
