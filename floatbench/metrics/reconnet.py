"""ReconNet: the 257 face coefficients of Deep3DFaceRecon, with its five-point alignment; no face model, no renderer.

Source: Deng et al., "Accurate 3D Face Reconstruction with Weakly-Supervised Learning" (2019), the PyTorch release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import nn

from floatbench.metrics import scrfd
from floatbench.metrics.base import Backbone
from floatbench.metrics.network import NetworkBackbone, seeded_state
from floatbench.types import ClipMedia, Features

SIDE = 224
FACE_SIDE = 102.0
"""Pixels per unit of the template in the aligned picture."""
HEADS = (80, 64, 80, 3, 27, 2, 1)
"""Identity, expression, texture, angles, lighting, (tx, ty), tz."""
EXPRESSION = slice(80, 144)
ANGLES = slice(224, 227)
TRANSLATION = slice(254, 257)
TEMPLATE = np.array(
    [
        [-0.31148657, 0.29036078, 0.13377953],
        [0.30979887, 0.28972036, 0.13179526],
        [0.003253499, -0.046179324, 0.55244243],
        [-0.25216928, -0.38133916, 0.22405732],
        [0.2484662, -0.38128236, 0.22235769],
    ]
)
"""Eye, eye, nose tip and mouth corners of the mean face, x right, y up, z to the camera."""
MAX_PIXELS = 1 << 26
"""Largest resized picture: a face so small that it would need more is treated as not found."""

Mode = Literal["aligned", "hold", "fixedcrop"]


class ReconNet(nn.Module):
    """(B, 3, 224, 224) RGB in [0, 1] -> (B, 257); key names of `net_recon` in `epoch_20.pth`."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet50

        self.backbone = resnet50(weights=None)
        self.backbone.fc = nn.Identity()  # type: ignore[assignment]
        self.final_layers = nn.ModuleList(nn.Conv2d(2048, width, 1) for width in HEADS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.backbone(x)[:, :, None, None]
        return torch.cat([head(pooled) for head in self.final_layers], dim=1).flatten(1)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """(68, 2) landmarks of the 300-W scheme -> (5, 2): eye, eye, nose tip, mouth corners; the picture's left first."""
    eyes = [landmarks[[36, 39]].mean(axis=0), landmarks[[42, 45]].mean(axis=0)]
    return np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]])


