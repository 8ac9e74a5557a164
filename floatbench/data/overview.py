"""What the `protocol` commands say about a protocol: a summary, its state on this machine, and whether it verifies."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from floatbench.data.catalogue import dataset_for
from floatbench.data.dataset import Availability
from floatbench.data.prepared import PREPARED, STALE, PreparedDataset
from floatbench.errors import ClipError, DataError
from floatbench.progress import Progress
from floatbench.protocol.overlap import overlaps
from floatbench.protocol.protocol import Clip, Protocol
from floatbench.weights.file_hashes import FileHashes


@dataclass(frozen=True)
class Check:
    """Result of verifying one prepared clip: `exact`, `equivalent`, `different` or `damaged`."""

    clip_id: str
    state: str
    detail: str


def summary(name: str, protocol: Protocol) -> dict[str, Any]:
    """Facts about a protocol and the state of its clips on this machine (JSON types)."""
    states = state_counts(dataset_for(protocol).availability())
    return {
        "name": name,
        "id": protocol.id,
        "title": protocol.title,
        "hash": protocol.hash,
        "label": protocol.label,
        "dataset": protocol.dataset,
        "split": protocol.split,
        "preprocessing": protocol.preprocessing.model_dump() | {"id": protocol.preprocessing.id},
        "metrics": list(protocol.metrics),
        "settings": protocol.settings,
        "backbone_weights": protocol.backbone_weights,
        "seed": protocol.seed,
        "source_video": protocol.source_video,
        "coverage_floor": protocol.coverage_floor,
        "clips": len(protocol.clips),
        "identities": len({clip.identity for clip in protocol.clips}),
        "seconds": window_seconds(protocol),
        "state": states,
        "licence": protocol.licence,
        "overlaps": [asdict(found) | {"sentence": found.sentence()} for found in overlaps(protocol.clips)],
        "notes": list(protocol.notes),
    }


def state_counts(rows: list[Availability]) -> dict[str, int]:
    """How many clips are ready, unprepared, missing and rejected."""
    counted = Counter(row.state for row in rows)
    return {state: counted.get(state, 0) for state in ("ready", "unprepared", "missing", "rejected")}


def window_seconds(protocol: Protocol) -> float | None:
    """Length of all windows together; None when some clips are taken whole."""
    lengths = [clip.end_s - (clip.start_s or 0.0) for clip in protocol.clips if clip.end_s is not None]
    return round(sum(lengths), 3) if len(lengths) == len(protocol.clips) else None


def verify(protocol: Protocol, clips: list[Clip], progress: Progress, against_raw: bool = False) -> list[Check]:
    """Decodes every prepared clip again and holds it to its manifest; clips that are not prepared are left out.

    Args:
        against_raw: also prepares the clip again from the raw file, where it is there, without a detector.

    Raises:
        DataError: the data set keeps no prepared clips, or none of them is prepared.
    """
    data = dataset_for(protocol)
    if not isinstance(data, PreparedDataset):
        raise DataError(f"{protocol.id} is rendered when it is needed: there is nothing to verify")
    ready = [clip for clip in clips if (data.folder(clip) / PREPARED).is_file()]
    if not ready:
        raise DataError(f"no clip of {protocol.id} is prepared", fix=data.prepare_fix())
    checks, hashes = [], FileHashes()
    with progress.task(f"verify {protocol.id}", len(ready)) as bar:
        for clip in ready:
            checks.append(_check(data, clip, against_raw, hashes))
            bar.advance(note=checks[-1].state)
    hashes.save()
    return checks


def _check(data: PreparedDataset, clip: Clip, against_raw: bool, hashes: FileHashes) -> Check:
    from floatbench.media.verify import verify_prepared

    if data.stale(clip, hashes):  # a run prepares it anew, whatever the prepared files are worth
        return Check(clip.id, "different", STALE)
    raw = data.raw(clip) if against_raw else None
    try:
        result = verify_prepared(data.folder(clip), None, raw.video if raw else None, raw.audio if raw else None)
    except (ClipError, DataError) as error:
        return Check(clip.id, "damaged", error.what)
    return Check(clip.id, result.state, result.detail)
