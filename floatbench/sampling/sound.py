"""From 16 kHz sound to the audio and emotion conditions of window after window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from floatbench.errors import ClipError, UsageError
from floatbench.model.conditions import Conditions
from floatbench.model.float import FloatModel
from floatbench.sampling.ahead import on_device
from floatbench.sampling.clock import StageClock
from floatbench.sampling.options import MAX_FULL_CONTEXT_S, SamplingOptions
from floatbench.sampling.windows import Window, cut, n_frames, pad_end, plan
from floatbench.types import SAMPLE_RATE, SAMPLES_PER_FRAME


def check_sound(sound: Any) -> np.ndarray:
    """The sound as (S,) int16, mono at 16 kHz; raises UsageError for anything else."""
    found = np.asarray(sound)
    if found.ndim != 1 or found.dtype != np.int16:
        raise UsageError(
            f"a sound must be a file or (samples,) int16 mono at 16 kHz, not {found.shape} {found.dtype}",
            fix="for values in -1..1: (32767 * sound).round().astype(np.int16)",
        )
    return found


class SpeechConditions:
    """The conditions of one clip, made while they are asked for.

    With `audio_context="full"` the sound is encoded in one pass, as the released code does; its emotion is that of the
    whole sound. With `window` each window is encoded with the 0.4 s before it, normalised by itself, as in training:
    memory does not grow with the length and the first window needs no later sound.

    Args:
        model: its audio and emotion encoders are used.
        pcm: (S,) int16 mono 16 kHz.
        options: `audio_context`.
        emotion: (E,) for the clip, (T, E) frame by frame, or None to take it from the speech.
        pose: (T, 6) for networks with pose.
        clock: gets the stages `speech` and `emotion`.

    Raises:
        ClipError: `empty`. UsageError: a sound too long for `full`, or conditions that the network does not take.
    """

    def __init__(
        self,
        model: FloatModel,
        pcm: np.ndarray,
        options: SamplingOptions,
        emotion: np.ndarray | None = None,
        pose: np.ndarray | None = None,
        clock: StageClock | None = None,
    ) -> None:
        if len(pcm) == 0:
            raise ClipError("empty", "the sound holds no sample")
        seconds = len(pcm) / SAMPLE_RATE
        if options.audio_context == "full" and seconds > MAX_FULL_CONTEXT_S:
            raise UsageError(
                f"the sound lasts {seconds:.0f} s; more than {MAX_FULL_CONTEXT_S} s are not encoded in one pass",
                fix="use --audio-context window",
            )
        self._model, self._pcm, self._options = model, pcm, options
        self._clock = clock or StageClock(model.device)
        self.total = n_frames(len(pcm))
        self._emotion = self._checked_emotion(emotion)
        self._pose = self._checked_pose(pose)

    def windows(self, wr: Tensor) -> Iterator[Conditions]:
        """The conditions of each window of L frames, B = 1, for the motion wr (1, D) of the source."""
        return self._full(wr) if self._options.audio_context == "full" else self._windowed(wr)

    def _full(self, wr: Tensor) -> Iterator[Conditions]:
        wave = self._wave(0, self.total)
        wa = self._encode(wave, self.total)
        we = self._predict(wave) if self._emotion is None else self._emotion
        yield from cut(Conditions(wr, wa, we, self._pose), self._model.config.window)

    def _windowed(self, wr: Tensor) -> Iterator[Conditions]:
        sizes = self._model.config
        for window in plan(self.total, sizes.window):
            before, stop = min(sizes.previous, window.start), window.start + window.length
            wave = self._wave(window.start - before, stop)
            wa = self._encode(wave, before + window.length)
            we = self._predict(wave) if self._emotion is None else self._part(self._emotion, window)
            pose = None if self._pose is None else self._part(self._pose, window)
            prev_wa = wa[:, :before] if before == sizes.previous else None
            yield Conditions(wr, pad_end(wa[:, before:], sizes.window), we, pose, prev_wa=prev_wa)

    def _part(self, value: Tensor, window: Window) -> Tensor:
        """A window of what is given frame by frame; one vector for the clip stays."""
        if value.shape[1] == 1:
            return value
        return pad_end(value[:, window.start : window.start + window.length], self._model.config.window)

    def _wave(self, start: int, stop: int) -> Tensor:
        """Frames start to stop as (1, N) float32 in [-1, 1]; at least one frame long, its last sample repeated."""
        part = self._pcm[start * SAMPLES_PER_FRAME : stop * SAMPLES_PER_FRAME].astype(np.float32) / 32768
        if len(part) < SAMPLES_PER_FRAME:
            part = np.pad(part, (0, SAMPLES_PER_FRAME - len(part)), mode="edge")
        return on_device(torch.from_numpy(part)[None], self._model.device)

    def _encode(self, wave: Tensor, frames: int) -> Tensor:
        with self._clock("speech"), torch.no_grad():
            return self._model.encode_audio(wave, frames).float()

    def _predict(self, wave: Tensor) -> Tensor | None:
        if self._emotion is not None or self._model.config.emotion_condition != "speech":
            return None
        with self._clock("emotion"), torch.no_grad():
            return self._model.predict_emotion(wave).float()[:, None]

    def _checked_emotion(self, emotion: np.ndarray | None) -> Tensor | None:
        kind, width = self._model.config.emotion_condition, self._model.config.dim_e
        if emotion is None:
            if kind == "image":
                raise UsageError("this network needs one emotion vector per frame: give emotion as (T, 7)")
            return None
        if kind == "none":
            raise UsageError("this network takes no emotion")
        expected = (width,) if kind == "speech" else (self.total, width)
        if emotion.shape != expected:
            raise UsageError(f"emotion must have the shape {expected}, not {emotion.shape}")
        tensor = torch.from_numpy(np.array(emotion, dtype=np.float32)).to(self._model.device)
        return tensor[None, None] if kind == "speech" else tensor[None]

    def _checked_pose(self, pose: np.ndarray | None) -> Tensor | None:
        if not self._model.config.pose_condition:
            if pose is not None:
                raise UsageError("this network takes no pose")
            return None
        if pose is None:
            raise UsageError("this network needs the head pose of each frame: --pose FILE, or pose= in Python")
        if pose.shape != (self.total, 6):
            raise UsageError(f"the head pose must have the shape {(self.total, 6)}, not {pose.shape}")
        return torch.from_numpy(np.array(pose, dtype=np.float32))[None].to(self._model.device)
