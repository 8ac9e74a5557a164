"""The host side of a baseline: starts the worker process, watches time and memory, and turns its end into a reason."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

from floatbench.baselines.installed import Installed
from floatbench.baselines.workspace import Workspace
from floatbench.errors import DependencyError
from floatbench.processes import signal_name

PROTO = 1
"""Version of the messages; `PROTO` of the driver library, which is not imported: it belongs to foreign interpreters."""
MAX_LINE = 1_000_000
"""Characters of one message at most, as the driver library has it."""
TAIL_LINES = 40
MAX_LOG_BYTES = 32 * 2**20
WATCH_EVERY_S = 0.5


class WorkerFailure(Exception):
    """A worker that did not answer as it should.

    Attributes:
        code: what happened, in the codes of the driver library, or `timeout`, `crash`, `oom`, `protocol`.
        tail: the last lines of the system's standard error.
        fatal: True when the worker is gone.
    """

    def __init__(self, code: str, message: str, tail: list[str], fatal: bool) -> None:
        super().__init__(message)
        self.code, self.message, self.tail, self.fatal = code, message, tail, fatal


class BaselineWorker:
    """One process of one system, profile, preset and device. Not thread-safe; `start` comes first.

    Args:
        installed: a checked installation.
        preset: name of the preset.
        device: `cpu`, `cuda` or `cuda:N`; the process sees that one only, as device 0.
        threads: of each numerical library.
    """

    def __init__(self, installed: Installed, preset: str, device: str = "cpu", threads: int | None = None) -> None:
        self._installed, self._preset, self._device = installed, preset, device
        self._threads = threads or int(os.environ.get("OMP_NUM_THREADS", "0") or 0) or os.cpu_count() or 1
        self._workspace: Workspace | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._count = 0
        self.ready: dict[str, Any] = {}
        self.changed: dict[str, Any] = {}  # settings in place of the preset's, from the next start on
        self.garbage_lines = 0

    @property
    def workspace(self) -> Workspace:
        if self._workspace is None:
            raise RuntimeError("start() comes first")
        return self._workspace

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the worker, which leads a process group of its own."""
        return self._process.pid if self._process else 0

    def start(self) -> dict[str, Any]:
        """Starts the process and waits until the networks are loaded; returns its `ready` message.

        Raises WorkerFailure with the system's last words.
        """
        manifest = self._installed.manifest
        if self._workspace is None:
            self._workspace = Workspace(self._installed)
        self._launch(self._workspace)
        preset = manifest.preset(self._preset)
        options = {
            "baseline": manifest.id,
            "profile": self._installed.profile_name,
            "preset": self._preset,
            "device": "cuda" if self._device.startswith("cuda") else "cpu",
            "checkout": str(self._workspace.checkout),
            "weights": str(self._installed.weights),
            "work": str(self._workspace.tmp),
            "commit": manifest.source.commit,
            "flags": {**preset.flags, **self.changed},
            "shims": list(self._installed.profile.shims),
            "fabricated": self._installed.fabricated,
        }
        limit = manifest.timeouts.load_s * _scale()
        try:
            self._write({"type": "hello", "proto": PROTO, "options": options})
            answer = self._wait("ready", limit, limit, "loading")
        except WorkerFailure:
            self.stop()
            raise
        self.ready = answer
        return answer

    def _launch(self, workspace: Workspace) -> None:
        self._messages = queue.Queue()
        command = [str(self._installed.python), str(workspace.driver / self._installed.manifest.driver)]
        try:
            with workspace.log.open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=workspace.checkout,
                    env=workspace.environment(self._device, self._threads),
                    start_new_session=True,
                )
        except OSError as error:
            raise DependencyError(f"{command[0]} cannot be started: {error.strerror}") from error
        assert self._process.stdout is not None
        threading.Thread(target=self._read, args=(self._process.stdout, self._messages), daemon=True).start()

    def _read(self, stream: IO[bytes], messages: queue.Queue[dict[str, Any] | None]) -> None:
        """Turns lines into messages; whatever is not a message of ours is counted and forgotten."""
        while line := stream.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                self.garbage_lines += 1
                while line and not line.endswith(b"\n"):  # the rest of the line
                    line = stream.readline(MAX_LINE)
                continue
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if isinstance(message, dict) and "type" in message:
                messages.put(message)
            else:
                self.garbage_lines += 1
        messages.put(None)

    def _write(self, message: dict[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise RuntimeError("start() comes first")
        with suppress(BrokenPipeError):  # the reader's end of file says why
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()

    def generate(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Asks for one clip of `seconds` and waits for its result; raises WorkerFailure."""
        times = self._installed.manifest.timeouts
        gpu = self._device.startswith("cuda")
        base, rate = (times.gpu_base_s, times.gpu_per_s) if gpu else (times.cpu_base_s, times.cpu_per_s)
        limit = (base + rate * seconds) * _scale()
        silence = min(limit, (times.silence_s * _scale()) or max(60.0, limit / 4))
        self._count += 1
        self._write({"type": "generate", "id": str(self._count), "deadline_s": limit, **request})
        answer = self._wait("result", limit, silence, "the clip", str(self._count))
        if answer.get("status") != "ok":
            message = f"{answer.get('exception', '')}: {answer.get('message', '')}".strip(": ")
            raise WorkerFailure(str(answer.get("code", "exception")), message, self.tail(), fatal=not self.alive)
        return answer

    def _wait(self, kind: str, limit: float, silence: float, what: str, request: str = "") -> dict[str, Any]:
        begin = heard = watched = time.monotonic()
        while True:
            try:
                message = self._messages.get(timeout=WATCH_EVERY_S)
            except queue.Empty:
                message = {}
            now = time.monotonic()
            if message is None:
                raise self._death(what)
            if message:
                heard = now
                if message["type"] == "fatal":
                    text = f"{message.get('exception', '')}: {message.get('message', '')}".strip(": ")
                    raise WorkerFailure(str(message.get("code", "exception")), text, self.tail(), fatal=True)
                if message["type"] == kind and (not request or message.get("id") == request):
                    return message
            if now - watched >= WATCH_EVERY_S:
                watched = now
                self._watch()
            if now - begin > limit:
                raise self._overdue(f"no end of {what} after {limit:g} s")
            if now - heard > silence:
                raise self._overdue(f"no sign of life for {silence:g} s")

    def _overdue(self, message: str) -> WorkerFailure:
        tail = self.tail()
        self.stop()
        return WorkerFailure("timeout", message, tail, fatal=True)

    def _watch(self) -> None:
        """Ends a worker that holds more memory than its manifest allows; keeps its log from filling the disk."""
        limit = self._installed.manifest.memory.ram_gb
        used = self.memory_bytes()
        if used > limit * 2**30:
            tail = self.tail()
            self.stop(at_once=True)
            raise WorkerFailure("oom", f"the system held {used / 2**30:.1f} GiB of {limit:g} allowed", tail, fatal=True)
        with suppress(OSError):
            if self.workspace.log.stat().st_size > MAX_LOG_BYTES:
                os.truncate(self.workspace.log, 0)

    def memory_bytes(self) -> int:
        """Resident memory of the worker and its children."""
        total = 0
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            for member in [process, *process.children(recursive=True)]:
                with suppress(psutil.Error):
                    total += member.memory_info().rss
        return total

    def _death(self, what: str) -> WorkerFailure:
        process = self._process
        assert process is not None
        try:
            code = process.wait(timeout=1)
        except subprocess.TimeoutExpired:  # it closed its output and goes on: of no use to us
            code = None
        tail = self.tail()
        self.stop(at_once=True)
        if code == -signal.SIGKILL or code == 137:
            return WorkerFailure("crash", f"ended by SIGKILL during {what}", tail, fatal=True)
        how = (
            "closed its output"
            if code is None
            else f"ended by {signal_name(-code)}"
            if code < 0
            else f"exit code {code}"
        )
        return WorkerFailure("crash", f"{how} during {what}", tail, fatal=True)

    def tail(self) -> list[str]:
        """The last 40 lines that the system wrote to standard error."""
        if self._workspace is None or not self._workspace.log.exists():
            return []
        with self._workspace.log.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - 200 * TAIL_LINES))
            lines = deque(stream.read().decode("utf-8", "replace").splitlines(), TAIL_LINES)
        private = str(self._workspace.folder)
        return [line.replace(private, "<worker>")[:500] for line in lines]

    def stop(self, at_once: bool = False) -> None:
        """Ends the process group: politely, then by force."""
        process = self._process
        if process is None:
            return
        grace = 0.0 if at_once else self._installed.manifest.timeouts.grace_s
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()
        if not at_once:
            _signal_group(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=grace)
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        self._process = None

    def close(self) -> None:
        """Lets an idle worker say goodbye, then removes everything private."""
        if self.alive:
            self._write({"type": "shutdown"})
            with suppress(subprocess.TimeoutExpired, AttributeError):
                assert self._process is not None
                self._process.wait(timeout=self._installed.manifest.timeouts.grace_s)
        self.stop(at_once=True)
        if self._workspace is not None:
            self._workspace.remove()
            self._workspace = None

    def clip_folder(self) -> Path:
        """A fresh folder for one clip's inputs and outputs."""
        folder = self.workspace.clips / str(self._count + 1)
        (folder / "in").mkdir(parents=True, exist_ok=True)
        (folder / "out").mkdir(exist_ok=True)
        return folder


def _signal_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _scale() -> float:
    """`FLOATBENCH_TIMEOUT_SCALE` stretches every time limit on a slow or shared machine."""
    value = os.environ.get("FLOATBENCH_TIMEOUT_SCALE", "1")
    try:
        return max(float(value), 0.01)
    except ValueError:
        raise DependencyError(f"FLOATBENCH_TIMEOUT_SCALE={value!r} is not a number") from None
