"""Builds the folder: assets and data first, `index.html` last, so that a page that is there is whole."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from floatbench.data.dataset import Dataset
from floatbench.engine.local_folders import local_folders
from floatbench.errors import ClipError, DataError, DependencyError, FloatbenchError, UsageError
from floatbench.files import write_bytes
from floatbench.progress import NullProgress, Progress
from floatbench.protocol.protocol import Clip
from floatbench.reports.loading import RecordedRun
from floatbench.reports.page.document import PageRuns, document, read_matrix
from floatbench.reports.page.footage import Exported, Footage, export, remove_stale
from floatbench.reports.page.tracks import KINDS, NEEDED

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("core.js", "table.js", "tracks.js", "stage.js", "gallery.js", "vote.js", "rate.js", "link.js", "main.js")
STYLES = ("page.css",)


@dataclass(frozen=True)
class PageOptions:
    """What a user chooses about a page.

    Attributes:
        videos: at most that many clips get videos, the worst of each metric first; None = all.
        matrix: response matrix of `floatbench metrics check`.
        reference: folder of the real videos, for runs of `floatbench score` that were moved to another machine.
        title, authors, link: stand at the head; the protocol's label is the title of a page without one.
        about: a text file, UTF-8; its paragraphs stand below.
    """

    videos: int | None = None
    matrix: Path | None = None
    reference: Path | None = None
    title: str = ""
    authors: str = ""
    link: str = ""
    about: Path | None = None


@dataclass(frozen=True)
class PageResult:
    """What was written, and why some rows have no video (reason -> rows)."""

    index: Path
    videos: int
    without: dict[str, int]


def build_page(
    runs: Sequence[RecordedRun], out: Path, options: PageOptions | None = None, progress: Progress | None = None
) -> PageResult:
    """Writes the page of finished runs into a folder; the same call again makes only what is missing.

    Raises:
        UsageError: runs that may not stand in one table, a link of another kind, or a folder that holds something else.
        DataError: damaged records, a file that is no response matrix, or no text.
    """
    options, progress = options or PageOptions(), progress or NullProgress()
    page = PageRuns(runs)
    matrix = read_matrix(options.matrix) if options.matrix else None
    _refuse_foreign(out)
    index = _rendered(page, options)  # before any work: a missing jinja2 should not cost an hour of encoding
    data = document(page, matrix)
    media, files = _media(page, data, out, options, progress)
    data["media"] = media
    write_bytes(out / "data.js", f"window.floatbench = {_script(data)};\n".encode())
    for name in (*STYLES, *SCRIPTS):
        write_bytes(out / name, (ASSETS / name).read_bytes())
    remove_stale(out, files)
    write_bytes(out / "index.html", index)
    reasons = [entry for per_clip in media for entry in per_clip if isinstance(entry, str)]
    counts = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}
    return PageResult(out / "index.html", sum(len(m) for m in media) - len(reasons), counts)


def _refuse_foreign(out: Path) -> None:
    if out.is_file():
        raise UsageError(f"{out} is a file", fix="--page DIR with a new folder")
    if out.is_dir() and any(out.iterdir()) and not (out / "data.js").exists():
        known = {*SCRIPTS, *STYLES, "media", "clips"}
        if any(path.name not in known for path in out.iterdir()):
            raise UsageError(f"{out} holds other files", fix="--page DIR with a new folder")


def _paragraphs(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", fix="--about FILE with a text file") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no UTF-8 text", fix="--about FILE with a text file") from None
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def _rendered(page: PageRuns, options: PageOptions) -> bytes:
    if options.link and not options.link.startswith(("https://", "http://")):
        raise UsageError(f"{options.link!r} is no address of the web", fix="--link https://...")
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise DependencyError("the page needs jinja2", fix="pip install 'floatbench[report]'") from None
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    run = page.runs[0]
    text = environment.get_template("index.html").render(
        title=options.title or run.scores.label,
        label=run.scores.label,
        authors=options.authors,
        link=options.link,
        about=_paragraphs(options.about) if options.about else [],
        runs=[run.name for run in page.runs],
        clips=len(page.clips),
        methods=len(page.methods),
        metrics=len(page.metrics),
        styles=STYLES,
        scripts=SCRIPTS,
        floatbench=str(run.scores.environment.get("floatbench", "")),
    )
    return text.encode("utf-8", "replace")


def _script(document: Any) -> str:
    """JSON that is also safe inside a script: no `</script>` and no undecodable bytes."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("</", "<\\/").encode("utf-8", "replace").decode("utf-8")


