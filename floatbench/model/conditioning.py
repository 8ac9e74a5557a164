"""What drives the motion: audio features per frame and the emotion of the speech.

The official encoders are two wav2vec 2.0 networks; the log-mel ones are small, trained from scratch and need no file.
B batch, N samples at 16 kHz, T frames at 25 fps, A audio features, E emotion classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from floatbench.model.config import EMOTIONS
from floatbench.model.wav2vec2 import SpeechSizes, Wav2Vec2

SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = 640
NORMALISE_EPS = 1e-7


def normalise_audio(wave: Tensor) -> Tensor:
    """(B, N) -> zero mean and unit variance over each whole sound; 1e-7 is added to the variance."""
    centred = wave - wave.mean(-1, keepdim=True)
    return centred / torch.sqrt(wave.var(-1, keepdim=True, correction=0) + NORMALISE_EPS)


def frames_of(n_samples: int) -> int:
    """T = ceil(N * 25 / 16,000)."""
    return -(-n_samples // SAMPLES_PER_FRAME)


def fit_to_frames(wave: Tensor, n_frames: int) -> Tensor:
    """(B, N) -> (B, 640 n_frames): cut, or the last sample repeated."""
    length = n_frames * SAMPLES_PER_FRAME
    missing = length - wave.shape[1]
    if missing <= 0:
        return wave[:, :length]
    return torch.cat((wave, wave[:, -1:].expand(-1, missing)), dim=1)


def check_wave(wave: Tensor) -> None:
    """Raises ValueError unless the sound is a non-empty finite (B, N) floating tensor."""
    if wave.ndim != 2 or wave.shape[1] == 0 or not wave.is_floating_point():
        raise ValueError(f"sound must be a non-empty (B, N) floating tensor, got {tuple(wave.shape)} {wave.dtype}")
    if not bool(torch.isfinite(wave).all()):
        raise ValueError("the sound holds NaN or infinite samples")


class AudioEncoder(nn.Module):
    """wav2vec 2.0 at 25 Hz, all layers side by side, projected to A features.

    Args:
        sizes: of the frozen network.
        audio_dim: A.
        all_layers: concatenate the states after every layer (the release); False uses the last one.
    """

    def __init__(self, sizes: SpeechSizes, audio_dim: int, all_layers: bool = True) -> None:
        super().__init__()
        self.wav2vec2 = Wav2Vec2(sizes).requires_grad_(False)
        inputs = sizes.width * (sizes.layers if all_layers else 1)
        self.all_layers = all_layers
        self.audio_projection = nn.Sequential(nn.Linear(inputs, audio_dim), nn.LayerNorm(audio_dim), nn.SiLU())

    def forward(self, wave: Tensor, n_frames: int) -> Tensor:
        """Normalised (B, N) -> (B, T, A)."""
        return self.audio_projection(self.states(wave, n_frames))

    @torch.no_grad()
    def states(self, wave: Tensor, n_frames: int) -> Tensor:
        """The frozen network's states (B, T, layers * H), layer by layer along the last axis, which may be cached."""
        wave = fit_to_frames(wave, n_frames)
        if not self.all_layers:
            return self.wav2vec2(wave, n_frames)
        return torch.cat(self.wav2vec2.hidden_states(wave, n_frames), dim=-1)

    def forward_lean(self, wave: Tensor, n_frames: int) -> Tensor:
        """As `forward`, but each state is projected and summed when it appears, so that no stack of states is kept."""
        if not self.all_layers:
            return self(wave, n_frames)
        linear, norm, activation = self.audio_projection
        assert isinstance(linear, nn.Linear)
        pieces = linear.weight.split(self.wav2vec2.sizes.width, dim=1)
        total: list[Tensor] = []

        def add(index: int, state: Tensor) -> None:
            here = F.linear(state, pieces[index])
            total[:] = [here + total[0] if total else here + linear.bias]

        self.wav2vec2(fit_to_frames(wave, n_frames), n_frames, add)
        return activation(norm(total[0]))


