"""Looks the environment over: what is there, what is missing, and the command that mends each problem."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from floatbench import __version__, paths
from floatbench.device import cuda_answers
from floatbench.errors import FloatbenchError, UsageError

FOR_DEVELOPERS = ("dev", "browser", "docs")  # extras that no command needs
DEMO_NEEDS = ("python", "packages", "torch", "ffmpeg", "opencv", "home", "disk")
OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
LEAST_FREE = 2 << 30  # bytes the demo and its caches may need


@dataclass(frozen=True)
class Finding:
    """One line of the report: `ok`, `note` (something optional is absent) or `problem`, and what mends it."""

    name: str
    state: Literal["ok", "note", "problem"]
    detail: str
    fix: str = ""


def examine() -> list[Finding]:
    """All checks; none of them uses the network or loads a network's weights."""
    findings: list[Finding] = []
    for name, check in CHECKS.items():
        try:
            findings.extend(check())
        except (FloatbenchError, ImportError, OSError, RuntimeError, ValueError) as error:
            fix = getattr(error, "fix", None) or ""
            findings.append(Finding(name, "problem", " ".join(str(error).split())[:300], fix))
    return findings


def demo_can_run(findings: Iterable[Finding]) -> bool:
    """True when nothing that the offline demo needs is broken."""
    return not any(found.state == "problem" and found.name in DEMO_NEEDS for found in findings)


def report(findings: list[Finding]) -> dict[str, Any]:
    """The findings as a JSON document."""
    return {
        "floatbench": __version__,
        "platform": platform.platform(),
        "demo_can_run": demo_can_run(findings),
        "findings": [asdict(found) for found in findings],
    }


def _python() -> Iterable[Finding]:
    version = platform.python_version()
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    fix = "" if good else f"install Python 3.11, 3.12 or 3.13, then with it: {_install()}"
    yield Finding("python", "ok" if good else "problem", f"{version} ({sys.executable})", fix)


def _packages() -> Iterable[Finding]:
    missing: dict[str, list[str]] = {"": []}  # by extra; "" is the core
    for line in importlib.metadata.requires("floatbench") or []:
        requirement, _, marker = line.partition(";")
        package = re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]
        extra = re.search(r"extra == ['\"]([\w-]+)", marker)
        if not _installed(package):
            missing.setdefault(extra[1] if extra else "", []).append(package)
    if lacking := missing.pop(""):
        yield Finding("packages", "problem", f"missing: {', '.join(lacking)}", _install())
    else:
        yield Finding("packages", "ok", "every package of the core is installed")
    for extra, packages in sorted(missing.items()):
        if extra not in FOR_DEVELOPERS:
            detail = f"the extra {extra!r} is not installed ({', '.join(packages)})"
            yield Finding("extras", "note", detail, _install(extra))


def _install(extra: str = "") -> str:
    """The command that installs floatbench with an extra, as it was installed here: from a clone or a package."""
    extras = f"[{extra}]" if extra else ""
    return f"uv pip install -e '.{extras}'" if paths.in_clone() else f"pip install 'floatbench{extras}'"


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _torch() -> Iterable[Finding]:
    import torch

    yield Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")
    if cuda_answers()[0]:
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield Finding("cuda", "ok", f"CUDA {torch.version.cuda}: {', '.join(names)}")
    elif shutil.which("nvidia-smi"):
        detail = f"the machine has a driver, but torch (built for CUDA {torch.version.cuda}) finds no usable device"
        yield Finding("cuda", "problem", detail, "update the NVIDIA driver, or install a torch built for it")
    else:
        yield Finding("cuda", "note", "no NVIDIA device: everything runs on the CPU")


def _ffmpeg() -> Iterable[Finding]:
    import av

    from floatbench.media.writers import CODECS

    versions = {name: ".".join(map(str, av.library_versions[name])) for name in ("libavcodec", "libavformat")}
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    missing = [f"{codec} ({use})" for codec, use in CODECS.items() if codec not in av.codecs_available]
    if missing:
        fix = "uv pip install --reinstall --only-binary av av"
        yield Finding("ffmpeg", "problem", f"PyAV {av.__version__} lacks {', '.join(missing)}", fix)
    else:
        yield Finding("ffmpeg", "ok", f"PyAV {av.__version__} with {libraries}; {', '.join(CODECS)} present")


def _onnx() -> Iterable[Finding]:
    if not _installed("onnxruntime") and not _installed("onnxruntime-gpu"):
        yield Finding("onnx", "note", "onnxruntime is not installed: no identity scores", _install("metrics"))
        return
    import onnxruntime

    wanted = onnxruntime.get_available_providers()
    used = _providers_in_use(onnxruntime)
    if "CUDAExecutionProvider" in wanted and "CUDAExecutionProvider" not in used:
        detail = f"CUDA is compiled in, but a session falls back to {', '.join(used)}"
        yield Finding("onnx", "problem", detail, "install the CUDA and cuDNN versions that onnxruntime-gpu names")
        return
    yield Finding("onnx", "ok", f"onnxruntime {onnxruntime.__version__}; a session uses {', '.join(used)}")


