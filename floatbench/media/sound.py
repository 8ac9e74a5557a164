"""Sound: decoding to mono, resampling to 16 kHz, WAV files."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
import soxr
from av.audio.plane import AudioPlane

from floatbench.errors import ClipError
from floatbench.files import atomic_path
from floatbench.media.container import audio_stream, check_whole, opened
from floatbench.media.rules import PP1, PP2, Rule
from floatbench.text import printable
from floatbench.types import SAMPLE_RATE

SILENCE_DBFS = -60.0
_JUMP_S = 0.1  # stamps that leave the running position by more than this are a gap or an overlap, less is jitter
_BLOCK = 1 << 18  # samples that are converted at once: a long sound is not held in wider types as well
_LONGEST_S = 6 * 3600.0
_SAMPLES = {  # of each packed sample format of FFmpeg: type, value of silence, full scale
    "u8": ("u1", 128, 2**7),
    "s16": ("i2", 0, 2**15),
    "s32": ("i4", 0, 2**31),
    "s64": ("i8", 0, 2**63),
    "flt": ("f4", 0, 1),
    "dbl": ("f8", 0, 1),
}


@dataclass(frozen=True)
class Sound:
    """Mono sound at its native rate.

    Attributes:
        start: presentation time of the first sample, in seconds.
        rate: samples a second.
        samples: (S,) float32, full scale 1.
        loudest: number of the channel that holds most energy.
    """

    start: float
    rate: int
    samples: np.ndarray
    loudest: int = 0

    @property
    def end(self) -> float:
        return self.start + len(self.samples) / self.rate


class SoundCollector:
    """Joins the decoded pieces of one stream by their time stamps: gaps become silence, overlaps are cut.

    Args:
        path: for messages.
        start, end: in seconds; sound more than a second (and a bit) outside is dropped as it arrives.
        from_zero: time counts from the first sample, whatever stamp that has.
        channel: take this one; None for the mean of all.

    Attributes:
        origin: the stamp in the file that is time 0 here, in seconds.
    """

    def __init__(
        self,
        path: Path,
        start: float | None = None,
        end: float | None = None,
        from_zero: bool = False,
        channel: int | None = None,
    ) -> None:
        self._path, self._from, self._until = path, start, end
        self._from_zero, self._channel = from_zero, channel
        self.origin = 0.0
        self._energies: dict[int, float] = {}
        self._pieces: list[np.ndarray] = []
        self._rate = 0
        self._start: float | None = None
        self._length = 0  # samples since the first one, dropped ones included
        self._dropped = 0

    @property
    def reached(self) -> float:
        """Presentation time of the end of what was collected."""
        return (self._start or 0.0) + self._length / self._rate if self._rate else -np.inf

    def add(self, frame: av.AudioFrame) -> None:
        """Adds one decoded piece; raises ClipError when the rate changes or the stamps are absurd."""
        parts = channels(frame).astype(np.float64)
        _, offset, scale = _SAMPLES[frame.format.packed.name]
        for number, part in enumerate(parts - offset):
            self._energies[number] = self._energies.get(number, 0.0) + float(part @ part)
        chosen = parts.mean(axis=0) if self._channel is None else parts[min(self._channel, len(parts) - 1)]
        samples = ((chosen - offset) / scale).astype(np.float32)
        time = frame.time
        if not self._rate:
            self._rate = frame.sample_rate
            self.origin = float(time) if time is not None and self._from_zero else 0.0
            self._start = float(time) - self.origin if time is not None else 0.0
        if frame.sample_rate != self._rate or not self._rate:
            raise ClipError("unreadable", f"{printable(self._path)}: the sample rate changes inside the sound")
        jump = time - self.origin - self.reached if time is not None else 0.0
        if abs(jump) > _LONGEST_S or self._length > _LONGEST_S * self._rate:
            raise ClipError("too_long", f"{printable(self._path)}: more than {_LONGEST_S / 3600:.0f} hours of sound")
        if jump > _JUMP_S:
            self._append(np.zeros(round(jump * self._rate), np.float32))
        elif jump < -_JUMP_S:
            samples = samples[round(-jump * self._rate) :]
        self._append(samples)

    def _append(self, samples: np.ndarray) -> None:
        self._length += len(samples)
        if self._until is not None and self.reached - len(samples) / self._rate > self._until + 1:
            return
        self._pieces.append(samples)
        if self._from is None or self._start is None:
            return
        # Whole seconds are dropped, so that the 16 kHz grid stays where it is for the whole file.
        spare = int(np.floor(self._from - 2 - self._start)) * self._rate - self._dropped
        while self._pieces and spare >= len(self._pieces[0]) > 0 and len(self._pieces) > 1:
            spare -= len(self._pieces[0])
            self._dropped += len(self._pieces.pop(0))

    def finish(self) -> Sound | None:
        """What was collected, or None when there was no sample."""
        samples = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.float32)
        if self._start is None or len(samples) == 0:
            return None
        seconds = -(-self._dropped // self._rate)
        samples = samples[seconds * self._rate - self._dropped :] if self._dropped else samples
        loudest = max(self._energies, key=lambda number: (self._energies[number], -number))
        return Sound(self._start + seconds, self._rate, samples, loudest)


def channels(frame: av.AudioFrame) -> np.ndarray:
    """(C, S): the channels of a decoded frame, in the file's own units.

    Their mean is not left to libswresample, whose float downmix of stereo is 1.414 times too loud. Planes are taken
    one by one: PyAV counts them up to a null pointer, which a frame of 8 or more channels (7.1) does not have.
    """
    count = max(frame.layout.nb_channels, 1)
    dtype = np.dtype(_SAMPLES[frame.format.packed.name][0])
    if frame.format.is_planar:
        return np.stack([np.frombuffer(_plane(frame, at), dtype, frame.samples) for at in range(count)])
    return np.frombuffer(_plane(frame, 0), dtype, frame.samples * count).reshape(-1, count).T


def _plane(frame: av.AudioFrame, number: int) -> memoryview:
    """The bytes of one plane; PyAV's annotations do not say that it is a buffer."""
    return memoryview(cast(bytes, AudioPlane(frame, number)))


