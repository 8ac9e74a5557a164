"""Loads protocols: the ones in `protocols/`, anyone's own TOML file, and folders of videos.

A protocol file holds the fields of `Protocol`; its clips are written out, or taken from a CSV table, or named by the
procedural data set, or found in a folder (`dataset = "folder:DIR"`).
"""

from __future__ import annotations

import hashlib
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from floatbench.bench.protocol import BOX_BACKENDS, Clip, Preprocessing, Protocol
from floatbench.bench.tables import Row, near, printable, read_table, read_text
from floatbench.errors import UsageError

FOLDER = "folder:"
LOADED = ("origin", "root", "notes")  # fields of Protocol that are filled in here and never written
M = TypeVar("M", bound=BaseModel)


class Columns(BaseModel):
    """Which column of a clip table gives which field of a clip."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = "id"
    identity: str = "identity"
    video: str = ""
    audio: str = ""
    source: str = ""
    start_s: str = ""
    end_s: str = ""
    labels: tuple[str, ...] = ()
    face: tuple[str, str, str, str] | None = None  # x, y, width, height in pixels
    face_height: str = ""  # the picture height those pixels refer to

    def names(self) -> list[str]:
        """Every column that is used."""
        single = (self.id, self.identity, self.video, self.audio, self.source, self.start_s, self.end_s)
        return [name for name in (*single, *self.labels, *(self.face or ()), self.face_height) if name]


class ClipTable(BaseModel):
    """Clips from a CSV file beside the protocol file: the rows whose columns hold the values of `where`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    where: dict[str, str | tuple[str, ...]] = {}
    columns: Columns = Columns()


