"""HDTF's clip windows, with sound: through yt-dlp, or cut from videos already on disk."""

from __future__ import annotations

import os
import re
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from floatbench.data.fetch_report import FetchReport
from floatbench.data.hdtf import raw_path
from floatbench.data.remote_file import RemoteBroken, RemoteFile, RemoteGone
from floatbench.data.unavailable import Ledger
from floatbench.data.window import cut_window
from floatbench.data.youtube import WATCH, Access, Broken, Gone, Site, Stream, passing
from floatbench.errors import ClipError, DataError
from floatbench.folders import files_below
from floatbench.progress import Progress, Task
from floatbench.protocol.protocol import Clip
from floatbench.text import now
from floatbench.types import VIDEO_SUFFIXES
from floatbench.weights.download import Settings, settings

GIVE_UP_AFTER = 3  # videos in a row without any connection
GIVE_UP_ANYWAY = 10  # videos in a row without an answer for another reason


def fetch_hdtf(
    clips: Sequence[Clip], progress: Progress, source: Path | None, access: Access | None = None
) -> FetchReport:
    """Brings the missing windows; what cannot be had goes into the ledger. See `floatbench.data.fetch.fetch`."""
    report, access = FetchReport(), access or Access()
    missing = [clip for clip in clips if not raw_path(clip).is_file()]
    report.present.extend(clip.id for clip in clips if raw_path(clip).is_file())
    if source is not None:
        disk = _on_disk(source)
        with progress.task("fetch hdtf", len(missing)) as bar:
            for clip in missing:
                _advance(bar, clip, _from_disk(clip, disk, report))
        return report
    ledger = Ledger("hdtf")
    wanted = [clip for clip in missing if access.retry or not _stays_away(clip, ledger, report)]
    if wanted:
        how = settings()
        with progress.task("fetch hdtf", len(wanted)) as bar:
            _Fetch(Site(access, how, progress.note), how, ledger, report, bar).run(wanted)
    return report


def _stays_away(clip: Clip, ledger: Ledger, report: FetchReport) -> bool:
    """True for a clip that could not be had before; it is not asked for again until somebody says so."""
    known = ledger.rows.get(clip.id)
    if known is None or passing(known.reason):
        return False
    report.unavailable[clip.id] = f"{known.reason} (since {known.since[:10]}; --retry asks again)"
    return True


class _Fetch:
    """One pass over the site: video by video, those without an answer once more at the end."""

    def __init__(self, site: Site, how: Settings, ledger: Ledger, report: FetchReport, bar: Task) -> None:
        self._site, self._how, self._ledger, self._report, self._bar = site, how, ledger, report, bar

    def run(self, clips: Sequence[Clip]) -> None:
        by_video: dict[str, list[Clip]] = {}
        for clip in clips:
            by_video.setdefault(clip.video, []).append(clip)
        queue, seen, silent = deque(by_video), set[str](), set[str]()
        while queue:
            video = queue.popleft()
            left = by_video[video]
            try:
                self._video(video, left)
            except Broken as error:
                silent.add(video)
                if len(silent) >= (GIVE_UP_AFTER if error.connection else GIVE_UP_ANYWAY):
                    what = "no connection" if error.connection else f"no answer for {len(silent)} videos in a row"
                    raise DataError(f"{what}: {error}", fix="run the same command again later") from None
                if video not in seen:
                    seen.add(video)
                    queue.append(video)
                    continue
                for clip in left:
                    self._report.failed[clip.id] = str(error)
                    _advance(self._bar, clip, str(error))
            else:
                silent.clear()

    def _video(self, video: str, left: list[Clip]) -> None:
        """All windows of one video, whose addresses are asked for once; `left` loses what has been settled."""
        page = os.environ.get("FLOATBENCH_HDTF_URL", WATCH) + video
        try:
            streams = self._site.streams(page)
            fresh = True
            while left:
                try:
                    self._window(left[0], streams)
                except Broken:
                    if fresh:
                        raise
                    streams, fresh = self._site.streams(page), True  # addresses are good for some hours only
                    continue
                fresh = False
                left.pop(0)
        except Gone as error:
            while left:
                self._absent(left.pop(0), str(error))

    def _window(self, clip: Clip, streams: list[Stream]) -> None:
        try:
            with ExitStack() as stack:
                files = [stack.enter_context(RemoteFile(url, headers, self._how)) for url, headers in streams]
                cut_window(files, clip.start_s, clip.end_s, raw_path(clip))
        except RemoteGone as error:
            raise Gone(str(error)) from error
        except RemoteBroken as error:
            raise Broken(str(error)) from error
        except ClipError as error:
            self._absent(clip, str(error))
            return
        self._report.fetched.append(clip.id)
        self._ledger.found(clip.id)
        _advance(self._bar, clip, None)

    def _absent(self, clip: Clip, reason: str) -> None:
        self._report.unavailable[clip.id] = reason
        self._ledger.absent(clip.id, clip.video, reason, now())
        _advance(self._bar, clip, reason)


def _advance(bar: Task, clip: Clip, problem: str | None) -> None:
    bar.advance(note=f"{clip.id}: {problem}" if problem else clip.id)


def _from_disk(clip: Clip, disk: dict[str, list[Path]], report: FetchReport) -> str | None:
    """Cuts a window out of a video on disk, or says why not; a file that is absent says nothing about the site."""
    # WDA_AdamSchiff_000 and WDA_AdamSchiff_000-60s -> WDA_AdamSchiff, as the common downloader names videos
    name = re.sub(r"_\d+(-\d+s)?$", "", clip.id)
    found = disk.get(clip.video) or disk.get(name)
    try:
        if found is None:
            raise ClipError("missing", f"no video named {clip.video} or {name}")
        if len(found) > 1:
            raise ClipError("missing", f"one name twice: {' and '.join(str(path) for path in found)}")
        cut_window(found, clip.start_s, clip.end_s, raw_path(clip))
    except ClipError as error:
        report.unavailable[clip.id] = str(error)
        return str(error)
    report.fetched.append(clip.id)
    return None


def _on_disk(folder: Path) -> dict[str, list[Path]]:
    """Whole videos below a folder, by stem and by the video id that yt-dlp puts into brackets."""
    found = defaultdict[str, list[Path]](list)
    for path in (folder / name for name in files_below(folder, VIDEO_SUFFIXES).files):
        found[path.stem].append(path)
        if bracket := re.search(r"\[([\w-]{11})\]$", path.stem):
            found[bracket.group(1)].append(path)
    return dict(found)
