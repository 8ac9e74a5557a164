"""FLOAT as a method of the engine: `float`, `float@official`, `float@paper` and the bundled `float-tiny`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from floatbench.bench.method import Generated, Method, Request
from floatbench.errors import ClipError

if TYPE_CHECKING:
    from floatbench.pipeline import FLOAT, Dtype, Impl, Stream


class FloatMethod(Method):
    """Animates the protocol's crop with a FLOAT model and hands over lossless frames.

    Args:
        weights: `float`, `float-tiny` or a checkpoint file.
        preset: of the sampling options; `float` alone means `default`.
        name: of the row; made from weights and preset when absent.
        emotion: `speech`, a label or seven weights.
        dtype, impl, compile: see `floatbench.pipeline.FLOAT`.
        options: changes of single sampling options.
    """

    def __init__(
        self,
        weights: str = "float",
        preset: str = "default",
        name: str = "",
        emotion: str = "speech",
        dtype: Dtype = "float32",
        impl: Impl = "fast",
        compile: bool = False,
        **options: Any,
    ) -> None:
        from floatbench.sampling.control import parse_emotion
        from floatbench.sampling.options import preset as preset_options

        self.name = name or (weights if preset == "default" else f"{weights}@{preset}")
        self._weights, self._preset, self._emotion = weights, preset, emotion
        self._dtype: Dtype = dtype
        self._impl: Impl = impl
        self._compile = compile
        self._options = preset_options(preset, **options)
        parse_emotion(emotion)
        self._model: FLOAT | None = None

    def describe(self) -> dict[str, Any]:
        """Weights with hashes and licence, options, preset, arithmetic; raises DataError when weights are missing."""
        from floatbench.sampling.loading import origin_of

        origin = origin_of(self._weights)
        return {
            "weights": origin.files,
            "licence": origin.licence,
            "fabricated": origin.fabricated,
            "preset": self._preset,
            "options": self._options.record(),
            "emotion": self._emotion,
            "dtype": self._dtype,
            "impl": self._impl,
            "compiled": self._compile,
        }

    def load(self, device: str = "cpu") -> None:
        from floatbench.pipeline import FLOAT

        self._model = FLOAT.from_pretrained(
            self._weights, device=device, dtype=self._dtype, impl=self._impl, compile=self._compile
        )

    def close(self) -> None:
        self._model = None

    def _stream(self, request: Request) -> Stream:
        from floatbench.pipeline import Direction

        if self._model is None:
            raise RuntimeError(f"{self.name}: load() comes before generate()")
        if request.audio is None:
            raise ClipError("no_audio", f"{self.name} needs driving sound")
        picture, _ = self._model.picture(request.source, None, self._options)
        pcm = request.audio[: request.n_frames * 640]
        direction = Direction(emotion=self._emotion)
        return self._model.stream(picture, pcm, options=self._options, direction=direction, seed=request.seed)

    def generate(self, request: Request) -> Generated:
        from floatbench.pipeline import write_stream

        stream = self._stream(request)
        video = request.folder / f"{request.slug}.mkv"
        write_stream(stream, video)
        details = {
            "nfe": stream.evaluations,
            "network_rows": stream.rows,
            "native_size": stream.size,
            "preset": self._preset,
            "seed": request.seed,
        }
        return Generated(video=video, timing=dict(stream.clock.seconds), details=details)

    def stream(self, request: Request) -> Iterator[np.ndarray]:
        """The (R, R, 3) uint8 frames of a clip as soon as each one is made, for latency measurements."""
        return iter(self._stream(request))


METHODS: dict[str, Callable[..., Method]] = {
    "float": lambda preset="default": FloatMethod("float", preset),
    "float-tiny": lambda preset="default": FloatMethod("float-tiny", preset),
}
"""Name -> factory; `name@preset` hands over the preset."""
