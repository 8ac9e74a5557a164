"""The hosts that weights and data come from, on the loopback: each answers as the real one is recorded to.

Sources, all public: huggingface_hub's own code and documentation (`/resolve/`: redirect with X-Linked-ETag,
X-Linked-Size and X-Repo-Commit; X-Error-Code; RateLimit), GitHub's documentation of releases and raw files, Google
Drive's form for files that are too large to scan, Zenodo's API documentation and the issue threads that report its 403
for anonymous programs (fatiando/pooch#507, openego/eGon-data#1379), and Dropbox's help page on `dl=1`.
"""

from __future__ import annotations

import gzip
import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import huggingface_hub.constants
import pytest
import requests
from requests.adapters import HTTPAdapter

from floatbench.data import fetch_ravdess
from floatbench.weights import download, web

Handler = http.server.BaseHTTPRequestHandler
Answer = Callable[[Handler], None]
CDN = "cas-bridge.xethub.hf.co"
STORE = "release-assets.githubusercontent.com"


class Hosts:
    """All hosts behind one port; `at` gives an answer to an address, `requests` are (host and path, headers)."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.broken_certificates: set[str] = set()
        self.port = 0

    def at(self, place: str, *answers: Answer) -> str:
        """Answers for `host/path`, used one after the other; the last one stays. Returns the https address."""
        self.answers[place] = list(answers)
        return f"https://{place}"

    def asked(self, host: str) -> list[str]:
        """The paths that a host was asked for."""
        return [place.partition("/")[2] for place, _ in self.requests if place.partition("/")[0] == host]

    def session(self) -> requests.Session:
        """The product's own session, with this server in the place of every host."""
        made = web.session()
        made.trust_env = False  # no proxies, no .netrc
        made.mount("https://", _Loopback(self))
        return made

    # the hosts

    def hub(self, repo: str, path: str, content: bytes, revision: str = "a" * 40, large: bool = True) -> str:
        """A file of huggingface.co, in its large-file store or in git; returns its hf:// address."""
        prefix = "" if repo.startswith(("datasets/", "spaces/")) else "models/"
        place = f"huggingface.co/{repo}/resolve/{revision}/{path}"
        sha256, blob = hashlib.sha256(content).hexdigest(), git_blob(content)
        stated = {"X-Repo-Commit": revision, "X-Linked-Size": str(len(content)), "Accept-Ranges": "bytes"}
        if large:
            stored = f"{CDN}/xet-bridge-us/{blob}/{sha256}"
            location = f"https://{stored}?X-Amz-Expires=3600&X-Amz-Signature={'0' * 64}"
            self.at(place, redirect(location, 302, {**stated, "X-Linked-ETag": f'"{sha256}"', "ETag": f'"{sha256}"'}))
            self.at(stored, file(content, f'"{hashlib.md5(content).hexdigest()}"'))
        else:
            cache = f"huggingface.co/api/resolve-cache/{prefix}{repo}/{revision}/{path}"
            self.at(place, redirect(f"/{cache.partition('/')[2]}?etag=x", 307, {"X-Repo-Commit": revision}))
            self.at(cache, file(content, f'"{blob}"', {"X-Repo-Commit": revision}, "text/plain; charset=utf-8"))
        return f"hf://{repo}@{revision}/{path}"

    def hub_gated(self, repo: str, path: str, content: bytes, token: str, revision: str = "a" * 40) -> str:
        """A file behind terms: 401 with an error code for strangers, 403 for tokens without the right."""
        address = self.hub(repo, path, content, revision)
        place = f"huggingface.co/{repo}/resolve/{revision}/{path}"
        (open_door,) = self.answers[place]
        error = {"X-Error-Code": "GatedRepo", "X-Error-Message": f"Access to model {repo} is restricted."}

        def answer(handler: Handler) -> None:
            given = handler.headers.get("Authorization")
            if given == f"Bearer {token}":
                return open_door(handler)
            return status(401 if given is None else 403, error)(handler)

        self.at(place, answer)
        return address

    def release(self, path: str, content: bytes) -> str:
        """An asset of a GitHub release: a redirect to a signed address of a store with ranges."""
        stored = f"{STORE}/github-production-release-asset/{hashlib.md5(content).hexdigest()}"
        self.at(stored, file(content, '"0x8DB5D2E8F0A1B2C"'))
        return self.at(f"github.com/{path}", redirect(f"https://{stored}?sp=r&sig=x&rscd=attachment"))

    def raw(self, repo: str, revision: str, path: str, content: bytes) -> str:
        """A file of a GitHub repository by `/raw/`; large files in Git LFS come as their pointer."""
        place = f"raw.githubusercontent.com/{repo}/{revision}/{path}"
        etag = f'W/"{hashlib.sha256(content).hexdigest()}"'
        self.at(place, file(content, etag))
        return self.at(f"github.com/{repo}/raw/{revision}/{path}", redirect(f"https://{place}"))

    def drive(self, identity: str, content: bytes) -> str:
        """A file of Google Drive above the size that is scanned: bytes only for `confirm=t`, else a form."""
        form = page(b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head></html>")

        def answer(handler: Handler) -> None:
            query = parse_qs(urlsplit(handler.path).query)
            wanted = query.get("id") == [identity] and query.get("confirm") == ["t"]
            (file(content, "", {"Last-Modified": "Mon, 13 Jan 2025 08:00:00 GMT"}) if wanted else form)(handler)

        self.at("drive.usercontent.google.com/download", answer)
        return f"gdrive://{identity}"

    def dropbox(self, path: str, content: bytes) -> str:
        """A shared file of Dropbox: two redirects with dl=1, a preview page with dl=0."""
        place, stored = f"www.dropbox.com/{path}", "uc1234.dl.dropboxusercontent.com/cd/0/get/x/file"
        preview = page(b"<!DOCTYPE html><html><head><title>Dropbox</title></head></html>")

        def answer(handler: Handler) -> None:
            wanted = parse_qs(urlsplit(handler.path).query).get("dl") == ["1"]
            (redirect("/scl/fi/abc/file?rlkey=k&dl=1") if wanted else preview)(handler)

        self.at("www.dropbox.com/scl/fi/abc/file", redirect(f"https://{stored}"))
        self.at(stored, file(content, '"1701d"', content_type="application/binary"))
        return f"{self.at(place, answer)}?dl=1"

    def zenodo(self, record: str, files: dict[str, bytes]) -> None:
        """A record of Zenodo: its list with MD5 sums, its files with ranges, 403 for a library's default name."""
        rows = ", ".join(
            f'{{"key": "{name}", "size": {len(data)}, "checksum": "md5:{hashlib.md5(data).hexdigest()}"}}'
            for name, data in files.items()
        )
        listing = f'{{"id": {record}, "files": [{rows}]}}'.encode()
        self.at(f"zenodo.org/api/records/{record}", named(file(listing, '"1"', content_type="application/json")))
        for name, data in files.items():
            self.at(f"zenodo.org/records/{record}/files/{name}", named(file(data, '"2"')))


def git_blob(content: bytes) -> str:
    """The id of a file's content in git."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def send(handler: Handler, code: int, headers: dict[str, str], body: bytes, length: bool = True) -> None:
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name, value)
    if length and "Content-Length" not in headers:
        handler.send_header("Content-Length", str(len(body)))
    if not length:
        handler.send_header("Connection", "close")
        handler.close_connection = True
    handler.end_headers()
    handler.wfile.write(body)


def file(
    content: bytes,
    etag: str = "",
    headers: dict[str, str] | None = None,
    content_type: str = "application/octet-stream",
) -> Answer:
    """An ordinary server with ranges and If-Range; 416 names the length, as RFC 9110 asks."""

    def answer(handler: Handler) -> None:
        given = {"Content-Type": content_type, "Accept-Ranges": "bytes", **(headers or {})}
        if etag:
            given["ETag"] = etag
        wanted = handler.headers.get("Range", "")
        if wanted and handler.headers.get("If-Range", etag) == etag:
            first = int(wanted.removeprefix("bytes=").split("-")[0])
            if first >= len(content):
                return send(handler, 416, {"Content-Range": f"bytes */{len(content)}"}, b"")
            span = f"bytes {first}-{len(content) - 1}/{len(content)}"
            return send(handler, 206, {**given, "Content-Range": span}, content[first:])
        return send(handler, 200, given, content)

    return answer


def cut(content: bytes, after: int, etag: str = '"e"', stated: bool = True) -> Answer:
    """Hangs up after some bytes; `stated`: the whole length was promised, else nothing was."""

    def answer(handler: Handler) -> None:
        headers = {"ETag": etag} if etag else {}
        if stated:
            headers["Content-Length"] = str(len(content))
        send(handler, 200, headers, content[:after], length=stated)
        handler.close_connection = True

    return answer


def packed(content: bytes, etag: str = "") -> Answer:
    """Compresses although nobody asked, with the length of what is sent."""
    body = gzip.compress(content, 1)
    return lambda handler: send(handler, 200, {"Content-Encoding": "gzip", **({"ETag": etag} if etag else {})}, body)


def redirect(location: str, code: int = 302, headers: dict[str, str] | None = None) -> Answer:
    return lambda handler: send(handler, code, {**(headers or {}), "Location": location}, b"")


def status(code: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
    return lambda handler: send(handler, code, headers or {}, body)


def page(body: bytes) -> Answer:
    return lambda handler: send(handler, 200, {"Content-Type": "text/html; charset=utf-8"}, body)


def named(answer: Answer) -> Answer:
    """Refuses programs that do not say who they are, as Zenodo does since January 2026."""

    def checked(handler: Handler) -> None:
        anonymous = handler.headers.get("User-Agent", "").startswith(("python-requests", "Python-urllib"))
        (status(403) if anonymous else answer)(handler)

    return checked


class _Loopback(HTTPAdapter):
    """Sends every request to the loopback server, in which the host is the first part of the path."""

    def __init__(self, hosts: Hosts) -> None:
        super().__init__()
        self._hosts = hosts

    def send(self, request: Any, *arguments: Any, **named_arguments: Any) -> requests.Response:
        asked = urlsplit(request.url)
        if asked.netloc in self._hosts.broken_certificates:
            raise requests.exceptions.SSLError("certificate verify failed", request=request)
        original = request.url
        query = f"?{asked.query}" if asked.query else ""
        request.url = f"http://127.0.0.1:{self._hosts.port}/{asked.netloc}{asked.path}{query}"
        try:
            reply = super().send(request, *arguments, **named_arguments)
        finally:
            request.url = original
        reply.url = original
        return reply


@contextmanager
def serving() -> Iterator[Hosts]:
    hosts = Hosts()

    class Listening(Handler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            place = urlsplit(self.path).path.lstrip("/")
            hosts.requests.append((place, dict(self.headers)))
            answers = hosts.answers.get(place, [status(404)])
            (answers.pop(0) if len(answers) > 1 else answers[0])(self)

        def log_message(self, format: str, *args: object) -> None:
            return None

    class Listener(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            return None  # clients that hang up are the point of these tests

    listener = Listener(("127.0.0.1", 0), Listening)
    hosts.port = listener.server_address[1]
    threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield hosts
    finally:
        listener.shutdown()
        listener.server_close()


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """The hosts in the place of the real ones, for a user without tokens, mirrors and a cache of the hub."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "FLOATBENCH_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path_factory.mktemp("hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(home / "hub"))
    with serving() as running:
        monkeypatch.setattr(download, "session", running.session)
        monkeypatch.setattr(fetch_ravdess, "session", running.session)
        yield running
