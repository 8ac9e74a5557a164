"""Brings the raw files of a data set: licence first, then from the network or from files already on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from floatbench.data import float_sample
from floatbench.data.fetch_hdtf import fetch_hdtf
from floatbench.data.fetch_ravdess import fetch_ravdess
from floatbench.data.fetch_report import FetchReport
from floatbench.data.youtube import Access
from floatbench.errors import DataError, UsageError
from floatbench.files import write_json
from floatbench.paths import data_dir, offline
from floatbench.progress import Progress
from floatbench.protocol.protocol import Clip, Protocol
from floatbench.text import near, now

FETCHABLE = ("hdtf", "ravdess", float_sample.NAME)


def fetch(
    protocol: Protocol,
    progress: Progress,
    source: Path | None = None,
    only: Sequence[str] | None = None,
    access: Access | None = None,
) -> FetchReport:
    """Brings what is missing of a protocol's raw files; what is there is left alone, so the same call carries on.

    Args:
        source: a folder with files already on disk instead of the network.
        only: clip ids, None for all.
        access: cookies for the video site, and whether clips in the ledger of unavailable ones are asked for again.

    Raises:
        UsageError: nothing to fetch for this data set, or an unknown clip id.
        DataError: offline, or the network or an archive failed as a whole.
    """
    clips = chosen(protocol, only)
    if protocol.dataset not in FETCHABLE:
        raise UsageError(
            f"the data set {protocol.dataset!r} has nothing to fetch", fix="it is made or given on this machine"
        )
    if source is not None and not source.is_dir():
        raise UsageError(f"--from {source} is not a folder")
    if source is None and offline():
        what = f"{protocol.id} would have to be downloaded, and --offline forbids the network"
        raise DataError(what, fix=f"floatbench protocol fetch {protocol.dataset} --from DIR")
    if protocol.dataset == float_sample.NAME:
        return float_sample.fetch_float_sample(clips, progress, source)
    if protocol.dataset == "hdtf":
        return fetch_hdtf(clips, progress, source, access)
    return fetch_ravdess(clips, progress, source)


def chosen(protocol: Protocol, only: Sequence[str] | None) -> list[Clip]:
    """The clips with these ids, in the protocol's order; raises UsageError for an unknown id."""
    if only is None:
        return list(protocol.clips)
    known = {clip.id for clip in protocol.clips}
    for name in only:
        if name not in known:
            raise UsageError(f"no clip {name!r} in {protocol.id}", fix=near(name, sorted(known)[:200]))
    return [clip for clip in protocol.clips if clip.id in set(only)]


def _acceptance(protocol: Protocol) -> Path:
    digest = hashlib.sha256(protocol.licence.encode()).hexdigest()[:16]
    return data_dir() / "raw" / protocol.dataset / f"licence-accepted-{digest}.json"


def licence_accepted(protocol: Protocol) -> bool:
    """True when these very terms were accepted on this machine before."""
    return not protocol.licence or _acceptance(protocol).is_file()


def accept_licence(protocol: Protocol) -> None:
    """Remembers that the terms were accepted."""
    write_json(_acceptance(protocol), {"licence": protocol.licence, "accepted": now()})
