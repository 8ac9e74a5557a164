"""Where the folders that a run was made from lie on this machine: kept beside the records, never part of them.

`floatbench report --page` finds the real and the finished videos through it. What is found there is shown only if it
has the hashes of the run's rows, so that a folder which moved or changed costs a picture, not the truth.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from floatbench.errors import FloatbenchError
from floatbench.methods.method import Method
from floatbench.methods.videos import VideosMethod
from floatbench.protocol.protocol import Protocol
from floatbench.records import RecordFile, read_record, write_record

NAME = "local.json"


class LocalFolders(RecordFile):
    """Absolute paths: the folder of the real videos of `floatbench score`, and those of finished videos by method."""

    noun: ClassVar[str] = "list of local folders"

    schema_version: int = 1
    reference: str = ""
    videos: dict[str, str] = Field(default_factory=dict)


def local_folders(run: Path) -> LocalFolders:
    """What a run folder remembers; nothing where it remembers nothing, or nothing that can be read."""
    try:
        return read_record(run / NAME, LocalFolders)
    except FloatbenchError:
        return LocalFolders()


def remember(run: Path, protocol: Protocol, methods: Iterable[Method]) -> None:
    """Adds the folders of a call to those that the run folder remembers."""
    before = local_folders(run)
    found = before.model_copy(deep=True)
    if protocol.preprocessing.spec == "as-is" and protocol.root:
        found.reference = str(Path(protocol.root).resolve())
    found.videos |= {method.name: method.place for method in methods if isinstance(method, VideosMethod)}
    if found != before:
        write_record(run / NAME, found)
