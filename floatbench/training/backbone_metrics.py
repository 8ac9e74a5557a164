"""How good the small backbones are on people they never saw: the metrics in the manifest."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from floatbench.metrics import tiny_networks as tiny
from floatbench.metrics.syncnet import distances, judge
from floatbench.synthetic.expression import EXPRESSION, POSE
from floatbench.training.backbone_data import ExpressionFaces, RenderedFaces


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a random positive exceeds a random negative (area under the ROC curve), ties count half."""
    order = np.sort(negative)
    below, upto = np.searchsorted(order, positive, "left"), np.searchsorted(order, positive, "right")
    return float((below + 0.5 * (upto - below)).mean() / len(negative))


def verification_auc(embeddings: np.ndarray, person: np.ndarray) -> float:
    """AUC of the cosine over all pairs of pictures: one person against two."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosine = unit @ unit.T
    upper = np.triu_indices(len(person), 1)
    same = (person[:, None] == person)[upper]
    return auc(cosine[upper][same], cosine[upper][~same])


def r2(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Share of explained variance of each column, (d,); 1 is perfect, 0 is the mean's or a constant column's."""
    spread = ((truth - truth.mean(0)) ** 2).sum(0)
    return np.where(spread > 0, 1 - ((truth - guess) ** 2).sum(0) / np.maximum(spread, 1e-12), 0.0)


def offsets_found(network: nn.Module, lips: list[np.ndarray], mel: list[np.ndarray], shifts: range) -> float:
    """Share of (clip, shift) whose offset, the clip's own taken off, is found within one frame."""
    assert isinstance(network, tiny.SyncNetwork)
    right = []
    for picture, sound in zip(lips, mel, strict=True):
        seen, heard = embeddings(network, picture, sound)
        for shift in shifts:
            moved = np.roll(heard, shift, 0)
            right.append(abs(judge(distances(seen, moved)).offset + shift) <= 1)
    return float(np.mean(right))


def embeddings(network: tiny.SyncNetwork, lips: np.ndarray, mel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lip and sound embeddings (N, 64) of one clip, cut to the same N."""
    pictures, columns = tiny.lip_windows(lips), tiny.mel_windows(mel)
    n = min(len(pictures), len(columns))
    with torch.inference_mode():
        seen = network.lips(torch.from_numpy(np.ascontiguousarray(pictures[:n])))[0].numpy()
        heard = network.sound(torch.from_numpy(np.ascontiguousarray(columns[:n])))[0].numpy()
    return seen, heard


def _batches(pictures: np.ndarray, size: int = 128) -> Iterator[torch.Tensor]:
    for start in range(0, len(pictures), size):
        yield torch.from_numpy(tiny.scaled(pictures[start : start + size]))


def poses(network: nn.Module, pictures: np.ndarray) -> np.ndarray:
    """Pose (N, 6) that the frame network reads from pictures (N, 80, 80, 3)."""
    with torch.inference_mode():
        return torch.cat([network(batch)["pose"] for batch in _batches(pictures)]).numpy()


def expression_metrics(network: nn.Module, data: ExpressionFaces) -> dict[str, float]:
    """R2 over single pictures and over frames of clips, mean of all coefficients, and of each.

    That of each is of single pictures, which show the whole range of every one.
    """
    with torch.inference_mode():
        both = zip(_batches(data.eyes), _batches(data.mouth), strict=True)
        read = torch.cat([network(eyes, mouth) for eyes, mouth in both]).numpy()
    stills, clips = (r2(data.expression[rows], read[rows]) for rows in (data.still, ~data.still))
    found = {"expression_r2": float(stills.mean()), "expression_r2_clips": float(clips.mean())}
    return found | {f"r2_{name}": float(value) for name, value in zip(EXPRESSION, stills, strict=True)}


def identity_metrics(network: nn.Module, data: RenderedFaces) -> dict[str, float]:
    """Verification over single pictures in changing scenery, and over frames of clips, where scenery gives it away."""
    still = data.emotion < 0
    some = np.concatenate([np.arange(part.start, part.stop)[::10] for part in data.clips])
    found = {}
    for name, rows in (("verification_auc", np.flatnonzero(still)), ("verification_auc_own_scenery", some)):
        with torch.inference_mode():
            embedded = torch.cat([network(batch) for batch in _batches(data.faces[rows])]).numpy()
        found[name] = verification_auc(embedded, data.person[rows])
    return found


def held_out_metrics(networks: dict[str, nn.Module], data: RenderedFaces, faces: ExpressionFaces) -> dict[str, float]:
    """The metrics on held-out people: verification AUC, pose errors, expression R2 and sync offset accuracy."""
    error = np.abs(poses(networks["tiny-frames"], data.frames) - data.pose).mean(0)
    found = identity_metrics(networks["tiny-identity"], data)
    found |= {f"{name}_error_degrees": float(np.degrees(error[i])) for i, name in enumerate(POSE[:3])}
    found |= {f"{name}_error": float(error[i + 3]) for i, name in enumerate(POSE[3:])}
    found |= expression_metrics(networks["tiny-expression"], faces)
    found["offset_within_one_frame"] = offsets_found(
        networks["tiny-sync"],
        data.lips,
        data.mel,
        range(-8, 9, 4),
    )
    return {name: round(value, 4) for name, value in found.items()}
