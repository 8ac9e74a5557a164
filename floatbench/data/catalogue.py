"""Data sets by name: HDTF, RAVDESS, a folder of videos, the release's sample, and the procedural one."""

from __future__ import annotations

from collections.abc import Callable

from floatbench.data.dataset import Dataset
from floatbench.errors import UsageError
from floatbench.protocol.protocol import Protocol
from floatbench.text import near


def _folder(protocol: Protocol) -> Dataset:
    from floatbench.data.folder import FolderDataset

    return FolderDataset(protocol)


def _hdtf(protocol: Protocol) -> Dataset:
    from floatbench.data.hdtf import HdtfDataset

    return HdtfDataset(protocol)


def _ravdess(protocol: Protocol) -> Dataset:
    from floatbench.data.ravdess import RavdessDataset

    return RavdessDataset(protocol)


def _float_sample(protocol: Protocol) -> Dataset:
    from floatbench.data.float_sample import FloatSampleDataset

    return FloatSampleDataset(protocol)


def _synthetic(protocol: Protocol) -> Dataset:
    from floatbench.data.rendered import SyntheticDataset

    return SyntheticDataset(protocol)


DATASETS: dict[str, Callable[[Protocol], Dataset]] = {
    "float-sample": _float_sample,
    "folder": _folder,
    "hdtf": _hdtf,
    "ravdess": _ravdess,
    "synthetic": _synthetic,
}


def dataset_for(protocol: Protocol) -> Dataset:
    """What gives the reference media of the protocol's clips; raises UsageError for an unknown data set."""
    if protocol.dataset not in DATASETS:
        raise UsageError(
            f"unknown data set {protocol.dataset!r} in protocol {protocol.id}", near(protocol.dataset, DATASETS)
        )
    return DATASETS[protocol.dataset](protocol)
