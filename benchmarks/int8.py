"""An experiment: the decoder's 3x3 convolutions in 8-bit integers (VNNI), their seconds and what they do to pictures.

    python benchmarks/int8.py [--size 512] [--repeats 5] [--json FILE]

Weights are rounded to 8 bits for each output channel, activations to 8 bits of the largest value of each frame and
layer; sums are exact (oneDNN's kernels through torch's operators, as its quantised compiler calls them). Convolutions
that double the picture, those below 32 x 32 pixels, flow, warp and colours stay as they are. Seconds are processor
seconds of one frame of random weights, turn about, the least; quality is the PSNR of 8-bit frames of float-tiny's own
clip against float32. It is no choice of the product.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from floatbench.animate.pipeline import FLOAT
from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.config import FloatConfig
from floatbench.model.fast_decoder import FastDecoder
from floatbench.model.layers import SLOPE
from floatbench.model.randomise import randomise
from floatbench.synthetic.clip import TEST_FIRST, SyntheticClip

LEAST = 32
"""Pixels from which on convolutions are integers, as those that `FastDecoder` gives style and bias."""
ZERO, LEVELS = 128, 127
PACKED: Any = torch.ops.onednn.qconv_prepack
CONVOLVED: Any = torch.ops.onednn.qconv2d_pointwise


class Int8Decoder(FastDecoder):
    """`FastDecoder` whose large 3x3 convolutions multiply integers."""

    def __init__(self, decoder: Any, least: int = LEAST) -> None:
        super().__init__(decoder)
        self.least = least
        self._packed: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def _styled(self, index: int, x: Tensor, style: Tensor, gain: Tensor) -> Tensor:
        if self._layers[index].conv.up or x.shape[-1] < self.least:
            return super()._styled(index, x, style, gain)
        x = x * style[:, :, None, None].float()
        x = self._integers(index, x.contiguous(memory_format=torch.channels_last))
        return F.leaky_relu_(x * gain[:, :, None, None].float() + self._biases[index].float(), SLOPE)

    def _integers(self, index: int, x: Tensor) -> Tensor:
        """Convolution 3x3 of (1, C, H, W) float32, in integers."""
        scale = max(float(x.abs().amax()) / LEVELS, 1e-12)
        whole = torch.quantize_per_tensor(x, scale, ZERO, torch.quint8).int_repr()
        if index not in self._packed:
            weight = self._weights[index].float()
            scales = weight.abs().amax((1, 2, 3)) / LEVELS
            rounded = (weight / scales[:, None, None, None]).round().to(torch.int8)
            packed = PACKED(rounded, scales, 1.0, ZERO, [1, 1], [1, 1], [1, 1], 1, list(x.shape))
            self._packed[index] = packed, scales, torch.zeros(len(scales), dtype=torch.int32)
        packed, scales, zeros = self._packed[index]
        return CONVOLVED(whole, scale, ZERO, packed, scales, zeros, None, [1, 1], [1, 1], [1, 1], 1, 1.0, 0,
                         torch.float32, "none", [], "")  # fmt: skip


@torch.no_grad()
def spent(size: int, repeats: int) -> dict[str, float]:
    """Processor seconds of a frame in each arithmetic."""
    net = MotionAutoencoder(FloatConfig(image_size=size)).eval().requires_grad_(False)
    randomise(net, seed=0)
    latent, features = net.encode(torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    decoders = {"float32": FastDecoder(net.dec), "bfloat16": FastDecoder(net.dec, "bf16"), "int8": Int8Decoder(net.dec)}
    least = dict.fromkeys(decoders, float("inf"))
    for round_ in range(repeats + 1):  # the first warms up
        for name, decoder in decoders.items():
            source = decoder.source(features)
            before = time.process_time()
            decoder(latent, source)
            if round_:
                least[name] = min(least[name], time.process_time() - before)
    return least


def psnr(found: np.ndarray, expected: np.ndarray) -> float:
    """Decibels of 8-bit frames."""
    return float(10 * np.log10(255**2 / np.square(found.astype(float) - expected.astype(float)).mean()))


def quality(seconds: float) -> dict[str, float]:
    """Decibels between float32 and integer frames of float-tiny on its own clip."""
    clip = SyntheticClip(TEST_FIRST, 0, seconds)
    picture, sound = clip.frames(128, every=clip.n_frames)[0], clip.audio()
    model, found = FLOAT.from_pretrained("float-tiny", device="cpu"), {}
    exact = np.stack([frame.copy() for frame in model.stream(picture, sound, crop=None, seed=1)])
    for least in (32, 64, 128):
        model._decoder = Int8Decoder(model.network.motion_autoencoder.dec, least)
        integer = np.stack([frame.copy() for frame in model.stream(picture, sound, crop=None, seed=1)])
        found[f"from {least} px on"] = psnr(integer, exact)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.4, help="of float-tiny's clip")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    document = {"size": given.size, "frame_s": spent(given.size, given.repeats), "psnr_db": quality(given.seconds)}
    text = json.dumps(document, indent=2)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
