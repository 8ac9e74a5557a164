"""The errors a user may meet, and the exit codes of the command line.

Exit codes: 0 done; 1 ran, but clips failed, coverage or a threshold was missed; 2 usage; 3 environment or
dependency; 4 data or weights missing or damaged; 130 interrupted, state saved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any


class FloatbenchError(Exception):
    """An error in one or two lines: what is wrong and where, then the command that mends it.

    Args:
        what: what is wrong, with the file, clip or option it concerns.
        fix: a command or an action that mends it; printed on a second line.

    Attributes:
        table: rows of text, headings first, that the command line shows between the two. record: what --json adds.
    """

    exit_code = 1
    table: Sequence[Sequence[str]] = ()
    record: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, what: str, fix: str | None = None) -> None:
        super().__init__(what, fix)
        self.what = " ".join(what.split())
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\nfix: {self.fix}" if self.fix else self.what


class RunIncomplete(FloatbenchError):
    """The run finished, but clips failed or coverage or a threshold was missed (exit code 1)."""


class UsageError(FloatbenchError):
    """A command line, protocol or configuration that cannot be understood (exit code 2)."""

    exit_code = 2


class DependencyError(FloatbenchError):
    """A package, program, device or permission of the environment is missing (exit code 3)."""

    exit_code = 3


class DataError(FloatbenchError):
    """Data or weights are missing or damaged (exit code 4)."""

    exit_code = 4


class Interrupted(FloatbenchError):
    """Stopped by the user; everything finished so far is on disk (exit code 130)."""

    exit_code = 130


class ClipError(FloatbenchError):
    """One clip failed; the run goes on and the clip keeps a row with this reason.

    Args:
        reason: a short snake_case code, e.g. ``no_face``; the codes in use are listed in `REASONS`.
        what: one line of detail.

    Attributes:
        details: what else is worth a place in the row, JSON types (a system's last lines).
    """

    details: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, reason: str, what: str = "") -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", reason):
            raise ValueError(f"reason must be snake_case, got {reason!r}")
        super().__init__(what or REASONS.get(reason, reason))
        self.args = (reason, self.what)  # so that it survives pickling between processes
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason}: {self.what}"


class OutOfMemory(ClipError):
    """The device or the machine has too little memory: no fault of the clip (`out_of_memory`, exit code 3)."""

    exit_code = 3

    def __init__(self, what: str, fix: str = "end what else uses this memory") -> None:
        super().__init__("out_of_memory", what)
        self.args, self.fix = (self.what, fix), fix  # see ClipError


REASONS: dict[str, str] = {
    # reading media
    "missing": "the file does not exist",
    "unreadable": "the file cannot be decoded",
    "empty": "the file holds no bytes or no frame",
    "truncated": "the file ends before the length its header declares",
    "too_large": "the picture is larger than is safe to decode",
    "too_long": "the recording is longer than is safe to decode at once",
    "no_video": "the file holds no video stream",
    "no_audio": "the clip has no sound",
    "silent": "the sound is below -60 dBFS",
    # pp1 preprocessing
    "too_short": "fewer frames than are needed",
    "too_small": "the face crop is below 256 px",
    "no_face": "no face was found",
    "face_lost": "the face was lost in more than 5 % of frames or 12 in a row",
    "moved": "the face left its first box (IoU 0.25 or less)",
    "source_changed": "the raw file is not the one the manifest was made from",
    "damaged": "a prepared clip is not what its manifest says",
    "padding": "more than a quarter of the crop lies outside the picture",
    # what a method made
    "length_mismatch": "the generated video differs by more than two frames",
    "rate_mismatch": "the generated video is not at 25 frames a second",
    "size_mismatch": "the generated video has an unusable size",
    "no_output": "the method wrote no video",
    "method_error": "the method raised an error",
    "load_failed": "the method could not be loaded",
    "not_finite": "NaN or infinite values",
    "blank": "every frame is one colour",
    "bad_length": "a length that the system is known to fail on",
    "bad_input": "an input that the system cannot take",
    "many_faces": "more than one face was found",
    "edge_mask": "the face lies too near the border for the system's mask",
    "weights_mismatch": "the weights do not fit the system's networks",
    "env_mismatch": "the system's environment does not fit this machine",
    "broken": "the system failed several times in a row and was given up",
    # running
    "crashed": "the worker process died",
    "timeout": "the time limit passed",
    "out_of_memory": "the device or the machine ran out of memory",
    # metrics
    "no_label": "the clip has no label of an emotion, and the method was told none",
    "no_track": "no face track is long enough",
    "few_pictures": "too few of the clip's pictures could be measured",
    "no_partner": "no clip exists that this control could borrow from",
    "no_source_video": "no other clip of the same person is here whose video could be given",
}
TRANSIENT_REASONS = frozenset({"crashed", "timeout", "out_of_memory", "broken"})
"""Failures of the machine rather than of the clip: a later call of the same command tries them again."""
