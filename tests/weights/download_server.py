"""A server on this machine that behaves badly in every way a real one does."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CONTENT = bytes(range(256)) * 2000  # 512 kB: several reads
SHA256 = hashlib.sha256(CONTENT).hexdigest()
Behaviour = Callable[[http.server.BaseHTTPRequestHandler], None]


def whole(handler: http.server.BaseHTTPRequestHandler, content: bytes = CONTENT, etag: str = '"v1"') -> None:
    """An ordinary server with ranges."""
    first, wanted = 0, handler.headers.get("Range", "")
    same = handler.headers.get("If-Range", etag) == etag
    if wanted and same:
        first = int(wanted.removeprefix("bytes=").rstrip("-"))
        if first >= len(content):
            handler.send_response(416)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
    handler.send_response(206 if first else 200)
    handler.send_header("Content-Length", str(len(content) - first))
    handler.send_header("ETag", etag)
    if first:
        handler.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
    handler.end_headers()
    handler.wfile.write(content[first:])


def cut(after: int, etag: str = '"v1"') -> Behaviour:
    """Promises everything and hangs up after some bytes; ignores no range."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.send_header("ETag", etag)
        handler.end_headers()
        handler.wfile.write(CONTENT[:after])
        handler.close_connection = True

    return answer


def status(code: int) -> Behaviour:
    return lambda handler: handler.send_error(code)


def page(handler: http.server.BaseHTTPRequestHandler) -> None:
    body = b"<!DOCTYPE html><html>sign in</html>"
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html; charset=utf-8")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def stalled(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Sends the headers and a few bytes, then nothing until the client has gone."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    handler.wfile.write(CONTENT[:1000])
    handler.wfile.flush()
    handler.connection.settimeout(20)
    handler.connection.recv(1)  # returns when the client closes
    handler.close_connection = True


class Server:
    """Answers each address by a list of behaviours, the last of which stays; records the requests."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.answers: dict[str, list[Behaviour]] = {}
        self.requests: list[tuple[str, str | None]] = []

    def at(self, path: str, *answers: Behaviour) -> str:
        self.answers[path] = list(answers)
        return self.base + path


@contextmanager
def serving() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.requests.append((self.path, self.headers.get("Range")))
            answers = server.answers.get(self.path.partition("?")[0], [status(404)])
            (answers.pop(0) if len(answers) > 1 else answers[0])(self)

        def log_message(self, format: str, *args: object) -> None:
            return None

    class Listener(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            return None  # clients that hang up are the point of these tests

    listener = Listener(("127.0.0.1", 0), Handler)
    server = Server(listener.server_address[1])
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
