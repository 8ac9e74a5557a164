"""Addresses of a video's streams by yt-dlp, and what the site's refusals mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from floatbench.errors import DataError, DependencyError, UsageError
from floatbench.weights.download import Settings

WATCH = "https://www.youtube.com/watch?v="
FORMATS = "bv*[protocol=https]+ba[protocol=https]/b[protocol=https]/b[protocol=http]"
SORT = ["res:1080", "fps", "vcodec:h264", "acodec:aac"]
PAUSE = 10.0  # seconds between videos, as yt-dlp's own preset `-t sleep`: strangers may ask for some 300 an hour
REQUEST_PAUSE = 0.75  # seconds between the requests for one video, from the same preset
LIMIT_MINUTES = 60  # "rate-limited by YouTube for up to an hour"
Stream = tuple[str, dict[str, str]]

# the order matters: a rate limit begins with the words of a video that is gone, "Video unavailable"
_LIMITED = re.compile(r"try again later|rate.?limited|HTTP Error 429|too many requests", re.IGNORECASE)
_DOUBTED = re.compile(r"confirm you.{1,8}re not a bot|captcha", re.IGNORECASE)
_GONE = re.compile(  # what sites say of a video that will not come back; anything else is tried again another day
    r"video (is )?unavailable|private video|has been removed|terminated|not available in your|no longer available"
    r"|deleted|copyright|members.only|confirm your age|does not exist|HTTP Error 4(04|10)|available in your country"
    r"|no longer exists",
    re.IGNORECASE,
)
_ABOUT_THE_PROGRAM = re.compile(r"JavaScript|runtime|challenge solv|older than|outdated|cookies", re.IGNORECASE)
_CONNECTION = re.compile(r"resolve|getaddrinfo|connection|timed out|unreachable|network|refused", re.IGNORECASE)


class Gone(Exception):
    """The video cannot be had any more."""


class Broken(Exception):
    """No answer this time."""

    @property
    def connection(self) -> bool:
        """True when the network, not the site, seems to be at fault."""
        return bool(_CONNECTION.search(str(self)))


@dataclass(frozen=True)
class Access:
    """How the site is asked.

    Attributes:
        cookies: a file of cookies in Netscape's format; browser: the name of a browser to take them from, as yt-dlp
            writes it (`firefox`, `chrome:Profile 1`).
        retry: ask again for what stands in the ledger of unavailable clips.
    """

    cookies: Path | None = None
    browser: str = ""
    retry: bool = False


def passing(reason: str) -> bool:
    """True for a refusal that says nothing about the video: a rate limit, or doubts that a person asks."""
    return bool(_LIMITED.search(reason) or _DOUBTED.search(reason))


class Site:
    """Resolves pages one after the other, with a pause before each but the first.

    Args:
        how: patience; note: takes what yt-dlp says about itself, such as a missing JavaScript runtime, once.

    Raises:
        DependencyError: yt-dlp is not installed. UsageError: the cookies cannot be taken from there.
    """

    def __init__(self, access: Access, how: Settings, note: Callable[[str], None]) -> None:
        self._how, self._asked = how, 0
        self._options: Any = {
            "format": FORMATS,
            "format_sort": SORT,
            "noplaylist": True,
            "quiet": True,
            "noprogress": True,
            "cachedir": False,
            "socket_timeout": how.timeout,
            "extractor_retries": 0,
            "sleep_interval_requests": REQUEST_PAUSE,
            "logger": _Quiet(note),
            **_cookies(access),
        }

    def streams(self, url: str) -> list[Stream]:
        """Addresses and headers of the picture and sound streams of a page (nothing is downloaded here).

        Raises:
            Gone: the site says that the video cannot be had; Broken: no answer.
            DataError: the site answers nobody any more for now, or wants to know that a person asks.
        """
        import yt_dlp
        from yt_dlp.utils import YoutubeDLError

        if self._asked:
            self._how.sleep(PAUSE)
        self._asked += 1
        reason = ""
        for attempt in range(self._how.attempts):
            if attempt:
                self._how.sleep(min(2.0 ** (attempt - 1), 30.0))
            try:
                with yt_dlp.YoutubeDL(self._options) as site:
                    info: Any = site.extract_info(url, download=False)
                return list(_streams(info))
            except YoutubeDLError as error:
                reason = re.sub(r"^(ERROR: )?(\[\w+\] ?)?", "", " ".join(str(error).split()))[:200]
                self._stop_when_refused(reason)
                if _GONE.search(reason):
                    raise Gone(reason) from error
        raise Broken(f"{reason} ({self._how.attempts} attempts)")

    def _stop_when_refused(self, reason: str) -> None:
        """Asking on would only prolong these refusals, and says nothing about the videos."""
        cookies = "--cookies FILE or --cookies-from-browser NAME"
        if _DOUBTED.search(reason):
            raise DataError(
                f"the video site wants to know that a person asks: {reason[:100]}",
                fix=f"run the same command with {cookies} of a browser that is logged in",
            )
        if _LIMITED.search(reason):
            from datetime import datetime, timedelta

            until = f"{datetime.now() + timedelta(minutes=LIMIT_MINUTES):%H:%M}"
            raise DataError(
                f"the video site answers no more for now (rate limit, after {self._asked} videos): {reason[:100]}",
                fix=f"run the same command again after {until}, or with {cookies}; it goes on where it stopped",
            )


def _cookies(access: Access) -> dict[str, Any]:
    try:
        import yt_dlp
    except ImportError as error:
        raise DependencyError("fetching HDTF needs yt-dlp", fix="uv pip install -e '.[data]'") from error
    if access.cookies is not None:
        if not access.cookies.is_file():
            raise UsageError(f"--cookies {access.cookies} is no file", fix="export it from a browser, Netscape format")
        return {"cookiefile": str(access.cookies)}
    if not access.browser:
        return {}
    from optparse import OptParseError

    try:
        options = yt_dlp.parse_options(["--ignore-config", "--cookies-from-browser", access.browser]).ydl_opts
    except OptParseError as error:
        known = str(error).rpartition("Supported browsers are: ")[2].strip()
        raise UsageError(
            f"--cookies-from-browser {access.browser}: no such browser", fix=f"one of {known}" if known else None
        ) from None
    return {"cookiesfrombrowser": options.get("cookiesfrombrowser")}


def _streams(info: Any) -> Iterator[Stream]:
    for part in info.get("requested_formats") or [info]:
        yield part["url"], dict(part.get("http_headers") or {})


class _Quiet:
    """yt-dlp's own lines are not shown, the exception says what matters; but what it says about itself is, once."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note, self._seen = note, set[str]()

    def debug(self, message: str) -> None: ...

    def warning(self, message: str) -> None:
        line = re.sub(r"^(\[[\w:]+\] ?)?([\w-]{11}: )?", "", " ".join(message.split()))[:200]
        if _ABOUT_THE_PROGRAM.search(line) and line not in self._seen:
            self._seen.add(line)
            self._note(f"yt-dlp: {line}")

    def error(self, message: str) -> None: ...
