"""The network that reads faces for float-tiny's encoder learns before phase 1, from many people, and is then frozen.

A hundred people in clips are too few to learn to read faces from; single pictures of five thousand cost as much as a
few minutes of clips. N pictures, M motion numbers.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from floatbench.files import write_safetensors
from floatbench.model.checkpoint import read_tensors
from floatbench.model.config import POSES
from floatbench.model.face_reader import FaceReader
from floatbench.processes import in_order
from floatbench.progress import Progress
from floatbench.synthetic.clip import SyntheticClip
from floatbench.synthetic.stills import random_stills
from floatbench.training.batches import pictures, step_generator
from floatbench.training.config import TrainConfig
from floatbench.training.ground_truth import MIRRORED, SPREAD
from floatbench.training.loop import rate_at, update
from floatbench.training.tiny.config import ReaderConfig

FIRST = 20_000
"""The first person whose pictures are read: not one of the clips, nor of those that the small metric networks met."""
SECONDS, EVERY = 2.0, 5
"""Length of the clips that also give pictures, and how far apart these are."""
SIZE = 128
POSE_ERROR = (0.05, 0.04, 0.03, 0.015, 0.015, 0.06)
"""Spread of the error of the pose by which faces are unwrapped, about what the pose network misses on other people."""
POSE_SCALE = (0.25, 0.15, 0.1, 0.06, 0.05, 0.12)
"""Typical spread of each pose number, in which its error counts."""


def draw_portraits(config: ReaderConfig, seed: int, progress: Progress, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, 128, 128, 3) uint8 and their true motion (N, M), natural units."""
    people = [(FIRST + i, config.stills) for i in range(config.people)]
    people += [(FIRST + config.people + i, 0) for i in range(config.speakers)]
    drawn: list[tuple[np.ndarray, np.ndarray]] = []
    with progress.task("portraits", len(people), "person") as task:
        for one in in_order(partial(_portraits, seed), people, workers, "draws portraits"):
            drawn.append(one)
            task.advance()
    shown, motion = (np.concatenate(column) for column in zip(*drawn, strict=True))
    return shown, motion


def _portraits(seed: int, person: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """So many single pictures of a person, or for none, frames of a talking clip."""
    number, stills = person
    if stills:
        shown, truth = random_stills(number, stills, SIZE, seed)
        return shown, np.concatenate([truth["pose"], truth["expression"]], 1)
    clip = SyntheticClip(number, 0, SECONDS, seed)
    shown = clip.frames(SIZE, every=EVERY)
    return shown, np.concatenate([clip.pose[::EVERY], clip.expression[::EVERY]], 1).astype(np.float32)


def trained_reader(config: TrainConfig, cache: Path, progress: Progress, workers: int = 1) -> dict[str, Tensor]:
    """The reader's weights, from `cache` when they were trained there before with the same settings.

    Raises:
        NotFinite: the loss became NaN or infinite.
    """
    settings = asdict(config.reader) | {"data_seed": config.data.seed, "dim_w": config.model.dim_w}
    name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    kept = cache / f"reader-{name}.safetensors"
    if kept.is_file():
        return read_tensors(kept)
    shown, motion = draw_portraits(config.reader, config.data.seed, progress, workers)
    with torch.random.fork_rng(devices=[]):  # what comes after draws alike, whether the reader was kept or not
        reader = fit_reader(config.reader, config.model.dim_w, shown, motion, progress)
    state = {name: value.contiguous() for name, value in reader.state_dict().items()}
    write_safetensors(kept, state, {"settings": json.dumps(settings, sort_keys=True)})
    return state


def fit_reader(
    config: ReaderConfig, latent_dim: int, shown: np.ndarray, motion: np.ndarray, progress: Progress
) -> FaceReader:
    """Pose and face by squared differences in units of their spread."""
    torch.manual_seed(config.seed)
    reader = FaceReader(latent_dim)
    reader.spread.copy_(torch.from_numpy(SPREAD))
    network = _normed(reader).train().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=0.02)
    truth, error = torch.from_numpy(motion), torch.tensor(POSE_ERROR)
    spread = torch.cat((torch.tensor(POSE_SCALE), truth[:, POSES:].std(0).clamp(min=0.1)))
    with progress.task("reader", config.steps, "step") as task:
        for step in range(config.steps):
            generator = step_generator(config.seed, step, "reader")
            rows = torch.randint(len(truth), (config.batch,), generator=generator)
            flip = torch.rand(config.batch, generator=generator) < 0.5
            seen = pictures(shown[rows.numpy()])
            seen = _jittered(torch.where(flip[:, None, None, None], seen.flip(-1), seen), generator)
            true = torch.where(flip[:, None], torch.from_numpy(MIRRORED), 1.0) * truth[rows]
            off = true[:, :POSES] + error * torch.randn(config.batch, POSES, generator=generator)
            read = torch.cat((network.posed(seen), network.faced(seen, off)), 1)
            squares = ((read - true) / spread).square()
            terms = {"pose": squares[:, :POSES].mean(), "face": squares[:, POSES:].mean()}
            loss = terms["pose"] + terms["face"]
            rate = rate_at(step, config.steps, config.rate, 100, 0.3)
            update(optimiser, loss, rate, 0.0, torch.Tensor.backward, terms)
            task.advance(note=" ".join(f"{name} {float(term.detach()):.3f}" for name, term in terms.items()))
    return _folded(network.eval().to(memory_format=torch.contiguous_format))


def _jittered(x: Tensor, generator: torch.Generator) -> Tensor:
    """Random brightness, contrast and grain."""
    n = len(x)
    gain = 1 + 0.15 * torch.randn(n, 1, 1, 1, generator=generator)
    shift = 0.1 * torch.randn(n, 3, 1, 1, generator=generator) * torch.rand(n, 1, 1, 1, generator=generator)
    return x * gain + shift + 0.03 * torch.randn(x.shape, generator=generator)


def _normed(reader: FaceReader) -> FaceReader:
    """The reader with batch normalisation behind every convolution, as it learns best."""
    for block in _blocks(reader):
        convolution = cast("nn.Conv2d", block[0])
        block[1] = nn.Sequential(nn.BatchNorm2d(convolution.out_channels), block[1])
    return reader


@torch.no_grad()
def _folded(reader: FaceReader) -> FaceReader:
    """The same reader with the normalisation within its convolutions."""
    for block in _blocks(reader):
        norm, active = cast("nn.Sequential", block[1])
        block[0] = fuse_conv_bn_eval(cast("nn.Conv2d", block[0]), cast("nn.BatchNorm2d", norm))
        block[1] = active
    return reader.requires_grad_(False)


def _blocks(reader: FaceReader) -> list[nn.Sequential]:
    found = [m for m in reader.modules() if isinstance(m, nn.Sequential) and isinstance(m[0], nn.Conv2d)]
    return [m for m in found if len(m) == 2]
