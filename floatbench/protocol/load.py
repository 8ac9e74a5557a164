"""Loads protocols: the ones in `protocols/`, anyone's own TOML file, and folders of videos.

A protocol file holds the fields of `Protocol`; its clips are written out, or taken from a CSV table, or named by the
procedural data set, or found in a folder (`dataset = "folder:DIR"`).
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from floatbench.errors import UsageError
from floatbench.folders import visible
from floatbench.metrics import sets
from floatbench.paths import shipped
from floatbench.protocol.clip_table import ClipTable, Columns, clips_of_table
from floatbench.protocol.own_folder import folder_protocol, with_given_boxes
from floatbench.protocol.protocol import BOX_BACKENDS, SOURCE_VIDEOS, Clip, Preprocessing, Protocol
from floatbench.protocol.tables import read_text
from floatbench.records import in_words
from floatbench.text import near, printable

FOLDER = "folder:"
DEFAULT_METRICS = ("paper",)
LOADED = ("origin", "root", "notes")  # fields of Protocol that are filled in here and never written
M = TypeVar("M", bound=BaseModel)


class SyntheticClips(BaseModel):
    """Clips of the procedural data set: `per_identity` of each identity, named `syn-<identity>-<k>`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first_identity: Annotated[int, Field(ge=0, le=10**9)]
    identities: Annotated[int, Field(ge=1, le=10_000)]
    per_identity: Annotated[int, Field(ge=1, le=10_000)] = 1
    seconds: Annotated[float, Field(ge=1, le=60)] = 3.0


def built_in() -> list[str]:
    """Names of the protocols that come with floatbench."""
    return [path.stem for path in visible(shipped("protocols")) if path.suffix == ".toml"]


def load_protocol(
    name: str,
    boxes: str | None = None,
    size: int | None = None,
    metrics: Sequence[str] | None = None,
    source_video: str | None = None,
) -> Protocol:
    """A protocol by name (`hdtf`, `ravdess`, `synthetic` ...), as `folder:DIR`, or from a TOML file.

    Args:
        boxes, size, metrics, source_video: replace what the protocol says; the content hash follows.

    Raises:
        UsageError: unknown name, or a file that breaks a rule, with file, line and field.

    Example:
        >>> import floatbench
        >>> protocol = floatbench.load_protocol("hdtf")
        >>> protocol.id, len(protocol.clips), protocol.coverage_floor
        ('hdtf-78-v1', 78, 0.9)
    """
    protocol = _replaced(_found(name), boxes, size, metrics)
    if source_video is not None:
        protocol = _with_source_video(protocol, source_video)
    origin = [shlex.quote(name)]
    origin += [f"--{option} {value}" for option, value in (("boxes", boxes), ("size", size)) if value is not None]
    return _checked(Protocol, protocol.model_dump() | {"origin": " ".join(origin)}, protocol.id, "")


def _found(name: str) -> Protocol:
    if name.startswith(FOLDER):
        return folder_protocol(Path(name.removeprefix(FOLDER)))
    if name.endswith(".toml") or "/" in name or "\\" in name:
        return read_protocol(Path(name))
    names = built_in()
    if name in names:
        return read_protocol(shipped("protocols") / f"{name}.toml")
    ids = {tomllib.loads((shipped("protocols") / f"{stem}.toml").read_text("utf-8"))["id"]: stem for stem in names}
    if name in ids:
        return read_protocol(shipped("protocols") / f"{ids[name]}.toml")
    hint = f"{near(name, names)} Or give folder:DIR or the path of a .toml file"
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
        changes["metrics"] = tuple(sets.expanded(metrics))
    if changes:
        protocol = _checked(Protocol, protocol.model_dump() | changes, protocol.id, "")
    if protocol.dataset == "folder" and protocol.preprocessing.boxes == "given":
        return with_given_boxes(protocol)
    return protocol


def _with_source_video(protocol: Protocol, rule: str) -> Protocol:
    if rule not in SOURCE_VIDEOS:
        raise UsageError(f"unknown source video {printable(rule)!r}", fix=f"one of {', '.join(SOURCE_VIDEOS)}")
    return _checked(Protocol, protocol.model_dump() | {"source_video": rule}, protocol.id, "")


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
    fields = _with_metrics(document | _clips(document["clips"], path, text))
    return _checked(Protocol, fields, shown, text)


def _with_folder(document: dict[str, Any], path: Path) -> dict[str, Any]:
    if "clips" in document:
        raise UsageError(f"{printable(path)}: clips: a folder data set finds its clips itself; leave the field out")
    found = folder_protocol(path.parent / document["dataset"].removeprefix(FOLDER))
    defaults = found.model_dump(exclude={"title", "id"})
    defaults["preprocessing"]["spec"] = "pp1"  # a file that names no rule keeps the hash it had when there was one only
    return defaults | document | {"dataset": found.dataset, "root": found.root, "notes": found.notes}


def _with_metrics(document: dict[str, Any]) -> dict[str, Any]:
    """Sets of metrics as their variants, the paper's where nothing is said: the hash is that of what is measured."""
    named = document.get("metrics", list(DEFAULT_METRICS))
    if not isinstance(named, list | tuple) or not set(sets.names()) & {name for name in named if isinstance(name, str)}:
        return document
    parts = [sets.members(name) if name in sets.names() else (name,) for name in named]
    return document | {"metrics": list(dict.fromkeys(variant for part in parts for variant in part))}


def _clips(value: Any, path: Path, text: str) -> dict[str, Any]:
    """`clips` as they are written, or from the table (with `notes`) or the procedural data set that the value names."""
    shown = printable(path)
    if not isinstance(value, dict):
        return {"clips": value}
    if "first_identity" in value:
        return {"clips": tuple(_synthetic(_checked(SyntheticClips, value, shown, text, "clips")))}
    clips, notes = clips_of_table(_checked(ClipTable, value, shown, text, "clips"), path)
    return {"clips": clips, "notes": notes}


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
        raise UsageError(f"{where}: {field}{in_words(problem)}", fix=hint) from None


def _siblings(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The fields that could stand where an unknown key stands."""
    inner: dict[str, type[BaseModel]] = {"preprocessing": Preprocessing, "columns": Columns, "clips": Clip}
    owner = inner.get(str(path[0]), model) if len(path) > 1 else model
    return [name for name in owner.model_fields if name not in LOADED]


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
