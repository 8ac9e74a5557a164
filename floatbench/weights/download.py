"""Resumable, verified downloads with mirrors, retries and a clear reason for every failure.

pooch has the hash check and the bar, but starts over after a cut connection and never sends a Range header: for files
of a gigabyte on bad lines that is the whole point, so this is written here, on requests. A download is written to
`<folder>/.partial/`, continued from there in a later call, and renamed to its name only when size and hash match, or,
where no hash is known, when its bytes are of the kind that its name promises (`floatbench.weights.kinds`).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import requests

from floatbench import paths
from floatbench.errors import DataError, DependencyError
from floatbench.files import file_sha256, write_error
from floatbench.progress import NullProgress, Progress, Task
from floatbench.weights import hub, kinds
from floatbench.weights.hub import Promise
from floatbench.weights.part import PartialFile
from floatbench.weights.wanted import WantedFile
from floatbench.weights.web import minutes, pause_asked, session

CHUNK = 1 << 16  # a cut connection loses at most one of these
MEGABYTE = 1_000_000


class _Refused(Exception):
    """This address will not serve the file now; `passing` when it may do so later."""

    def __init__(self, reason: str, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


class _Stalled(Exception):
    """The connection broke; what has arrived is kept and the next attempt goes on from there."""


class _Busy(Exception):
    """The server asks for a pause of so many seconds."""

    def __init__(self, code: int, seconds: float) -> None:
        super().__init__(f"HTTP {code}, asks for a pause of {minutes(seconds)}")
        self.seconds = seconds


@dataclass(frozen=True)
class Settings:
    """How patient a download is.

    Attributes:
        timeout: seconds without a single byte (and for the connection) before an attempt counts as broken.
        attempts: broken attempts in a row without a byte beyond the best so far, before an address is given up.
        longest_pause: seconds that a busy server may ask us to wait; one that asks for more is given up for now.
        pauses: how often an address may ask for one.
        sleep: waits between attempts (replaced in tests).
    """

    timeout: float = 30.0
    attempts: int = 4
    longest_pause: float = 300.0  # the hub counts requests in windows of five minutes
    pauses: int = 5
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Downloaded:
    """What arrived: hash, size in bytes, and the address that served it."""

    sha256: str
    size: int
    url: str


def settings() -> Settings:
    """The defaults; `FLOATBENCH_TIMEOUT` sets the seconds without a byte."""
    value = os.environ.get("FLOATBENCH_TIMEOUT", "")
    try:
        return Settings(timeout=max(float(value), 0.1)) if value else Settings()
    except ValueError:
        raise DependencyError(f"FLOATBENCH_TIMEOUT={value!r} is not a number of seconds") from None


def resolve(url: str) -> str:
    """The web address of `hf://[spaces/|datasets/]owner/repo@revision/path` or `gdrive://id`; others stay as they are.

    The hub is the one of HF_ENDPOINT.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "hf":
        return hub.web_address(url)
    if scheme == "gdrive":
        return f"https://drive.usercontent.google.com/download?id={rest}&export=download&confirm=t"
    return url


def mirrors(relative: str) -> list[str]:
    """Addresses of a file below the mirrors in `FLOATBENCH_MIRROR` (`file://`, `http(s)://`; spaces between them)."""
    return [f"{base.rstrip('/')}/{quote(relative)}" for base in os.environ.get("FLOATBENCH_MIRROR", "").split()]


def download(
    urls: Sequence[str],
    target: Path,
    sha256: str | None = None,
    size: int | None = None,
    label: str = "",
    fix: str = "",
    progress: Progress | None = None,
    how: Settings | None = None,
    git_blob: str | None = None,
) -> Downloaded:
    """Brings a file to `target`, from the first address that serves it whole and with the right hash.

    Args:
        urls: addresses in order (`file://`, `http(s)://`, `hf://`, `gdrive://`); offline only `file://` and the
            hub's cache on this machine are tried.
        sha256, size, git_blob: what the file must be (git_blob: its object id in a git repository); without a hash
            it is held to what the hub states of it and to the kind of file that its name promises.
        label: the file's name in messages; fix: the command a failure recommends.

    Raises:
        DataError: no address served the file; says why for each.
        DependencyError: the disk is full or the folder cannot be written; what has arrived stays for the next call.
    """
    how, progress = how or settings(), progress or NullProgress()
    wanted = WantedFile(target, sha256, size, git_blob, label or target.name)
    usable = _usable(urls, wanted, fix)
    part = PartialFile(target)
    was_there = target.exists()
    refusals: list[tuple[str, _Refused]] = []
    try:
        with part.lock():
            if target.exists() and (sha256 == file_sha256(target) if sha256 else not was_there):
                return Downloaded(sha256 or file_sha256(target), target.stat().st_size, "another process")
            for url in usable:
                try:
                    return _from_one(url, part, wanted, progress, how)
                except _Refused as error:
                    refusals.append((_place(url), error))
    except OSError as error:
        raise write_error(error, target) from error
    reasons = "; ".join(f"{place}: {error}" for place, error in refusals) or "no address is known"
    if any(error.passing for _, error in refusals):
        fix = f"run the same command again later{f', or {fix}' if fix else ''}"
    raise DataError(f"{wanted.label} could not be downloaded: {reasons}", fix=fix or None)


