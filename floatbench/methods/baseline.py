"""Baselines as methods of the engine: `edtalk`, `edtalk@author`, `edtalk@official` (the file the system writes)."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from floatbench.baselines import manifest as manifests
from floatbench.baselines.installed import Installed, resolve
from floatbench.baselines.manifest import Manifest
from floatbench.baselines.worker import BaselineWorker, WorkerFailure
from floatbench.errors import ClipError, DependencyError, UsageError
from floatbench.methods.baseline_files import check_frames, read_raw, resample_index, stage
from floatbench.methods.baseline_health import Health
from floatbench.methods.method import ClipRequest, Generated, Kind, Method
from floatbench.types import FPS, ClipMedia

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

    kind: Kind = "baseline"

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
        self.decodes = self._capture == "official"
        self.uses_seed = self._manifest.seed_hook != "none"
        self.needs = frozenset(self._manifest.needs)
        self.licence = f"code {self._manifest.licence.code}; weights {self._manifest.licence.weights}"
        self._worker: BaselineWorker | None = None
        self._device = "cpu"
        self._health = Health(batch_knob=self._manifest.memory.batch_knob, settings=self._preset.flags)

    def expect(self, n_clips: int) -> None:
        self._health.n_clips = n_clips

    def _resolve(self, device: str) -> Installed:
        return resolve(self._manifest, device, self._preset_name, self._profile)

    def key(self) -> str:
        """Hash of the clone, adapter, preset, environment and weights: what decides the pixels of a clip."""
        from floatbench.device import pick_device

        installed = self._resolve(pick_device("auto"))
        parts = {
            "adapter": self._manifest.run_sha256(installed.profile_name, self._preset_name),
            "environment": installed.environment_sha256,
            "capture": self._capture,
            "weights": installed.weight_hashes,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """Commit, profile, lock, adapter, weights with hashes, licences, marks, shims and how far it was proven.

        Raises DependencyError or DataError, with the install command, when something is missing.
        """
        from floatbench.device import pick_device

        manifest = self._manifest
        installed = self._resolve(pick_device("auto"))
        return {
            "repository": manifest.source.repo,
            "commit": manifest.source.commit,
            "adapter_version": manifest.version,
            "adapter_sha256": manifest.adapter_sha256,
            "profile": installed.profile_name,
            "environment": installed.environment_sha256,
            "preset": self._preset_name,
            "capture": self._capture,
            "ranked": self.ranked,
            "weights": installed.weight_hashes,
            "fabricated": installed.fabricated is not None,
            "licence": self.licence,
            "parts": list(manifest.licence.parts),
            "marks": self._marks(),
            "shims": {name: manifest.shims[name] for name in installed.profile.shims},
            "seed_hook": manifest.seed_hook,
            "seeded": self.uses_seed,
            "proven": manifest.proven.furthest,
            "trained_on": list(manifest.trained_on),
            "trained_with": list(manifest.trained_with),
        }

    def _marks(self) -> list[str]:
        """What is printed beside the row: the preset's own marks, the official file, a system that no seed reaches."""
        marks = list(self._preset.marks)
        if self._preset.fps != FPS:
            marks.append(f"{self._preset.fps:g} fps resampled")
        if self._capture == "official":
            marks.append("official file")
        if not self.uses_seed:
            marks.append("unseeded" if self._manifest.stochastic else "deterministic")
        return list(dict.fromkeys(marks))

    def load(self, device: str = "cpu") -> None:
        """Starts the worker; a ClipError `load_failed` carries the system's last lines."""
        import floatbench.media  # noqa: F401 - a second of imports that belongs to loading, not to the first clip

        self._device = device
        installed = self._resolve(device)
        self._check_profile(installed.profile_name)
        self._worker = BaselineWorker(installed, self._preset_name, device, self._threads)
        try:
            self._worker.start()
        except WorkerFailure as error:
            self.close()
            raise _clip_error("load_failed", error) from None

    def _check_profile(self, chosen: str) -> None:
        """Refuses a device that takes another profile than the record of the run names."""
        recorded = self.describe()["profile"]
        if chosen != recorded:
            variable = f"FLOATBENCH_PROFILE_{self._manifest.id.upper().replace('-', '_')}"
            raise DependencyError(
                f"{self.name}: the device {self._device} takes profile {chosen}, the record says {recorded}",
                fix=f"{variable}={chosen}",
            )

    @property
    def ready(self) -> dict[str, Any]:
        """What the worker said when it had loaded: versions, seconds, parameters."""
        return self._worker.ready if self._worker else {}

    def generate(self, request: ClipRequest) -> Generated:
        """One clip; failures of the machine are tried once more in a fresh worker, those of the clip never."""
        if self._worker is None:
            raise RuntimeError(f"{self.name}: load() comes before generate()")
        if request.audio is None:
            raise ClipError("no_audio", f"{self.name} needs driving sound")
        if request.source_video is None and "source_video" in self.needs:
            raise ClipError("no_source_video", f"{self.name} needs a source video")
        self._check_limits(request.n_frames)
        for attempt in (1, 2):
            if self._health.broken:
                raise ClipError("broken", self._health.broken)
            try:
                result = self._attempt(self._worker, request, attempt)
                self._health.succeeded()
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
        if not self._health.failed(error.code, error.message):
            return False
        worker.changed = dict(self._health.smaller)
        time.sleep(self._health.back_off_s)
        return True

    def _attempt(self, worker: BaselineWorker, request: ClipRequest, attempt: int) -> Generated:
        if not worker.alive:
            worker.start()
        begin = time.perf_counter()
        folder = worker.clip_folder()
        assert request.audio is not None
        seed = self._preset.seed if self._preset.seed is not None else request.seed >> 32
        try:
            message = stage(folder / "in", request.source, request.audio, request.source_video if self.needs else None)
            message |= {
                "out_dir": str(folder / "out"),
                "seed": seed,
                "n_frames": request.n_frames,
                "capture": self._capture,
            }
            staged = time.perf_counter()
            answer = worker.generate(message, request.n_frames / FPS)
            answered = time.perf_counter()
            made = self._collect(answer, folder / "out", request)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        overhead = {"stage": staged - begin, "wait": answered - staged - answer["driver_s"]}
        overhead["collect"] = time.perf_counter() - answered
        return replace(
            made,
            timing={str(stage): float(seconds) for stage, seconds in answer.get("stages", {}).items()},
            details={
                **made.details,
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
                **({"smaller_batch": dict(self._health.smaller)} if self._health.smaller else {}),
                **({"garbage_lines": worker.garbage_lines} if worker.garbage_lines else {}),
                **({"warnings": answer["warnings"]} if answer.get("warnings") else {}),
                **answer.get("details", {}),
            },
        )

    def _collect(self, answer: dict[str, Any], out: Path, request: ClipRequest) -> Generated:
        """Checks what the worker made and brings it to 25 frames a second, in memory or in the request's folder.

        The details say what the system wrote in numbers (`native`).
        """
        from floatbench.media import read_video

        made = None
        if self._capture == "official":
            made = _own_file(answer, out)
            frames, fps = read_video(made, request.spec)
        else:
            frames, fps = read_raw(out), float(answer.get("fps") or 0)
        check_frames(frames)
        native = {"frames": len(frames), "height": frames.shape[1], "width": frames.shape[2], "fps": fps}
        if abs(fps - self._preset.fps) > 0.01:
            raise ClipError("rate_mismatch", f"{fps:g} frames a second where preset {self._preset_name} declares "
                            f"{self._preset.fps:g}")  # fmt: skip
        return _kept(frames, fps, made, request, native)

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def _own_file(answer: dict[str, Any], out: Path) -> Path:
    """The file that the system wrote itself, in the clip's own folder."""
    made = Path(answer.get("video") or "")
    if not answer.get("video") or not made.is_file() or not made.resolve().is_relative_to(out.resolve()):
        raise ClipError("no_output", "the system left no video of its own in the clip's folder")
    return made


def _kept(frames: np.ndarray, fps: float, made: Path | None, request: ClipRequest, native: dict[str, Any]) -> Generated:
    """What is scored, and the original beside it where the frames had to be resampled by time.

    Args:
        made: the system's own file, where that is kept; None where it handed over `frames`.
    """
    from floatbench.media import write_lossless

    own = request.folder / f"{request.slug}{made.suffix if made else '.mkv'}"
    resampled = fps != FPS if made is None else abs(fps - FPS) > 0.01
    if resampled:
        native["resampled"] = True
        own = own.with_stem(f"{own.stem}-original")
    if made is not None:
        shutil.copyfile(made, own)
    elif resampled:
        write_lossless(own, frames, fps)
    scored = frames[resample_index(len(frames), fps)] if resampled else frames
    original = own if resampled else None
    video = None if resampled or made is None else own
    if request.in_memory(*scored.shape[:3]):
        media = ClipMedia(np.array(scored) if made is None else scored)  # the driver's frames lie in a file that goes
        return Generated(video=video, media=media, original=original, details={"native": native})
    if video is None:
        video = request.folder / f"{request.slug}.mkv"
        write_lossless(video, scored)
    return Generated(video=video, original=original, details={"native": native})


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
