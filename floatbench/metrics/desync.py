"""DESYNC: Synchformer's offset of picture and sound, 0 to 2 seconds, lower is better.

Windows of five seconds, one after the other from frame 0; in each the middle 120 frames are cut into 14 segments, as in
the authors' example. The value of a clip is the mean distance from 0 of the most probable classes (steps of 0.2 s).
The network was trained on AudioSet's open scenes: it looks at the whole picture, not at lips.
Source: Iashin et al. (2024), arXiv 2401.16423; the mean absolute offset is DeSync of Cheng et al. (2025), MMAudio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from floatbench.errors import ClipError
from floatbench.metrics.avcorr import require_sound
from floatbench.metrics.base import Backbone, ClipValue, Metric, MetricInfo, Pair
from floatbench.metrics.clip import ClipMetric
from floatbench.metrics.network import NetworkBackbone, exact_float32, seeded_state
from floatbench.metrics.synchformer import BANDS, CLASSES, SEGMENT, SEGMENTS, SPECTRUM, STEP, Synchformer
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia, Features

WINDOW = 125
"""Frames of a window: five seconds."""
SIDE, BEFORE_CROP = 224, 256
MARGIN = (WINDOW - SEGMENT - (SEGMENTS - 1) * STEP) // 2
OFFSETS = np.linspace(-2, 2, CLASSES)
"""Seconds; the sound of a positive class comes too early."""
MEAN, DEVIATION = -4.2677393, 4.5689974
"""Of AudioSet's log-mel spectra, as the spectrogram transformer was trained."""


@cache
def mel_filters() -> torch.Tensor:
    """(513, 128) triangles on HTK's mel scale from 0 to 8 kHz, without normalisation, as torchaudio's default."""
    from transformers.audio_utils import mel_filter_bank

    return torch.from_numpy(mel_filter_bank(513, BANDS, 0.0, 8000.0, 16000, norm=None, mel_scale="htk")).float()


def spectrogram(sound: torch.Tensor) -> torch.Tensor:
    """(B, 10240) samples in [-1, 1] -> (B, 66, 128): log-mel of 25 ms windows every 10 ms, normalised."""
    window = torch.hann_window(400, device=sound.device)
    spectrum = torch.stft(sound, 1024, 160, 400, window, center=True, pad_mode="reflect", return_complex=True)
    mel = torch.log(spectrum.abs().square().transpose(1, 2) @ mel_filters().to(sound.device) + 1e-6)
    return (F.pad(mel, (0, 0, 0, SPECTRUM - mel.shape[1])) - MEAN) / (2 * DEVIATION)


def middle_square(frames: torch.Tensor) -> torch.Tensor:
    """(T, H, W, 3) uint8 -> (T, 3, 224, 224) in [-1, 1]: shorter side to 256 (bicubic, antialiased), middle square."""
    height, width = frames.shape[1:3]
    scale = BEFORE_CROP / min(height, width)
    size = (round(height * scale), round(width * scale))
    x = F.interpolate(frames.permute(0, 3, 1, 2).float(), size, mode="bicubic", align_corners=False, antialias=True)
    top, left = (round((length - SIDE) / 2) for length in size)
    return x[:, :, top : top + SIDE, left : left + SIDE].round().clamp(0, 255) / 127.5 - 1


def segments(frames: torch.Tensor, sound: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(125, H, W, 3) uint8 and (80000,) in [-1, 1] -> (14, 3, 16, 224, 224) and (14, 66, 128)."""
    starts = [MARGIN + STEP * i for i in range(SEGMENTS)]
    pictures = middle_square(frames)
    seen = torch.stack([pictures[s : s + SEGMENT].transpose(0, 1) for s in starts])
    heard = torch.stack([sound[s * SAMPLES_PER_FRAME : (s + SEGMENT) * SAMPLES_PER_FRAME] for s in starts])
    return seen, spectrogram(heard)


class SyncOffsets(NetworkBackbone):
    """Logits of the offset classes: {"logits": (K, 21) float32}, one row for five seconds."""

    id = "synchformer"
    weights = ("synchformer",)
    licence = "MIT (Synchformer)"

    def settings(self) -> dict[str, Any]:
        return {"window": WINDOW, "side": SIDE, "version": 1}

    def build(self) -> nn.Module:
        return Synchformer()

    def state(self) -> Mapping[str, torch.Tensor]:
        from floatbench import weights

        document = weights.load_state_dict(self.weights[0], beside_tensors=True)
        return document.get("model", document)

    def extract(self, clip: ClipMedia) -> Features:
        """Raises ClipError `no_audio`, `silent`, or `too_short` under five seconds."""
        sound = require_sound(clip)
        windows = min(clip.n_frames, len(sound) // SAMPLES_PER_FRAME) // WINDOW
        if windows == 0:
            raise ClipError("too_short", f"Synchformer needs {WINDOW} frames with sound, got {clip.n_frames}")
        return {"logits": np.stack([self._logits(clip.frames, sound, k * WINDOW) for k in range(windows)])}

    def _logits(self, frames: np.ndarray, sound: np.ndarray, start: int) -> np.ndarray:
        if self.network is None:
            raise RuntimeError(f"backbone {self.id}: load() was not called")
        pictures = torch.from_numpy(np.ascontiguousarray(frames[start : start + WINDOW])).to(self.device)
        samples = sound[start * SAMPLES_PER_FRAME : (start + WINDOW) * SAMPLES_PER_FRAME].astype(np.float32) / 32768
        with torch.inference_mode(), exact_float32():
            seen, heard = segments(pictures, torch.from_numpy(samples).to(self.device))
            return self.network(seen, heard).cpu().numpy()


class Desync(ClipMetric):
    """Mean distance of the most probable offset from 0, in seconds.

    Extras of a clip: `offset` (mean, seconds), `windows`, `reference` (the reference's own value).
    """

    def __init__(self, info: MetricInfo) -> None:
        self.info = info

    def clip_value(self, pair: Pair) -> ClipValue:
        found = offsets(pair.generated(SyncOffsets.id))
        extra = {"offset": float(found.mean()), "windows": float(len(found))}
        try:
            extra["reference"] = float(np.abs(offsets(pair.reference(SyncOffsets.id))).mean())
        except ClipError as error:
            if error.reason not in ("no_audio", "silent", "too_short"):
                raise
        return ClipValue(float(np.abs(found).mean()), extra)


def offsets(features: Features) -> np.ndarray:
    """(K,) seconds: the most probable class of each window."""
    return OFFSETS[features["logits"].argmax(1)]


def fabricate(path: Path, seed: int) -> None:
    """Seeded random weights under the published key names (0.95 GB)."""
    torch.save({"model": seeded_state(Synchformer(), seed)}, path)


_INFO = MetricInfo(
    id="desync",
    column="DESYNC",
    title="Synchformer's offset of picture and sound, seconds",
    higher_is_better=False,
    backbones=(SyncOffsets.id,),
    sides=("generated", "reference"),
    formula="mean over windows of 5 s of |offset of the most probable of 21 classes from -2 to 2 s|",
    source="Iashin et al. 2024, model 24-01-04T16-39-21; DeSync of MMAudio (Cheng et al. 2025)",
    parity="Synchformer's own classes on equal seeded weights and input, small and at full size: logits within 3e-6",
    needs_audio=True,
)
METRICS: dict[str, Callable[[], Metric]] = {_INFO.id: partial(Desync, _INFO)}
BACKBONES: dict[str, Callable[[], Backbone]] = {SyncOffsets.id: SyncOffsets}
