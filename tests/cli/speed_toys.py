"""Methods for the tests of `floatbench speed`, loaded by its processes as a plugin."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from floatbench.bench.method import Generated, Method, Request
from floatbench.errors import ClipError
from floatbench.media import write_lossless


class Still(Method):
    """The picture, over and over."""

    name = "still"

    def describe(self) -> dict[str, Any]:
        return {"kind": "toy", "pid_of_parent": 1, "weights": {"vgg19": "00" * 32}}

    def generate(self, request: Request) -> Generated:
        video = request.folder / f"{request.slug}.mkv"
        write_lossless(video, (request.source for _ in range(request.n_frames)))
        return Generated(video=video, timing={"decode": 0.5}, details={"nfe": 30, "pid": os.getpid()})


class Stream(Still):
    """The same, frame by frame."""

    name = "stream"

    def stream(self, request: Request) -> Iterator[np.ndarray]:
        for _ in range(request.n_frames):
            yield request.source


class Dies(Still):
    """Takes its process with it."""

    name = "dies"

    def generate(self, request: Request) -> Generated:
        os._exit(7)


class Refuses(Still):
    """Finds no face."""

    name = "refuses"

    def generate(self, request: Request) -> Generated:
        raise ClipError("no_face")


METHODS = {"still": Still, "stream": Stream, "dies": Dies, "refuses": Refuses}
