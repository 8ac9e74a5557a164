"""Resumable, verified downloads with mirrors, retries and a clear reason for every failure.

pooch has the hash check and the bar, but starts over after a cut connection and never sends a Range header: for files
of a gigabyte on bad lines that is the whole point, so this is written here, on requests. A download is written to
`<folder>/.partial/`, continued from there in a later call, and renamed to its name only when size and hash match.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import requests
from filelock import FileLock

from floatbench import paths
from floatbench.errors import DataError, DependencyError
from floatbench.files import file_sha256, write_error
from floatbench.progress import NullProgress, Progress, Task

CHUNK = 1 << 16  # a cut connection loses at most one of these
MEGABYTE = 1_000_000


class _Refused(Exception):
    """This address will not serve the file, however often it is asked."""


class _Stalled(Exception):
    """The connection broke; what has arrived is kept and the next attempt goes on from there."""


@dataclass(frozen=True)
class Settings:
    """How patient a download is.

    Attributes:
        timeout: seconds without a single byte (and for the connection) before an attempt counts as broken.
        attempts: broken attempts in a row, without progress between them, before an address is given up.
        sleep: waits between attempts (replaced in tests).
    """

    timeout: float = 30.0
    attempts: int = 4
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
    """The web address of `hf://owner/repo@revision/path` (at HF_ENDPOINT) or `gdrive://id`; others stay as they are."""
    scheme, _, rest = url.partition("://")
    if scheme == "hf":
        owner, repo, path = rest.split("/", 2)
        name, _, revision = repo.partition("@")
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        return f"{endpoint}/{owner}/{name}/resolve/{revision or 'main'}/{quote(path)}"
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
) -> Downloaded:
    """Brings a file to `target`, from the first address that serves it whole and with the right hash.

    Args:
        urls: addresses in order (`file://`, `http(s)://`, `hf://`, `gdrive://`); offline only `file://` is tried.
        sha256, size: what the file must be; None accepts what comes.
        label: the file's name in messages; fix: the command a failure recommends.

    Raises:
        DataError: no address served the file; says why for each.
        DependencyError: the disk is full or the folder cannot be written; what has arrived stays for the next call.
    """
    how = how or settings()
    label = label or target.name
    usable = [resolve(url) for url in urls]
    if paths.offline():
        usable = [url for url in usable if url.startswith("file:")]
        if not usable:
            raise DataError(f"{label} would have to be downloaded, and --offline forbids the network", fix=fix or None)
    wanted = _Wanted(target, sha256, size, label)
    part = PartialFile(target)
    was_there = target.exists()
    reasons: list[str] = []
    try:
        with part.lock():
            if target.exists() and (sha256 == file_sha256(target) if sha256 else not was_there):
                return Downloaded(sha256 or file_sha256(target), target.stat().st_size, "another process")
            for url in usable:
                try:
                    return _from_one(url, part, wanted, progress or NullProgress(), how)
                except _Refused as error:
                    reasons.append(f"{_place(url)}: {error}")
    except OSError as error:
        raise write_error(error, target) from error
    raise DataError(f"{label} could not be downloaded: {'; '.join(reasons) or 'no address is known'}", fix=fix or None)


@dataclass(frozen=True)
class _Wanted:
    target: Path
    sha256: str | None
    size: int | None
    label: str

    def problem(self, digest: str, length: int) -> str | None:
        """What is wrong with a file that arrived, None when nothing is."""
        if self.size is not None and length != self.size:
            return f"{length} bytes instead of {self.size}"
        if self.sha256 is not None and digest != self.sha256:
            return f"wrong file: sha256 {digest[:16]}..., expected {self.sha256[:16]}..."
        return None


class PartialFile:
    """The unfinished file of a target and what is known about where it came from."""

    def __init__(self, target: Path) -> None:
        folder = target.parent / ".partial"
        self.path = folder / f"{target.name}.part"
        self._meta = folder / f"{target.name}.json"

    def lock(self) -> FileLock:
        """Held while the part is written: a second process waits, then finds the file in place."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_suffix(".lock"))

    @property
    def size(self) -> int:
        """Bytes that have arrived so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def origin(self) -> dict[str, str]:
        """Address and validator (ETag or Last-Modified) of the bytes so far; empty when unknown."""
        try:
            return dict(json.loads(self._meta.read_text()))
        except (OSError, ValueError):
            return {}

    def begin(self, url: str, validator: str) -> None:
        """Remembers where the bytes come from."""
        self._meta.write_text(json.dumps({"url": url, "validator": validator}))

    def drop(self) -> None:
        """Throws the bytes away."""
        self.path.unlink(missing_ok=True)
        self._meta.unlink(missing_ok=True)

    def install(self, target: Path) -> None:
        """Gives the whole file its name."""
        self.path.replace(target)
        self._meta.unlink(missing_ok=True)


def _from_one(url: str, part: PartialFile, wanted: _Wanted, progress: Progress, how: Settings) -> Downloaded:
    """All attempts at one address; a wrong file after a continued download is tried once more from the start."""
    total = None if wanted.size is None else -(-wanted.size // MEGABYTE)
    while True:
        resumed = part.size > 0
        with progress.task(wanted.label, total, unit="MB") as bar:
            _attempts(url, part, wanted, _Megabytes(bar), how)
        digest, length = file_sha256(part.path), part.size
        problem = wanted.problem(digest, length)
        if problem is None:
            part.install(wanted.target)
            return Downloaded(digest, length, url)
        part.drop()
        if not resumed:
            raise _Refused(problem)


def _attempts(url: str, part: PartialFile, wanted: _Wanted, meter: _Megabytes, how: Settings) -> None:
    broken = 0
    while True:
        before = part.size
        meter.at(before)
        try:
            if url.startswith("file:"):
                return _copy(url, part, meter)
            return _get(url, part, wanted, meter, how)
        except (_Stalled, requests.RequestException) as error:
            if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
                raise _Refused("not an address") from error
            broken = 1 if part.size > before else broken + 1
            if broken >= how.attempts:
                raise _Refused(f"{_reason(error)} ({broken} attempts)") from error
            how.sleep(min(2.0 ** (broken - 1), 30.0))


def _copy(url: str, part: PartialFile, meter: _Megabytes) -> None:
    """A `file://` mirror: copied, never linked, so that the original may go away."""
    source = Path(unquote(urlsplit(url).path))
    if not source.is_file():
        raise _Refused("no such file")
    part.drop()
    part.begin(url, "")
    with source.open("rb") as reader, part.path.open("wb") as writer:
        while block := reader.read(CHUNK):
            writer.write(block)
            meter.add(len(block))


def _get(url: str, part: PartialFile, wanted: _Wanted, meter: _Megabytes, how: Settings) -> None:
    """One request: continues the part when that is safe, else starts it over."""
    have, origin = part.size, part.origin()
    headers = {"Accept-Encoding": "identity", "User-Agent": "floatbench"}
    same = origin.get("url") == url and origin.get("validator")
    # without a known hash, bytes of another address (or of a server that names no version) must not be mixed
    if have and (same or wanted.sha256 is not None):
        headers["Range"] = f"bytes={have}-"
        if same:
            headers["If-Range"] = origin["validator"]
    with requests.get(url, headers=headers, stream=True, timeout=(how.timeout, how.timeout)) as reply:
        if reply.status_code == 416 and have:  # the part is already as long as the file, or longer
            if have == wanted.size:
                return
            part.drop()
            raise _Stalled("the part did not fit the file")
        _check_status(reply)
        validator = reply.headers.get("ETag") or reply.headers.get("Last-Modified") or ""
        if reply.status_code == 206 and "Range" in headers:
            mode = "ab"
            if not reply.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                part.drop()
                raise _Stalled("the server sent another part than asked for")
        else:
            mode, have = "wb", 0
            meter.at(0)
        _check_space(part, reply)
        blocks = reply.iter_content(CHUNK)
        start = next(blocks, b"")
        _refuse_page(reply, start)  # before the bytes that are here already are touched
        part.begin(url, "" if validator.startswith("W/") else validator)
        with part.path.open(mode) as writer:
            for block in chain([start], blocks):
                writer.write(block)
                meter.add(len(block))
        expected = reply.headers.get("Content-Length")
        if expected is not None and part.size - have != int(expected):
            raise _Stalled(f"connection cut after {part.size} bytes")


def _refuse_page(reply: requests.Response, start: bytes) -> None:
    """A sign-in, quota or preview page is not the file, whatever the status says."""
    head = start[:256].lstrip().lower()
    typed = reply.headers.get("Content-Type", "").startswith("text/html")
    if typed or (reply.status_code == 200 and head.startswith((b"<!doctype html", b"<html"))):
        hint = " ('/blob/' addresses show a page: use '/resolve/' or '/raw/')" if "/blob/" in reply.url else ""
        raise _Refused(f"an HTML page instead of the file{hint}")


def _check_status(reply: requests.Response) -> None:
    """Busy servers and server errors are tried again; anything else is final for this address."""
    code = reply.status_code
    if code in (200, 206):
        return
    if code in (408, 425, 429) or code >= 500:
        raise _Stalled(f"HTTP {code}")
    meaning = {401: "log-in needed", 403: "forbidden", 404: "not found", 410: "gone"}.get(
        code, reply.reason or "refused"
    )
    raise _Refused(f"HTTP {code} {meaning}")


def _check_space(part: PartialFile, reply: requests.Response) -> None:
    needed = int(reply.headers.get("Content-Length", 0))
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


def is_zip(path: Path) -> bool:
    """True for a zip archive (by content)."""
    return zipfile.is_zipfile(path)


def extract_member(archive: Path, member: str, target: Path) -> None:
    """Writes one member of a zip archive to `target`; the member may lie in any folder of the archive.

    Raises DataError when the archive is damaged or has no such member.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            inside = [name for name in opened.namelist() if name == member or name.endswith(f"/{member}")]
            if not inside:
                raise DataError(f"{archive} has no member {member}")
            with opened.open(min(inside, key=len)) as reader, target.open("wb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive} is damaged: {error}") from error
