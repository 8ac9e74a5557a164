"""FLOAT for users: a picture and a sound in, a talking portrait out.

Frames are decoded and written one after another, so that memory does not grow with the length of the video.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import floatbench
from floatbench.errors import UsageError
from floatbench.media import LosslessWriter, Mp4Writer, read_audio, read_image
from floatbench.media.backends import box_backend
from floatbench.media.boxes import BoxBackend
from floatbench.media.sound import SILENCE_DBFS, loudness_dbfs
from floatbench.progress import NullProgress, Progress
from floatbench.sampling.ahead import ahead
from floatbench.sampling.animator import Animator, Direction, Stream
from floatbench.sampling.clock import StageClock
from floatbench.sampling.control import Control
from floatbench.sampling.options import SamplingOptions
from floatbench.sampling.picture import check_picture, crop_face, whole_picture
from floatbench.sampling.sound import check_sound

SYNTHETIC_MARK = "synthetic media: this portrait was animated by a machine and shows no real event"
AHEAD = 32
"""Frames that may wait for the encoder when it runs beside the networks."""


@dataclass(frozen=True)
class Video:
    """What `generate` made.

    Attributes:
        path: the video. n_frames: at 25 frames a second.
        seconds: wall-clock seconds by stage. evaluations, rows: true cost of the solve, see `NfeMeter`.
        settings: everything that decided the result; also stored in the file.
        notes: what a user should know about the inputs.
    """

    path: Path
    n_frames: int
    seconds: dict[str, float]
    evaluations: int
    rows: int
    settings: dict[str, Any]
    notes: list[str] = field(default_factory=list)

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
        }


class FLOAT(Animator):
    """A FLOAT model with everything around it: reads and crops, writes the video.

    Example:
        >>> import floatbench
        >>> model = floatbench.FLOAT.from_pretrained("float-tiny")
        >>> model.generate("face.png", "speech.wav", "talking.mp4", emotion="happy", seed=7).n_frames
        25
    """

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
        image: str | Path | np.ndarray,
        audio: str | Path | np.ndarray,
        out: str | Path = "out.mp4",
        *,
        crop: str | BoxBackend | None = None,
        options: SamplingOptions | None = None,
        emotion: str | np.ndarray | None = None,
        controls: Sequence[Control] = (),
        project: bool = False,
        pose: np.ndarray | None = None,
        seed: int = 0,
        preset: str = "",
        progress: Progress | None = None,
    ) -> Video:
        """Animates a picture with a sound and writes the video, whole or not at all.

        Args:
            image, audio: files, or (H, W, 3) uint8 RGB and (S,) int16 mono 16 kHz; other arrays are refused, since
                pictures and sounds in 0..1 would come out black and silent.
            out: `.mp4` (H.264 and AAC) or `.mkv` (lossless pictures, no sound).
            crop: a box back end or its name (`s3fd`, `mediapipe`); None takes the picture as it is.
            options: see `floatbench.sampling.options.preset`. emotion, controls, project, pose: see `Direction`.
            seed: of the noise. preset: a label for the record.

        Raises:
            ClipError: an unusable picture or sound. UsageError: impossible options. DependencyError: a full disk.
        """
        options, clock = self.fit(options or SamplingOptions()), StageClock(self.device)
        with clock("crop"):
            backend = box_backend(crop, device=str(self.device)) if isinstance(crop, str) else crop
            picture, notes = self.picture(image, backend, options)
        pcm = read_audio(Path(audio)) if isinstance(audio, (str, Path)) else check_sound(audio)
        return self.animate(
            picture, pcm, Path(out), options=options, direction=Direction(emotion, tuple(controls), project, pose),
            seed=seed, preset=preset, crop=backend.name if backend else "none", notes=notes, clock=clock,
            progress=progress,
        )  # fmt: skip

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
        if out.suffix.lower() not in (".mp4", ".mkv"):
            raise UsageError(f"the output must end in .mp4 or .mkv, not {out.suffix or out.name!r}")
        clock, notes = clock or StageClock(self.device), list(notes)
        if len(pcm) and loudness_dbfs(pcm) < SILENCE_DBFS:
            notes.append("the sound is silent: the portrait will not speak")
        stream = self.stream(picture, pcm, options=options, direction=direction, seed=seed, clock=clock)
        settings = self.settings(options, direction, seed, preset, picture, pcm, crop)
        write_stream(stream, out, pcm, settings, progress)
        return Video(out, stream.n_frames, dict(clock.seconds), stream.evaluations, stream.rows, settings, notes)

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
            "sound_sha256": hashlib.sha256(pcm.astype("<i2").tobytes()).hexdigest(),
        }


def write_stream(
    stream: Stream,
    out: Path,
    pcm: np.ndarray | None = None,
    settings: dict[str, Any] | None = None,
    progress: Progress | None = None,
    overlap: bool | None = None,
) -> None:
    """Encodes a stream while it is made, `.mkv` lossless and without sound; the stage `mux` counts encoding.

    Args:
        overlap: make frames in a thread while the last ones are encoded: the same frames, counted as one stage. None
            does so on CUDA, where frames for `.mp4` also come as yuv420 planes (not yet measured on CUDA).
    """
    cuda = stream.device.type == "cuda"
    overlap = cuda if overlap is None else overlap
    lossless = out.suffix.lower() == ".mkv"
    with stream.clock.overlapped() if overlap else stream.clock("mux"):
        if lossless:
            writer: LosslessWriter | Mp4Writer = LosslessWriter(out, stream.size, stream.size)
        else:
            writer = Mp4Writer(out, stream.size, stream.size, audio=pcm, metadata=tags(settings) if settings else None)
        frames = stream.frames("yuv420" if cuda and not lossless else "rgb")
        with (
            closing(ahead(frames, AHEAD) if overlap else frames) as made,
            writer,
            (progress or NullProgress()).task(out.name, stream.n_frames, unit="frame") as task,
        ):
            for frame in made:
                writer.write(frame)
                task.advance()


def tags(settings: dict[str, Any]) -> dict[str, str]:
    """Metadata of a video: all settings as JSON, and the mark that it is synthetic."""
    model = settings["model"]
    comment = f"{SYNTHETIC_MARK}; made by floatbench {settings['floatbench']} with {model['name']}"
    if model["fabricated"]:
        comment += " and random weights"
    return {"comment": comment, "synthetic_media": "yes", "floatbench": json.dumps(settings, sort_keys=True)}
