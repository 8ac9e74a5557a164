"""Serves the page on an address of this machine until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from floatbench.device import pick_device
from floatbench.errors import DependencyError, UsageError
from floatbench.paths import in_clone
from floatbench.web import offers
from floatbench.web.desk import Desk

LEAVE_S = 2
"""Seconds that open connections have when the server ends."""
LOOPBACK = ("127.", "::1")
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'self'; "
    "form-action 'self'; object-src 'none'"
)
"""What the page may load: nothing from elsewhere, whatever a part of Gradio would like (fonts, programs, pictures)."""


def serve(host: str, port: int, device: str, further: Sequence[str], ready: Callable[[str, bool], None]) -> None:
    """Serves the page until Ctrl-C or SIGTERM; what was made is gone afterwards.

    Args:
        host, port: the address; port 0 takes a free one.
        device: where models run, see `floatbench.device.pick_device`.
        further: checkpoint files to choose from besides `float` and the bundled ones.
        ready: called once the page can be opened, with its address and whether other machines can reach it.

    Raises:
        DependencyError: the extra `web` is not installed, or the port is in use. UsageError: no such address here.
        DataError: a checkpoint file that does not exist.
    """
    models = offers.models(tuple(further))
    _require_gradio()
    with _listening(host, port) as listener, tempfile.TemporaryDirectory(prefix="floatbench-web-") as folder:
        # before Gradio is imported: it reads these once, and would else keep uploads for good and ask home for news
        os.environ.update(GRADIO_TEMP_DIR=f"{folder}/uploads", GRADIO_ANALYTICS_ENABLED="False")
        desk = Desk(Path(folder) / "made", pick_device(device))
        address, bound = _address(listener)
        with suppress(KeyboardInterrupt):
            _run(_application(desk, models), listener, desk, lambda: ready(address, not bound))


def _require_gradio() -> None:
    from importlib.util import find_spec

    if find_spec("gradio") is None or find_spec("uvicorn") is None:
        fix = "uv pip install -e '.[web]'" if in_clone() else "pip install 'floatbench[web]'"
        raise DependencyError("the page needs the package gradio", fix=fix)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there, so that nobody can take the port between a check and its use."""
    wanted = f"{host}:{port}" if ":" not in host else f"[{host}]:{port}"
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"--host {host}: {error.strerror}", fix="--host 127.0.0.1") from None
    try:
        if (
            os.name == "posix"
        ):  # a port whose last connections are still closing is free; on Windows it means another thing
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise DependencyError(f"{wanted} is in use by another program", fix="floatbench web --port 0") from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"{host} is no address of this machine", fix="--host 127.0.0.1") from None
        raise DependencyError(f"{wanted}: {os.strerror(error.errno or 0)}", fix="floatbench web --port 0") from None
    return listener


def _address(listener: socket.socket) -> tuple[str, bool]:
    """The page's address for a browser on this machine, and whether only this machine can reach it."""
    host, port = (str(part) for part in listener.getsockname()[:2])
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/", host.startswith(LOOPBACK)


def _application(desk: Desk, models: list[str]) -> Any:
    import gradio as gr
    from fastapi import FastAPI

    from floatbench.web.tabs import SCRIPT, STYLE, page

    system = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]
    theme = gr.themes.Default(font=system, font_mono=["ui-monospace", "Consolas", "monospace"])
    application = gr.mount_gradio_app(
        FastAPI(openapi_url=None), page(desk, models), path="/", footer_links=[], run_history=False, ssr_mode=False,
        enable_monitoring=False, mcp_server=False, pwa=False, allowed_paths=[str(desk.folder)], theme=theme,
        css=STYLE.read_text(encoding="utf-8"), head=f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>",
    )  # fmt: skip
    return _guarded(application)


def _guarded(application: Any) -> Any:
    """The application with `POLICY` on every answer; a plain function, since answers are streams that must not wait."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                header = (b"content-security-policy", POLICY.encode())
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        await application(scope, receive, sent)

    return guarded


def _run(application: Any, listener: socket.socket, desk: Desk, ready: Callable[[], None]) -> None:
    import uvicorn

    class PageServer(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await asyncio.to_thread(desk.close)  # the work needs the loop to be told that it is over
            await super().shutdown(sockets)

    config = uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=LEAVE_S)
    PageServer(config).run([listener])