class ClassifierHead(nn.Module):
    """Linear, tanh, linear."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(torch.tanh(self.dense(x)))


class SpeechClassifier(nn.Module):
    """wav2vec 2.0 at its own rate, mean over time, classifier."""

    def __init__(self, sizes: SpeechSizes, classes: int) -> None:
        super().__init__()
        self.wav2vec2 = Wav2Vec2(sizes)
        self.classifier = ClassifierHead(sizes.width, classes)

    def forward(self, wave: Tensor) -> Tensor:
        return self.classifier(self.wav2vec2(wave).mean(1))


class EmotionEncoder(nn.Module):
    """Probabilities of the seven emotions of a sound (frozen)."""

    def __init__(self, sizes: SpeechSizes, classes: int = len(EMOTIONS)) -> None:
        super().__init__()
        self.wav2vec2_for_emotion = SpeechClassifier(sizes, classes).requires_grad_(False)

    def forward(self, wave: Tensor) -> Tensor:
        """Normalised (B, N) -> (B, E), rows sum to one."""
        return torch.softmax(self.wav2vec2_for_emotion(wave), dim=-1)


class LogMel(nn.Module):
    """Log-mel spectrum at 50 Hz: Hann window of 800 samples, FFT of 1,024, triangles on the HTK mel scale."""

    filters: Tensor
    window: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.restore_constants()

    def restore_constants(self) -> None:
        """Computes the filters and the window that no file stores."""
        self.register_buffer("filters", mel_filters(self.bands), persistent=False)
        self.register_buffer("window", torch.hann_window(800), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """(B, 320 K) -> (B, bands, K)."""
        padded = F.pad(wave, (352, 352))  # (1,024 - 320) / 2 on both sides: K frames, each centred on its 320 samples
        spectrum = torch.stft(
            padded, 1024, 320, 800, self.window, center=False, return_complex=True, pad_mode="constant"
        )
        return torch.log(self.filters @ spectrum.abs().square() + 1e-5)


def mel_filters(bands: int, n_fft: int = 1024, low: float = 50.0, high: float = 8000.0) -> Tensor:
    """(bands, n_fft / 2 + 1) triangular filters with peak one, equally spaced on mel = 2595 log10(1 + f / 700)."""

    def mel(hertz: float) -> float:
        return 2595.0 * math.log10(1.0 + hertz / 700.0)

    edges = torch.linspace(mel(low), mel(high), bands + 2, dtype=torch.float64)
    edges = 700.0 * (torch.pow(torch.tensor(10.0, dtype=torch.float64), edges / 2595.0) - 1.0)
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / n_fft
    rising = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0).float()


class MelTrunk(nn.Module):
    """Convolutions over the log-mel spectrum: (B, 320 K) -> (B, H, K / 2), one step a video frame."""

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        self.mel = LogMel(bands)
        self.layers = nn.Sequential(
            nn.Conv1d(bands, width, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(width, width, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv1d(width, width, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(width, width, 5, padding=2),
            nn.GELU(),
        )

    def forward(self, wave: Tensor) -> Tensor:
        spectrum = self.mel(wave)
        return self.layers((spectrum + 4.0) / 4.0)  # about zero mean and unit spread for normalised speech


class MelAudioEncoder(nn.Module):
    """The small audio encoder; it sees 11 frames at most, so a window and the whole sound give the same features."""

    def __init__(self, bands: int, width: int, audio_dim: int) -> None:
        super().__init__()
        self.trunk = MelTrunk(bands, width)
        self.audio_projection = nn.Sequential(nn.Linear(width, audio_dim), nn.LayerNorm(audio_dim), nn.SiLU())

    def forward(self, wave: Tensor, n_frames: int) -> Tensor:
        """Normalised (B, N) -> (B, T, A)."""
        return self.audio_projection(self.trunk(fit_to_frames(wave, n_frames)).transpose(1, 2))

    forward_lean = forward


class MelEmotionEncoder(nn.Module):
    """The small emotion recogniser: mean and spread of the trunk over time, then a classifier."""

    def __init__(self, bands: int, width: int, classes: int = len(EMOTIONS)) -> None:
        super().__init__()
        self.trunk = MelTrunk(bands, width)
        self.classifier = ClassifierHead(2 * width, classes)

    def logits(self, wave: Tensor) -> Tensor:
        """Normalised (B, N) -> (B, E)."""
        states = self.trunk(fit_to_frames(wave, frames_of(wave.shape[1])))
        return self.classifier(torch.cat((states.mean(-1), states.std(-1, correction=0)), dim=-1))

    def forward(self, wave: Tensor) -> Tensor:
        """Normalised (B, N) -> (B, E), rows sum to one."""
        return torch.softmax(self.logits(wave), dim=-1)
