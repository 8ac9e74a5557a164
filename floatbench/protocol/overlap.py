"""Which test clips and people are known to be in a system's training list.

Lists are published for two systems; a protocol's table names them in labels of its clips. Of all others it is not known
which parts of a public data set they were trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from floatbench.errors import UsageError
from floatbench.protocol.protocol import Clip, Protocol
from floatbench.text import near


@dataclass(frozen=True)
class TrainingList:
    """A published training list and how a clip's labels speak of it.

    Attributes:
        name, title: for commands and for people.
        label: the label without which a clip says nothing of the list.
        clip, person: from the labels, whether the clip itself, and any clip of its person, is in the list.
    """

    name: str
    title: str
    label: str
    clip: Callable[[Mapping[str, str]], bool]
    person: Callable[[Mapping[str, str]], bool]


def _in_difftalk(labels: Mapping[str, str]) -> bool:
    return labels.get("difftalk_train") == "yes"


LISTS = (
    TrainingList(
        "edtalk",
        "EDTalk",
        "edtalk_list",
        lambda labels: labels.get("edtalk_list") == "train",
        lambda labels: "train" in labels.get("edtalk_identity", "").split("+"),
    ),
    TrainingList("difftalk", "DiffTalk", "difftalk_train", _in_difftalk, _in_difftalk),
)


@dataclass(frozen=True)
class Overlap:
    """How much of some clips is in a training list."""

    name: str
    title: str
    clips: int
    of_clips: int
    people: int
    of_people: int

    def sentence(self) -> str:
        """For the notes of a table."""
        return (
            f"{self.clips} of {self.of_clips} clips and {self.people} of {self.of_people} people "
            f"are in {self.title}'s published training list"
        )


def overlaps(clips: Iterable[Clip]) -> list[Overlap]:
    """One entry per list that the labels of the clips speak of and that holds any of them."""
    chosen = list(clips)
    everybody = {clip.identity for clip in chosen}
    found = []
    for known in LISTS:
        if not any(known.label in clip.labels for clip in chosen):
            continue
        inside = sum(known.clip(clip.labels) for clip in chosen)
        people = {clip.identity for clip in chosen if known.person(clip.labels)}
        found.append(Overlap(known.name, known.title, inside, len(chosen), len(people), len(everybody)))
    return found


def overlap_notes(clips: Iterable[Clip], methods: Mapping[str, Mapping[str, object]]) -> list[str]:
    """What a reader must know of test clips that systems have seen: the lists, and what each system was trained on."""
    notes = [overlap.sentence() for overlap in overlaps(clips)]
    for name, record in methods.items():
        trained = record.get("trained_on")
        if isinstance(trained, (list, tuple)) and trained:
            notes.append(f"{name} was trained on {', '.join(map(str, trained))}")
    return notes


def disjoint_clips(protocol: Protocol, name: str, among: Sequence[str] | None = None) -> list[str]:
    """Ids of the clips whose person is not in a training list.

    Args:
        among: of these clips only; None: of all.

    Raises:
        UsageError: an unknown list, a protocol that says nothing of it, or no clip left.
    """
    known = next((one for one in LISTS if one.name == name.casefold()), None)
    if known is None:
        raise UsageError(f"no training list is known of {name!r}", fix=near(name, [one.name for one in LISTS]))
    if not any(known.label in clip.labels for clip in protocol.clips):
        raise UsageError(f"{protocol.id} does not say which of its clips {known.title} was trained on")
    inside = {clip.identity for clip in protocol.clips if known.person(clip.labels)}
    left = [clip.id for clip in protocol.clips if clip.identity not in inside and (among is None or clip.id in among)]
    if not left:
        raise UsageError(f"every chosen clip of {protocol.id} is of a person in {known.title}'s training list")
    return left
