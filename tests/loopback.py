"""A small web server on the loopback, with the misfortunes of real ones, and tiny videos to serve."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest


class Server:
    """Serves `files` (path -> bytes); `trouble` maps a path to a list of misfortunes, one used up per request.

    Misfortunes: an HTTP status number, or "cut" (half of what was asked, then the connection closes), or
    "stall" (half of what was asked, then silence for longer than the client waits).
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.types: dict[str, str] = {}
        self.trouble: dict[str, list[int | str]] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.sent: dict[str, int] = {}  # bytes of answers to requests for ranges
        self.url = ""
        self.silence = threading.Event()  # ends a stall when the test is over

    def asked(self, path: str) -> int:
        """How often a path was asked for with GET."""
        return sum(1 for method, name, _ in self.requests if method == "GET" and name == path)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running server; the variables that name proxies are taken away so that nothing stands in between."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    state = Server()
    http = _Quiet(("127.0.0.1", 0), _handler(state))
    state.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield state
    state.silence.set()
    http.shutdown()
    http.server_close()
    thread.join()


class _Quiet(ThreadingHTTPServer):
    """Says nothing about clients that hang up, which is what is tested here."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None: ...


def _handler(state: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else every small answer waits 40 ms for an acknowledgement

        def log_message(self, format: str, *args: Any) -> None: ...

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            path = self.path.partition("?")[0]
            wanted = self.headers.get("Range", "")
            state.requests.append((self.command, path, wanted))
            waiting = state.trouble.get(path, []) if body else []
            mishap = waiting.pop(0) if waiting else None
            if isinstance(mishap, int) or path not in state.files:
                self.send_response(mishap if isinstance(mishap, int) else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data, whole = state.files[path], len(state.files[path])
            if wanted.startswith("bytes="):
                first, _, last = wanted[6:].partition("-")
                start, stop = int(first), min(int(last or whole - 1), whole - 1)
                data = data[start : stop + 1]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{stop}/{whole}")
            else:
                self.send_response(200)
            self.send_header("Content-Type", state.types.get(path, "application/octet-stream"))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{whole}"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if not body:
                return
            data = data[: len(data) // 2] if mishap in ("cut", "stall") else data
            self.wfile.write(data)
            if wanted:
                state.sent[path] = state.sent.get(path, 0) + len(data)
            if mishap == "stall":
                state.silence.wait(30)
            if mishap in ("cut", "stall"):
                self.close_connection = True

    return Handler


@pytest.fixture(scope="session")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MP4 of 36 s at 29.97 fps with a key frame every 2 s, and a tone."""
    path = tmp_path_factory.mktemp("video") / "long.mp4"
    make_video(path, seconds=36, rate=Fraction(30000, 1001))
    return path


def make_video(path: Path, seconds: float, rate: Fraction = Fraction(25), size: int = 64) -> None:
    """Writes a small MP4 (H.264 and AAC)."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        video: Any = out.add_stream("libx264", rate=rate)
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        video.options = {"g": "60", "preset": "ultrafast", "crf": "30", "threads": "1"}
        sound: Any = out.add_stream("aac", rate=44100)
        for index in range(round(seconds * rate)):
            picture = np.full((size, size, 3), index % 200, np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode())
        for start in range(0, round(seconds * 44100), 1024):
            tone = np.sin(2 * np.pi * 220 * (start + np.arange(1024)) / 44100)
            frame = av.AudioFrame.from_ndarray((tone * 8000).astype(np.int16)[None], format="s16", layout="mono")
            frame.rate, frame.pts = 44100, start
            out.mux(sound.encode(frame))
        out.mux(sound.encode())
