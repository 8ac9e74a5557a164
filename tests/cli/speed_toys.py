"""Methods for the tests of `floatbench speed`, loaded by its processes as a plugin."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from floatbench import weights
from floatbench.media import write_lossless
from floatbench.methods.method import ClipRequest, Generated, Method


class Still(Method):
    """The picture, over and over."""

    name = "still"

    def describe(self) -> dict[str, Any]:
        return {"kind": "toy", "pid_of_parent": 1, "weights": {"vgg19": "00" * 32}}

    def generate(self, request: ClipRequest) -> Generated:
        video = request.folder / f"{request.slug}.mkv"
        write_lossless(video, (request.source for _ in range(request.n_frames)))
        return Generated(video=video, timing={"decode": 0.5}, details={"nfe": 30, "pid": os.getpid()})


class Stream(Still):
    """The same, frame by frame."""

    name = "stream"

    def stream(self, request: ClipRequest) -> Iterator[np.ndarray]:
        for _ in range(request.n_frames):
            yield request.source


class Dies(Still):
    """Takes its process with it."""

    name = "dies"

    def generate(self, request: ClipRequest) -> Generated:
        os._exit(7)


class MadeUp(Still):
    """Runs on seeded random weights and says so."""

    name = "made-up"

    def describe(self) -> dict[str, Any]:
        return {"kind": "toy", "fabricated": ["float"]}


class Homeless(Still):
    """Its weights are not here."""

    name = "homeless"

    def describe(self) -> dict[str, Any]:
        weights.path("vgg19")
        return {}


METHODS = {"still": Still, "stream": Stream, "dies": Dies, "made-up": MadeUp, "homeless": Homeless}
