"""What the row of a clip was made from besides the method itself: files of the data set, of partners, finished videos.

A row is made again when any of these has other content. Names, sizes and time stamps do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from floatbench.methods.method import Method
from floatbench.protocol.protocol import Clip


@dataclass(frozen=True)
class RowInputs:
    """Hashes of what a row is made from.

    Attributes:
        context: of the reference clip and, for a control that borrows, of the clips that it may borrow from.
        own: of the finished video that stands for the clip; empty where the method makes it.
    """

    context: str = ""
    own: str = ""

    @property
    def digest(self) -> str:
        """What a row keeps; empty where nothing was hashed."""
        return _digest(self.context, self.own) if self.context or self.own else ""


def inputs_of(
    method: Method,
    clips: Sequence[Clip],
    partners: Mapping[str, Sequence[Clip]],
    content: Mapping[str, str],
    spec: str = "pp1",
) -> dict[str, RowInputs]:
    """The inputs of one method on each clip, by clip id.

    Args:
        partners: clip id -> the clips that the method may borrow from, best first; those without are left out.
        content: clip id -> `Dataset.content_keys`.
        spec: the protocol's rule. Until pp2 there was one only, and what a method decoded itself stayed with it.
    """
    own = method.input_keys(clips)
    found = {}
    for clip in clips:
        parts = [content.get(clip.id, "")]
        if "partner" in method.needs:
            parts += [f"{other.id} {content.get(other.id, '')}" for other in partners.get(clip.id, ())]
        if method.decodes and spec == "pp2":
            parts.append(f"decoded by {spec}")
        context = _digest(*parts) if any(parts) else ""
        found[clip.id] = RowInputs(context, own.get(clip.id, ""))
    return found


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