class SyntheticClips(BaseModel):
    """Clips of the procedural data set: `per_identity` of each identity, named `syn-<identity>-<k>`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first_identity: Annotated[int, Field(ge=0, le=10**9)]
    identities: Annotated[int, Field(ge=1, le=10_000)]
    per_identity: Annotated[int, Field(ge=1, le=10_000)] = 1
    seconds: Annotated[float, Field(ge=1, le=60)] = 3.0


def built_in() -> list[str]:
    """Names of the protocols that come with floatbench."""
    return sorted(Path(entry.name).stem for entry in _folder().iterdir() if entry.name.endswith(".toml"))


def _folder() -> Path:
    return Path(str(files("protocols")))


def load(
    name: str, boxes: str | None = None, size: int | None = None, metrics: Sequence[str] | None = None
) -> Protocol:
    """See `floatbench.bench.protocol.load_protocol`."""
    protocol = _replaced(_found(name), boxes, size, metrics)
    origin = [shlex.quote(name)]
    origin += [f"--{option} {value}" for option, value in (("boxes", boxes), ("size", size)) if value is not None]
    return _checked(Protocol, protocol.model_dump() | {"origin": " ".join(origin)}, protocol.id, "")


def _found(name: str) -> Protocol:
    if name.startswith(FOLDER):
        from floatbench.bench.folder import folder_protocol

        return folder_protocol(Path(name.removeprefix(FOLDER)))
    if name.endswith(".toml") or "/" in name or "\\" in name:
        return read_protocol(Path(name))
    names = built_in()
    if name in names:
        return read_protocol(_folder() / f"{name}.toml")
    ids = {tomllib.loads((_folder() / f"{stem}.toml").read_text("utf-8"))["id"]: stem for stem in names}
    if name in ids:
        return read_protocol(_folder() / f"{ids[name]}.toml")
    hint = f"{near(name, names)}; or give folder:DIR or the path of a .toml file"
    raise UsageError(f"unknown protocol {printable(name)!r}", fix=hint)


def _replaced(protocol: Protocol, boxes: str | None, size: int | None, metrics: Sequence[str] | None) -> Protocol:
    changes: dict[str, Any] = {}
    rule = protocol.preprocessing
    asked = {key: value for key, value in (("boxes", boxes), ("size", size)) if value is not None}
    if asked and rule.spec == "rendered":
        raise UsageError(f"the clips of {protocol.id} are rendered: --boxes and --size do not apply")
    if boxes is not None and boxes not in BOX_BACKENDS:
        raise UsageError(f"unknown box back end {printable(boxes)!r}", fix=near(boxes, BOX_BACKENDS))
    if asked:
        changes["preprocessing"] = rule.model_dump() | asked
    if metrics is not None:
        changes["metrics"] = tuple(metrics)
    if changes:
        protocol = _checked(Protocol, protocol.model_dump() | changes, protocol.id, "")
    if protocol.dataset == "folder" and protocol.preprocessing.boxes == "given":
        from floatbench.bench.folder import with_given_boxes

        return with_given_boxes(protocol)
    return protocol


def read_protocol(path: Path) -> Protocol:
    """Reads and checks one protocol file; raises UsageError with file, line and field."""
    text = read_text(path)
    shown = printable(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"at line (\d+)", str(error))
        line = where.group(1) if where else text.count("\n") + 1
        raise UsageError(f"{shown}:{line}: not valid TOML: {error}") from None
    except RecursionError:
        raise UsageError(f"{shown}: not valid TOML: nested too deeply") from None
    if not document:
        raise UsageError(f"{shown}: the file is empty", fix="start from protocols/hdtf.toml")
    for key in LOADED:
        if key in document:
            raise UsageError(f"{shown}:{_line_of(text, [key])}: {key}: unknown key")
    if isinstance(document.get("dataset"), str) and document["dataset"].startswith(FOLDER):
        document = _with_folder(document, path)
    elif "clips" not in document:
        raise UsageError(f"{shown}: clips: the field is missing", fix='name a table: clips = { table = "clips.csv" }')
    fields = document | {"clips": _clips(document["clips"], path, text)}
    return _checked(Protocol, fields, shown, text)


def _with_folder(document: dict[str, Any], path: Path) -> dict[str, Any]:
    from floatbench.bench.folder import folder_protocol

    if "clips" in document:
        raise UsageError(f"{printable(path)}: clips: a folder data set finds its clips itself; leave the field out")
    found = folder_protocol(path.parent / document["dataset"].removeprefix(FOLDER))
    defaults = found.model_dump(exclude={"title", "id"})
    return defaults | document | {"dataset": found.dataset, "root": found.root, "notes": found.notes}


def _clips(value: Any, path: Path, text: str) -> Any:
    """The clips as they are written, or from the table or the procedural data set that `clips` names."""
    shown = printable(path)
    if not isinstance(value, dict):
        return value
    if "first_identity" in value:
        return tuple(_synthetic(_checked(SyntheticClips, value, shown, text, "clips")))
    return tuple(_from_table(_checked(ClipTable, value, shown, text, "clips"), path))


def _from_table(spec: ClipTable, protocol: Path) -> Iterable[Clip]:
    path = protocol.parent / spec.table
    if not path.is_file():
        raise UsageError(f"{printable(protocol)}: clips.table: {printable(path)} does not exist")
    rows = read_table(path, required=[*spec.columns.names(), *spec.where])
    if spec.sha256:
        _check_hash(path, spec.sha256)
    seen: dict[str, int] = {}
    for row in rows:
        if not all(_holds(row.values[column], wanted) for column, wanted in spec.where.items()):
            continue
        clip = _clip(row, spec.columns)
        if clip.id in seen:
            raise row.error(spec.columns.id, f"the id {clip.id!r} is also on line {seen[clip.id]}")
        seen[clip.id] = row.line
        yield clip
    if not seen:
        raise UsageError(f"{printable(path)}: no row has the values that {printable(protocol)} asks for in clips.where")


def _holds(value: str, wanted: str | Sequence[str]) -> bool:
    return value == wanted if isinstance(wanted, str) else value in wanted


def _check_hash(path: Path, wanted: str) -> None:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != wanted:
        cause = "; its line ends were changed to CRLF" if b"\r\n" in data else ""
        what = f"{printable(path)}: sha256 {digest[:16]}..., the protocol pins {wanted[:16]}...{cause}"
        raise UsageError(what, fix="restore the file, or give the changed protocol an id of its own")


def _clip(row: Row, columns: Columns) -> Clip:
    values = row.values
    fields: dict[str, Any] = {
        name: values[getattr(columns, name)]
        for name in ("id", "identity", "video", "audio", "source")
        if getattr(columns, name)
    }
    for name in ("start_s", "end_s"):
        if getattr(columns, name):
            fields[name] = row.number(getattr(columns, name))
    fields["labels"] = {name: values[name] for name in columns.labels if values[name]}
    fields["face"] = _face(row, columns)
    return checked_clip(row, fields, columns.model_dump())


def checked_clip(row: Row, fields: Mapping[str, Any], columns: Mapping[str, Any]) -> Clip:
    """A Clip from the fields of one row; raises UsageError naming the column that `columns` gives for a wrong field."""
    try:
        return Clip.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        field = str(problem["loc"][0]) if problem["loc"] else "end_s"
        raise row.error(str(columns.get(field) or field), _plain(problem)) from None


def _face(row: Row, columns: Columns) -> tuple[float, ...] | None:
    if columns.face is None:
        return None
    numbers = [row.number(name) for name in columns.face]
    height = row.number(columns.face_height) if columns.face_height else 1.0
    known = [number for number in numbers if number is not None]
    if len(known) < 4 or not height:
        return None
    return tuple(round(number / height, 6) for number in known)


def _synthetic(spec: SyntheticClips) -> Iterable[Clip]:
    for identity in range(spec.first_identity, spec.first_identity + spec.identities):
        for k in range(spec.per_identity):
            name = f"syn-{identity}"
            yield Clip(id=f"{name}-{k}", identity=name, start_s=0.0, end_s=spec.seconds)


def _checked(model: type[M], fields: Mapping[str, Any], shown: str, text: str, *parents: str) -> M:
    """An instance of `model`; raises UsageError with `file:line: field: what` for the first field that is wrong."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        # a mistyped key is both unknown and missing: the first says more
        problem = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        path = [*parents, *(str(part) for part in problem["loc"])]
        line = _line_of(text, path)
        where = f"{shown}:{line}" if line else shown
        field = f"{printable('.'.join(path))}: " if path else ""
        hint = near(path[-1], _siblings(model, problem["loc"])) if problem["type"] == "extra_forbidden" else None
        raise UsageError(f"{where}: {field}{_plain(problem)}", fix=hint) from None


