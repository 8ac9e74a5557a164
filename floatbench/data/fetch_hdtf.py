"""HDTF's clip windows, with sound: through yt-dlp, or cut from videos already on disk."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from floatbench.data.fetch_report import FetchReport
from floatbench.data.hdtf import raw_path
from floatbench.data.remote_file import RemoteBroken, RemoteFile, RemoteGone
from floatbench.data.unavailable import Ledger
from floatbench.data.window import cut_window
from floatbench.errors import ClipError, DataError, DependencyError
from floatbench.progress import Progress
from floatbench.protocol.protocol import Clip
from floatbench.text import now
from floatbench.types import VIDEO_SUFFIXES
from floatbench.weights.download import Settings, settings

WATCH = "https://www.youtube.com/watch?v="
FORMATS = "bv*[protocol=https]+ba[protocol=https]/b[protocol=https]/b[protocol=http]"
SORT = ["res:1080", "fps", "vcodec:h264", "acodec:aac"]
GIVE_UP_AFTER = 3  # clips in a row without any connection
_GONE = re.compile(  # what sites say of a video that will not come back; anything else is tried again another day
    r"video (is )?unavailable|private video|has been removed|terminated|not available in your|no longer available"
    r"|deleted|copyright|members.only|confirm your age|does not exist|HTTP Error 4(04|10)",
    re.IGNORECASE,
)


class Gone(Exception):
    """The video cannot be had any more."""


class Broken(Exception):
    """No answer this time."""


def fetch_hdtf(clips: Sequence[Clip], progress: Progress, source: Path | None) -> FetchReport:
    """Brings the missing windows; what cannot be had goes into the ledger. See `floatbench.data.fetch.fetch`."""
    report = FetchReport()
    missing = [clip for clip in clips if not raw_path(clip).is_file()]
    report.present.extend(clip.id for clip in clips if raw_path(clip).is_file())
    if not missing:
        return report
    ledger = Ledger("hdtf")
    disk = _on_disk(source) if source else None
    in_a_row = 0
    with progress.task("fetch hdtf", len(missing)) as bar:
        for clip in missing:
            try:
                _bring(clip, disk)
            except (Gone, ClipError) as error:
                report.unavailable[clip.id] = str(error)
                if disk is None:  # a file that is not in DIR says nothing about the video's site
                    ledger.absent(clip.id, clip.video, str(error), now())
            except Broken as error:
                report.failed[clip.id] = str(error)
                in_a_row += 1
                if in_a_row >= GIVE_UP_AFTER:
                    raise DataError(f"no connection: {error}", fix="run the same command again later") from None
            else:
                in_a_row = 0
                report.fetched.append(clip.id)
                ledger.found(clip.id)
            problem = report.unavailable.get(clip.id) or report.failed.get(clip.id)
            bar.advance(note=f"{clip.id}: {problem}" if problem else clip.id)
    return report


def _bring(clip: Clip, disk: dict[str, Path] | None) -> None:
    if disk is not None:
        name = re.sub(
            r"_\d+$", "", clip.id
        )  # WDA_AdamSchiff_000 -> WDA_AdamSchiff, as the common downloader names videos
        found = disk.get(clip.video) or disk.get(name)
        if found is None:
            raise Gone(f"no video named {clip.video} or {name}")
        cut_window([found], clip.start_s, clip.end_s, raw_path(clip))
        return
    how = settings()
    streams = resolve(os.environ.get("FLOATBENCH_HDTF_URL", WATCH) + clip.video, how)
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(RemoteFile(url, headers, how)) for url, headers in streams]
            cut_window(files, clip.start_s, clip.end_s, raw_path(clip))
    except RemoteGone as error:
        raise Gone(str(error)) from error
    except RemoteBroken as error:
        raise Broken(str(error)) from error


def _on_disk(folder: Path) -> dict[str, Path]:
    """Whole videos below a folder, by stem and by the video id that yt-dlp puts into brackets."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            found.setdefault(path.stem, path)
            if bracket := re.search(r"\[([\w-]{11})\]$", path.stem):
                found.setdefault(bracket.group(1), path)
    return found


def resolve(url: str, how: Settings) -> list[tuple[str, dict[str, str]]]:
    """Addresses and headers of the picture and sound streams of a page, by yt-dlp (nothing is downloaded here).

    Raises:
        Gone: the site says that the video cannot be had; Broken: no answer.
        DependencyError: yt-dlp is not installed.
    """
    try:
        import yt_dlp
        from yt_dlp.utils import YoutubeDLError
    except ImportError as error:
        raise DependencyError("fetching HDTF needs yt-dlp", fix="uv pip install -e '.[data]'") from error
    options: Any = {
        "format": FORMATS,
        "format_sort": SORT,
        "noplaylist": True,
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "cachedir": False,
        "socket_timeout": how.timeout,
        "extractor_retries": 0,
        "logger": _Silent(),
    }
    reason = ""
    for attempt in range(how.attempts):
        if attempt:
            how.sleep(min(2.0 ** (attempt - 1), 30.0))
        try:
            with yt_dlp.YoutubeDL(options) as site:
                info: Any = site.extract_info(url, download=False)
            return list(_streams(info))
        except YoutubeDLError as error:
            reason = re.sub(r"^(ERROR: )?(\[\w+\] ?)?", "", " ".join(str(error).split()))[:200]
            if _GONE.search(reason):
                raise Gone(reason) from error
    raise Broken(f"{reason} ({how.attempts} attempts)")


def _streams(info: Any) -> Iterator[tuple[str, dict[str, str]]]:
    for part in info.get("requested_formats") or [info]:
        yield part["url"], dict(part.get("http_headers") or {})


class _Silent:
    """yt-dlp's own lines are not shown: what matters is in the exception."""

    def debug(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None: ...