def _providers_in_use(onnxruntime: Any) -> list[str]:
    """What a real session runs on: the list of available providers names more than works."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    providers = [name for name in onnxruntime.get_available_providers() if name != "TensorrtExecutionProvider"]
    return onnxruntime.InferenceSession(_IDENTITY_MODEL, options, providers=providers).get_providers()


# an ONNX model of one Identity node (IR version 7, opset 13): y = x, one float
_IDENTITY_MODEL = bytes.fromhex(
    "08073a370a100a017812017922084964656e746974791201675a0f0a0178120a"
    "0a08080112040a020801620f0a0179120a0a08080112040a02080142040a00100d"
)


def _opencv() -> Iterable[Finding]:
    names = [name for name in OPENCV if _installed(name)]
    if names == ["opencv-python"]:
        yield Finding("opencv", "ok", f"opencv-python {importlib.metadata.version('opencv-python')}, the only OpenCV")
        return
    others = " ".join(name for name in names if name != "opencv-python")
    fix = f"uv pip uninstall {others} && uv pip install --reinstall opencv-python" if others else _install()
    detail = f"{', '.join(names) or 'no OpenCV'} installed; exactly opencv-python is needed"
    yield Finding("opencv", "problem", detail, fix)


def _weights() -> Iterable[Finding]:
    from floatbench import weights

    for name in weights.names():
        state, fix = weights.state(name), weights.mend(name)
        if state == "verified":
            yield Finding("weights", "ok", f"{name}: verified")
        elif state == "damaged":
            yield Finding("weights", "problem", f"{name}: damaged", fix)
        elif state == "unverified":
            yield Finding("weights", "note", f"{name}: here, not verified yet", fix)
        else:
            yield Finding("weights", "note", f"{name}: {state}; used by {', '.join(weights.entry(name).used_by)}", fix)


def _data() -> Iterable[Finding]:
    from floatbench.data.catalogue import dataset_for
    from floatbench.data.overview import state_counts
    from floatbench.protocol.load import built_in, load_protocol

    for name in built_in():
        protocol = load_protocol(name)
        rows = dataset_for(protocol).availability()
        counts = state_counts(rows)
        fix = next((row.fix for row in rows if row.fix), "")
        ready = f"{name}: {counts['ready']} of {len(rows)} clips ready"
        yield Finding("data", "note" if counts["missing"] else "ok", ready, fix)


def _baselines() -> Iterable[Finding]:
    from floatbench.baselines import manifest as manifests
    from floatbench.baselines.installed import installed_profiles

    for name in manifests.names():
        try:
            manifest = manifests.load(name)
        except UsageError as error:
            yield Finding("baselines", "problem", str(error), error.fix or "")
            continue
        states = installed_profiles(manifest)
        for wrong in filter(None, states.values()):
            yield Finding("baselines", "problem", wrong.what, wrong.fix or "")
        whole = [profile for profile, wrong in states.items() if wrong is None]
        if whole:
            yield Finding("baselines", "ok", f"{name}: installed ({', '.join(whole)})")
        elif not states:
            yield Finding("baselines", "note", f"{name}: not installed", f"floatbench baseline install {name}")


def _home() -> Iterable[Finding]:
    from floatbench.files import write_bytes

    for folder in (paths.home(), paths.weights_dir(), paths.data_dir(), paths.cache_dir()):
        probe = folder / f".doctor-{os.getpid()}"
        try:
            write_bytes(probe, b"")
            probe.unlink()
        except (FloatbenchError, OSError) as error:
            reason = " ".join(str(getattr(error, "what", error)).split())
            yield Finding("home", "problem", reason, "set FLOATBENCH_HOME to a folder that can be written")
            return
    yield Finding("home", "ok", f"{paths.home()} can be written")


def _disk() -> Iterable[Finding]:
    folder = paths.home()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:.1f} GB free at {folder}"
    fix = "" if free > LEAST_FREE else "free space (floatbench cache gc), or set FLOATBENCH_HOME"
    yield Finding("disk", "ok" if free > LEAST_FREE else "problem", detail, fix)


def _network() -> Iterable[Finding]:
    switches = paths.offline_switches()
    mirror = os.environ.get("FLOATBENCH_MIRROR", "")
    detail = f"offline ({', '.join(switches)})" if switches else "downloads are allowed"
    yield Finding("network", "ok", detail + (f"; mirror {mirror}" if mirror else ""))


CHECKS: dict[str, Callable[[], Iterable[Finding]]] = {
    "python": _python,
    "packages": _packages,
    "torch": _torch,
    "ffmpeg": _ffmpeg,
    "opencv": _opencv,
    "onnx": _onnx,
    "home": _home,
    "disk": _disk,
    "network": _network,
    "weights": _weights,
    "data": _data,
    "baselines": _baselines,
}
