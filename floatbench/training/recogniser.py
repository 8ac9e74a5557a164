"""The small emotion recogniser learns before phase 2, from the sound of many synthetic people, and is then frozen.

The paper's recogniser is a finished network, too. Trained along with the transformer on a few hundred clips the small
one learned nothing: its outputs saturated and became constant. A sound costs a twentieth of its pictures, so that it
can hear more people than phase 2 shows. N sounds.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from floatbench.files import write_safetensors
from floatbench.model.checkpoint import read_tensors
from floatbench.model.conditioning import MelEmotionEncoder, normalise_audio
from floatbench.model.config import EMOTIONS
from floatbench.processes import in_order
from floatbench.progress import Progress
from floatbench.synthetic.clip import SyntheticClip
from floatbench.training.batches import step_random
from floatbench.training.config import TrainConfig
from floatbench.training.loop import rate_at, update
from floatbench.types import SAMPLES_PER_FRAME


@dataclass(frozen=True)
class Sounds:
    """Sounds (N, 640 T) int16 and the position (N,) of each one's emotion."""

    wave: np.ndarray
    emotion: np.ndarray


def draw_sounds(config: TrainConfig, people: range, progress: Progress, workers: int = 1) -> Sounds:
    """The first clip of each of those synthetic people, heard and not seen."""
    drawn = []
    make = partial(_sound, seconds=config.data.seconds, seed=config.data.seed)
    with progress.task("sounds", len(people), "sound") as task:
        for one in in_order(make, people, workers, "draws sounds"):
            drawn.append(one)
            task.advance()
    return Sounds(np.stack([wave for wave, _ in drawn]), np.array([emotion for _, emotion in drawn]))


def _sound(person: int, seconds: float, seed: int) -> tuple[np.ndarray, int]:
    clip = SyntheticClip(person, 0, seconds, seed)
    return clip.audio(), EMOTIONS.index(clip.mood)


def trained_recogniser(config: TrainConfig, cache: Path, progress: Progress, workers: int = 1) -> dict[str, Tensor]:
    """The recogniser's weights, from `cache` when they were trained there before with the same settings.

    Raises:
        NotFinite: the loss became NaN or infinite.
    """
    settings = asdict(config.emotion) | {
        "bands": config.model.mel_bands,
        "width": config.model.mel_width,
        "frames": config.model.window + config.model.previous,
        "seconds": config.data.seconds,
        "seed": config.data.seed,
        "first": config.data.first,
    }
    kept = (
        cache / f"emotion-{hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]}.safetensors"
    )
    if kept.is_file():
        return read_tensors(kept)
    first = config.data.first
    sounds = draw_sounds(config, range(first, first + config.emotion.people), progress, workers)
    network = fit(config, sounds, progress)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    write_safetensors(kept, state, {"settings": json.dumps(settings, sort_keys=True)})
    return state


def fit(config: TrainConfig, sounds: Sounds, progress: Progress) -> MelEmotionEncoder:
    """Cross entropy on random windows as long as those of phase 2."""
    c, length = config.emotion, SAMPLES_PER_FRAME * (config.model.window + config.model.previous)
    torch.manual_seed(c.seed)
    network = MelEmotionEncoder(config.model.mel_bands, config.model.mel_width)
    optimiser = torch.optim.Adam(network.parameters(), lr=c.rate)
    room = (sounds.wave.shape[1] - length) // SAMPLES_PER_FRAME + 1
    with progress.task("emotion", c.steps, "step") as task:
        for step in range(c.steps):
            rng = step_random(config.data.seed + c.seed, step, "emotion")
            chosen = rng.integers(len(sounds.wave), size=c.batch)
            starts = SAMPLES_PER_FRAME * rng.integers(room, size=c.batch)
            wave = np.stack([sounds.wave[i, start : start + length] for i, start in zip(chosen, starts, strict=True)])
            logits = network.logits(normalise_audio(torch.from_numpy(wave.astype(np.float32) / 32768)))
            loss = F.cross_entropy(logits, torch.from_numpy(sounds.emotion[chosen]))
            update(
                optimiser, loss, rate_at(step, c.steps, c.rate, 50, 0.5), 1.0, torch.Tensor.backward, {"emotion": loss}
            )
            task.advance(note=f"emotion {float(loss.detach()):.3f}")
    return network.eval()


@torch.no_grad()
def recognised(network: MelEmotionEncoder, sounds: Sounds) -> dict[str, float]:
    """Cross entropy and accuracy on whole sounds; chance is 1.95 and 0.14."""
    parts = torch.from_numpy(sounds.wave.astype(np.float32) / 32768).split(32)
    logits, labels = (
        torch.cat([network.logits(normalise_audio(part)) for part in parts]),
        torch.from_numpy(sounds.emotion),
    )
    return {
        "cross_entropy": float(F.cross_entropy(logits, labels)),
        "accuracy": float((logits.argmax(1) == labels).double().mean()),
    }