def _siblings(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The fields that could stand where an unknown key stands."""
    inner: dict[str, type[BaseModel]] = {"preprocessing": Preprocessing, "columns": Columns, "clips": Clip}
    owner = inner.get(str(path[0]), model) if len(path) > 1 else model
    return [name for name in owner.model_fields if name not in LOADED]


def _plain(problem: Any) -> str:
    """What is wrong with a field, in few words."""
    if problem["type"] == "extra_forbidden":
        return "unknown key"
    if problem["type"] == "missing":
        return "the field is missing"
    message = str(problem["msg"]).removeprefix("Value error, ").replace("Input should be", "should be")
    given = problem["input"]
    shown = f", not {printable(repr(given))[:60]}" if isinstance(given, str | int | float | bool) else ""
    return message + (shown if "should" in message else "")


def _line_of(text: str, path: Sequence[str]) -> int | None:
    """The line of a key in a TOML text: `key =` below its table's header, else the nearest key or header above it."""
    names = [part for part in path if not part.isdigit()]
    section: list[str] = []
    best, depth = None, 0
    for number, line in enumerate(text.split("\n"), start=1):
        if header := re.match(r"\s*\[+([^\[\]]+)\]", line):
            here = section = _key_parts(header.group(1))
        elif assigned := re.match(r"\s*([\w.\-\"' ]+?)\s*=", line):
            here = section + _key_parts(assigned.group(1))
        else:
            continue
        if len(here) > depth and here == names[: len(here)]:
            best, depth = number, len(here)
    return best


def _key_parts(text: str) -> list[str]:
    return [part.strip().strip("\"'") for part in text.split(".")]