def dataset_of(run: RecordedRun, reference: Path | None) -> Dataset | None:
    """What gives the run's real videos on this machine; None when nothing is known about where they are.

    Args:
        reference: their folder, where it is not the one that `floatbench score` was given.
    """
    protocol = run.info.protocol
    if protocol.preprocessing.spec == "as-is":
        from floatbench.data.as_is import AsIsDataset

        root = str(reference.resolve()) if reference else local_folders(run.folder).reference
        return AsIsDataset(protocol.model_copy(update={"root": root})) if root else None
    from floatbench.data.catalogue import dataset_for

    try:
        return dataset_for(protocol)
    except FloatbenchError:
        return None


def _media(
    page: PageRuns, data: dict[str, Any], out: Path, options: PageOptions, progress: Progress
) -> tuple[list[list[Any]], set[str]]:
    """Exports all files; returns [video, poster] or a reason for each method and clip, and the names of the files."""
    sources = {id(run): Footage(run, dataset_of(run, options.reference)) for run in page.runs}
    chosen = _clips_with_videos(page, data, options.videos)
    media: list[list[Any]] = [[None] * len(page.clips) for _ in page.methods]
    files: set[str] = set()
    with progress.task("page", len(page.clips) * len(page.methods), "video") as bar:
        for c, clip in enumerate(page.clips):
            peaks: dict[int, list[int]] = {}
            for m, name in enumerate(page.methods):
                found = _one(sources[id(page.owner[name])], page, name, clip, out, clip.id in chosen)
                if isinstance(found, Exported):
                    media[m][c] = [found.video, found.poster]
                    files |= {found.video, found.poster}
                    peaks[m] = found.peaks
                else:
                    media[m][c] = found
                bar.advance(note=f"{name} {clip.id}")
            files.add(_write_tracks(page, c, clip, peaks, out))
    return media, files


def _one(footage: Footage, page: PageRuns, method: str, clip: Clip, out: Path, wanted: bool) -> Exported | str:
    row = page.row(method, clip.id)
    if row.status == "failed":
        return f"{row.reason}: {row.detail}"
    if not wanted:
        return "left out by --videos"
    try:
        return export(footage, row, out)
    except ClipError as error:
        return error.what


def _write_tracks(page: PageRuns, index: int, clip: Clip, peaks: dict[int, list[int]], out: Path) -> str:
    """`clips/<clip>.js`: waveform, tracks, further numbers and what is absent, read when the clip is opened."""
    methods = []
    for m, name in enumerate(page.methods):
        row, recorded = page.row(name, clip.id), page.tracks_of(name)
        if row.status == "failed":
            methods.append(None)
            continue
        tracks = [track.record() for track in recorded.of(row)]
        kinds = {track["kind"] for track in tracks}
        methods.append(
            {
                "frames": row.n_frames,
                "size": [row.width, row.height],
                "pixels": row.pixels_sha256,
                "sound": row.pcm_sha256,
                "seed": row.seed,
                "flags": row.flags,
                "peaks": peaks.get(m, []),
                "tracks": tracks,
                "absent": {KINDS[kind]: NEEDED[kind] for kind in KINDS if kind not in kinds},
                "extras": {v: recorded.extras(name, clip.id, v) for v in page.owner[name].scores.metrics},
            }
        )
    file = f"clips/{clip.slug}.js"
    write_bytes(out / file, f"FB.clipArrived({index}, {_script(methods)});\n".encode())
    return file


def _clips_with_videos(page: PageRuns, data: dict[str, Any], limit: int | None) -> set[str]:
    """All clips, or the `limit` worst: every metric's worst of every system in turn, then the protocol's order."""
    ids = [clip.id for clip in page.clips]
    if limit is None or limit >= len(ids):
        return set(ids)
    orders: list[list[int]] = []
    for m, method in enumerate(data["methods"]):
        for v, metric in enumerate(data["metrics"]):
            values = {c: x for c, x in enumerate(data["values"][m][v]) if x is not None}
            if not method["control"] and values:
                orders.append(sorted(values, key=lambda c: (values[c], c), reverse=not metric["higher"]))
    turns = [order[k] for k in range(len(ids)) for order in orders if k < len(order)]
    return {ids[c] for c in list(dict.fromkeys([*turns, *range(len(ids))]))[:limit]}
