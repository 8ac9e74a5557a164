"""FLOAT as a method of the engine: `float`, `float@official`, `float@paper` and the bundled `float-tiny`.

`checkpoint:FILE` is any other checkpoint, and `NAME?nfe=5&emotion=happy&dtype=bfloat16` any of these with other
choices: those of `floatbench.sampling.choices`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from floatbench.device import pick_device
from floatbench.errors import ClipError, UsageError
from floatbench.methods.method import ClipRequest, Generated, Method
from floatbench.text import near
from floatbench.types import ClipMedia

if TYPE_CHECKING:
    from floatbench.animate.pipeline import FLOAT
    from floatbench.sampling.animator import Direction, Stream
    from floatbench.sampling.choices import ModelChoices
    from floatbench.sampling.clock import StageClock
    from floatbench.sampling.options import SamplingOptions

TOGETHER = 8
"""Clips that `generate_many` solves as one batch."""


class FloatMethod(Method):
    """Animates the protocol's crop with a FLOAT model and hands over frames, in memory or as a lossless file.

    Args:
        weights: `float`, `float-tiny` or a checkpoint file.
        preset: of the sampling options; `float` alone means `default`.
        name: of the row; made from weights and preset when absent.
        choices: all of them at once; preset is left out then.
        others: single choices of `ModelChoices` or `SamplingOptions`: `nfe=5`, `emotion="happy"`, `dtype="bfloat16"`.
    """

    def __init__(
        self,
        weights: str = "float",
        preset: str = "default",
        name: str = "",
        choices: ModelChoices | None = None,
        **others: Any,
    ) -> None:
        from floatbench.sampling.choices import check_against_model
        from floatbench.sampling.control import read_pose
        from floatbench.sampling.loading import entries_of

        self.name = name or (weights if preset == "default" else f"{weights}@{preset}")
        self._weights, self.weights = weights, entries_of(weights)
        self._choices = _chosen(weights, preset, others) if choices is None else choices
        self._options = self._choices.options
        check_against_model(self._choices, weights)
        if "crop_face" in self._choices.changed:
            raise UsageError("crop_face does nothing where the protocol crops", fix="leave out crop_face")
        self._pose = None if self._choices.pose is None else read_pose(self._choices.pose)
        self._model: FLOAT | None = None
        self._poses = self._faces = False
        if weights not in METHODS and Path(weights).is_file():
            self._look_at_conditions(weights)

    def _look_at_conditions(self, weights: str) -> None:
        """A network with pose or image emotion is driven by the real video as well: an oracle, never ranked."""
        from floatbench.model.checkpoint import read_metadata

        metadata = read_metadata(Path(weights))
        self._faces = metadata.config.emotion_condition == "image"
        self._poses = metadata.config.pose_condition
        if self._faces or (self._poses and self._pose is None):
            self.kind, self.needs, self.ranked = "oracle", frozenset({"reference", "truth"}), False

    def check_device(self, device: str) -> None:
        if self._choices.graphs and not pick_device(device).startswith("cuda"):
            raise UsageError(f"{self.name}: CUDA graphs need a CUDA device, not {device}", fix="leave out graphs")

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
        """What decides a pixel beside the weights, JSON types; what is left as it is by default is not named."""
        chosen = self._choices
        settings: dict[str, Any] = {
            "preset": chosen.preset,
            "options": chosen.options.record(),
            "emotion": chosen.emotion,
            "dtype": chosen.dtype,
            "impl": chosen.impl,
            "compiled": chosen.compile,
        }
        if chosen.controls:
            settings["controls"] = [control.record() for control in chosen.controls]
        if chosen.project:
            settings["project_motion"] = True
        if self._pose is not None:
            settings["pose_sha256"] = hashlib.sha256(self._pose.tobytes()).hexdigest()
        if chosen.graphs:
            settings["graphs"] = True
        return settings

    def key(self) -> str:
        """Hash of the content of the weight files and of the settings; raises DataError when weights are missing.

        An unchanged file is not read again: its hash is remembered on this machine.
        """
        from floatbench.sampling.loading import origin_of

        parts = {"weights": list(origin_of(self._weights).files.values()), **self._settings()}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def load(self, device: str = "cpu") -> None:
        from floatbench.animate.pipeline import FLOAT

        chosen = self._choices
        self._model = FLOAT.from_pretrained(
            Path(self._weights), device=device, dtype=chosen.dtype, impl=chosen.impl, compile=chosen.compile,
            graphs=chosen.graphs,
        )  # fmt: skip

    def close(self) -> None:
        self._model = None

    def streaming(self) -> FloatMethod:
        """The method whose videos `stream` gives: itself, or where nothing says how to hear, one that hears windows."""
        from floatbench.sampling.choices import canonical_name

        streamed = self._choices.streamed()
        if streamed is self._choices:
            return self
        name = f"{self.name}{'&' if '?' in self.name else '?'}audio_context=window"
        return FloatMethod(self._weights, name=canonical_name(name), choices=streamed)

    def _stream(
        self, request: ClipRequest, clock: StageClock | None = None, options: SamplingOptions | None = None
    ) -> Stream:
        if self._model is None:
            raise RuntimeError(f"{self.name}: load() comes before generate()")
        if request.audio is None:
            raise ClipError("no_audio", f"{self.name} needs driving sound")
        picture, _ = self._model.picture(request.source, None, self._options)
        pcm = request.audio[: request.n_frames * 640]
        return self._model.play(
            picture, pcm, options=options or self._options, direction=self._direction(request), seed=request.seed,
            clock=clock,
        )  # fmt: skip

    def _direction(self, request: ClipRequest) -> Direction:
        from floatbench.methods.frame_conditions import face_emotions, head_pose
        from floatbench.sampling.animator import Direction

        chosen = self._choices
        emotion: Any = chosen.emotion
        pose = self._pose
        if self._faces and request.reference is not None:
            emotion = face_emotions(request.reference, request.truth)
        if self._poses and pose is None and request.reference is not None:
            pose = head_pose(request.reference, request.truth)
        if pose is not None and self._model is not None:
            if len(pose) < request.n_frames:
                raise ClipError("bad_input", f"{chosen.pose} has {len(pose)} poses for {request.n_frames} frames")
            pose = self._model.card.standardised(pose[: request.n_frames])
        return Direction(emotion, chosen.controls, chosen.project, pose)

    def generate(self, request: ClipRequest) -> Generated:
        stream = self._stream(request)
        in_memory = request.in_memory(stream.n_frames, stream.size, stream.size)
        return self._gathered(stream, request) if in_memory else self._written(stream, request)

    def generate_many(self, requests: Sequence[ClipRequest]) -> list[Generated]:
        """The clips in order, their motion solved in batches of `TOGETHER`: equal to single calls up to rounding.

        On CUDA their files are written side by side (not yet measured on CUDA).
        """
        from floatbench.animate.writing import written
        from floatbench.sampling.clock import StageClock
        from floatbench.sampling.together import solve_together

        made = []
        for start in range(0, len(requests), TOGETHER):
            part = requests[start : start + TOGETHER]
            clock = StageClock("cpu" if self._model is None else self._model.device)
            streams = [self._stream(request, clock) for request in part]
            notes = solve_together(streams, clock)

            def write(
                video: tuple[Stream, ClipRequest], turn: threading.Lock | None, notes: list[str] = notes
            ) -> Generated:
                return self._written(*video, notes, turn)

            made += written(write, [*zip(streams, part, strict=True)], streams[0].device.type == "cuda")
        return made

    def forward(self, request: ClipRequest) -> Generated:
        """The frames of a clip in memory, neither encoded nor written: the forward pass that papers time."""
        return self._gathered(self._stream(request), request)

    def _gathered(self, stream: Stream, request: ClipRequest) -> Generated:
        frames = np.empty((stream.n_frames, stream.size, stream.size, 3), np.uint8)
        for place, frame in zip(frames, stream, strict=True):
            place[:] = frame
        return Generated(media=ClipMedia(frames), **self._record(stream, request))

    def _written(
        self, stream: Stream, request: ClipRequest, notes: Sequence[str] = (), turn: threading.Lock | None = None
    ) -> Generated:
        from floatbench.animate.writing import write_stream

        video = request.folder / f"{request.slug}.mkv"
        write_stream(stream, video, turn=turn)
        return Generated(video=video, **self._record(stream, request, notes))

    def _record(self, stream: Stream, request: ClipRequest, notes: Sequence[str] = ()) -> dict[str, Any]:
        """Seconds and details of a stream that has ended."""
        details: dict[str, Any] = {
            "nfe": stream.evaluations,
            "windows": stream.windows,
            "network_rows": stream.rows,
            "native_size": stream.size,
            "preset": self._choices.preset,
            "seed": request.seed,
        }
        if notes := [*notes, *stream.notes]:
            details["notes"] = notes
        return {"timing": dict(stream.clock.seconds), "details": details}

    def stream(self, request: ClipRequest) -> Iterator[np.ndarray]:
        """The (R, R, 3) uint8 frames of a clip as soon as each one is made, for latency measurements.

        Heard as `streaming` says, so that the first frame waits for no later sound.
        """
        return iter(self._stream(request, options=self._choices.streamed().options))


METHODS: dict[str, Callable[..., Method]] = {
    "float": lambda preset="default": FloatMethod("float", preset),
    "float-tiny": lambda preset="default": FloatMethod("float-tiny", preset),
}
"""Name -> factory; `name@preset` hands over the preset."""


def with_options(name: str) -> Method | None:
    """`checkpoint:FILE`, or `NAME?choice=value&...` of a FLOAT model; None for other names.

    The method bears the name in its canonical form, see `floatbench.sampling.choices`.

    Raises:
        UsageError: a file that is not there, an unknown choice or a value of the wrong kind.
    """
    base, _, query = name.partition("?")
    if base.startswith("checkpoint:"):
        if not Path(base.removeprefix("checkpoint:")).is_file():
            raise UsageError(f"{name}: no such checkpoint", fix="--methods checkpoint:FILE")
    elif not query or base.partition("@")[0] not in METHODS:
        return None
    from floatbench.sampling.choices import parse_name

    named = parse_name(name)
    try:
        return FloatMethod(named.weights, name=named.name, choices=named.choices)
    except UsageError as error:
        raise UsageError(f"{name}: {error.what}", fix=error.fix) from None


def _chosen(weights: str, preset_name: str, others: dict[str, Any]) -> ModelChoices:
    """ModelChoices from single ones, those of the sampling and all others."""
    from floatbench.sampling.choices import ModelChoices
    from floatbench.sampling.loading import card_of
    from floatbench.sampling.options import KINDS

    sampling = {key: value for key, value in others.items() if key in KINDS}
    rest = {key: value for key, value in others.items() if key not in KINDS}
    known = ModelChoices.__dataclass_fields__  # pyright: ignore[reportAttributeAccessIssue]
    if unknown := sorted(set(rest) - set(known)):
        raise UsageError(f"unknown choice {unknown[0]!r}", fix=near(unknown[0], [*KINDS, *known]))
    options = card_of(weights).preset(preset_name, **sampling)
    return ModelChoices(preset=preset_name, options=options, changed=frozenset(sampling), **rest)
