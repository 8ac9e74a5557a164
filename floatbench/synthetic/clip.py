"""One synthetic clip: person, utterance, emotion and motion from three numbers; frames and sound when asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from floatbench.errors import UsageError
from floatbench.seeds import derive_seed
from floatbench.synthetic.expression import EMOTIONS, EXPRESSION
from floatbench.synthetic.identity import Identity, make_identity
from floatbench.synthetic.motion import expression_track, pose_track
from floatbench.synthetic.phones import Timeline, phone_at, speak
from floatbench.synthetic.renderer import renderer
from floatbench.synthetic.voice import MANNERS, synthesise
from floatbench.types import FPS, SAMPLES_PER_FRAME, ClipMedia

MAX_SECONDS = 600.0
TEST_FIRST = 90_000
"""Identities from this number on are for evaluation; training uses smaller numbers only."""


@dataclass(frozen=True)
class SyntheticClip:
    """A clip that is fully described by its numbers; everything else follows from them.

    Attributes:
        identity: number of the person; see `make_identity`.
        number: number of the clip of that person; decides utterance, emotion and motion.
        seconds: length, rounded to whole frames.
        seed: data set seed.
        emotion: one of EMOTIONS, or "" to let the number decide.

    Raises UsageError for numbers out of range or an unknown emotion.
    """

    identity: int
    number: int = 0
    seconds: float = 4.0
    seed: int = 0
    emotion: str = ""

    def __post_init__(self) -> None:
        if not 1 / FPS <= self.seconds <= MAX_SECONDS:
            raise UsageError(f"synthetic clips last 0.04 to {MAX_SECONDS:.0f} seconds, got {self.seconds}")
        if self.number < 0:
            raise UsageError(f"clip numbers start at 0, got {self.number}")
        if self.emotion and self.emotion not in EMOTIONS:
            raise UsageError(f"unknown emotion {self.emotion!r}", fix=f"one of {', '.join(EMOTIONS)}")

    @property
    def id(self) -> str:
        """Name of the clip, e.g. ``syn-90003-1``; seconds, size and seed are settings of the data set."""
        return f"syn-{self.identity}-{self.number}"

    @property
    def n_frames(self) -> int:
        return max(1, round(self.seconds * FPS))

    @cached_property
    def person(self) -> Identity:
        return make_identity(self.identity, self.seed)

    @cached_property
    def mood(self) -> str:
        """The clip's emotion: the one asked for, else one that walks through EMOTIONS with the clip's number."""
        first = int(self._rng("emotion").integers(len(EMOTIONS)))
        return self.emotion or EMOTIONS[(first + self.number * 3) % len(EMOTIONS)]

    def _rng(self, purpose: str) -> np.random.Generator:
        scope = self.id if purpose != "emotion" else f"syn-{self.identity}"
        return np.random.Generator(np.random.PCG64(derive_seed(self.seed, f"synthetic/{scope}/{purpose}")))

    @cached_property
    def timeline(self) -> Timeline:
        return speak(self._rng("words"), self.n_frames / FPS, MANNERS[self.mood].rate)

    @cached_property
    def times(self) -> np.ndarray:
        """Middle of every frame in seconds, (T,)."""
        return (np.arange(self.n_frames) + 0.5) / FPS

    @cached_property
    def pose(self) -> np.ndarray:
        """(T, 6) float32 in the order of POSE."""
        return pose_track(self._rng("pose"), self.times, self.timeline, self.mood)

    @cached_property
    def expression(self) -> np.ndarray:
        """(T, len(EXPRESSION)) float32."""
        return expression_track(self._rng("face"), self.times, self.timeline, self.mood, self.pose)

    def truth(self) -> dict[str, np.ndarray]:
        """identity (K,), pose (T, 6), expression (T, E), emotion () int, phones (T,) int (positions in PHONES)."""
        return {
            "identity": self.person.vector,
            "pose": self.pose,
            "expression": self.expression,
            "emotion": np.array(EMOTIONS.index(self.mood), np.int16),
            "phones": phone_at(self.timeline, self.times),
        }

    def audio(self) -> np.ndarray:
        """(640 T,) int16 at 16 kHz."""
        smile = float(self.expression[:, EXPRESSION.index("smile")].mean())
        samples = self.n_frames * SAMPLES_PER_FRAME
        return synthesise(self.timeline, self.person, self.mood, smile, samples, self._rng("voice"))

    def frames(self, size: int, every: int = 1, threads: int = 1) -> np.ndarray:
        """(T, size, size, 3) uint8 RGB, or every `every`-th of these frames."""
        draw = renderer(self.identity, self.seed, size)
        return draw.frames(self.pose[::every], self.expression[::every], threads)

    def media(self, size: int, threads: int = 1) -> ClipMedia:
        """Frames and sound together."""
        return ClipMedia(self.frames(size, threads=threads), self.audio())


def parse_id(clip_id: str) -> tuple[int, int]:
    """Identity and clip number of a clip's name; raises UsageError for another form."""
    match = re.fullmatch(r"syn-(\d{1,9})-(\d{1,6})", clip_id)
    if match is None:
        raise UsageError(f"not a synthetic clip: {clip_id!r}", fix="names look like syn-90003-1")
    return int(match[1]), int(match[2])


def synthetic_clips(
    identities: int, per_identity: int = 1, seconds: float = 4.0, seed: int = 0, first: int = 0
) -> Iterator[SyntheticClip]:
    """The clips of people `first` .. `first + identities - 1`, in order; nothing is rendered before it is asked for.

    Training reads its data here, without files; the people of protocols start at `TEST_FIRST`. Raises UsageError for
    counts below 1 and for a range that reaches into the protocols' people.
    """
    if identities < 1 or per_identity < 1:
        raise UsageError(f"at least one identity and one clip each are needed, got {identities} and {per_identity}")
    if first < TEST_FIRST < first + identities:
        raise UsageError(
            f"people {first} to {first + identities - 1} mix training and protocol people ({TEST_FIRST} on)"
        )
    for index in range(first, first + identities):
        for number in range(per_identity):
            yield SyntheticClip(index, number, seconds, seed)
