"""The worker side of a baseline: the protocol loop that every driver shares. One file, no dependency, Python 3.8.

It runs inside the system's own environment, so it imports nothing of floatbench; numpy and torch are touched only where
the system has loaded them or a driver hands over arrays. A driver is

    import driverlib

    class Driver(driverlib.System):
        def load(self, options): ...                  # build the networks once
        def generate(self, request): ...              # one clip -> driverlib.Result

    if __name__ == "__main__":
        driverlib.main(Driver)

Messages are JSON objects, one a line, at most 1 MB, never pixels: `hello`, `generate`, `ping`, `shutdown` come in on
standard input; `ready`, `progress`, `result`, `pong`, `bye` go out on what was standard output. Whatever else the
system prints goes to standard error.
"""

import ctypes
import errno
import hashlib
import json
import os
import platform
import random
import signal
import socket
import sys
import time
import traceback
from contextlib import contextmanager
from typing import Any, Dict, Iterable, List, Optional

PROTO = 1
MAX_LINE = 1_000_000
MAX_MESSAGE = 500


class Failure(Exception):
    """One clip that cannot be made, with a code the host knows: `no_face`, `many_faces`, `bad_input` ..."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code = code


class Options:
    """What the host says once, in `hello`.

    Attributes:
        baseline, profile, preset, device: names; device is `cpu` or `cuda`.
        checkout: private copy of the repository, also the current folder; weights are linked into it.
        weights: folder of weight files in the layout of the checkout.
        work: private scratch folder.
        flags: the preset's settings from the manifest.
        shims: names of the monkey patches of this profile.
        fabricated: the marker's content when the weights are random, else None.
    """

    def __init__(self, content: Dict[str, Any]) -> None:
        self.baseline = str(content.get("baseline", ""))
        self.profile = str(content.get("profile", ""))
        self.preset = str(content.get("preset", "protocol"))
        self.device = str(content.get("device", "cpu"))
        self.checkout = str(content["checkout"])
        self.weights = str(content["weights"])
        self.work = str(content["work"])
        self.commit = str(content.get("commit", ""))
        self.flags = dict(content.get("flags") or {})
        self.shims = list(content.get("shims") or [])
        self.fabricated = content.get("fabricated")
        self.extra = content


class Request:
    """One clip: staged picture (PNG, RGB) and sound (WAV, 16 kHz mono int16), and an empty folder for the output.

    `name` is the stem of both inputs, a hash without dots; `n_frames` counts 25 a second; `capture` is `frames` (before
    the system's encoder) or `official` (the file that the system writes itself).
    """

    def __init__(self, content: Dict[str, Any]) -> None:
        self.id = str(content["id"])
        self.image = str(content["image"])
        self.audio = str(content["audio"])
        self.out_dir = str(content["out_dir"])
        self.seed = int(content["seed"])
        self.n_frames = int(content["n_frames"])
        self.extra = dict(content.get("extra") or {})
        self.capture = str(content.get("capture", "frames"))
        self.deadline_s = content.get("deadline_s")
        self.name = os.path.splitext(os.path.basename(self.image))[0]


class Result:
    """What a driver returns: the folder that `write_frames` filled, or the file that the system wrote, or both."""

    def __init__(
        self,
        frames_dir: str = "",
        video: str = "",
        fps: float = 25.0,
        stages: Optional[Dict[str, float]] = None,
        warnings: Iterable[str] = (),
        seed_used: Optional[int] = None,
        details: Optional[Dict[str, Any]] = None,
    ) -> None:
        self.frames_dir, self.video, self.fps = frames_dir, video, fps
        self.stages, self.warnings = dict(stages or {}), list(warnings)
        self.seed_used, self.details = seed_used, dict(details or {})


class System:
    """Base of a driver. `stage(name)` times and reports a stage; `progress(...)` says that the system is alive."""

    seeded = True  # False for a system that no seed reaches

    def __init__(self) -> None:
        self.stages = {}  # type: Dict[str, float]
        self.weight_match = {}  # type: Dict[str, Any]
        self._send = None  # type: Any
        self._request_id = ""

    def load(self, options: Options) -> None:
        """Builds the networks and loads the weights, once."""
        raise NotImplementedError

    def generate(self, request: Request) -> Result:
        """Makes one clip; raises `Failure(code)` for a clip that cannot be made."""
        raise NotImplementedError

    def seed(self, seed: int) -> None:
        """Seeds every generator before a clip; a driver may add the system's own."""
        seed_everything(seed)

    def parameters(self) -> Dict[str, int]:
        """Network name -> parameter count, of the networks that a clip uses."""
        return {}

    def close(self) -> None:
        """Ends what `load` started."""

    def progress(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Tells the host that the clip goes on; silence ends in a time-out."""
        if self._send is not None:
            self._send({"type": "progress", "id": self._request_id, "stage": stage, "done": done, "total": total})

    @contextmanager
    def stage(self, name: str):
        """Times a block, device work included, and adds it to the clip's stages."""
        self.progress(name)
        synchronise()
        begin = time.perf_counter()
        try:
            yield
        finally:
            synchronise()
            self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - begin


def seed_everything(seed: int) -> None:
    """Seeds python, and numpy and torch with all devices where they are imported."""
    random.seed(seed)
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)
    if torch is not None:
        torch.manual_seed(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)


def synchronise() -> None:
    """Waits for the device, so that a stage's seconds are its own."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()


def count_parameters(*modules: Any) -> int:
    """Parameters of torch modules, each tensor once."""
    seen = {}
    for module in modules:
        for parameter in module.parameters():
            seen[id(parameter)] = parameter.numel()
    return sum(seen.values())


def to_uint8(frames: Any, low: float = 0.0, high: float = 1.0) -> Any:
    """(T, H, W, 3) floats in [low, high] as uint8, rounded and clipped; NaN and infinity fail the clip."""
    import numpy

    frames = numpy.asarray(frames, dtype=numpy.float32)
    if not numpy.isfinite(frames).all():
        raise Failure("not_finite", "the frames hold NaN or infinite values")
    return (numpy.clip((frames - low) / (high - low), 0, 1) * 255).round().astype(numpy.uint8)


def write_frames(out_dir: str, frames: Any) -> str:
    """Keeps (H, W, 3) RGB uint8 pictures as they are, before any encoder: `frames.raw` and a small header.

    Takes an array (T, H, W, 3), an iterator of arrays, or an iterator of `(bytes, height, width)` for a driver without
    numpy. Returns `out_dir`, for `Result(frames_dir=...)`.
    """
    size, count = None, 0
    with open(os.path.join(out_dir, "frames.raw"), "wb") as stream:
        for frame in frames:
            data, height, width = frame if isinstance(frame, tuple) else _picture(frame)
            if size is None:
                size = (height, width)
            if size != (height, width) or len(data) != height * width * 3:
                raise Failure("unsupported_size", "frame %d is not like the first" % count)
            stream.write(data)
            count += 1
    if size is None:
        raise Failure("no_output", "the system made no frame")
    header = {"height": size[0], "width": size[1], "n_frames": count, "format": "rgb24"}
    with open(os.path.join(out_dir, "frames.json"), "w", encoding="utf-8") as stream:
        json.dump(header, stream)
    return out_dir


def _picture(frame: Any):
    """Bytes, height and width of one (H, W, 3) uint8 array."""
    if str(frame.dtype) != "uint8" or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError("a frame must be (H, W, 3) uint8, not %s %s" % (frame.shape, frame.dtype))
    return frame.tobytes(), frame.shape[0], frame.shape[1]


def read_marker(weights: str) -> Optional[Dict[str, Any]]:
    """The content of FABRICATED.json in a weights folder, None when it is not there."""
    path = os.path.join(weights, "FABRICATED.json")
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)


def write_marker(weights: str, **content: Any) -> None:
    """Marks a folder of fabricated weights; the host never scores what is made with them."""
    os.makedirs(weights, exist_ok=True)
    with open(os.path.join(weights, "FABRICATED.json"), "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=2, sort_keys=True)


def classify(error: BaseException) -> str:
    """The code of an exception that a driver did not name itself."""
    if isinstance(error, Failure):
        return error.code
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "oom"
    text = str(error).lower()
    if "out of memory" in text or "not enough memory" in text or "can't allocate memory" in text:
        return "oom"
    if isinstance(error, OSError):
        return "io"
    return "exception"


def block_network() -> None:
    """Makes every connection to another machine an error: a system must find its files on disk."""

    def remote(self):
        return self.family in (socket.AF_INET, getattr(socket, "AF_INET6", None))

    def refused(self, address, *rest):
        if remote(self):
            raise OSError("the network is switched off for baselines (connection to %r)" % (address,))
        return connect(self, address, *rest)

    def refused_quietly(self, address, *rest):
        return errno.ENETUNREACH if remote(self) else connect_ex(self, address, *rest)

    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    socket.socket.connect, socket.socket.connect_ex = refused, refused_quietly


def _die_with_parent() -> None:
    """Asks Linux to end this process when the host dies, so that a killed run leaves none behind."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _versions() -> Dict[str, str]:
    torch = sys.modules.get("torch")
    found = {"python": platform.python_version()}
    if torch is not None:
        found["torch"] = str(torch.__version__)
        found["cuda"] = str(torch.version.cuda or "")
        if torch.cuda.is_available():
            found["device_name"] = torch.cuda.get_device_name(0)
            found["sm"] = "%d.%d" % torch.cuda.get_device_capability(0)
    return found


def peak_memory_mb() -> Dict[str, float]:
    """Peak memory of this process, and of the device since the clip began."""
    found = {}
    if os.path.exists("/proc/self/status"):
        with open("/proc/self/status") as stream:
            lines = [line.split() for line in stream if line.startswith("VmHWM:")]
        found["ram_mb"] = round(int(lines[0][1]) / 1024, 1)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["vram_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return found


class Loop:
    """Reads requests, calls the driver, answers. An exception fails the clip, never the loop."""

    def __init__(self, system: System, incoming: Any, outgoing: Any) -> None:
        self.system, self.incoming, self.outgoing = system, incoming, outgoing
        self.options = None  # type: Optional[Options]
        system._send = self.send

    def send(self, message: Dict[str, Any]) -> None:
        line = json.dumps(message)
        if len(line) > MAX_LINE:
            line = json.dumps({"type": "result", "id": message.get("id"), "status": "error", "code": "exception",
                               "message": "the driver's answer is longer than 1 MB"})  # fmt: skip
        self.outgoing.write((line + "\n").encode("utf-8"))
        self.outgoing.flush()

    def run(self) -> None:
        for line in self.incoming:
            message = json.loads(line)
            kind = message.get("type")
            if kind == "hello":
                self.hello(message)
            elif kind == "generate":
                self.generate(message)
            elif kind == "ping":
                self.send({"type": "pong"})
            elif kind == "shutdown":
                self.system.close()
                self.send({"type": "bye"})
                return

    def hello(self, message: Dict[str, Any]) -> None:
        if message.get("proto") != PROTO:
            self.send({"type": "fatal", "code": "env_mismatch", "message": "protocol %s expected" % PROTO})
            return
        begin = time.perf_counter()
        try:
            self.options = Options(message["options"])
            self.system.load(self.options)
            parameters = self.system.parameters()
        except BaseException as error:
            self.send(dict(self._describe(error, self.options.work if self.options else ""), type="fatal"))
            return
        ready = {"type": "ready", "proto": PROTO, "baseline": self.options.baseline, "profile": self.options.profile,
                 "load_s": round(time.perf_counter() - begin, 3), "parameters": parameters,
                 "weight_match": self.system.weight_match, "seeded": self.system.seeded}  # fmt: skip
        self.send(dict(ready, **_versions(), **peak_memory_mb()))

    def generate(self, message: Dict[str, Any]) -> None:
        request = Request(message)
        system = self.system
        system.stages, system._request_id = {}, request.id
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        begin = time.perf_counter()
        try:
            system.seed(request.seed)
            result = system.generate(request)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too: some systems leave with exit(0) on bad input
            self.send(dict(self._describe(error, request.out_dir), type="result", id=request.id))
            return
        seed_used = result.seed_used if result.seed_used is not None else (request.seed if system.seeded else None)
        self.send(
            {"type": "result", "id": request.id, "status": "ok", "video": result.video, "frames_dir": result.frames_dir,
             "fps": result.fps, "seed_used": seed_used, "stages": dict(system.stages, **result.stages),
             "driver_s": time.perf_counter() - begin, "warnings": [str(w) for w in result.warnings],
             "details": result.details, "memory": peak_memory_mb()}
        )  # fmt: skip

    def _describe(self, error: BaseException, folder: str) -> Dict[str, Any]:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        sys.stderr.write(text)
        sys.stderr.flush()
        path = os.path.join(folder, "traceback.txt") if folder and os.path.isdir(folder) else ""
        if path:
            with open(path, "w", encoding="utf-8", errors="replace") as stream:
                stream.write(text)
        code = "exited" if isinstance(error, SystemExit) else classify(error)
        return {"status": "error", "code": code, "exception": type(error).__name__,
                "stage": next(reversed(list(self.system.stages)), "") if self.system.stages else "",
                "message": str(error)[:MAX_MESSAGE], "traceback_file": path}  # fmt: skip


def main(system_class: Any) -> None:
    """Takes standard output for the protocol, points everybody else's at standard error, and serves until told."""
    _die_with_parent()
    outgoing = os.fdopen(os.dup(1), "wb")
    incoming = os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)  # a system that asks a question gets an end of file, not our messages
    block_network()
    Loop(system_class(), incoming, outgoing).run()


def file_sha256(path: str) -> str:
    """SHA-256 of a file, for drivers that record what they opened."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def missing_keys(model: Any, state: Dict[str, Any]) -> List[str]:
    """Names that a torch module wants and a state dict lacks, or holds in another shape."""
    wanted = model.state_dict()
    return [name for name, tensor in wanted.items() if name not in state or state[name].shape != tensor.shape]
