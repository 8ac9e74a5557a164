"""Frozen speech networks heard once: features of whole sounds, kept in the cache folder in half precision.

The paper's training hears windows of 2.4 s anew in every step; `hearing = "whole"` hears each sound once, as generation
does, and steps read what was kept. A frame of wav2vec 2.0's twelve states takes 18 KB: 13 hours of sound 21 GB, which
stay on disk and are mapped. T frames, S numbers a frame, E emotions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from floatbench.files import atomic_path
from floatbench.model.conditioning import AudioEncoder, EmotionEncoder, normalise_audio
from floatbench.model.float import FloatModel
from floatbench.paths import cache_dir
from floatbench.progress import Progress
from floatbench.training.batches import MotionClip


@torch.no_grad()
def hear(model: FloatModel, audio: np.ndarray) -> tuple[Tensor, Tensor | None]:
    """States (T, S) of a whole sound (640 T,) int16, and log-probabilities (E,) of its emotion if it tells one."""
    encoder, wave = model.audio_encoder, torch.from_numpy(audio.astype(np.float32) / 32768)[None]
    assert isinstance(encoder, AudioEncoder)
    wave = normalise_audio(wave.to(model.device))
    states = encoder.states(wave, len(audio) // 640)[0]
    if not isinstance(model.emotion_encoder, EmotionEncoder):
        return states, None
    return states, torch.log(model.emotion_encoder(wave)[0].clamp(min=1e-9))


def heard_clips(
    model: FloatModel, clips: Sequence[MotionClip], networks: str, progress: Progress, folder: Path | None = None
) -> list[MotionClip]:
    """The clips with what the frozen networks hear in them, from the cache where it is known.

    Args:
        networks: names the weights of the networks. folder: of the cache; by default floatbench's own.
    """
    folder = folder or cache_dir() / "training" / "heard-1"
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    with FileLock(folder / ".lock"), progress.task("hear", len(clips), "clip") as task:
        for clip in clips:
            found.append(_heard(model, clip, networks, folder))
            task.advance()
    return found


def _heard(model: FloatModel, clip: MotionClip, networks: str, folder: Path) -> MotionClip:
    digest = hashlib.sha256(f"{networks} {torch.__version__} ".encode() + clip.audio.tobytes()).hexdigest()[:32]
    states_file, felt_file = folder / f"{digest}.npy", folder / f"{digest}-emotion.npy"
    if not (states_file.is_file() and felt_file.is_file()):
        states, felt = hear(model, clip.audio)
        _write(felt_file, np.zeros(0, np.float32) if felt is None else felt.float().cpu().numpy())
        _write(states_file, states.to(torch.float16).cpu().numpy())
    felt = np.load(felt_file, allow_pickle=False)
    return replace(
        clip, states=np.load(states_file, mmap_mode="r", allow_pickle=False), felt=felt if len(felt) else None
    )


def _write(file: Path, values: np.ndarray) -> None:
    with atomic_path(file) as partial, partial.open("wb") as out:
        np.save(out, values)
