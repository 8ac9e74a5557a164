"""Runs the numerical tests as other processors and Pythons would: `make test-portable`.

A number that holds only on the kernels of one processor is found here, since the libraries can be told to take those of
an older one: torch's own kernels by `ATEN_CPU_CAPABILITY`, oneDNN's by `ONEDNN_MAX_CPU_ISA`, MKL's by
`MKL_ENABLE_INSTRUCTIONS`. Each setting runs in a process of its own; other Pythons in an environment of their own.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHOSEN = (
    *(f"tests/metrics/test_{name}.py" for name in ("lse", "frechet", "fvd", "fid")),
    *(f"tests/model/test_{name}.py" for name in ("checkpoint", "fast_decoder", "golden", "autoencoder", "transformer")),
    "tests/model/test_wav2vec2.py",
    "tests/sampling/test_sampler.py",
)
"""Where the longest sums and the tightest tolerances are: about a minute a setting on two cores."""
NUMERICAL = ("tests/model", "tests/sampling", "tests/metrics", "tests/media", "tests/animate")
"""Wherever floating-point numbers are compared; the rest of the suite does not depend on kernels."""
EVERY_PYTHON = (*NUMERICAL, "tests/protocol", "tests/weights", "tests/reports", "tests/engine", "tests/cli")
KERNELS: dict[str, dict[str, str]] = {
    "default kernels": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
    "AVX2 kernels": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "AVX-512 in oneDNN only": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "this processor's": {},
}
PYTHONS = ("3.11", "3.12", "3.13")


@dataclass(frozen=True)
class Setting:
    """One line of the matrix: an interpreter, the variables that choose kernels, and the tests."""

    name: str
    python: Path
    variables: dict[str, str]
    tests: tuple[str, ...]
    arguments: tuple[str, ...] = field(default=())


def kernel_settings(python: Path, tests: tuple[str, ...]) -> list[Setting]:
    """Every set of kernels with one and with two threads."""
    return [
        Setting(f"{name}, {threads} thread{'s' if threads > 1 else ''}", python, variables | _threads(threads), tests)
        for name, variables in KERNELS.items()
        for threads in (1, 2)
    ]


def _threads(count: int) -> dict[str, str]:
    return {name: str(count) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def _pyenv_versions() -> dict[str, str]:
    """Lets the shims of pyenv, where it is there, name every Python it has: uv asks them."""
    pyenv = shutil.which("pyenv")
    listed = subprocess.run([pyenv, "versions", "--bare"], capture_output=True, text=True).stdout if pyenv else ""
    return {"PYENV_VERSION": ":".join(listed.split())} if listed else {}


def python_setting(version: str, tests: tuple[str, ...]) -> Setting | None:
    """The tests under another Python, in `.venv-<version>`; None where that Python is not on this machine."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    found = subprocess.run(
        [uv, "python", "find", "--no-python-downloads", "--system", version],
        env=os.environ | _pyenv_versions(), capture_output=True, text=True,
    )  # fmt: skip
    if found.returncode:
        return None
    folder = ROOT / f".venv-{version}"
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making {folder.name}", file=sys.stderr)
        subprocess.run([uv, "venv", "--quiet", "--python", found.stdout.strip(), folder], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", python, "--constraint", ROOT / "constraints.txt"]
    subprocess.run([*install, "--editable", f"{ROOT}[dev]"], check=True)
    return Setting(f"Python {version}", python, _threads(1), tests)


def run(setting: Setting) -> tuple[str, float, list[str]]:
    """pytest's counts, seconds, and the names of what failed."""
    start = time.monotonic()
    done = subprocess.run(
        [setting.python, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", *setting.tests, *setting.arguments],
        cwd=ROOT, env=os.environ | setting.variables, capture_output=True, text=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    counts = next((line for line in reversed(lines) if re.search(r"\d+ (passed|failed|error)", line)), "no test ran")
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    if done.returncode and not failed:
        failed = [f"pytest ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}"]
    return re.sub(r" in [\d.]+s.*", "", counts), time.monotonic() - start, failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", help="files or folders; default: a chosen part of a minute a setting")
    parser.add_argument("--all", action="store_true", help=f"{' '.join(NUMERICAL)}; more on other Pythons")
    parser.add_argument("--only", default="", help="settings whose name holds this text")
    parser.add_argument("--no-pythons", action="store_true", help="kernels only")
    given = parser.parse_args()
    settings = kernel_settings(Path(sys.executable), tuple(given.tests) or (NUMERICAL if given.all else CHOSEN))
    if not given.no_pythons:
        own = f"{sys.version_info.major}.{sys.version_info.minor}"
        for version in PYTHONS:
            if version == own:
                continue
            found = python_setting(version, tuple(given.tests) or (EVERY_PYTHON if given.all else CHOSEN))
            if found is None:
                print(f"Python {version}: not on this machine, left out", file=sys.stderr)
            else:
                settings.append(found)
    red = 0
    for setting in (s for s in settings if given.only in s.name):
        counts, seconds, failed = run(setting)
        red += bool(failed)
        print(f"{setting.name:40} {counts:45} {seconds:6.0f} s", flush=True)
        for line in failed:
            print(f"    {line}", flush=True)
    return 1 if red else 0


if __name__ == "__main__":
    sys.exit(main())
