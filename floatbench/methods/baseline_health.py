"""When a system that died is started again, after what pause, with what batch, and when it is given up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MAX_FAILURES_IN_A_ROW = 3
RESTART_SHARE = 0.05
BACK_OFF_S = 0.25
MAX_BACK_OFF_S = 30.0


@dataclass
class Health:
    """Failures of the machine (crash, time-out, memory, input and output) of one system in one process.

    A system is given up after three failures in a row, or once its restarts are more than 5 % of the clips that the
    process was promised (three are always allowed; without a promise only the first rule holds).

    Attributes:
        n_clips: promised clips, 0 when unknown.
        batch_knob: name of the setting that may shrink after memory ran out, because it does not change results.
        settings: the preset's settings; `smaller` holds what was changed.
        broken: why the system was given up; empty while it is not.
    """

    n_clips: int = 0
    batch_knob: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    smaller: dict[str, Any] = field(default_factory=dict)
    in_a_row: int = 0
    restarts: int = 0
    broken: str = ""

    @property
    def allowed(self) -> int:
        """Restarts that are still no reason to give up."""
        return max(MAX_FAILURES_IN_A_ROW, int(RESTART_SHARE * self.n_clips))

    @property
    def back_off_s(self) -> float:
        """Seconds to wait before the next start: doubled with every failure in a row."""
        return min(BACK_OFF_S * 2**self.in_a_row, MAX_BACK_OFF_S)

    def succeeded(self) -> None:
        self.in_a_row = 0

    def failed(self, code: str, message: str) -> bool:
        """Counts a failure; True when a fresh worker may try the clip again."""
        self.in_a_row += 1
        self.restarts += 1
        last = f"the last: {code} ({message})"
        if self.in_a_row >= MAX_FAILURES_IN_A_ROW:
            self.broken = f"given up after {self.in_a_row} failures in a row, {last}"
        elif self.n_clips and self.restarts > self.allowed:
            self.broken = f"given up after {self.restarts} failures in {self.n_clips} clips, {last}"
        elif code == "oom":
            self._shrink()
        return not self.broken

    def _shrink(self) -> None:
        """One at a time, where the manifest names a setting for it; kept for the clips that follow."""
        if int(self.settings.get(self.batch_knob, 1)) > 1:
            self.smaller[self.batch_knob] = 1