def _usable(urls: Sequence[str], wanted: WantedFile, fix: str) -> list[str]:
    """The hub's cache on this machine, then the addresses; offline no address of the network."""
    kept = [hub.cached(url, known=wanted.sha256 is not None) for url in urls]
    usable = [path.as_uri() for path in kept if path is not None] + [resolve(url) for url in urls]
    if paths.offline():
        usable = [url for url in usable if url.startswith("file:")]
        if not usable:
            what = f"{wanted.label} would have to be downloaded, and --offline forbids the network"
            raise DataError(what, fix=fix or None)
    return usable


def _from_one(url: str, part: PartialFile, wanted: WantedFile, progress: Progress, how: Settings) -> Downloaded:
    """All attempts at one address; a wrong file after a continued download is tried once more from the start."""
    total = None if wanted.size is None else -(-wanted.size // MEGABYTE)
    while True:
        resumed = part.size > 0
        with progress.task(wanted.label, total, unit="MB") as bar:
            promise = _attempts(url, part, wanted, _Megabytes(bar), how, progress)
        digest, length = file_sha256(part.path), part.size
        problem = wanted.problem(part.path, digest, promise)
        if problem is None:
            part.install(wanted.target)
            return Downloaded(digest, length, url)
        part.drop()
        if not resumed:
            raise _Refused(problem)


def _attempts(
    url: str, part: PartialFile, wanted: WantedFile, meter: _Megabytes, how: Settings, progress: Progress
) -> Promise:  # fmt: skip
    best, broken, pauses = part.size, 0, 0
    while True:
        meter.at(part.size)
        try:
            return _copy(url, part, meter) if url.startswith("file:") else _get(url, part, wanted, meter, how)
        except _Busy as busy:
            pauses += 1
            if busy.seconds > how.longest_pause or pauses > how.pauses:
                raise _Refused(str(busy), passing=True) from busy
            progress.note(f"{_place(url)}: {busy}")
            how.sleep(max(busy.seconds, 1.0))
        except (_Stalled, requests.RequestException) as error:
            if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
                raise _Refused("not an address") from error
            if isinstance(error, requests.exceptions.TooManyRedirects):
                raise _Refused("redirects in a circle") from error
            broken = 1 if part.size > best else broken + 1
            best = max(best, part.size)
            if broken >= how.attempts:
                raise _Refused(f"{_reason(error)} ({broken} attempts)", passing=True) from error
            how.sleep(min(2.0 ** (broken - 1), 30.0))


def _copy(url: str, part: PartialFile, meter: _Megabytes) -> Promise:
    """A `file://` mirror or the hub's cache: copied, never linked, so that the original may go away."""
    source = Path(unquote(urlsplit(url).path))
    if not source.is_file():
        raise _Refused("no such file")
    part.drop()
    part.begin(url, "")
    with source.open("rb") as reader, part.path.open("wb") as writer:
        while block := reader.read(CHUNK):
            writer.write(block)
            meter.add(len(block))
    return hub.cache_promise(source)


def _get(url: str, part: PartialFile, wanted: WantedFile, meter: _Megabytes, how: Settings) -> Promise:
    """One request: continues the part when that is safe, else starts it over. Returns what the host states."""
    have, headers = part.size, _request_headers(url, part, wanted)
    with (
        session() as opened,
        opened.get(url, headers=headers, stream=True, timeout=(how.timeout, how.timeout)) as reply,
    ):
        promise = hub.promised(reply)
        if reply.status_code == 416 and have:  # the part is already as long as the file, or longer
            if _whole(reply, part, wanted):
                return promise
            part.drop()
            raise _Stalled("the part did not fit the file")
        _check_status(reply)
        if (conflict := wanted.conflict(promise)) is not None:
            raise _Refused(conflict)
        encoded = _is_encoded(reply)
        mode, have = _mode(reply, part, have if "Range" in headers else 0, encoded)
        blocks = reply.iter_content(CHUNK)
        start = next(blocks, b"")
        _refuse_page(reply, start, wanted)  # before the bytes that are here already are touched
        _check_size(reply, have, wanted, encoded)
        _check_space(part, reply)
        validator = reply.headers.get("ETag") or reply.headers.get("Last-Modified") or ""
        part.begin(url, "" if validator.startswith("W/") or encoded else validator)
        if mode == "wb":
            meter.at(0)
        with part.path.open(mode) as writer:
            for block in chain([start], blocks):
                writer.write(block)
                meter.add(len(block))
        expected = reply.headers.get("Content-Length", "")
        if expected.isdigit() and reply.raw.tell() != int(expected):  # as sent: a compressed body is longer unpacked
            raise _Stalled(f"connection cut after {part.size} bytes")
    return promise


def _request_headers(url: str, part: PartialFile, wanted: WantedFile) -> dict[str, str]:
    headers, origin = hub.authorization(url), part.origin()
    same = origin.get("url") == url and origin.get("validator")
    # without a known hash, bytes of another address (or of a server that names no version) must not be mixed
    if part.size and (same or wanted.sha256 is not None):
        headers["Range"] = f"bytes={part.size}-"
        if same:
            headers["If-Range"] = origin["validator"]
    return headers


def _whole(reply: requests.Response, part: PartialFile, wanted: WantedFile) -> bool:
    """True when a part that cannot be continued is the whole file."""
    if wanted.sha256 is not None:
        return file_sha256(part.path) == wanted.sha256
    return part.size == wanted.size or reply.headers.get("Content-Range") == f"bytes */{part.size}"


def _is_encoded(reply: requests.Response) -> bool:
    """True for a body that was compressed although nobody asked; it is unpacked while it arrives."""
    encoding = reply.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity", "aws-chunked"):
        return False
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise _Refused(f"compressed as {encoding[:20]}, which was not asked for")
    return True


def _mode(reply: requests.Response, part: PartialFile, asked: int, encoded: bool) -> tuple[str, int]:
    """How to open the part and how many of its bytes stay; a range other than the one asked for is not believed."""
    if reply.status_code != 206 or not asked:
        return "wb", 0
    if encoded or not reply.headers.get("Content-Range", "").startswith(f"bytes {asked}-"):
        part.drop()
        raise _Stalled("the server sent another part than asked for")
    return "ab", asked


def _check_size(reply: requests.Response, have: int, wanted: WantedFile, encoded: bool) -> None:
    length = reply.headers.get("Content-Length", "")
    if wanted.size is not None and not encoded and length.isdigit() and have + int(length) != wanted.size:
        raise _Refused(f"{have + int(length)} bytes instead of {wanted.size}")


def _refuse_page(reply: requests.Response, start: bytes, wanted: WantedFile) -> None:
    """A sign-in, quota or error page is not the file, whatever the status says; its type decides where no hash can."""
    typed = wanted.sha256 is None and reply.headers.get("Content-Type", "").startswith("text/html")
    kind = "an HTML page" if typed else kinds.not_a_file(start) if reply.status_code == 200 else None
    if kind is not None:
        hint = " ('/blob/' addresses show a page: use '/resolve/' or '/raw/')" if "/blob/" in reply.url else ""
        raise _Refused(f"{kind} instead of the file{hint}")


def _check_status(reply: requests.Response) -> None:
    """Busy servers and server errors are tried again; anything else is final for this address."""
    code = reply.status_code
    if code in (200, 206):
        return
    if (pause := pause_asked(reply)) is not None:
        raise _Busy(code, pause)
    if code in (408, 425, 429) or code >= 500:
        raise _Stalled(f"HTTP {code}")
    usual = {401: "log-in needed", 403: "forbidden", 404: "not found", 410: "gone"}
    meaning = hub.refused(reply) or usual.get(code, reply.reason or "refused")
    raise _Refused(f"HTTP {code} {meaning}")


def _check_space(part: PartialFile, reply: requests.Response) -> None:
    length = reply.headers.get("Content-Length", "")
    needed = int(length) if length.isdigit() else 0
    free = shutil.disk_usage(part.path.parent).free
    if needed > free:
        what = f"the disk is full: {needed / MEGABYTE:.0f} MB are still to come, {free / MEGABYTE:.0f} MB are free"
        raise DependencyError(
            f"{what} in {part.path.parent}", fix="free space, then run again: it goes on where it stopped"
        )


class _Megabytes:
    """Turns bytes into the whole megabytes a bar counts."""

    def __init__(self, bar: Task) -> None:
        self._bar, self._bytes, self._shown = bar, 0, 0

    def at(self, count: int) -> None:
        """Sets the count of bytes (a continued download starts above 0); a bar never goes back."""
        self._bytes = count
        self._show()

    def add(self, count: int) -> None:
        self._bytes += count
        self._show()

    def _show(self) -> None:
        whole = -(-self._bytes // MEGABYTE)
        if whole > self._shown:
            self._bar.advance(whole - self._shown)
            self._shown = whole


def _place(url: str) -> str:
    """What to call an address in a message: its host, or the path of a file."""
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme == "file" else parts.netloc or url


def _reason(error: Exception) -> str:
    if isinstance(error, requests.exceptions.Timeout) or "timed out" in str(error).lower():
        return "timed out"
    if isinstance(error, requests.exceptions.SSLError):
        return "the certificate was not accepted"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "connection cut"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "no connection"
    return " ".join(str(error).split())[:120]
