"""Trains the bundled small backbones on synthetic heads, measures them on people they never saw, and writes the files.

Training people have small numbers, protocol people start at `TEST_FIRST`, and the metrics come from a third group
(`HELD_OUT`), so that nothing is tuned on what the protocol scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from floatbench import assets
from floatbench.errors import UsageError
from floatbench.files import file_sha256, write_bytes, write_json, write_safetensors
from floatbench.metrics import tiny_networks as tiny
from floatbench.metrics.tiny import load_network
from floatbench.processes import in_order
from floatbench.progress import NullProgress, Progress
from floatbench.synthetic.expression import EXPRESSION, POSE
from floatbench.synthetic.identity import TRAITS
from floatbench.text import near
from floatbench.training.backbone_data import (
    STATES,
    BackboneConfig,
    ExpressionFaces,
    RenderedFaces,
    make_expressions,
    make_faces,
)
from floatbench.training.backbone_metrics import held_out_metrics

POSE_SCALE = np.array([0.25, 0.15, 0.1, 0.06, 0.05, 0.12], np.float32)
"""Typical spread of each pose number; losses are taken in these units, the network's output is in natural ones."""
POSE_SIGN, EXPRESSION_SIGN, TRAIT_SIGN = (
    np.where(np.isin(names, turned), np.float32(-1), np.float32(1))
    for names, turned in ((POSE, ("yaw", "roll", "x")), (EXPRESSION, ("gaze_x",)), (TRAITS, ("light_side",)))
)
"""What a mirror turns round."""


