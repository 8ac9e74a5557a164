"""Baselines as methods of the engine: `edtalk`, `edtalk@author`, `edtalk@official` (the file the system writes)."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from baselines import manifest as manifests
from baselines.installed import resolve
from baselines.manifest import Manifest
from baselines.worker import BaselineWorker, WorkerFailure
from floatbench.bench.method import Generated, Method, Request
from floatbench.errors import ClipError, UsageError
from floatbench.files import write_bytes
from floatbench.types import FPS, SAMPLE_RATE

MAX_FAILURES_IN_A_ROW = 3
MAX_BACK_OFF_S = 30.0
TRANSIENT = {"crash": "crashed", "timeout": "timeout", "oom": "out_of_memory", "io": "method_error"}
"""Codes that are tried once more in a fresh worker, and the reason of the row when that fails too."""
CODES = {
    **TRANSIENT,
    "audio_too_short": "too_short",
    "audio_too_long": "too_long",
    "wrong_fps": "rate_mismatch",
    "unsupported_size": "size_mismatch",
    "missing_output": "no_output",
    "exited": "method_error",
    "exception": "method_error",
}


class BaselineMethod(Method):
    """Runs the official code of a system in its own environment.

    Args:
        name: of the baseline.
        preset: of its manifest (`protocol`, `author` ...). `official`, or a preset with `-official` behind it, scores
            the file that the system writes itself; such rows are not ranked.
    """

    def __init__(self, name: str, preset: str = "protocol", profile: str = "", threads: int | None = None) -> None:
        self.name = name if preset == "protocol" else f"{name}@{preset}"
        self._manifest: Manifest = manifests.load(name)
        base, _, capture = preset.rpartition("-") if "-official" in preset else (preset, "", "")
        if preset == "official":
            base, capture = "protocol", "official"
        self._capture = capture or "frames"
        self._preset_name, self._preset = base, self._manifest.preset(base)
        self._profile, self._threads = profile, threads
        self.ranked = self._preset.rank and self._capture == "frames"
        self.uses_seed = self._manifest.seed_hook != "none"
        self._worker: BaselineWorker | None = None
        self._device = "cpu"
        self._failures = 0
        self._broken = ""

    def describe(self) -> dict[str, Any]:
        """Commit, profile, lock, adapter, weights with hashes, licences, marks, shims and how far it was proven.

        Raises DependencyError or DataError, with the install command, when something is missing.
        """
        from floatbench.bench.environment import pick_device

        manifest = self._manifest
        installed = resolve(manifest, pick_device("auto"), self._preset_name, self._profile)
        return {
            "kind": "baseline",
            "repository": manifest.source.repo,
            "commit": manifest.source.commit,
            "adapter_version": manifest.version,
            "adapter_sha256": manifest.adapter_sha256,
            "profile": installed.profile_name,
            "preset": self._preset_name,
            "capture": self._capture,
            "weights": installed.weight_hashes,
            "fabricated": installed.fabricated is not None,
            "licence": f"code {manifest.licence.code}; weights {manifest.licence.weights}",
            "parts": list(manifest.licence.parts),
            "marks": [*self._preset.marks, *(["official file"] if self._capture == "official" else [])],
            "shims": {name: manifest.shims[name] for name in installed.profile.shims},
            "seed_hook": manifest.seed_hook,
            "proven": manifest.proven.furthest,
        }

    def load(self, device: str = "cpu") -> None:
        """Starts the worker; a ClipError `load_failed` carries the system's last lines."""
        import floatbench.media  # noqa: F401 - a second of imports that belongs to loading, not to the first clip

        self._device = device
        installed = resolve(self._manifest, device, self._preset_name, self._profile)
        self._worker = BaselineWorker(installed, self._preset_name, device, self._threads)
        try:
            self._worker.start()
        except WorkerFailure as error:
            self.close()
            raise _clip_error("load_failed", error) from None

    @property
    def ready(self) -> dict[str, Any]:
        """What the worker said when it had loaded: versions, seconds, parameters."""
        return self._worker.ready if self._worker else {}

    def generate(self, request: Request) -> Generated:
        """One clip; failures of the machine are tried once more in a fresh worker, those of the clip never."""
        if self._worker is None:
            raise RuntimeError(f"{self.name}: load() comes before generate()")
        if request.audio is None:
            raise ClipError("no_audio", f"{self.name} needs driving sound")
        self._check_limits(request.n_frames)
        for attempt in (1, 2):
            if self._broken:
                raise ClipError("broken", self._broken)
            try:
                result = self._attempt(self._worker, request, attempt)
                self._failures = 0
                return result
            except WorkerFailure as error:
                again = self._note(error)
                if attempt == 2 or not again:
                    raise _clip_error(CODES.get(error.code, error.code), error) from None
        raise AssertionError("unreachable")

    def _check_limits(self, n_frames: int) -> None:
        limits, seconds = self._manifest.limits, n_frames / FPS
        if n_frames in limits.forbidden_frames:
            raise ClipError("bad_length", f"{self.name} is known to fail on exactly {n_frames} frames")
        if seconds < limits.min_audio_s:
            raise ClipError("too_short", f"{seconds:g} s; {self.name} needs {limits.min_audio_s:g} s")
        if seconds > limits.max_audio_s:
            raise ClipError("too_long", f"{seconds:g} s; {self.name} takes at most {limits.max_audio_s:g} s")

    def _note(self, error: WorkerFailure) -> bool:
        """Counts a failure of the machine, makes room for a fresh worker; True when trying again makes sense."""
        worker = self._worker
        assert worker is not None
        if error.code not in TRANSIENT:
            if error.fatal or not worker.alive:
                worker.close()
            return False
        worker.close()
        self._failures += 1
        if self._failures >= MAX_FAILURES_IN_A_ROW:
            self._broken = (
                f"given up after {self._failures} failures in a row, the last: {error.code} ({error.message})"
            )
            return False
        time.sleep(min(0.25 * 2**self._failures, MAX_BACK_OFF_S))
        return True

    def _attempt(self, worker: BaselineWorker, request: Request, attempt: int) -> Generated:
        if not worker.alive:
            worker.start()
        begin = time.perf_counter()
        folder = worker.clip_folder()
        assert request.audio is not None
        seed = self._preset.seed if self._preset.seed is not None else request.seed >> 32
        try:
            message = stage(folder / "in", request.source, request.audio)
            message |= {
                "out_dir": str(folder / "out"),
                "seed": seed,
                "n_frames": request.n_frames,
                "capture": self._capture,
            }
            staged = time.perf_counter()
            answer = worker.generate(message, request.n_frames / FPS)
            answered = time.perf_counter()
            video, native = self._collect(answer, folder / "out", request)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        overhead = {"stage": staged - begin, "wait": answered - staged - answer["driver_s"]}
        overhead["collect"] = time.perf_counter() - answered
        return Generated(
            video=video,
            timing={str(stage): float(seconds) for stage, seconds in answer.get("stages", {}).items()},
            details={
                "native": native,
                "preset": self._preset_name,
                "profile": worker.ready.get("profile"),
                "seed": answer.get("seed_used"),
                "seeded": answer.get("seed_used") is not None,
                "attempts": attempt,
                "driver_s": round(answer["driver_s"], 4),
                "overhead_s": {name: round(seconds, 4) for name, seconds in overhead.items()},
                "load_s": worker.ready.get("load_s"),
                "memory": answer.get("memory", {}),
                "versions": {key: worker.ready[key] for key in ("python", "torch", "cuda") if key in worker.ready},
                "parameters": worker.ready.get("parameters", {}),
                **({"garbage_lines": worker.garbage_lines} if worker.garbage_lines else {}),
                **({"warnings": answer["warnings"]} if answer.get("warnings") else {}),
                **answer.get("details", {}),
            },
        )

    def _collect(self, answer: dict[str, Any], out: Path, request: Request) -> tuple[Path, dict[str, Any]]:
        """Checks what the worker made and brings it into the request's folder at 25 frames a second."""
        from floatbench.media import write_lossless

        fps = float(answer.get("fps") or 0)
        if self._capture == "official":
            return self._official(answer, out, request)
        frames = read_raw(out)
        check_frames(frames)
        native = {"frames": len(frames), "height": frames.shape[1], "width": frames.shape[2], "fps": fps}
        if abs(fps - self._preset.fps) > 1e-6:
            raise ClipError("rate_mismatch", f"{fps:g} frames a second where preset {self._preset_name} declares "
                            f"{self._preset.fps:g}")  # fmt: skip
        if fps != FPS:
            native["resampled"] = True
            frames = frames[resample_index(len(frames), fps)]
        video = request.folder / f"{request.slug}.mkv"
        write_lossless(video, frames)
        return video, native

    def _official(self, answer: dict[str, Any], out: Path, request: Request) -> tuple[Path, dict[str, Any]]:
        """The file that the system wrote, decoded as it is; one at another rate is resampled where that is declared."""
        from floatbench.media import read_video, write_lossless

        made = Path(answer.get("video") or "")
        if not answer.get("video") or not made.is_file() or not made.resolve().is_relative_to(out.resolve()):
            raise ClipError("no_output", "the system left no video of its own in the clip's folder")
        frames, fps = read_video(made)
        check_frames(frames)
        native = {"frames": len(frames), "height": frames.shape[1], "width": frames.shape[2], "fps": fps}
        video = request.folder / f"{request.slug}{made.suffix}"
        if abs(fps - FPS) > 0.01 and abs(fps - self._preset.fps) <= 0.01:
            native["resampled"] = True
            video = video.with_suffix(".mkv")
            write_lossless(video, frames[resample_index(len(frames), fps)])
        else:
            shutil.copyfile(made, video)
        return video, native

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def stage(folder: Path, source: np.ndarray, audio: np.ndarray) -> dict[str, Any]:
    """Writes the (H, W, 3) picture and the 16 kHz sound as `<hash>.png` and `<hash>.wav`; the hash is the content's.

    Several systems keep results by the stem of a name, some of them cut at its first dot.
    """
    digest = hashlib.sha256(source.tobytes() + np.ascontiguousarray(audio).tobytes()).hexdigest()[:16]
    image, sound = folder / f"{digest}.png", folder / f"{digest}.wav"
    done, data = cv2.imencode(".png", np.ascontiguousarray(source[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ClipError("unreadable", f"a picture of shape {source.shape} cannot be written as PNG")
    write_bytes(image, data.tobytes())
    write_bytes(sound, wav(audio))
    return {"image": str(image), "audio": str(sound)}


def wav(audio: np.ndarray) -> bytes:
    """A plain PCM file of (samples,) int16 mono 16 kHz."""
    import io
    import wave

    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(SAMPLE_RATE)
        stream.writeframes(audio.astype("<i2").tobytes())
    return buffer.getvalue()


def read_raw(out: Path) -> np.ndarray:
    """(T, H, W, 3) uint8 frames that the driver library wrote; ClipError `no_output` when they are not all there."""
    try:
        header = json.loads((out / "frames.json").read_text("utf-8"))
        shape = (int(header["n_frames"]), int(header["height"]), int(header["width"]), 3)
        return np.memmap(out / "frames.raw", np.uint8, "r", shape=shape)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClipError(
            "no_output", f"the system answered, but left no whole frames ({type(error).__name__})"
        ) from None


def check_frames(frames: np.ndarray) -> None:
    """Refuses a clip of which every frame is one colour: what NaN becomes when it is cast to bytes."""
    if all(frame.min() == frame.max() for frame in frames):
        raise ClipError("blank", f"each of the {len(frames)} frames is one colour")


def resample_index(n_frames: int, fps: float) -> np.ndarray:
    """For each frame at 25 a second the frame that is shown at its time, by the rule of pp1: the nearest in time."""
    count = max(1, round(n_frames * FPS / fps))
    return np.minimum((np.arange(count) * fps / FPS + 0.5).astype(np.int64), n_frames - 1)


def _clip_error(reason: str, error: WorkerFailure) -> ClipError:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", reason):  # a driver's own word
        reason = "method_error"
    failed = ClipError(reason, error.message)
    failed.details = {"stderr_tail": error.tail, "code": error.code}
    return failed


def _factory(name: str, preset: str = "protocol") -> Method:
    return BaselineMethod(name, preset)


def _methods() -> dict[str, Callable[..., Method]]:
    return {name: partial(_factory, name) for name in manifests.names()}


METHODS: dict[str, Callable[..., Method]] = _methods()
"""Name -> factory; `name@preset` hands over the preset."""


def method(name: str, preset: str = "protocol", profile: str = "", threads: int | None = None) -> BaselineMethod:
    """A baseline by name, for the commands that are about one; UsageError for an unknown one."""
    if name in manifests.names():
        return BaselineMethod(name, preset, profile, threads)
    manifests.load(name)
    raise UsageError(f"unknown baseline {name!r}", fix="floatbench baseline list")
