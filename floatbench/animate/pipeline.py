"""FLOAT for users: a picture and a sound in, a talking portrait out.

Frames are decoded and written one after another, so that memory does not grow with the length of the video.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

import floatbench
from floatbench.animate.cropping import AUTO, settle
from floatbench.animate.outputs import check_outputs, check_suffix
from floatbench.animate.wishes import Asked, Wishes, asked
from floatbench.animate.writing import write_stream, written
from floatbench.errors import FloatbenchError, UsageError
from floatbench.media import Encoder, read_audio, read_image
from floatbench.media.backends import box_backend
from floatbench.media.boxes import BoxBackend
from floatbench.media.sound import SILENCE_DBFS, loudness_dbfs
from floatbench.progress import Progress
from floatbench.sampling.animator import Animator, Direction, Stream
from floatbench.sampling.clock import StageClock
from floatbench.sampling.control import read_pose
from floatbench.sampling.options import SamplingOptions
from floatbench.sampling.picture import check_picture, crop_face, whole_picture
from floatbench.sampling.sound import check_sound
from floatbench.sampling.together import solve_together
from floatbench.sampling.windows import n_frames
from floatbench.settings import whole

Image = str | Path | np.ndarray
Sound = str | Path | np.ndarray


@dataclass(frozen=True)
class Video:
    """What `generate` made.

    Attributes:
        path: the video. n_frames: at 25 frames a second.
        seconds: wall-clock seconds by stage. evaluations, rows: true cost of the solve, see `NfeMeter`.
        settings: everything that decided the result; also stored in the file.
        notes: what a user should know about the inputs.
        source_distance, source_limit: how unlike the picture is to the people the model was trained on, and up to where
            it is familiar; None where the model does not say.
    """

    path: Path
    n_frames: int
    seconds: dict[str, float]
    evaluations: int
    rows: int
    settings: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    source_distance: float | None = None
    source_limit: float | None = None

    @property
    def fps(self) -> float:
        """Frames made a second, everything included."""
        return self.n_frames / max(sum(self.seconds.values()), 1e-9)

    def record(self) -> dict[str, Any]:
        """For `--json` and benchmark records."""
        return {
            "path": str(self.path),
            "n_frames": self.n_frames,
            "fps": round(self.fps, 4),
            "seconds": {stage: round(value, 4) for stage, value in self.seconds.items()},
            "nfe": self.evaluations,
            "network_rows": self.rows,
            "settings": self.settings,
            "notes": self.notes,
            "source_distance": None if self.source_distance is None else round(self.source_distance, 4),
            "source_limit": self.source_limit,
        }


@dataclass(frozen=True)
class Prepared:
    """A video that can begin: (R, R, 3) uint8 picture, (S,) int16 sound, and everything settled."""

    picture: np.ndarray
    pcm: np.ndarray
    options: SamplingOptions
    direction: Direction
    seed: int
    preset: str
    crop: str
    notes: list[str]
    clock: StageClock


class FLOAT(Animator):
    """A FLOAT model with everything around it: reads and crops, writes the video.

    Example:
        >>> import floatbench
        >>> model = floatbench.FLOAT.from_pretrained("float-tiny")
        >>> model.generate("face.png", "speech.wav", "talking.mp4", emotion="happy", seed=7).n_frames
        25

    Attributes:
        encoder: of `.mp4`, as `floatbench.media.usable_encoder` gives it.
    """

    encoder: Encoder = "x264"

    def picture(
        self, image: str | Path | np.ndarray, crop: BoxBackend | None, options: SamplingOptions
    ) -> tuple[np.ndarray, list[str]]:
        """Reads, crops (when a box back end is given) and resizes a picture: (R, R, 3) uint8, and notes.

        Raises:
            ClipError: an unreadable picture, `no_face`, `too_small`. UsageError: an array of another kind.
        """
        rgb = read_image(Path(image)) if isinstance(image, (str, Path)) else check_picture(image)
        if crop is None:
            return whole_picture(rgb, self.size, options.crop_filter)
        return crop_face(rgb, crop, self.size, options.crop_face, options.crop_filter)

    def generate(
        self,
        image: Image,
        audio: Sound,
        out: str | Path = "out.mp4",
        *,
        progress: Progress | None = None,
        **wishes: Unpack[Wishes],
    ) -> Video:
        """Animates a picture with a sound and writes the video, whole or not at all.

        Args:
            image, audio: files, or (H, W, 3) uint8 RGB and (S,) int16 mono 16 kHz; other arrays are refused, since
                pictures and sounds in 0..1 would come out black and silent.
            out: `.mp4` (H.264 and AAC) or `.mkv` (lossless pictures, no sound).
            wishes: see `Wishes`; what is not given is as the model's name chooses it.

        Raises:
            ClipError: an unusable picture or sound. UsageError: impossible options, an output that is an input.
            DependencyError: a full disk. DataError: the face detector's weights are missing, or a pose file.
        """
        check_outputs([Path(out)], _files(image, audio))
        prepared = self._prepare(image, audio, wishes, StageClock(self.device))
        return self.finish(prepared, Path(out), progress)

    def stream(self, image: Image, audio: Sound, **wishes: Unpack[Wishes]) -> Stream:
        """The frames of a video, one after another as they are made: (R, R, 3) uint8 RGB.

        The arguments and errors are those of `generate`, and so are the frames, if both hear alike: a stream hears
        window after window, so that its first frame waits for no later sound, where neither the call nor the model's
        name says how (by `audio_context`, `options` or a preset other than `default`).
        """
        prepared = self._prepare(image, audio, self._streamed(wishes), StageClock(self.device))
        return self._begin(replace(prepared, clock=StageClock(self.device)))  # which begins with the encoder

    def generate_many(
        self,
        images: Sequence[Image],
        audios: Sequence[Sound],
        outs: Sequence[str | Path],
        *,
        seeds: Sequence[int] | None = None,
        batch: int = 8,
        progress: Progress | None = None,
        **wishes: Unpack[Wishes],
    ) -> list[Video]:
        """Several videos, whose motion is solved in batches: those of `generate` one by one, up to rounding.

        Args:
            images, audios, outs: of each video, see `generate`; the sounds may differ in length.
            seeds: of each video; None gives each one `seed`.
            batch: videos that are solved at once. When memory runs out it is halved, once, and said.

        Raises:
            As `generate`; what was written before stays.
        """
        paths, batch = [Path(out) for out in outs], whole("batch", batch, least=1)
        _check_counts({"images": images, "audios": audios, "outs": outs} | ({} if seeds is None else {"seeds": seeds}))
        check_outputs(paths, _files(*images, *audios))
        made = []
        for start in range(0, len(paths), batch):
            clock, part = StageClock(self.device), range(start, min(start + batch, len(paths)))
            prepared = [
                self._prepare(images[i], audios[i], wishes | ({} if seeds is None else {"seed": seeds[i]}), clock)
                for i in part
            ]
            for video in self.finish_together(prepared, [paths[i] for i in part], progress):
                if isinstance(video, Exception):
                    raise video
                made.append(video)
        return made

    def finish_together(
        self,
        prepared: Sequence[Prepared],
        outs: Sequence[Path],
        progress: Progress | None = None,
        side_by_side: bool | None = None,
    ) -> list[Video | FloatbenchError]:
        """Solves videos of equal options, and begun with one clock, as one batch, and writes them.

        Args:
            side_by_side: write them at once, since an encoder makes fewer frames a second than a GPU; their seconds
                overlap. None does so on CUDA (not yet measured on CUDA).

        Returns:
            Each video, or why it could not be made.

        Raises:
            ClipError: what the batch fails with as a whole.
        """
        streams = [self._begin(one) for one in prepared]
        notes = solve_together(streams, prepared[0].clock)
        parallel = self.device.type == "cuda" if side_by_side is None else side_by_side

        def finish(video: tuple[Prepared, Stream, Path], turn: threading.Lock | None) -> Video | FloatbenchError:
            one, stream, out = video
            try:
                return self._finish(replace(one, notes=[*one.notes, *notes]), stream, out, progress, turn)
            except FloatbenchError as error:
                return error

        return written(finish, [*zip(prepared, streams, outs, strict=True)], parallel)

    def _prepare(self, image: Image, audio: Sound, wishes: Wishes, clock: StageClock) -> Prepared:
        """Reads picture and sound, and settles what was left open."""
        wished = self.wished(wishes)
        with clock("crop"):
            rgb = read_image(Path(image)) if isinstance(image, (str, Path)) else check_picture(image)
            crop, notes = wishes.get("crop", AUTO), []
            if isinstance(crop, BoxBackend):
                backend: BoxBackend | None = crop
            else:
                settled = settle(crop, [rgb], self.size, given=not isinstance(image, (str, Path)))
                notes = settled.notes
                backend = None if settled.name == "none" else self._detector(settled.name)
            picture, more = self.picture(rgb, backend, wished.options)
        pcm = read_audio(Path(audio)) if isinstance(audio, (str, Path)) else check_sound(audio)
        direction = wished.direction
        if wished.pose is not None:
            direction = replace(direction, pose=self.card.standardised(read_pose(wished.pose, n_frames(len(pcm)))))
        return Prepared(
            picture, pcm, wished.options, direction, wished.seed, wished.preset, backend.name if backend else "none",
            [*notes, *more], clock,
        )  # fmt: skip

    def _detector(self, name: str) -> BoxBackend:
        """A face detector, made once."""
        if name not in self._detectors:
            self._detectors[name] = box_backend(name, device=str(self.device))
        return self._detectors[name]

    @cached_property
    def _detectors(self) -> dict[str, BoxBackend]:
        return {}

    def wished(self, wishes: Wishes) -> Asked:
        """What a call comes to for this model, see `floatbench.animate.wishes.asked`."""
        found = asked(wishes, self.choices, self.card, self.network.config)
        return replace(found, options=self.fit(found.options))

    def _streamed(self, wishes: Wishes) -> Wishes:
        """The wishes of a stream, see `stream`."""
        preset = wishes.get("preset")
        decided = self.choices.decides_hearing if preset is None else preset != "default"
        if decided or wishes.get("audio_context") is not None or wishes.get("options") is not None:
            return wishes
        return wishes | {"audio_context": "window"}

    def _begin(self, prepared: Prepared) -> Stream:
        return self.play(
            prepared.picture, prepared.pcm, options=prepared.options, direction=prepared.direction,
            seed=prepared.seed, clock=prepared.clock,
        )  # fmt: skip

    def _finish(
        self,
        prepared: Prepared,
        stream: Stream,
        out: Path,
        progress: Progress | None,
        turn: threading.Lock | None = None,
    ) -> Video:
        """Writes the video of a stream."""
        notes, pcm = list(prepared.notes), prepared.pcm
        if len(pcm) and loudness_dbfs(pcm) < SILENCE_DBFS:
            notes.append("the sound is silent: the portrait will not speak")
        settings = self.settings(
            prepared.options, prepared.direction, prepared.seed, prepared.preset, prepared.picture, pcm, prepared.crop
        )
        write_stream(stream, out, pcm, settings, progress, turn=turn, encoder=self.encoder)
        seconds, notes = dict(stream.clock.seconds), [*notes, *stream.notes]
        limit = None if self.card.domain is None else self.card.domain.limit
        return Video(
            out,
            stream.n_frames,
            seconds,
            stream.evaluations,
            stream.rows,
            settings,
            notes,
            stream.source_distance,
            limit,
        )

    def animate(
        self,
        picture: np.ndarray,
        pcm: np.ndarray,
        out: Path,
        *,
        options: SamplingOptions,
        direction: Direction,
        seed: int = 0,
        preset: str = "",
        crop: str = "none",
        notes: Sequence[str] = (),
        clock: StageClock | None = None,
        progress: Progress | None = None,
    ) -> Video:
        """As `generate`, with the picture cropped to (R, R, 3) and the sound read; `crop` names how, for the record."""
        check_suffix(out)
        clock, seed = clock or StageClock(self.device), whole("seed", seed)
        return self.finish(
            Prepared(picture, pcm, options, direction, seed, preset, crop, list(notes), clock), out, progress
        )

    def finish(self, prepared: Prepared, out: Path, progress: Progress | None = None) -> Video:
        """Makes and writes a video that can begin."""
        return self._finish(prepared, self._begin(prepared), out, progress)

    def settings(
        self,
        options: SamplingOptions,
        direction: Direction,
        seed: int,
        preset: str,
        picture: np.ndarray,
        pcm: np.ndarray,
        crop: str,
    ) -> dict[str, Any]:
        """Everything that decides a video, JSON types; pictures and sounds enter by their hashes."""
        exact = {"tf32": False} if self.device.type == "cuda" else {}  # see floatbench.device.keep_float32
        exact |= {"graphs": True} if self.graphs else {}
        exact |= {"encoder": self.encoder} if self.encoder != "x264" else {}
        return exact | {
            "floatbench": floatbench.__version__,
            "torch": torch.__version__,
            "model": self.origin.record() | {"config": self.network.config.name},
            "device": self.device.type,
            "dtype": self.dtype,
            "impl": self.impl,
            "compiled": self.compiled,
            "preset": preset,
            "seed": seed,
            "crop": crop,
            "options": options.record(),
            "direction": direction.record(),
            "picture_sha256": hashlib.sha256(picture.tobytes()).hexdigest(),
            "sound_sha256": hashlib.sha256(np.ascontiguousarray(pcm, "<i2").data).hexdigest(),
        }


def _files(*inputs: Image | Sound) -> list[Path]:
    """Those of the pictures and sounds that are files."""
    return [Path(one) for one in inputs if isinstance(one, (str, Path))]


def _check_counts(given: Mapping[str, Sized]) -> None:
    """Raises UsageError unless there are as many of each; the letters of one path are no list."""
    for name, values in given.items():
        if isinstance(values, (str, Path)):
            raise UsageError(f"{name} must be a list, not {values!r}", fix=f"{name}=[...]")
    counts = {name: len(values) for name, values in given.items()}
    if len(set(counts.values())) > 1:
        raise UsageError(f"as many of each are needed: {', '.join(f'{n} {name}' for name, n in counts.items())}")