def _steps(network: nn.Module, count: int, rate: float, label: str, progress: Progress) -> Iterator[torch.optim.Adam]:
    """Yields the optimiser `count` times under a rate that rises, then falls along a half cosine."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=count, pct_start=0.1)
    network.train()
    with progress.task(label, count, "step") as task:
        for _ in range(count):
            yield optimiser
            optimiser.step()
            schedule.step()
            task.advance()
    network.eval().requires_grad_(False)


def _jitter(x: Tensor, rng: torch.Generator) -> Tensor:
    """Random brightness, contrast and noise, so that codecs and exposure do not matter."""
    n = len(x)
    gain = 1 + 0.12 * torch.randn(n, 1, 1, 1, generator=rng)
    shift = 0.08 * torch.randn(n, 3, 1, 1, generator=rng) * torch.rand(n, 1, 1, 1, generator=rng)
    return x * gain + shift + 0.03 * torch.randn(x.shape, generator=rng)


def _shifted(x: Tensor, far: int, rng: torch.Generator) -> Tensor:
    """The batch moved by up to `far` pixels, so that the exact place in the picture does not matter."""
    dy, dx = (int(torch.randint(-far, far + 1, (1,), generator=rng)) for _ in range(2))
    return torch.roll(x, (dy, dx), (-2, -1))


def _mirrored(x: Tensor, flip: Tensor) -> Tensor:
    """The pictures (B, C, H, W) of which `flip` (B,) holds, seen in a mirror: twice the variety at no cost."""
    return torch.where(flip[:, None, None, None], x.flip(-1), x)


def _fast(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def train_frames(data: RenderedFaces, config: BackboneConfig, progress: Progress) -> tiny.FrameNetwork:
    """The network behind fid-tiny and pfid-tiny."""
    torch.manual_seed(config.seed)
    rng = torch.Generator().manual_seed(config.seed)
    network = tiny.FrameNetwork(expression=len(EXPRESSION), traits=data.traits.shape[1])
    network = network.to(memory_format=torch.channels_last)
    emotion = torch.from_numpy(data.emotion)
    clip = emotion >= 0  # frames of a clip resemble each other: single pictures make three quarters of a batch
    weight = torch.where(clip, 0.25 / clip.sum(), 0.75 / (~clip).sum())
    spread = torch.from_numpy(np.maximum(data.expression[data.emotion < 0].std(0), 0.1))
    scale = torch.from_numpy(POSE_SCALE)
    columns = ((data.pose, POSE_SIGN), (data.expression, EXPRESSION_SIGN), (data.traits, TRAIT_SIGN))
    truths = [(torch.from_numpy(values), torch.from_numpy(sign)) for values, sign in columns]
    for optimiser in _steps(network, config.frame_steps, config.rate, "tiny-frames", progress):
        rows = torch.multinomial(weight, config.batch, replacement=True, generator=rng)
        flip = torch.rand(len(rows), generator=rng) < 0.5
        pictures = torch.from_numpy(tiny.scaled(data.frames[rows.numpy()]))
        out = network(_fast(_jitter(_mirrored(pictures, flip), rng)))
        pose, face, traits = (torch.where(flip[:, None], sign, 1.0) * value[rows] for value, sign in truths)
        state = torch.cat([pose / scale, face / spread], 1)
        loss = (
            functional.smooth_l1_loss(out["pose"] / scale, pose / scale)
            + functional.mse_loss(out["expression"] / spread, face / spread)
            + 0.3 * functional.mse_loss(out["traits"], traits)
            + 0.3 * functional.mse_loss(out["state"], state)
        )
        known = emotion[rows] >= 0
        if known.any():
            loss = loss + 0.1 * functional.cross_entropy(out["emotion"][known], emotion[rows][known])
        optimiser.zero_grad()
        loss.backward()
    return network


def train_expression(data: ExpressionFaces, config: BackboneConfig, progress: Progress) -> tiny.ExpressionNetwork:
    """The network behind efid-tiny and aed-tiny."""
    torch.manual_seed(config.seed + 4)
    rng = torch.Generator().manual_seed(config.seed + 4)
    network = tiny.ExpressionNetwork(len(EXPRESSION)).to(memory_format=torch.channels_last)
    still, truth = torch.from_numpy(data.still), torch.from_numpy(data.expression)
    weight = torch.where(still, 0.75 / still.sum(), 0.25 / (~still).sum())
    spread, sign = truth[still].std(0).clamp(min=0.1), torch.from_numpy(EXPRESSION_SIGN)
    for optimiser in _steps(network, config.expression_steps, config.rate, "tiny-expression", progress):
        rows = torch.multinomial(weight, config.batch, replacement=True, generator=rng)
        flip = torch.rand(len(rows), generator=rng) < 0.5
        parts = (torch.from_numpy(tiny.scaled(part[rows.numpy()])) for part in (data.eyes, data.mouth))
        read = network(*(_fast(_jitter(_shifted(_mirrored(part, flip), 2, rng), rng)) for part in parts))
        face = torch.where(flip[:, None], sign, 1.0) * truth[rows]
        loss = functional.mse_loss(read / spread, face / spread)
        optimiser.zero_grad()
        loss.backward()
    return network


def train_identity(data: RenderedFaces, config: BackboneConfig, progress: Progress) -> tiny.IdentityNetwork:
    """The network behind csim-tiny: cosine classes with an additive margin (CosFace, 2018)."""
    torch.manual_seed(config.seed + 1)
    rng = torch.Generator().manual_seed(config.seed + 1)
    network = tiny.IdentityNetwork().to(memory_format=torch.channels_last)
    classes = nn.Parameter(torch.randn(int(data.person.max()) + 1, 64))
    everything = nn.ModuleDict({"network": network})
    everything.register_parameter("classes", classes)
    person = torch.from_numpy(data.person)
    weight = 1.0 / np.bincount(data.person)[data.person]
    for step, optimiser in enumerate(_steps(everything, config.identity_steps, config.rate, "tiny-identity", progress)):
        rows = torch.multinomial(torch.from_numpy(weight), config.batch, replacement=True, generator=rng)
        faces = torch.from_numpy(tiny.scaled(data.faces[rows.numpy()]))
        faces = _mirrored(faces, torch.rand(len(rows), generator=rng) < 0.5)
        embedding = network(_fast(_jitter(_shifted(faces, 3, rng), rng)))
        cosine = functional.normalize(embedding) @ functional.normalize(classes).T
        margin = 0.25 * min(1.0, 3 * step / config.identity_steps)
        target = functional.one_hot(person[rows], len(classes)) * margin
        loss = functional.cross_entropy(16 * (cosine - target), person[rows])
        optimiser.zero_grad()
        loss.backward()
    return network


def clip_targets(pose: np.ndarray, expression: np.ndarray) -> np.ndarray:
    """What a clip feature must know of its 16 frames (40,): how far and how fast pose and expression move."""
    moves = np.concatenate([pose / POSE_SCALE, expression], 1)
    return np.concatenate([moves.std(0) * 3, np.abs(np.diff(moves, axis=0)).mean(0) * 8]).astype(np.float32)


def train_clips(
    data: RenderedFaces, frames: tiny.FrameNetwork, config: BackboneConfig, progress: Progress
) -> tiny.ClipNetwork:
    """The network behind fvd-tiny: on the features of 16 frames, taught to measure motion."""
    torch.manual_seed(config.seed + 2)
    rng = np.random.default_rng(config.seed + 2)
    windows, targets = [], []
    for part in data.clips:
        features = _features(frames, data.frames[part])
        for start in range(0, len(features) - tiny.WINDOW + 1, 2):
            at = slice(part.start + start, part.start + start + tiny.WINDOW)
            windows.append(features[start : start + tiny.WINDOW])
            targets.append(clip_targets(data.pose[at], data.expression[at]))
            windows.append(np.repeat(features[start : start + 1], tiny.WINDOW, 0))  # a still has no motion
            targets.append(np.zeros_like(targets[-1]))
    x, y = torch.from_numpy(np.stack(windows)), torch.from_numpy(np.stack(targets))
    network = tiny.ClipNetwork(y.shape[1])
    for optimiser in _steps(network, config.clip_steps, config.rate, "tiny-clips", progress):
        rows = torch.from_numpy(rng.integers(len(x), size=config.batch))
        loss = functional.smooth_l1_loss(network(x[rows])["targets"], y[rows])
        optimiser.zero_grad()
        loss.backward()
    return network


def _features(frames: tiny.FrameNetwork, pictures: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return frames(torch.from_numpy(tiny.scaled(pictures)))["features"].numpy()


def train_sync(data: RenderedFaces, config: BackboneConfig, progress: Progress) -> tiny.SyncNetwork:
    """The network behind lse-tiny: lips and sound of one moment lie nearer than those of any other.

    A batch is eight windows of eight clips; every pair at least two frames apart, and every pair from two clips, is
    a negative (symmetric InfoNCE on squared distances).
    """
    torch.manual_seed(config.seed + 3)
    rng = np.random.default_rng(config.seed + 3)
    noise = torch.Generator().manual_seed(config.seed + 3)
    network = tiny.SyncNetwork(len(STATES)).to(memory_format=torch.channels_last)
    lips, mels = [tiny.lip_windows(v) for v in data.lips], [tiny.mel_windows(m) for m in data.mel]
    mouth = [data.expression[part][:, STATES] for part in data.clips]
    for optimiser in _steps(network, config.sync_steps, config.rate, "tiny-sync", progress):
        chosen = rng.choice(len(lips), min(8, len(lips)), replace=False)
        picks = [(c, rng.permutation(min(len(lips[c]), len(mels[c])))[:8]) for c in chosen]
        clip = torch.from_numpy(np.concatenate([np.full(len(i), c) for c, i in picks]))
        at = torch.from_numpy(np.concatenate([i for _, i in picks]))
        seen = torch.from_numpy(np.concatenate([lips[c][i] for c, i in picks]))
        gain = 1 + 0.15 * torch.randn(len(seen), 1, 1, 1, generator=noise)
        seen = _mirrored(_shifted(seen, 2, noise), torch.rand(len(seen), generator=noise) < 0.5)
        seen = seen * gain + 0.1 * torch.randn(len(seen), 1, 1, 1, generator=noise)
        seen = seen + 0.03 * torch.randn(seen.shape, generator=noise)
        heard = torch.from_numpy(np.concatenate([mels[c][i] for c, i in picks]))
        heard = heard + 0.15 * torch.randn(len(heard), 1, 1, generator=noise)
        states = [mouth[c][i[:, None] + np.arange(tiny.LIP_WINDOW)].reshape(len(i), -1) for c, i in picks]
        truth = torch.from_numpy(np.concatenate(states))
        (a, guess_a), (b, guess_b) = network.lips(_fast(seen)), network.sound(heard)
        loss = (
            _contrast(a, b, clip, at)
            + 5 * functional.mse_loss(guess_a, truth)
            + 5 * functional.mse_loss(guess_b, truth)
        )
        optimiser.zero_grad()
        loss.backward()
    return network


def _contrast(a: Tensor, b: Tensor, clip: Tensor, at: Tensor) -> Tensor:
    closeness = -torch.cdist(a, b).square() / 14.0  # distances reach 20, so this spans about 28
    near = (clip[:, None] == clip) & ((at[:, None] - at).abs() == 1)  # a neighbour is neither right nor wrong
    closeness = closeness.masked_fill(near, -1e4)
    right = torch.arange(len(a))
    return functional.cross_entropy(closeness, right) + functional.cross_entropy(closeness.T, right)


def train_backbones(
    config: BackboneConfig, out: Path | None, progress: Progress, workers: int = 1, only: str = ""
) -> dict[str, Any]:
    """Trains all five networks and writes them with their manifest to `out` (the package's assets by default).

    Args:
        workers: processes that render and train side by side; each network is trained by one thread with its own seeds,
            so that the result does not depend on their number.
        only: one of `STAGES`: the other networks and their seconds are the package's.

    Returns:
        The manifest: config, seconds by stage, metrics on held-out people, files with SHA-256 and size.

    Raises:
        UsageError: `only` names no stage.
    """
    if only and only not in STAGES:
        raise UsageError(f"unknown stage {only!r}", fix=near(only, STAGES))
    torch.set_num_threads(1)
    clock: dict[str, float] = dict(assets.manifest()["seconds"]) if only else {}
    kept = [name for name in tiny.NETWORKS if only and name not in STAGES[only]]
    networks = {name: load_network(name) for name in kept}
    data = None
    if only != "expression":
        start = time.monotonic()
        data = make_faces(config, progress, workers)
        clock["render"] = round(time.monotonic() - start, 1)
    for trained, seconds in _train_all([only] if only else [*STAGES], data, config, progress, workers):
        networks |= {name: network.half().float() for name, network in trained.items()}  # as the files will hold them
        clock["+".join(trained)] = seconds
    networks = {name: networks[name] for name in tiny.NETWORKS}
    frames = networks["tiny-frames"]
    assert isinstance(frames, tiny.FrameNetwork)
    faces = make_faces(config, progress, workers, held_out=True)
    found = held_out_metrics(networks, faces, make_expressions(config, progress, workers, frames))
    record = {"config": asdict(config), "seconds": clock, "torch": torch.__version__, "held_out": found}
    return write_backbones(networks, record, out or assets.FOLDER, kept)


Trained = tuple[dict[str, nn.Module], float]


def _train_all(
    stages: Sequence[str], data: RenderedFaces | None, config: BackboneConfig, progress: Progress, workers: int
) -> list[Trained]:
    if workers == 1:
        return [_train_one(data, config, progress, stage) for stage in stages]
    trained = []
    with progress.task("networks", len(stages), "network") as task:
        for one in in_order(partial(_train_one, data, config, NullProgress()), stages, workers, "trains a network"):
            trained.append(one)
            task.advance()
    return trained


def _train_one(data: RenderedFaces | None, config: BackboneConfig, progress: Progress, stage: str) -> Trained:
    torch.set_num_threads(1)
    start = time.monotonic()
    if stage == "expression":  # of faces of its own, drawn here, so that they need not be sent from process to process
        trained: dict[str, nn.Module] = {
            "tiny-expression": train_expression(make_expressions(config, progress), config, progress)
        }
    else:
        assert data is not None
        trained = _JOBS[stage](data, config, progress)
    return trained, round(time.monotonic() - start, 1)


def _frames_and_clips(data: RenderedFaces, config: BackboneConfig, progress: Progress) -> dict[str, nn.Module]:
    frames = train_frames(data, config, progress)
    return {"tiny-frames": frames, "tiny-clips": train_clips(data, frames, config, progress)}


_JOBS: dict[str, Callable[[RenderedFaces, BackboneConfig, Progress], dict[str, nn.Module]]] = {
    "frames": _frames_and_clips,
    "sync": lambda data, config, progress: {"tiny-sync": train_sync(data, config, progress)},
    "identity": lambda data, config, progress: {"tiny-identity": train_identity(data, config, progress)},
}
STAGES: dict[str, tuple[str, ...]] = {
    "frames": ("tiny-frames", "tiny-clips"),
    "expression": ("tiny-expression",),
    "sync": ("tiny-sync",),
    "identity": ("tiny-identity",),
}
"""The stages of the training and the networks that each makes."""


def write_backbones(
    networks: dict[str, nn.Module], record: dict[str, Any], folder: Path, kept: Sequence[str] = ()
) -> dict[str, Any]:
    """Writes float16 safetensors, a training log and the manifest, each whole or not at all; returns the manifest.

    Args:
        kept: networks whose files are the package's, byte by byte.
    """
    files = {}
    for name, network in networks.items():
        target = folder / f"{name}.safetensors"
        if name in kept:
            write_bytes(target, assets.path(name).read_bytes())
        else:
            state = {k: v.half().contiguous() for k, v in network.state_dict().items() if v.is_floating_point()}
            write_safetensors(target, state, {"trained_on": "synthetic heads", "seed": str(record["config"]["seed"])})
        files[name] = {"sha256": file_sha256(target), "bytes": target.stat().st_size}
    manifest = record | {"files": files}
    log = "\n".join(f"{stage}: {seconds} s" for stage, seconds in record["seconds"].items())
    metrics = "\n".join(f"{name}: {value}" for name, value in record["held_out"].items())
    write_bytes(folder / "backbones.log", f"{log}\n{metrics}\n".encode())
    write_json(folder / assets.MANIFEST, manifest)
    return manifest
