"""FLOAT for users: a picture and a sound in, a talking portrait out.

    from floatbench.pipeline import FLOAT
    model = FLOAT.from_pretrained("float")
    model.generate("portrait.jpg", "speech.wav", "out.mp4", emotion="happy", seed=7)

Frames are decoded and written one after another, so that memory does not grow with the length of the video.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

import floatbench
from floatbench.errors import ClipError, DependencyError, UsageError
from floatbench.media import LosslessWriter, Mp4Writer, read_audio, read_image
from floatbench.media.backends import box_backend
from floatbench.media.boxes import BoxBackend
from floatbench.media.sound import SILENCE_DBFS, loudness_dbfs
from floatbench.model import fast_decoder
from floatbench.model.fast_decoder import FastDecoder, Precision
from floatbench.model.fast_transformer import FastTransformer
from floatbench.model.float import FLOAT as Model
from floatbench.progress import NullProgress, Progress
from floatbench.sampling.ahead import ahead, to_host
from floatbench.sampling.clock import StageClock
from floatbench.sampling.colour import to_yuv420
from floatbench.sampling.control import Control, check_controls, edit_motion, parse_emotion, project_motion
from floatbench.sampling.guidance import Network
from floatbench.sampling.loading import Origin, load_model
from floatbench.sampling.network import fast_network, motion_shape, plain_network
from floatbench.sampling.options import SamplingOptions
from floatbench.sampling.picture import crop_face, to_pixels, to_tensor, whole_picture
from floatbench.sampling.sampler import evaluation_times, sample_windows
from floatbench.sampling.sound import SpeechConditions

SYNTHETIC_MARK = "synthetic media: this portrait was animated by a machine and shows no real event"
PRECISIONS: dict[str, Precision] = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}

Dtype = Literal["float32", "bfloat16", "float16"]
Impl = Literal["plain", "fast"]
Colour = Literal["rgb", "yuv420"]
AHEAD = 32
"""Frames that may wait for the encoder when it runs beside the networks."""


@dataclass(frozen=True)
class Source:
    """An encoded picture: identity latent (1, D), its motion wr (1, D), and the feature maps the decoder takes."""

    latent: Tensor
    motion: Tensor
    features: list[Tensor] | fast_decoder.Source


@dataclass(frozen=True)
class Direction:
    """What steers one video besides picture and sound.

    Attributes:
        emotion: a label, seven comma-separated weights, an array (7,) or (T, 7), or None for the speech's own.
        controls: edits of motion directions. project: keep only the part of the motion inside the motion space.
        pose: (T, 6) for networks with pose.
    """

    emotion: str | np.ndarray | None = None
    controls: tuple[Control, ...] = ()
    project: bool = False
    pose: np.ndarray | None = None

    def emotion_vector(self) -> np.ndarray | None:
        """The emotion as numbers, or None when the speech decides; raises UsageError for an unknown one."""
        return parse_emotion(self.emotion) if isinstance(self.emotion, str | None) else self.emotion

    def record(self) -> dict[str, Any]:
        """For records and metadata, JSON types."""
        emotion = self.emotion.tolist() if isinstance(self.emotion, np.ndarray) else self.emotion
        return {
            "emotion": emotion or "speech",
            "controls": [{"direction": c.direction, "mode": c.mode, "values": c.values} for c in self.controls],
            "project_motion": self.project,
        }


class Stream:
    """The frames of one video, made while they are iterated.

    Attributes:
        n_frames: T. size: R, frames are (R, R, 3) uint8 RGB. device: where they are made.
        clock: seconds by stage. evaluations, rows: of the network so far, see `NfeMeter`.
    """

    def __init__(
        self,
        model: FLOAT,
        source: Source,
        speech: SpeechConditions,
        seed: int,
        options: SamplingOptions,
        direction: Direction,
        clock: StageClock,
    ) -> None:
        self._model, self._source, self._speech = model, source, speech
        self._seed, self._options, self._direction = seed, options, direction
        self.n_frames, self.size, self.clock, self.device = speech.total, model.size, clock, model.device
        self.evaluations = self.rows = 0

    def motion(self) -> Iterator[Tensor]:
        """Motion latents (n, D) of window after window, edited as directed."""
        net, clock = self._model.network, self.clock
        basis = net.basis()
        windows = sample_windows(
            self._model.sampled_network(self._options), self._source.motion, self._speech.windows(), [self._seed],
            self._options, motion_shape(net),
        )  # fmt: skip
        start = 0
        while True:
            with clock("solve"):  # the stages speech and emotion interrupt it
                window = next(windows, None)
                if window is None:
                    return
                motion = edit_motion(window.motion, basis, self._direction.controls, start)
                motion = project_motion(motion, basis) if self._direction.project else motion
            start += motion.shape[1]
            self.evaluations, self.rows = self.evaluations + window.evaluations, self.rows + window.rows
            yield motion[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.frames()

    def frames(self, colour: Colour = "rgb") -> Generator[np.ndarray]:
        """(R, R, 3) uint8 RGB frames, or (3 R / 2, R) uint8 planes of yuv420p, see `to_yuv420`.

        Raises:
            ClipError: `not_finite`.
        """
        batches = to_host(self._converted(colour))
        while True:
            with self.clock("convert"):  # the other stages interrupt it
                batch = next(batches, None)
            if batch is None:
                return
            pixels, finite = batch
            if not finite:
                raise ClipError("not_finite", "the decoded picture is not finite; are the weights damaged?")
            yield from pixels.numpy()

    def _converted(self, colour: Colour) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of 8-bit frames on the device, each with whether the pictures were finite."""
        for pictures in self._decoded():
            pixels = to_pixels(pictures, self._options.pixels)
            yield to_yuv420(pixels) if colour == "yuv420" else pixels, torch.isfinite(pictures).all()

    def _decoded(self) -> Iterator[Tensor]:
        for motion in self.motion():
            batches = self._model.pictures(self._source.latent + motion, self._source)
            while True:
                with self.clock("decode"):
                    pictures = next(batches, None)
                if pictures is None:
                    break
                yield pictures


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


