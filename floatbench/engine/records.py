"""What a run writes down: rows while it runs, scores when it is done; versioned, exportable as JSON Schema."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from floatbench.errors import DataError, UsageError
from floatbench.files import write_error, write_json
from floatbench.protocol.protocol import Protocol

SCHEMA_VERSION = 1
Side = Literal["generated", "reference", "source"]
M = TypeVar("M", bound=BaseModel)


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Row(_Record):
    """One method on one clip and replicate: how it was made, what was decoded, where its features are.

    `features` maps side -> backbone id -> feature key (the name of a file in the run's `features/`). A failed row has a
    reason of floatbench.errors.REASONS; the clip stays in every count.
    """

    schema_version: int = SCHEMA_VERSION
    method: str
    clip: str
    identity: str
    replicate: int = 0
    status: Literal["ok", "failed"]
    reason: str = ""
    detail: str = ""
    seed: int = 0
    n_frames: int = 0
    expected_frames: int = 0
    width: int = 0
    height: int = 0
    method_key: str = ""  # of the method that made it; see `Method.key`
    pixels_sha256: str = ""
    pcm_sha256: str = ""
    reference_pixels_sha256: str = ""
    features: dict[str, dict[str, str]] = {}
    fingerprints: dict[str, str] = {}  # backbone id -> fingerprint that the features were made with
    flags: list[str] = []  # of the prepared clip: upscaled, padded, silent, fabricated_boxes ...
    video: str = ""
    sound: str = ""
    timing: dict[str, float] = {}
    details: dict[str, Any] = {}
    seconds: float = 0.0

    @property
    def key(self) -> tuple[str, str, int]:
        return self.method, self.clip, self.replicate


class MetricRecord(_Record):
    """Identity of a column: variant, backbones with fingerprints, weights with hashes and licences."""

    id: str
    column: str
    higher_is_better: bool
    level: str
    tiny: bool
    backbones: dict[str, str]
    weights: dict[str, str]
    licences: dict[str, str]
    fabricated: list[str] = []
    settings: dict[str, Any] = {}


class RunInfo(_Record):
    """What makes a run folder what it is; a later call with another protocol, seed or subset is refused."""

    schema_version: int = SCHEMA_VERSION
    protocol: Protocol
    protocol_hash: str
    seed: int
    replicates: int = 1
    subset: list[str] | None = None  # clip ids of a --limit or --clips run; None = the whole protocol
    available: list[str] = []  # clips of this run that were prepared
    rejected: dict[str, str] = {}  # clip id -> why preprocessing refused it
    methods: dict[str, dict[str, Any]] = {}  # name -> its description: settings, weights, versions, licences
    metrics: dict[str, MetricRecord] = {}
    environment: dict[str, Any] = {}
    parts: list[dict[str, Any]] = []  # environments of the runs that were merged


class ScoreRow(_Record):
    """One number of the table with everything that is needed to judge it."""

    method: str
    metric: str
    column: str
    value: float | None
    void: bool = False  # coverage below the protocol's floor
    n: int
    n_available: int
    n_protocol: int
    interval: dict[str, Any] | None = None
    no_interval: str = ""
    replicate_values: list[float | None] = []
    replicate_spread: float | None = None
    common_value: float | None = None  # on the clips that every scored method has, when they differ
    common_n: int | None = None
    failures: dict[str, str] = {}  # of all replicates
    details: dict[str, Any] = {}
    pictures: int = 0  # measured inside the clips that entered, over all replicates (FVD: windows) ...
    of_pictures: int = 0  # ... and what these clips have; 0 of 0 where a metric does not count them
    marks: list[str] = []  # what a reader must know beside the number

    @property
    def coverage(self) -> float:
        """Share of the available clips' pictures that were measured; a failed clip counts as none of its pictures."""
        pictures = self.pictures / self.of_pictures if self.of_pictures else 1.0
        return self.n / self.n_available * pictures if self.n_available else 0.0


class ControlCheck(_Record):
    """One rule that a sound metric keeps on the control systems, and whether it did."""

    metric: str
    rule: str
    held: bool
    detail: str


class ScoreFile(_Record):
    """scores.json: equal bytes for equal inputs on one machine, whatever the workers, order or executor."""

    schema_version: int = SCHEMA_VERSION
    protocol: str
    protocol_hash: str
    label: str
    n_clips: int
    n_available: int
    n_run: int
    rejected: dict[str, str] = {}  # clip id -> why preprocessing refused it
    ranked: bool
    unranked_because: list[str]
    seed: int
    replicates: int
    methods: dict[str, dict[str, Any]]
    metrics: dict[str, MetricRecord]
    scores: list[ScoreRow]
    controls: list[ControlCheck]
    notes: list[str] = []  # what is odd about the clips themselves: one film twice, one person only
    blind_controls: dict[str, str] = {}  # control -> why no metric is judged by it
    environment: dict[str, Any]

    def is_control(self, method: str) -> bool:
        """True for a control system, which is shown below the systems and never ranked."""
        return kind_of(self.methods.get(method, {})) == "control"

    def control_methods(self) -> list[str]:
        """The controls that were run."""
        return [name for name in self.methods if self.is_control(name)]

    def systems(self) -> list[str]:
        """What is no control, in the order it was run."""
        return [name for name in self.methods if not self.is_control(name)]


def kind_of(record: Mapping[str, Any]) -> str:
    """The kind of a method by its record, see `floatbench.methods.method.Kind`; the first version left out `system`."""
    return str(record.get("kind", "system"))


def json_schemas() -> dict[str, Any]:
    """JSON Schema of every record, for readers in other languages."""
    return {model.__name__: model.model_json_schema() for model in (Row, RunInfo, ScoreFile)}


class RowFile:
    """rows.jsonl: one line per finished row, appended and synced, readable after a kill at any moment."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[tuple[str, str, int], Row]:
        """The newest row of each (method, clip, replicate); a torn last line is left out."""
        return {row.key: row for row in self._rows()}

    def _rows(self) -> Iterator[Row]:
        if not self.path.exists():
            return
        lines = self.path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                record = json.loads(line)
                _refuse_newer(record, self.path)
                yield Row.model_validate(record)
            except (ValueError, ValidationError) as error:
                if number == len(lines):  # the line that was being written when the run was killed
                    return
                raise DataError(
                    f"{self.path} line {number} is damaged: {type(error).__name__}", fix=f"remove line {number}"
                ) from None

    def repair(self) -> None:
        """Cuts off a torn last line, so that the next row starts on a line of its own."""
        if self.path.exists():
            data = self.path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole != len(data):
                with self.path.open("r+b") as stream:
                    stream.truncate(whole)

    def append(self, row: Row) -> None:
        """Adds a row and waits until it is on disk; a full disk leaves the file as it was."""
        line = json.dumps(row.model_dump(mode="json"), sort_keys=True, allow_nan=False).encode() + b"\n"
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("ab") as stream:
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            if self.path.exists():
                os.truncate(self.path, size)
            raise write_error(error, self.path) from error


def _refuse_newer(record: Any, path: Path) -> None:
    version = record.get("schema_version", SCHEMA_VERSION) if isinstance(record, dict) else SCHEMA_VERSION
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{path} has schema version {version}; this floatbench reads up to {SCHEMA_VERSION}",
            fix="update floatbench",
        )


def read_record(path: Path, model: type[M]) -> M:
    """Reads one JSON record; DataError when it is absent or damaged, UsageError when it is of a newer schema."""
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: not a run folder, or the run has not finished") from None
    except ValueError:
        raise DataError(f"{path} is damaged: not JSON", fix="run the same command again") from None
    _refuse_newer(record, path)
    try:
        return model.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path} is damaged: {place}: {first['msg']}", fix="run the same command again") from None


def write_record(path: Path, record: BaseModel) -> None:
    """Writes one record whole or not at all, with sorted keys."""
    write_json(path, record.model_dump(mode="json"))
