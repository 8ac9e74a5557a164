"""The leaderboard: append-only entries made from score files, each verified before it counts.

An entry is one file, named by the hash of its content, so that a changed entry no longer fits its name. A new entry of
the same system and protocol gets the next version and names the one it supersedes; the old file stays.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from floatbench.engine.control_rules import check_controls
from floatbench.engine.features import FeatureStore
from floatbench.engine.merge import plan_of
from floatbench.engine.records import ScoreFile, ScoreRow
from floatbench.engine.run_notes import run_notes
from floatbench.engine.scoring import score_method
from floatbench.errors import UsageError
from floatbench.files import file_sha256
from floatbench.folders import is_hidden
from floatbench.paths import shipped
from floatbench.records import RecordFile, read_record, write_record
from floatbench.reports.comparison import Comparisons, Competitor, Place, compare
from floatbench.reports.loading import RecordedRun
from floatbench.reports.table import counts

BOARD = Path("results") / "leaderboard"
"""The board of a user: below the current folder, never in the installed package."""
TOLERANCE = 1e-3  # relative, between machines


class BoardEntry(RecordFile):
    """One submission: a system's scores with the controls of the same run, and hashes of its features.

    Attributes:
        id: first 16 hex digits of the SHA-256 of everything else in the entry.
        version: 1, 2 ... of this system on this protocol; supersedes: id of the version before.
        method: the row of `scores` that is ranked.
        features: clip -> SHA-256 over the clip's feature files, when the run was given.
    """

    noun: ClassVar[str] = "leaderboard entry"
    remedy: ClassVar[str] = "restore it from the board's history"

    schema_version: int = 1
    id: str = ""
    system: str
    version: int
    supersedes: str = ""
    method: str
    coverage_floor: float
    notes: str = ""
    scores: ScoreFile
    features: dict[str, str] = {}

    def path(self, board: Path) -> Path:
        """Its file on a board."""
        return board / "entries" / f"{self.id}.json"

    def digest(self) -> str:
        """The id that follows from the content."""
        record = self.model_dump(mode="json", exclude={"id"})
        for cell in record["scores"]["scores"]:  # an entry that was made before these fields were has its old id
            for name in ("folds", "common_folds"):
                for fold in cell[name]:
                    if fold.get("scale") == "root":
                        del fold["scale"]
                if not cell[name]:
                    del cell[name]
        return hashlib.sha256(json.dumps(record, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:16]

    @property
    def cells(self) -> list[ScoreRow]:
        """The scores of the ranked method."""
        return [cell for cell in self.scores.scores if cell.method == self.method]


def shipped_board() -> Path:
    """The board that comes with floatbench: what can be run without weights that somebody else owns."""
    return shipped("results") / "leaderboard"


def entries(board: Path = BOARD) -> list[BoardEntry]:
    """All entries by system and version; DataError for a damaged one."""
    files = [path for path in sorted((board / "entries").glob("*.json")) if not is_hidden(path.name)]
    found = [read_record(path, BoardEntry) for path in files]
    return sorted(found, key=lambda entry: (entry.scores.protocol_hash, entry.system, entry.version))


def submit(run: RecordedRun, method: str, system: str = "", notes: str = "", board: Path = BOARD) -> BoardEntry:
    """Adds a new entry for one method of a finished run; nothing that is there is changed.

    Raises:
        UsageError: the run has no such method, or the entry does not pass `problems`.
    """
    if method not in run.systems:
        raise UsageError(f"{run.folder} has no method {method}", fix=f"one of {', '.join(run.systems) or 'none'}")
    name = system or method
    before = [e for e in entries(board) if (e.system, e.scores.protocol_hash) == (name, run.scores.protocol_hash)]
    kept = [m for m in run.scores.methods if m == method or run.scores.is_control(m)]
    cells = [cell for cell in run.scores.scores if cell.method in kept]
    entry = BoardEntry(
        system=name,
        version=len(before) + 1,
        supersedes=before[-1].id if before else "",
        method=method,
        coverage_floor=run.info.protocol.coverage_floor,
        notes=notes,
        scores=run.scores.model_copy(
            update={
                "methods": {m: run.scores.methods[m] for m in kept},
                "scores": cells,
                "controls": check_controls(run.scores.metrics, cells, run.scores.blind_controls),
                "notes": _own_notes(run, kept),
            }
        ),
        features=feature_hashes(run, method),
    )
    if before and before[-1].scores == entry.scores and before[-1].features == entry.features:
        raise UsageError(f"{name} version {before[-1].version} has the same scores already", fix="nothing to submit")
    found = problems(entry) + run_problems(entry, run)
    if found:
        raise UsageError(f"{name} cannot be submitted: {'; '.join(found)}")
    entry.id = entry.digest()
    write_record(entry.path(board), entry)
    return entry


def _own_notes(run: RecordedRun, kept: list[str]) -> list[str]:
    """The notes of a run about its clips and about these methods; what it says of other systems stays with it."""
    available = [clip for clip in run.info.protocol.clips if clip.id in set(run.info.available)]
    return run_notes(run.info, available, kept, run.rows)[1]


def feature_hashes(run: RecordedRun, method: str) -> dict[str, str]:
    """Clip -> SHA-256 over the names and bytes of all feature files of one method."""
    store, result = FeatureStore(run.folder, None), {}
    for row in run.rows.values():
        if row.method == method and row.replicate == 0 and row.status == "ok":
            digest = hashlib.sha256()
            for side, keys in sorted(row.features.items()):
                for backbone, key in sorted(keys.items()):
                    digest.update(f"{side} {backbone} {key} {file_sha256(store.path(key))}\n".encode())
            result[row.clip] = digest.hexdigest()
    return result


def problems(entry: BoardEntry) -> list[str]:
    """What speaks against an entry by its own record: ranking, coverage, controls; empty when nothing does."""
    scores, found = entry.scores, []
    if not scores.ranked or scores.unranked_because:
        found.append(f"not ranked: {'; '.join(scores.unranked_because) or 'no reason recorded'}")
    if entry.method not in scores.methods or scores.is_control(entry.method):
        found.append(f"{entry.method} is no system of the record")
    elif scores.methods[entry.method].get("ranked") is False:
        found.append(f"{entry.method} is shown beside the ranked rows, never among them")
    if not entry.cells:
        found.append("no score")
    for cell in entry.cells:
        if cell.void or cell.coverage < entry.coverage_floor:
            found.append(f"{cell.metric}: coverage {counts(cell)} is below {entry.coverage_floor:g}")
        elif cell.value is None:
            found.append(f"{cell.metric}: no value")
        if (cell.n_available, cell.n_protocol) != (scores.n_available, scores.n_clips):
            found.append(f"{cell.metric}: its counts are not those of the run")
    checks = check_controls(scores.metrics, scores.scores, scores.blind_controls)
    if checks != scores.controls:
        found.append("the control rules do not follow from the recorded scores")
    if not checks:
        found.append("the controls were not run")
    found += [f"{c.metric} breaks the rule '{c.rule}' ({c.detail})" for c in checks if not c.held]
    return found


def run_problems(entry: BoardEntry, run: RecordedRun) -> list[str]:
    """What does not follow from the run folder: protocol hash, features, and scores recomputed from the features."""
    found = []
    if run.info.protocol.hash != entry.scores.protocol_hash:
        found.append(
            f"the protocol's content has hash {run.info.protocol.hash[:8]}, not {entry.scores.protocol_hash[:8]}"
        )
    if run.info.protocol.coverage_floor != entry.coverage_floor:
        found.append(f"the protocol's coverage floor is {run.info.protocol.coverage_floor:g}")
    if entry.method not in run.info.methods:
        return [*found, f"the run has no method {entry.method}"]
    if feature_hashes(run, entry.method) != entry.features:
        found.append("the features of the run are not those of the entry")
    plan, store = plan_of(run.info), FeatureStore(run.folder, None)
    for cell in entry.cells:
        if cell.metric not in plan.metrics:
            found.append(f"the run has no metric {cell.metric}")
            continue
        again = score_method(plan, run.rows, store, entry.method, cell.metric, set())
        if not _equal(again.value, cell.value):
            found.append(f"{cell.metric}: {cell.value} in the entry, {again.value} from the features")
    return found


def _equal(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b))


def validate(board: Path = BOARD, protocols: dict[str, str] | None = None) -> dict[str, list[str]]:
    """Entry id -> what is wrong with it, over the whole board; empty lists when all is well.

    Args:
        protocols: protocol id -> hash of the protocols at hand; an entry of another hash is named as such.
    """
    everything = entries(board)
    result: dict[str, list[str]] = {}
    latest: dict[tuple[str, str], BoardEntry] = {}
    for entry in everything:
        found = problems(entry)
        if entry.digest() != entry.id or not entry.path(board).is_file():
            found.append("the content does not fit the id: entries are never changed, submit a new version")
        key = (entry.system, entry.scores.protocol_hash)
        before = latest.get(key)
        wanted = (1, "") if before is None else (before.version + 1, before.id)
        if (entry.version, entry.supersedes) != wanted:
            found.append(f"version {entry.version} does not continue version {before.version if before else 0}")
        latest[key] = entry
        known = (protocols or {}).get(entry.scores.protocol)
        if known is not None and known != entry.scores.protocol_hash:
            found.append(f"protocol {entry.scores.protocol} has hash {known[:8]} here")
        result[entry.id] = found
    return result


# ranks


@dataclass(frozen=True)
class Placed:
    """One number on the board.

    `rank` is 1 + the number of current systems that are better by the paired test, None for a superseded entry and for
    one that could be tested against no other; see floatbench.reports.comparison.
    """

    entry: BoardEntry
    cell: ScoreRow
    rank: int | None
    tied: bool
    superseded: bool


def place(board_entries: Sequence[BoardEntry]) -> list[Placed]:
    """Ranks every protocol, variant and set of clips by itself; what is not decided shares a place."""
    old = {entry.supersedes for entry in board_entries if entry.supersedes}
    groups: dict[tuple[Any, ...], list[tuple[BoardEntry, ScoreRow]]] = {}
    for entry in board_entries:
        for cell in entry.cells:
            record = entry.scores.metrics[cell.metric]
            fingerprint = tuple(sorted(record.backbones.items()))
            key = (entry.scores.protocol_hash, cell.metric, fingerprint, cell.n_available)
            groups.setdefault(key, []).append((entry, cell))
    judged = _judged([entry for entry in board_entries if entry.id not in old])
    result = []
    for (protocol, variant, *_), group in groups.items():
        current = [entry.id for entry, cell in group if entry.id not in old and cell.value is not None]
        places = judged[protocol].places(variant, current) if protocol in judged else {}
        for entry, cell in group:
            found = places.get(entry.id, Place(None))
            result.append(Placed(entry, cell, found.rank, found.tied, entry.id in old))
    key = lambda p: (p.entry.scores.label, p.cell.metric, p.rank or 10**9, p.entry.system, -p.entry.version)  # noqa: E731
    return sorted(result, key=key)


def _judged(current: Sequence[BoardEntry]) -> dict[str, Comparisons]:
    """Protocol hash -> the comparisons of all current entries with each other."""
    by_protocol: dict[str, list[BoardEntry]] = {}
    for entry in current:
        by_protocol.setdefault(entry.scores.protocol_hash, []).append(entry)
    found = {}
    for protocol, group in by_protocol.items():
        everybody = [Competitor(entry.id, entry.method, entry.scores) for entry in group]
        variants = list(dict.fromkeys(variant for entry in group for variant in entry.scores.metrics))
        found[protocol] = compare(list(itertools.combinations(everybody, 2)), variants)
    return found


# the difference of two boards


def difference(old: Iterable[BoardEntry], new: Iterable[BoardEntry]) -> dict[str, list[str]]:
    """What changed between two states of a board: added, superseded, removed or changed (which may never happen)."""
    before, after = {e.id: e for e in old}, {e.id: e for e in new}
    gone = {e.supersedes for e in after.values()} - {e.supersedes for e in before.values()} - {""}

    def title(entry: BoardEntry) -> str:
        return f"{entry.system} v{entry.version} on {entry.scores.label} ({entry.id})"

    return {
        "added": [title(e) for i, e in after.items() if i not in before],
        "superseded": [title(after[i]) for i in sorted(gone) if i in after],
        "removed": [title(e) for i, e in before.items() if i not in after],
        "changed": [title(e) for i, e in after.items() if i in before and before[i].digest() != e.digest()],
    }
