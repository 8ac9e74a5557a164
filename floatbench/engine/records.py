"""What a run writes down: rows while it runs, scores when it is done; versioned, exportable as JSON Schema."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from floatbench.errors import DataError
from floatbench.files import write_error
from floatbench.metrics.base import Folds
from floatbench.protocol.protocol import Protocol
from floatbench.records import RecordFile, Strict, refuse_newer, validated
from floatbench.text import printable

SCHEMA_VERSION = 1
Side = Literal["generated", "reference", "source"]


class Row(Strict):
    """One method on one clip and replicate: how it was made, what was decoded, where its features are.

    `features` maps side -> backbone id -> feature key (the name of a file in the run's `features/`). A failed row has a
    reason of floatbench.errors.REASONS; the clip stays in every count.
    """

    schema_version: int = SCHEMA_VERSION
    method: str
    clip: str
    identity: str
    emotion: str = ""  # that the face should show: what the method was told, else the clip's label
    replicate: int = 0
    status: Literal["ok", "failed"]
    reason: str = ""
    detail: str = ""
    seed: int = 0
    n_frames: int = 0
    expected_frames: int = 0
    width: int = 0
    height: int = 0
    reference_width: int = 0  # of the pictures that it is compared with; a first-version row did not keep them
    reference_height: int = 0
    method_key: str = ""  # of the method that made it; see `Method.key`
    inputs: str = ""  # hash of the files it was made from; see `floatbench.engine.inputs`
    made_by: str = ""  # which of the run's environments; of a first-version row: the first of them
    pixels_sha256: str = ""
    pcm_sha256: str = ""
    reference_pixels_sha256: str = ""
    source_pixels_sha256: str = ""
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


class MetricRecord(Strict):
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
    made_with: dict[str, dict[str, Any]] = {}  # backbone id -> code, libraries and device, see `Backbone.made_with`


class Framing(Strict):
    """How a system's finished videos lie beside the reference: medians over the clips where that could be found.

    Attributes:
        compared, known, apart: clips whose pictures were compared, where a transform was found, where it is not small.
        scale: size of things as a share of the width, over that in the reference. shift: as a share of the width.
        scales, shifts: the smallest and the largest.
    """

    compared: int
    known: int
    apart: int
    scale: float
    shift: float
    scales: tuple[float, float]
    shifts: tuple[float, float]

    @property
    def systematic(self) -> bool:
        """True where more than half of the clips that are known differ: one odd clip proves nothing."""
        return 2 * self.apart > self.known

    def joined(self, other: Framing) -> Framing:
        """That of two parts of one system: counts are added, and the medians are those of the part of more clips."""
        most = max(self, other, key=lambda framing: framing.known)
        return Framing(
            compared=self.compared + other.compared,
            known=self.known + other.known,
            apart=self.apart + other.apart,
            scale=most.scale,
            shift=most.shift,
            scales=(min(self.scales[0], other.scales[0]), max(self.scales[1], other.scales[1])),
            shifts=(min(self.shifts[0], other.shifts[0]), max(self.shifts[1], other.shifts[1])),
        )


class RunInfo(RecordFile):
    """What makes a run folder what it is; a later call with another protocol, seed or subset is refused."""

    noun: ClassVar[str] = "record of a run"
    absent: ClassVar[str] = "not a run folder, or the run has not finished"
    newest: ClassVar[int] = SCHEMA_VERSION

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
    framing: dict[str, Framing] = {}  # finished videos -> how they lie beside the reference
    environment: dict[str, Any] = {}  # of the last call that made a row
    environments: dict[str, dict[str, Any]] = {}  # id -> what made rows of this run: see `environment_id`
    parts: list[dict[str, Any]] = []  # the first version's: environments of the runs that were merged

    def all_environments(self) -> dict[str, dict[str, Any]]:
        """Id -> every environment that made rows, in order; also of a run of the first version, which kept one."""
        older = [*self.parts, self.environment] if self.environment else self.parts
        return self.environments or {environment_id(one): one for one in older}


class ScoreRow(Strict):
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
    folds: list[Folds] = []  # of each replicate: what the paired test with another system is made of ...
    common_folds: list[Folds] = []  # ... and the same for `common_value`

    @property
    def coverage(self) -> float:
        """Share of the available clips' pictures that were measured; a failed clip counts as none of its pictures."""
        pictures = self.pictures / self.of_pictures if self.of_pictures else 1.0
        return self.n / self.n_available * pictures if self.n_available else 0.0


class ControlCheck(Strict):
    """One rule that a sound metric keeps on the control systems, and whether it did."""

    metric: str
    rule: str
    held: bool
    detail: str


class ScoreFile(RecordFile):
    """scores.json: equal bytes for equal inputs on one machine, whatever the workers, order or executor."""

    noun: ClassVar[str] = "file of scores"
    absent: ClassVar[str] = "not a run folder, or the run has not finished"
    newest: ClassVar[int] = SCHEMA_VERSION

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
    notes: list[str] = []  # what is odd about the clips (one film twice) and about a system's pictures (size, framing)
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


def environment_id(environment: Mapping[str, Any]) -> str:
    """A short name of an environment: its content's hash."""
    return hashlib.sha256(json.dumps(environment, sort_keys=True).encode()).hexdigest()[:12]


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
            where, fix = f"{printable(self.path)} line {number} is damaged", f"remove line {number}"
            try:
                record = json.loads(line)
                refuse_newer(record, SCHEMA_VERSION, where)
                yield validated(Row, record, where, fix)
            except (ValueError, DataError) as error:
                if number == len(lines):  # the line that was being written when the run was killed
                    return
                raise (error if isinstance(error, DataError) else DataError(f"{where}: not JSON", fix)) from None

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