def decode_sound(
    path: Path,
    start: float | None = None,
    end: float | None = None,
    *,
    rule: Rule = PP1,
    from_zero: bool = False,
    channel: int | None = None,
) -> Sound | None:
    """One audio stream of a file as mono at its native rate; None when there is none or it holds no sample.

    Args:
        start, end: seconds; what lies far outside is left out.
        rule: decides which of several tracks is taken.
        from_zero, channel: see `SoundCollector`.
    """
    path = Path(path)
    with opened(path) as container:
        stream = audio_stream(container, path, rule.default_track)
        if stream is None:
            return None
        collector = SoundCollector(path, start, end, from_zero, channel)
        for frame in container.decode(stream):
            collector.add(frame)
            if end is not None and collector.reached > end + 2:
                break
        else:
            check_whole(container, stream, collector.origin + collector.reached, path)
    return collector.finish()


def resample(sound: Sound) -> np.ndarray:
    """(S',) float32 at 16 kHz, soxr's high quality."""
    if not 1000 <= sound.rate <= 768_000:
        raise ClipError("unreadable", f"a sample rate of {sound.rate} Hz")
    if not np.isfinite(sound.samples).all():
        raise ClipError("not_finite", "the sound holds NaN or infinite samples")
    if sound.rate == SAMPLE_RATE:
        return sound.samples
    return np.asarray(soxr.resample(sound.samples, sound.rate, SAMPLE_RATE, quality="HQ"), np.float32)


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Rounds full-scale-1 samples to int16 (nearest, clipped); the inverse of dividing by 32768."""
    out = np.empty(len(samples), np.int16)
    for first in range(0, len(samples), _BLOCK):
        block = samples[first : first + _BLOCK].astype(np.float64)
        out[first : first + _BLOCK] = np.clip(np.rint(block * 32768), -32768, 32767)
    return out


def cut(sound: Sound, t0: float, count: int) -> np.ndarray:
    """(count,) int16 at 16 kHz from source time `t0`, zeros where the sound has ended."""
    at_16k = resample(sound)
    first = round((t0 - sound.start) * SAMPLE_RATE)
    if first < 0:
        raise ValueError("the time line must not start before the sound")
    out = np.zeros(count, np.int16)
    piece = to_int16(at_16k[first : first + count])
    out[: len(piece)] = piece
    return out


def loudness_dbfs(pcm: np.ndarray) -> float:
    """Root mean square of int16 samples in dB below full scale; minus infinity for digital silence."""
    blocks = (pcm[first : first + _BLOCK].astype(np.int64) for first in range(0, len(pcm), _BLOCK))
    energy = sum(int(block @ block) for block in blocks)
    rms = (energy / len(pcm)) ** 0.5 / 32768 if len(pcm) else 0.0
    return 20 * float(np.log10(rms)) if rms > 0 else -np.inf


def read_audio(path: Path) -> np.ndarray:
    """The whole sound of a file (of a video too), from its first sample; of several tracks the default one.

    Returns:
        (S,) int16 mono at 16 kHz: mean of channels (the loudest one where the mean is silent), soxr HQ, rounded.

    Raises:
        ClipError: `missing`, `empty`, `unreadable`, `no_audio`, `too_long`, `not_finite`.
    """
    sound = decode_sound(Path(path), rule=PP2)
    if sound is None:
        raise ClipError("no_audio", f"{printable(path)} holds no sound")
    pcm = to_int16(resample(sound))
    if loudness_dbfs(pcm) >= SILENCE_DBFS:
        return pcm
    loudest = decode_sound(Path(path), rule=PP2, channel=sound.loudest)
    return pcm if loudest is None else to_int16(resample(loudest))


def write_wav(path: Path, pcm: np.ndarray) -> None:
    """Writes (S,) int16 samples as a mono 16 kHz WAV file, whole or not at all."""
    if pcm.ndim != 1 or pcm.dtype != np.int16:
        raise ValueError(f"pcm must be (samples,) int16, got {pcm.shape} {pcm.dtype}")
    with atomic_path(Path(path)) as partial, partial.open("wb") as stream, wave.open(stream, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(pcm.astype("<i2").tobytes())