def weak_perspective(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Shift (2,) and scale of the weak-perspective camera that maps the template onto (5, 2) points with y up.

    Each picture axis is an affine function of the template, fitted by least squares; the scale is the mean length of
    the two row vectors.
    """
    design = np.concatenate([TEMPLATE, np.ones((len(TEMPLATE), 1))], axis=1)
    solution = np.linalg.lstsq(design, np.asarray(points, np.float64), rcond=None)[0]  # (4, 2): rows then shift
    return solution[3], float(np.linalg.norm(solution[:3], axis=0).mean())


def align(frame: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    """The (224, 224, 3) uint8 picture ReconNet expects, from an RGB frame and its (5, 2) points in pixels, y down.

    None when the points are degenerate or the face is so small that the enlarged frame would pass 64 megapixels.
    """
    height = frame.shape[0]
    return align_upright(frame, np.stack([points[:, 0], height - 1 - points[:, 1]], axis=1))


def align_upright(frame: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    """`align` with y counted upwards from the last row: bicubic resize of the frame, then a square cut."""
    height, width = frame.shape[:2]
    shift, scale = weak_perspective(points)
    if not np.isfinite(scale) or scale <= 0:
        return None
    s = FACE_SIDE / scale
    new_width, new_height = int(width * s), int(height * s)
    if min(new_width, new_height) < 1 or new_width * new_height > MAX_PIXELS:
        return None
    left = int(new_width / 2 - SIDE / 2 + (shift[0] - width / 2) * s)
    top = int(new_height / 2 - SIDE / 2 + (height / 2 - shift[1]) * s)
    resized = Image.fromarray(np.ascontiguousarray(frame)).resize((new_width, new_height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + SIDE, top + SIDE)))


def fixed_crop(frame: np.ndarray) -> np.ndarray:
    """The whole (H, W, 3) frame as (224, 224, 3), bicubic: keeps the face's size and place in the picture."""
    image = Image.fromarray(np.ascontiguousarray(frame))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def template_points(height: int, width: int) -> np.ndarray:
    """(5, 2) stand-in points with y up, for a clip whose first face has not come yet (SadTalker's rule)."""
    return (TEMPLATE[:, :2] + 1) / 2 * (width, height)


class ReconCoefficients(NetworkBackbone):
    """ReconNet's coefficients of every frame: `found` (T,), `faces` (T,), `coefficients` (T, 257) float32.

    Args:
        mode: `aligned`: SCRFD's five points, frames without a face are not measured; `hold`: such frames use the last
            face's points, or the template where none came yet; `fixedcrop`: the whole frame at 224, no detection.
        batch: faces per forward pass; changes nothing but rounding.
    """

    licence = "code MIT; weights without a statement, trained with the Basel Face Model: research only"
    default_batch = 8  # with 16 a processor takes a twelfth longer for each: new memory at the wide layers
    norms_follow = channels_last = True
    traced = ("backbone",)

    def __init__(self, mode: Mode = "aligned", batch: int | None = None) -> None:
        super().__init__(batch)
        self.id = "reconnet" if mode == "aligned" else f"reconnet-{mode}"
        self.mode: Mode = mode
        self.weights = ("reconnet-epoch20",) if mode == "fixedcrop" else ("reconnet-epoch20", scrfd.WEIGHTS)
        self._detector: scrfd.Detector | None = None

    def settings(self) -> dict[str, Any]:
        if self.mode == "fixedcrop":
            return {"mode": self.mode, "side": SIDE}
        return {"mode": self.mode, "side": SIDE, "landmarks": "scrfd-5", **scrfd.settings()}

    def build(self) -> nn.Module:
        return ReconNet()

    def state(self) -> Mapping[str, torch.Tensor]:
        return official_state(super().state())

    def load(self, device: str = "cpu") -> None:
        super().load(device)
        if self.mode != "fixedcrop":
            self._detector = scrfd.shared_detector(device)

    def coefficients(self, crops: np.ndarray) -> np.ndarray:
        """(B, 224, 224, 3) uint8 RGB -> (B, 257) float32."""
        return self.forward(lambda network, x: network(x.permute(0, 3, 1, 2).float() / 255), crops)

    def extract(self, clip: ClipMedia) -> Features:
        if self.network is None:
            self.load()
        faces, crops = self._crops(clip)
        found = np.zeros(clip.n_frames, bool)
        result = np.zeros((clip.n_frames, sum(HEADS)), np.float32)
        for numbers, pictures in _stacked(crops, self.batch):
            found[numbers] = True
            result[numbers] = self.coefficients(pictures)
        return {"found": found, "faces": faces, "coefficients": result}

    def _crops(self, clip: ClipMedia) -> tuple[np.ndarray, Iterator[np.ndarray | None]]:
        """Faces in each frame, and the crop of each as it is asked for, None without a face."""
        if self.mode == "fixedcrop":
            return np.ones(clip.n_frames, np.int32), (fixed_crop(frame) for frame in clip.frames)
        assert self._detector is not None
        detected = self._detector.largest_faces(clip)
        return detected["faces"], self._aligned(clip, detected)

    def _aligned(self, clip: ClipMedia, detected: Features) -> Iterator[np.ndarray | None]:
        last: np.ndarray | None = None
        for frame, found, points in zip(clip.frames, detected["found"], detected["points"], strict=True):
            last = points if found else last
            if found or (self.mode == "hold" and last is not None):
                yield align(frame, points if found else np.asarray(last))
            elif self.mode == "hold":
                yield align_upright(frame, template_points(*frame.shape[:2]))
            else:
                yield None


def _stacked(crops: Iterable[np.ndarray | None], size: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Numbers and pictures (B, 224, 224, 3) of the crops that are there, up to `size` at a time."""
    there = ((number, crop) for number, crop in enumerate(crops) if crop is not None)
    while chunk := list(islice(there, size)):
        yield [number for number, _ in chunk], np.stack([crop for _, crop in chunk])


def official_state(document: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """ReconNet's tensors of `epoch_20.pth` (entry `net_recon`) or SadTalker's safetensors (prefix `face_3drecon.`)."""
    if "net_recon" in document:
        return dict(document["net_recon"])
    prefix = "face_3drecon."
    chosen = {name[len(prefix) :]: tensor for name, tensor in document.items() if name.startswith(prefix)}
    return chosen or dict(document)


def fabricate(path: Path, seed: int) -> None:
    """Seeded random weights in the form of `epoch_20.pth`; heads are scaled to the spread of real coefficients."""
    state = seeded_state(ReconNet(), seed)
    for name in state:
        if name.endswith("bn3.weight"):
            state[name] *= 0.2  # sixteen random residual blocks must not blow up
        elif name.startswith("final_layers"):
            state[name] *= 0.05
    torch.save({"net_recon": state}, path)


BACKBONES: dict[str, Callable[[], Backbone]] = {
    "reconnet": ReconCoefficients,
    "reconnet-hold": partial(ReconCoefficients, "hold"),
    "reconnet-fixedcrop": partial(ReconCoefficients, "fixedcrop"),
}
