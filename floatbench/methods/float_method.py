"""FLOAT as a method of the engine: `float`, `float@official`, `float@paper` and the bundled `float-tiny`.

`checkpoint:FILE` is any other checkpoint, and `NAME?nfe=5&emotion=happy&dtype=bfloat16` any of these with other
choices: the sampling options, `emotion`, `dtype`, `impl` and `compile`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from floatbench.errors import ClipError, UsageError
from floatbench.methods.method import ClipRequest, Generated, Method

if TYPE_CHECKING:
    from floatbench.animate.pipeline import FLOAT
    from floatbench.sampling.animator import Direction, Dtype, Impl, Stream


class FloatMethod(Method):
    """Animates the protocol's crop with a FLOAT model and hands over lossless frames.

    Args:
        weights: `float`, `float-tiny` or a checkpoint file.
        preset: of the sampling options; `float` alone means `default`.
        name: of the row; made from weights and preset when absent.
        emotion: `speech`, a label or seven weights.
        dtype, impl, compile: see `floatbench.sampling.animator.Animator`.
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
        self._pose_scale: dict[str, list[float]] | None = None
        self._faces = False
        if weights not in METHODS and Path(weights).is_file():
            self._look_at_conditions(weights)

    def _look_at_conditions(self, weights: str) -> None:
        """A network with pose or image emotion is driven by the real video as well: an oracle, never ranked."""
        from floatbench.model.checkpoint import read_metadata

        metadata = read_metadata(Path(weights))
        self._faces = metadata.config.emotion_condition == "image"
        if metadata.config.pose_condition:
            self._pose_scale = json.loads(metadata.notes or "{}").get("pose", {"mean": [0.0] * 6, "std": [1.0] * 6})
        if self._faces or self._pose_scale is not None:
            self.kind, self.needs, self.ranked = "oracle", frozenset({"reference", "truth"}), False

    def describe(self) -> dict[str, Any]:
        """Weights with hashes and licence, options, preset, arithmetic; raises DataError when weights are missing."""
        from floatbench.sampling.loading import origin_of

        origin = origin_of(self._weights)
        return {
            "weights": origin.files,
            "licence": origin.licence,
            "fabricated": origin.fabricated,
            **self._settings(),
        }

    def _settings(self) -> dict[str, Any]:
        """What decides a pixel beside the weights, JSON types."""
        return {
            "preset": self._preset,
            "options": self._options.record(),
            "emotion": self._emotion,
            "dtype": self._dtype,
            "impl": self._impl,
            "compiled": self._compile,
        }

    def key(self) -> str:
        """Hash of the content of the weight files and of the settings; raises DataError when weights are missing.

        An unchanged file is not read again: its hash is remembered on this machine.
        """
        from floatbench.sampling.loading import origin_of

        parts = {"weights": list(origin_of(self._weights).files.values()), **self._settings()}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def load(self, device: str = "cpu") -> None:
        from floatbench.animate.pipeline import FLOAT

        self._model = FLOAT.from_pretrained(
            self._weights, device=device, dtype=self._dtype, impl=self._impl, compile=self._compile
        )

    def close(self) -> None:
        self._model = None

    def _stream(self, request: ClipRequest) -> Stream:
        if self._model is None:
            raise RuntimeError(f"{self.name}: load() comes before generate()")
        if request.audio is None:
            raise ClipError("no_audio", f"{self.name} needs driving sound")
        picture, _ = self._model.picture(request.source, None, self._options)
        pcm = request.audio[: request.n_frames * 640]
        direction = self._direction(request)
        return self._model.stream(picture, pcm, options=self._options, direction=direction, seed=request.seed)

    def _direction(self, request: ClipRequest) -> Direction:
        from floatbench.methods.frame_conditions import face_emotions, head_pose
        from floatbench.sampling.animator import Direction

        emotion: Any = self._emotion
        pose = None
        if self._faces and request.reference is not None:
            emotion = face_emotions(request.reference, request.truth)
        if self._pose_scale is not None and request.reference is not None:
            mean, std = (np.array(self._pose_scale[name], np.float32) for name in ("mean", "std"))
            pose = (head_pose(request.reference, request.truth) - mean) / std
        return Direction(emotion=emotion, pose=pose)

    def generate(self, request: ClipRequest) -> Generated:
        from floatbench.animate.pipeline import write_stream

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

    def stream(self, request: ClipRequest) -> Iterator[np.ndarray]:
        """The (R, R, 3) uint8 frames of a clip as soon as each one is made, for latency measurements."""
        return iter(self._stream(request))


METHODS: dict[str, Callable[..., Method]] = {
    "float": lambda preset="default": FloatMethod("float", preset),
    "float-tiny": lambda preset="default": FloatMethod("float-tiny", preset),
}
"""Name -> factory; `name@preset` hands over the preset."""


def with_options(name: str) -> Method | None:
    """`checkpoint:FILE`, or `NAME?choice=value&...` of a FLOAT model; None for other names.

    Raises:
        UsageError: a file that is not there, an unknown choice or a value of the wrong kind.
    """
    base, _, query = name.partition("?")
    weights, _, preset = base.partition("@")
    if base.startswith("checkpoint:"):
        weights, preset = base.removeprefix("checkpoint:"), ""
        if not Path(weights).is_file():
            raise UsageError(f"{name}: no such checkpoint", fix="--methods checkpoint:FILE")
    elif not query or weights not in METHODS:
        return None
    return FloatMethod(weights, preset or "default", name=name, **_choices(query, name))


def _choices(query: str, name: str) -> dict[str, Any]:
    from floatbench.sampling.animator import Dtype, Impl
    from floatbench.sampling.options import KINDS, from_text

    parts = (part.partition("=") for part in query.split("&") if part)
    kinds = KINDS | {"emotion": str, "dtype": Dtype, "impl": Impl, "compile": bool}
    try:
        return from_text({key: value for key, _, value in parts}, kinds)
    except UsageError as error:
        raise UsageError(f"{name}: {error.what}", fix=error.fix) from None
