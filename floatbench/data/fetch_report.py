"""What a fetch of raw files did."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class FetchReport:
    """What a fetch did: clip ids that came, were there, cannot be had (id -> reason), or failed this time."""

    fetched: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return not self.unavailable and not self.failed
