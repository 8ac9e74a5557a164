"""A FLOAT model on a device: pictures and sounds as arrays in, frames out, one after another.

What reads and writes files is `floatbench.animate.pipeline`, which builds on this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from floatbench.device import emulates_bf16, keep_float32, pick_device, within_memory
from floatbench.errors import ClipError, UsageError
from floatbench.model.conditions import Conditions
from floatbench.model.fast_decoder import Compile, FastDecoder, Precision, PreparedSource
from floatbench.model.fast_transformer import FastTransformer
from floatbench.model.float import FloatModel
from floatbench.sampling.ahead import Beside, to_host
from floatbench.sampling.choices import (
    ARITHMETIC,
    Dtype,
    Impl,
    ModelChoices,
    check_against_model,
    check_arithmetic,
    model_of,
)
from floatbench.sampling.clock import StageClock
from floatbench.sampling.colour import to_yuv420
from floatbench.sampling.control import Control, check_controls, edit_motion, parse_emotion, project_motion
from floatbench.sampling.guidance import Network
from floatbench.sampling.loading import ModelCard, Origin, card_of, load_model
from floatbench.sampling.network import fast_network, motion_shape, plain_network
from floatbench.sampling.options import SamplingOptions
from floatbench.sampling.picture import check_picture, to_pixels, to_tensor
from floatbench.sampling.sampler import SampledWindow, evaluation_times, sample_windows
from floatbench.sampling.sound import SpeechConditions, check_sound
from floatbench.settings import whole

PRECISIONS: dict[str, Precision] = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
EMULATED = (
    "this processor emulates bfloat16 (it has neither avx512_bf16 nor amx_bf16): a frame of 512 px took 2.1 times as "
    "long as in float32 where that was measured with AVX-512, 12 times with AVX2 alone"
)

Colour = Literal["rgb", "yuv420"]


@dataclass(frozen=True)
class EncodedPortrait:
    """An encoded picture: identity latent (1, D), its motion wr (1, D), and the feature maps the decoder takes.

    `distance` says how unlike it is to the people the model knows, see `floatbench.sampling.domain`.
    """

    latent: Tensor
    motion: Tensor
    features: list[Tensor] | PreparedSource
    distance: float | None = None


@dataclass(frozen=True)
class Direction:
    """What steers one video besides picture and sound.

    Attributes:
        emotion: a label, seven comma-separated weights, numbers (7,) or (T, 7), or None for the speech's own.
        controls: edits of motion directions. project: keep only the part of the motion inside the motion space.
        pose: (T, 6) for networks with pose.
    """

    emotion: str | np.ndarray | None = None
    controls: tuple[Control, ...] = ()
    project: bool = False
    pose: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.controls, Sequence) or not all(isinstance(one, Control) for one in self.controls):
            raise UsageError(f"controls must be Control objects, not {self.controls!r}", fix="Control(0, 0.5)")
        for name in ("emotion", "pose"):
            value = getattr(self, name)
            if value is not None and not (name == "emotion" and isinstance(value, str)):
                object.__setattr__(self, name, _numbers(name, value))

    def emotion_vector(self) -> np.ndarray | None:
        """The emotion as numbers, or None when the speech decides; raises UsageError for an unknown one."""
        return parse_emotion(self.emotion) if isinstance(self.emotion, str | None) else self.emotion

    def record(self) -> dict[str, Any]:
        """For records and metadata, JSON types; a pose enters by its hash, and only where there is one."""
        emotion = self.emotion.tolist() if isinstance(self.emotion, np.ndarray) else self.emotion
        pose = {} if self.pose is None else {"pose_sha256": hashlib.sha256(self.pose.tobytes()).hexdigest()}
        return {
            "emotion": emotion or "speech",
            "controls": [control.record() for control in self.controls],
            "project_motion": self.project,
            **pose,
        }


def _numbers(name: str, value: Any) -> np.ndarray:
    """A list, tensor or array as float32; raises UsageError unless it holds finite numbers."""
    try:
        found = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError):
        raise UsageError(f"{name} must be numbers, not {type(value).__name__}") from None
    if not np.isfinite(found).all():
        raise UsageError(f"{name} holds numbers that are not finite")
    return found


class Stream:
    """The frames of one video, made while they are iterated.

    Attributes:
        n_frames: T. size: R, frames are (R, R, 3) uint8 RGB. device: where they are made.
        clock: seconds by stage. evaluations, rows: of the network so far, see `NfeMeter`. windows: so far.
        solved: the clip's windows where they were solved beforehand, see `floatbench.sampling.together`.
    """

    def __init__(
        self,
        model: Animator,
        source: EncodedPortrait,
        speech: SpeechConditions,
        seed: int,
        options: SamplingOptions,
        direction: Direction,
        clock: StageClock,
    ) -> None:
        self._model, self._source, self._speech = model, source, speech
        self._seed, self._options, self._direction = seed, options, direction
        self.n_frames, self.size, self.clock, self.device = speech.total, model.size, clock, model.device
        self.evaluations = self.rows = self.windows = 0
        self.solved: list[SampledWindow] | None = None

    @property
    def seed(self) -> int:
        """Of the noise."""
        return self._seed

    @property
    def options(self) -> SamplingOptions:
        """How the network is sampled."""
        return self._options

    @property
    def model(self) -> Animator:
        """Whose networks make the frames."""
        return self._model

    @property
    def notes(self) -> list[str]:
        """What a user should know about how the frames were made."""
        domain, distance = self._model.card.domain, self._source.distance
        unfamiliar = domain.note(distance) if domain is not None and distance is not None else None
        return [*([unfamiliar] if unfamiliar else []), *self._model.notes]

    @property
    def source_distance(self) -> float | None:
        """How unlike the picture is to the people the model knows; None where the model does not say."""
        return self._source.distance

    def conditions(self) -> Iterator[Conditions]:
        """The conditions of window after window, B = 1, from the beginning at every call."""
        return self._speech.windows(self._source.motion)

    def _windows(self) -> Iterator[SampledWindow]:
        if self.solved is not None:
            return iter(self.solved)
        net = self._model.network
        return sample_windows(
            self._model.sampled_network(self._options), self.conditions(), [self._seed], self._options,
            motion_shape(net),
        )  # fmt: skip

    def motion(self) -> Iterator[Tensor]:
        """Motion latents (n, D) of window after window, edited as directed."""
        net, clock = self._model.network, self.clock
        basis = net.basis()
        windows = self._windows()
        start = 0
        while True:
            with clock("solve"):  # the stages speech and emotion interrupt it
                window = next(windows, None)
                if window is None:
                    return
                motion = window.motion[:, : self.n_frames - start]
                motion = edit_motion(motion, basis, self._direction.controls, start)
                motion = project_motion(motion, basis) if self._direction.project else motion
            start += motion.shape[1]
            self.evaluations, self.rows = self.evaluations + window.evaluations, self.rows + window.rows
            self.windows += 1
            yield motion[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.frames()

    def frames(self, colour: Colour = "rgb") -> Generator[np.ndarray]:
        """(R, R, 3) uint8 RGB frames, or (3 R / 2, R) uint8 planes of yuv420p, see `to_yuv420`.

        Raises:
            ClipError: `not_finite`, `out_of_memory`.
        """
        batches = to_host(self._converted(colour))
        while True:
            # the other stages interrupt it; on CUDA they run at once
            stage = self.clock.overlapped(wait=False) if self.device.type == "cuda" else self.clock("convert")
            with within_memory(self.device, "this video"), stage:
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
        for motion in self._model.beside.each(self.motion()):
            batches = self._model.pictures(self._source.latent + motion, self._source)
            while True:
                with self.clock("decode"):
                    pictures = next(batches, None)
                if pictures is None:
                    break
                yield pictures


class Animator:
    """The networks of a FLOAT model on a device, and the streams they make.

    Args:
        network: the modules, in evaluation mode.
        origin: where their weights come from.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        dtype: of the transformer and the decoder's convolutions; all else stays in float32.
        impl: `fast`, or the `plain` arithmetic that it is compared with.
        compile: compile the transformer and the decoder at their first call; `max` lets the compiler time its kernels.
        graphs: replay both as CUDA graphs (CUDA only; not yet measured on CUDA).
        choices: what is generated when nothing else is said, from the model's name.
        card: what the model says about its inputs.

    Raises:
        OutOfMemory: the model does not fit. DependencyError, UsageError: as `from_pretrained`.
    """

    def __init__(
        self,
        network: FloatModel,
        origin: Origin,
        device: str = "auto",
        dtype: Dtype = "float32",
        impl: Impl = "fast",
        compile: Compile = False,
        graphs: bool = False,
        choices: ModelChoices | None = None,
        card: ModelCard | None = None,
    ) -> None:
        check_arithmetic(dtype, impl, compile, graphs)
        device = pick_device(device)
        check_graphs(graphs, device)
        keep_float32()
        self.origin, self.dtype, self.impl = origin, dtype, impl
        self.card = card or ModelCard()
        self.choices = choices or ModelChoices(options=self.card.preset())
        self.size = network.config.image_size
        self.compiled: Compile = compile
        self.graphs = graphs
        with within_memory(device, f"the model {origin.name}"):
            self.network = network.eval().requires_grad_(False).to(device)
            self.beside = Beside(self.network.device)
            self._decoder, self._transformer = self._fast_networks() if impl == "fast" else (None, None)

    def _fast_networks(self) -> tuple[FastDecoder, FastTransformer | None]:
        """The fast twins; the cross-attention ablations have none of the transformer."""
        how = PRECISIONS[self.dtype], self.compiled, self.graphs
        decoder = FastDecoder(self.network.motion_autoencoder.dec, *how)
        adaln = self.network.config.conditioning == "adaln"
        return decoder, FastTransformer(self.network.fmt, *how) if adaln else None

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "float",
        *,
        device: str = "auto",
        dtype: Dtype | None = None,
        impl: Impl | None = None,
        compile: Compile | None = None,
        graphs: bool | None = None,
    ) -> Self:
        """Loads `float` (the official release), `float-tiny` (bundled) or a checkpoint file.

        A name may carry choices, as the methods of a benchmark do: `float@official?nfe=5&dtype=bfloat16`. What is
        given beside it wins over the name.

        Raises:
            DataError: missing or damaged weights, with the command that fetches them; a pose file that cannot be read.
            DependencyError: no such device. OutOfMemory: the model does not fit.
            UsageError: choices that do not go together or that the model cannot do.
        """
        named = model_of(name_or_path)
        weights, choices = named.weights, named.choices
        given = {"dtype": dtype, "impl": impl, "compile": compile, "graphs": graphs}
        given = {name: value for name, value in given.items() if value is not None}
        chosen = {name: getattr(choices, name) for name in ARITHMETIC} | given
        check_arithmetic(**chosen)
        device = pick_device(device)
        check_graphs(chosen["graphs"], device)
        check_against_model(choices, weights)
        with within_memory("the machine", f"the weights of {weights}"):
            network, origin = load_model(weights, chosen["impl"])
        return cls(network, origin, device, **chosen, choices=choices, card=card_of(weights))

    @property
    def notes(self) -> list[str]:
        """What a user should know about how this model computes: emulated arithmetic, too little memory."""
        emulated = self.dtype == "bfloat16" and self.device.type == "cpu" and emulates_bf16()
        return [*([EMULATED] if emulated else []), *(self._decoder.notes if self._decoder is not None else [])]

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
    def pictures(self, latents: Tensor, source: EncodedPortrait) -> Iterator[Tensor]:
        """latents (n, D) -> unclamped pictures (b, 3, R, R), one at a time on a CPU and in batches on CUDA."""
        if self._decoder is not None and isinstance(source.features, PreparedSource):
            yield from self._decoder.stream(latents, source.features)
        elif not isinstance(source.features, PreparedSource):
            for latent in latents.split(1):
                yield self.network.decode(latent, source.features)[0]

    @torch.no_grad()
    def encode(self, picture: np.ndarray, clock: StageClock | None = None) -> EncodedPortrait:
        """Encodes a cropped (R, R, 3) uint8 RGB picture."""
        with within_memory(self.device, "this picture"), (clock or StageClock(self.device))("encode"):
            latent, features = self.network.encode_image(to_tensor(picture).to(self.device))
            distance = None
            if (domain := self.card.domain) is not None:
                own = latent[0].cpu().numpy()
                distance, pulled = domain.distance(own), domain.pulled(own)
                if pulled is not own:  # nor is what the encoder reads off such a face to be trusted
                    mean, near = (torch.from_numpy(value).to(latent) for value in (domain.mean, pulled))
                    latent = self.network.motion_autoencoder.with_face_of(mean, near[None])
                features = self.network.motion_autoencoder.resting_at(latent, features, pulled is not own)
                if pulled is not own:
                    features = self.network.motion_autoencoder.with_lips(features)
            motion = self.network.motion(self.network.coefficients(latent))
            prepared = self._decoder.source(features) if self._decoder else features
            return EncodedPortrait(latent, motion, prepared, distance)

    def play(
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
            UsageError: options or directions that this model does not have, or arrays of another kind.
            ClipError: an unusable sound.
        """
        check_picture(picture, self.size)
        check_sound(pcm)
        seed = whole("seed", seed)
        direction, clock = direction or Direction(), clock or StageClock(self.device)
        options = self.fit(options or self.card.preset())
        check_controls(direction.controls, self.network.config.dim_m)
        speech = SpeechConditions(self.network, pcm, options, direction.emotion_vector(), direction.pose, clock)
        return Stream(self, self.encode(picture, clock), speech, seed, options, direction, clock)

    def fit(self, options: SamplingOptions) -> SamplingOptions:
        """The options with what only the checkpoint can know, i.e. what its network predicts."""
        return replace(options, prediction=self.network.config.prediction)


def check_graphs(graphs: bool, device: str) -> None:
    """Raises UsageError for CUDA graphs on another device."""
    if graphs and not device.startswith("cuda"):
        raise UsageError(f"CUDA graphs need a CUDA device, not {device}", fix="leave out graphs, or --device cuda")
