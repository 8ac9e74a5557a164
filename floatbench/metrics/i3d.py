"""I3D (Kinetics-400, the TensorFlow-hub release) as FVD uses it: 400 logits of 16 frames.

`i3d` has the batch-norm epsilon of the TensorFlow graph, 1e-3; `i3d-videogpt` the 1e-5 of the VideoGPT port and its
copies.
Source: Carreira and Zisserman (2017); Unterthiner et al. (2018) for FVD.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from floatbench.errors import ClipError
from floatbench.metrics.network import NetworkBackbone, save_seeded, seeded_state
from floatbench.seeds import derive_seed
from floatbench.types import ClipMedia, Features

SIDE = 224
WINDOW = 16
EPSILON_TF = 1e-3
EPSILON_VIDEOGPT = 1e-5

Triple = tuple[int, int, int]

_MIXED: dict[str, tuple[int, int, int, int, int, int]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


def same_padding(size: torch.Size | Triple, kernel: Triple, stride: Triple) -> list[int]:
    """TensorFlow's SAME padding of the last three axes, in the order that `F.pad` takes (last axis first)."""
    pads: list[int] = []
    for length, k, s in zip(reversed(size[-3:]), reversed(kernel), reversed(stride), strict=True):
        total = max(k - s, 0) if length % s == 0 else max(k - length % s, 0)
        pads += [total // 2, total - total // 2]
    return pads


class Unit(nn.Module):
    """SAME pad, 3-D convolution without bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple, stride: Triple, epsilon: float) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=epsilon)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.bn(self.conv3d(F.pad(x, same_padding(x.shape, self.kernel, self.stride)))))


class SamePool(nn.Module):
    """Max pool with zero SAME padding (the zeros take part, as in the ports).

    First in every picture, then over the pictures: `F.max_pool3d` gives the same and takes a fifth of the network's
    time.
    """

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, same_padding(x.shape, self.kernel, self.stride))
        pictures = F.max_pool2d(x.transpose(1, 2).flatten(0, 1), self.kernel[1:], self.stride[1:])
        film = pictures.unflatten(0, (len(x), -1)).transpose(1, 2)
        last = film.shape[2] - self.kernel[0] + 1
        return reduce(torch.maximum, [film[:, :, k : last + k : self.stride[0]] for k in range(self.kernel[0])])


class Mixed(nn.Module):
    """Four branches, joined in the order 1x1, 3x3, second 3x3, pool."""

    def __init__(self, inputs: int, c: tuple[int, int, int, int, int, int], epsilon: float) -> None:
        super().__init__()
        one, three = (1, 1, 1), (3, 3, 3)
        self.b0 = Unit(inputs, c[0], one, one, epsilon)
        self.b1a = Unit(inputs, c[1], one, one, epsilon)
        self.b1b = Unit(c[1], c[2], three, one, epsilon)
        self.b2a = Unit(inputs, c[3], one, one, epsilon)
        self.b2b = Unit(c[3], c[4], three, one, epsilon)
        self.b3a = SamePool(three, one)
        self.b3b = Unit(inputs, c[5], one, one, epsilon)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = (self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x)))
        return torch.cat(branches, 1)


class _Logits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(1024, 400, 1)


class I3DNetwork(nn.Module):
    """(B, 3, T, 224, 224) in [-1, 1] -> (B, 400) logits, the mean over time; T >= 9.

    Key names are those of `i3d_pretrained_400.pt`.
    """

    def __init__(self, epsilon: float = EPSILON_TF) -> None:
        super().__init__()
        self.add_module("Conv3d_1a_7x7", Unit(3, 64, (7, 7, 7), (2, 2, 2), epsilon))
        self.add_module("MaxPool3d_2a_3x3", SamePool((1, 3, 3), (1, 2, 2)))
        self.add_module("Conv3d_2b_1x1", Unit(64, 64, (1, 1, 1), (1, 1, 1), epsilon))
        self.add_module("Conv3d_2c_3x3", Unit(64, 192, (3, 3, 3), (1, 1, 1), epsilon))
        self.add_module("MaxPool3d_3a_3x3", SamePool((1, 3, 3), (1, 2, 2)))
        inputs = 192
        for name, channels in _MIXED.items():
            if name == "Mixed_4b":
                self.add_module("MaxPool3d_4a_3x3", SamePool((3, 3, 3), (2, 2, 2)))
            if name == "Mixed_5b":
                self.add_module("MaxPool3d_5a_2x2", SamePool((2, 2, 2), (2, 2, 2)))
            self.add_module(name, Mixed(inputs, channels, epsilon))
            inputs = channels[0] + channels[2] + channels[4] + channels[5]
        self.logits = _Logits()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name, layer in self.named_children():
            if name != "logits":
                x = layer(x)
        x = F.avg_pool3d(x, (2, 7, 7), stride=1)
        return self.logits.conv3d(x).flatten(2).mean(2)


def preprocess(frames: torch.Tensor) -> torch.Tensor:
    """(T, H, W, 3) uint8 RGB -> (3, T, 224, 224) float32 in [-1, 1].

    Shorter side to 224, the other rounded up, bilinear without antialias, then the central square.
    """
    height, width = frames.shape[1:3]
    scale = SIDE / min(height, width)
    size = (SIDE, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), SIDE)
    x = frames.permute(0, 3, 1, 2).float().div_(255)  # in place: memory handed out anew costs more than the arithmetic
    x = F.interpolate(x, size, mode="bilinear", align_corners=False)
    top, left = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    return x[:, :, top : top + SIDE, left : left + SIDE].mul_(2).sub_(1).permute(1, 0, 2, 3)


def blocks(clip: ClipMedia) -> list[int]:
    """Starts of consecutive windows from frame 0, without overlap; the remainder is left out."""
    return list(range(0, clip.n_frames - WINDOW + 1, WINDOW))


def sliding(clip: ClipMedia) -> list[int]:
    """A window at every frame."""
    return list(range(clip.n_frames - WINDOW + 1))


def first_and_random(clip: ClipMedia) -> list[int]:
    """Frame 0 and an offset drawn from the clip's content, so that it is the same on every machine and in any order."""
    draw = derive_seed(0, clip.pixels_sha256) if clip.n_frames > WINDOW else 0
    return [0, draw % (clip.n_frames - WINDOW + 1)]


def offset20(clip: ClipMedia) -> list[int]:
    """Frames 20 to 35."""
    return [20] if clip.n_frames >= 20 + WINDOW else []


class I3D(NetworkBackbone):
    """Logits of 16-frame windows: {"features": (K, 400) float32, "starts": (K,), "frames": (1,) frames of the clip}.

    Args:
        name: id of the backbone.
        windows: from a clip to the first frames of its windows.
        epsilon: of the batch norms.
        weights: `i3d-400` (state dict of the VideoGPT port) or `i3d-torchscript` (StyleGAN-V's file).
        batch: windows per forward pass.
    """

    licence = "Apache-2.0 as commonly stated"
    default_batch = 1  # six windows at a time take a processor a quarter longer each
    norms_follow = activations_follow = channels_last = True

    def __init__(
        self,
        name: str = "i3d",
        windows: Callable[[ClipMedia], list[int]] = blocks,
        epsilon: float = EPSILON_TF,
        weights: str = "i3d-400",
        batch: int | None = None,
    ) -> None:
        super().__init__(batch)
        self.id = name
        self.windows = windows
        self.epsilon = epsilon
        self.weights = (weights,)

    def settings(self) -> dict[str, Any]:
        return {"windows": self.windows.__name__, "window": WINDOW, "epsilon": self.epsilon, "side": SIDE}

    def build(self) -> nn.Module:
        return I3DNetwork(self.epsilon)

    def state(self) -> Mapping[str, torch.Tensor]:
        if self.weights != ("i3d-torchscript",):
            return super().state()
        from floatbench import weights

        return state_from_torchscript(weights.load_torchscript("i3d-torchscript").state_dict())

    def extract(self, clip: ClipMedia) -> Features:
        """Raises ClipError `too_short` when not even one window fits."""
        starts = self.windows(clip) if clip.n_frames >= WINDOW else []
        if not starts:
            raise ClipError("too_short", f"{self.id} needs {self._least()} frames, got {clip.n_frames}")
        used = np.unique(starts)
        logits = self.forward(partial(self._run, clip.frames), used)
        return {
            "features": logits[np.searchsorted(used, starts)],
            "starts": np.array(starts, np.int32),
            "frames": np.array([clip.n_frames], np.int32),
        }

    def _least(self) -> int:
        return WINDOW + (20 if self.windows is offset20 else 0)

    def _run(self, frames: np.ndarray, network: nn.Module, starts: torch.Tensor) -> torch.Tensor:
        # overlapping windows of a batch share the resized frames
        first, last = int(starts.min()), int(starts.max()) + WINDOW
        resized = preprocess(torch.from_numpy(np.ascontiguousarray(frames[first:last])).to(starts.device))
        windows = [resized[:, int(s) - first : int(s) - first + WINDOW] for s in starts]
        return network(torch.stack(windows))


_TORCHSCRIPT_NAMES = (
    (r"^conv3d_0c_1x1\.", "logits."),
    (r"^conv3d_", "Conv3d_"),
    (r"^mixed_", "Mixed_"),
    (r"\.batch3d\.", ".bn."),
    (r"\.branch_0\.", ".b0."),
    (r"\.branch_([12])\.0\.", r".b\1a."),
    (r"\.branch_([123])\.1\.", r".b\1b."),
)


def state_from_torchscript(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of StyleGAN-V's TorchScript I3D under our key names; its code is never run.

    The file's class (`i3dpt_jit.I3D`) descends from kinetics_i3d_pytorch, whose names are translated here; names that
    are ours already stay. The scale of the batch norms, which the TensorFlow graph does not have, is 1 where absent.
    """
    found: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        for pattern, replacement in _TORCHSCRIPT_NAMES:
            name = re.sub(pattern, replacement, name)
        found[name] = tensor
    for name, tensor in I3DNetwork().state_dict().items():
        if name.endswith("bn.weight"):
            found.setdefault(name, torch.ones_like(tensor))
        if name.endswith("num_batches_tracked"):
            found.setdefault(name, tensor)
    return found


def fabricate(path: Path, seed: int) -> None:
    """Seeded random weights under the key names of `i3d_pretrained_400.pt`, for tests and dry runs."""
    save_seeded(I3DNetwork(), path, seed)


def fabricate_torchscript(path: Path, seed: int) -> None:
    """The same weights in a TorchScript archive."""
    network = I3DNetwork().eval()
    network.load_state_dict(seeded_state(network, seed))
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 3, 9, SIDE, SIDE), check_trace=False), path)


_CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "i3d": {},
    "i3d-videogpt": {"epsilon": EPSILON_VIDEOGPT},
    "i3d-torchscript": {"weights": "i3d-torchscript"},
    "i3d-styleganv": {"weights": "i3d-torchscript", "windows": first_and_random},
    "i3d-sliding1": {"windows": sliding},
    "i3d-offset20": {"windows": offset20},
}
BACKBONES = {name: partial(I3D, name, **settings) for name, settings in _CONFIGURATIONS.items()}