class FLOAT:
    """A FLOAT model with everything around it.

    Args:
        network: the modules, in evaluation mode.
        origin: where their weights come from.
        device: torch device. dtype: of the transformer and the decoder's convolutions; all else stays in float32.
        impl: `fast`, or the `plain` arithmetic that it is compared with.
        compile: compile the transformer and the decoder at their first call.
        graphs: replay both as CUDA graphs (CUDA only; not yet measured on CUDA).
    """

    def __init__(
        self,
        network: Model,
        origin: Origin,
        device: str = "cpu",
        dtype: Dtype = "float32",
        impl: Impl = "fast",
        compile: bool = False,
        graphs: bool = False,
    ) -> None:
        _check(dtype, impl, compile, graphs, device)
        self.network = network.eval().requires_grad_(False).to(_device(device))
        self.origin, self.dtype, self.impl = origin, dtype, impl
        self.size = network.config.image_size
        self.compiled = compile
        self._decoder: FastDecoder | None = None
        self._transformer: FastTransformer | None = None
        if impl == "fast":
            self._decoder = FastDecoder(self.network.motion_autoencoder.dec, PRECISIONS[dtype], compile, graphs)
            if network.config.conditioning == "adaln":  # the cross-attention ablations have no fast twin
                self._transformer = FastTransformer(self.network.fmt, PRECISIONS[dtype], compile, graphs)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "float",
        *,
        device: str = "cpu",
        dtype: Dtype = "float32",
        impl: Impl = "fast",
        compile: bool = False,
        graphs: bool = False,
    ) -> FLOAT:
        """Loads `float` (the official release), `float-tiny` (bundled) or a checkpoint file.

        Raises:
            DataError: missing or damaged weights, with the command that fetches them. DependencyError: no such device.
            UsageError: options that do not go together.
        """
        _check(dtype, impl, compile, graphs, device)
        _device(device)
        network, origin = load_model(name_or_path, impl)
        return cls(network, origin, device, dtype, impl, compile, graphs)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.network.device

    def sampled_network(self, options: SamplingOptions) -> Network:
        """The transformer as the sampler calls it."""
        if self._transformer is None:
            return plain_network(self.network)
        return fast_network(self._transformer, evaluation_times(options))

    @torch.no_grad()
    def pictures(self, latents: Tensor, source: Source) -> Iterator[Tensor]:
        """latents (n, D) -> unclamped pictures (b, 3, R, R), one at a time on a CPU and in batches on CUDA."""
        if self._decoder is not None and isinstance(source.features, fast_decoder.Source):
            yield from self._decoder.stream(latents, source.features)
        elif not isinstance(source.features, fast_decoder.Source):
            for latent in latents.split(1):
                yield self.network.decode(latent, source.features)[0]

    @torch.no_grad()
    def encode(self, picture: np.ndarray, clock: StageClock | None = None) -> Source:
        """Encodes a cropped (R, R, 3) uint8 RGB picture."""
        with (clock or StageClock(self.device))("encode"):
            latent, features = self.network.encode_image(to_tensor(picture).to(self.device))
            motion = self.network.motion(self.network.coefficients(latent))
            return Source(latent, motion, self._decoder.source(features) if self._decoder else features)

    def stream(
        self,
        picture: np.ndarray,
        pcm: np.ndarray,
        *,
        options: SamplingOptions | None = None,
        direction: Direction | None = None,
        seed: int = 0,
        clock: StageClock | None = None,
    ) -> Stream:
        """Frames as they are made, from a cropped (R, R, 3) uint8 picture and (S,) int16 mono 16 kHz sound.

        Raises:
            UsageError: options or directions that this model does not have. ClipError: an unusable sound.
        """
        direction, clock = direction or Direction(), clock or StageClock(self.device)
        options = self.fit(options or SamplingOptions())
        check_controls(direction.controls, self.network.config.dim_m)
        speech = SpeechConditions(self.network, pcm, options, direction.emotion_vector(), direction.pose, clock)
        return Stream(self, self.encode(picture, clock), speech, seed, options, direction, clock)

    def fit(self, options: SamplingOptions) -> SamplingOptions:
        """The options with what only the checkpoint can know, i.e. what its network predicts."""
        return replace(options, prediction=self.network.config.prediction)

    def picture(
        self, image: str | Path | np.ndarray, crop: BoxBackend | None, options: SamplingOptions
    ) -> tuple[np.ndarray, list[str]]:
        """Reads, crops (when a box back end is given) and resizes a picture: (R, R, 3) uint8, and notes.

        Raises:
            ClipError: an unreadable picture, `no_face`, `too_small`.
        """
        rgb = image if isinstance(image, np.ndarray) else read_image(Path(image))
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
            image, audio: files, or (H, W, 3) uint8 RGB and (S,) int16 mono 16 kHz.
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
        pcm = audio if isinstance(audio, np.ndarray) else read_audio(Path(audio))
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
        return {
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


def _check(dtype: str, impl: str, compile: bool, graphs: bool, device: str) -> None:
    for name, value, allowed in (("dtype", dtype, tuple(PRECISIONS)), ("impl", impl, get_args(Impl))):
        if value not in allowed:
            raise UsageError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    if graphs and not device.startswith("cuda"):
        raise UsageError(f"CUDA graphs need a CUDA device, not {device}")
    if impl == "plain" and (compile or graphs or dtype != "float32"):
        raise UsageError("the plain arithmetic is float32 and not compiled: it is what the fast one is compared with",
                         fix="leave out --impl plain")  # fmt: skip


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}", fix="use --device cpu or --device cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DependencyError("no CUDA device is available to torch", fix="use --device cpu")
    return device
