"""How floatbench speaks to web servers: its name, its sessions, and the pauses that servers ask for."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

import requests

from floatbench import __version__

# Zenodo answers 403 to the default name of the library, as other archives do to anonymous programs
USER_AGENT = f"floatbench/{__version__}"
MOST_REDIRECTS = 10


def session() -> requests.Session:
    """A session under our own name that follows a few redirects and asks for the bytes as they are stored."""
    made = requests.Session()
    made.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
    made.max_redirects = MOST_REDIRECTS
    return made


def pause_asked(reply: requests.Response) -> float | None:
    """Seconds until a busy server (429, 503) wants to be asked again; None when it does not say.

    Read are `Retry-After` (seconds or a date, RFC 9110 section 10.2.3), the hub's `RateLimit` (IETF draft) and
    Zenodo's `X-RateLimit-Reset` (seconds since 1970).
    """
    if reply.status_code not in (429, 503):
        return None
    after = reply.headers.get("Retry-After", "").strip()
    if after.isdigit():
        return float(after)
    if (date := _seconds_of(after)) is not None:
        return max(0.0, date - _server_time(reply))
    from huggingface_hub.utils import parse_ratelimit_headers

    if (limit := parse_ratelimit_headers(reply.headers)) is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    reset = reply.headers.get("X-RateLimit-Reset", "")
    if re.fullmatch(r"\d{9,11}", reset):
        return max(0.0, float(reset) - _server_time(reply))
    return None


def minutes(seconds: float) -> str:
    """A waiting time in words: `40 s` or `12 min`."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{-(-seconds // 60):.0f} min"


def _server_time(reply: requests.Response) -> float:
    """The server's own clock, so that ours may be wrong."""
    return _seconds_of(reply.headers.get("Date", "")) or time.time()


def _seconds_of(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return None
