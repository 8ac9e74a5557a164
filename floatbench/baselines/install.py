"""Installs a baseline: licence, clone, environment, weights; each step is whole or absent and can be repeated."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from floatbench import paths
from floatbench.baselines.installed import (
    InstallRecord,
    check_source,
    check_weights,
    git,
    install_command,
    interpreter,
    lock_sha256,
    read_marker,
    record_path,
    root,
    weights_root,
)
from floatbench.baselines.manifest import Manifest, Profile
from floatbench.baselines.workspace import copy_driver, export_commit
from floatbench.errors import DataError, DependencyError, UsageError
from floatbench.files import write_bytes, write_error, write_json
from floatbench.processes import die_with
from floatbench.progress import NullProgress, Progress
from floatbench.weights.download import download

DONE = "floatbench-installed.json"


@dataclass(frozen=True)
class Choices:
    """What a user may put in place of a step.

    Attributes:
        source: an existing clone that holds the pinned commit.
        weights: an existing folder of weights in the layout of the checkout.
        environment: an existing environment (conda, container), used as it is.
        python: the interpreter that the environment is made from.
        fabricate: "tiny" or "full": seeded random weights in place of the download; nothing made with them is scored.
        seed: of the fabricated weights.
        reinstall: build the environment again.
    """

    source: Path | None = None
    weights: Path | None = None
    environment: Path | None = None
    python: str = ""
    fabricate: str = ""
    seed: int = 0
    reinstall: bool = False


def install(manifest: Manifest, profile: str, choices: Choices, progress: Progress | None = None) -> InstallRecord:
    """Brings every part of one profile in place and writes its record last.

    Raises DependencyError (uv, interpreter, compiler, disk), DataError (repository, weights), UsageError (choices).
    """
    progress = progress or NullProgress()
    described = manifest.profile(profile)
    with _guard(manifest):
        record_path(manifest, profile).unlink(missing_ok=True)
        source = _source(manifest, choices, progress)
        environment = _environment(manifest, profile, described, choices, progress)
        version = check_interpreter(manifest, environment)
        weights = _weights(manifest, source, environment, choices, progress)
        record = InstallRecord(
            profile=profile,
            commit=manifest.source.commit,
            lock_sha256=lock_sha256(manifest, profile),
            environment=str(environment),
            external_environment=choices.environment is not None,
            source=str(source),
            weights=str(weights),
            python=version,
        )
        write_json(record_path(manifest, profile), record.model_dump())
    return record


@contextmanager
def _guard(manifest: Manifest) -> Iterator[None]:
    folder = root(manifest)
    fix = "set FLOATBENCH_CACHE to a folder that can be written"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".install.lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise DependencyError(f"{manifest.id} is being installed by another process", fix="wait for it") from None
    except OSError as error:
        raise DependencyError(f"{folder} cannot be written: {error.strerror}", fix=fix) from None
    try:
        yield
    except OSError as error:
        raise write_error(error, folder) from error
    finally:
        lock.release()


# --- licence -----------------------------------------------------------------------------------------------------


def licence_text(manifest: Manifest) -> str:
    """What a user must know before anything is downloaded."""
    licence = manifest.licence
    lines = [
        f"{manifest.title}: {manifest.source.url} at {manifest.source.commit[:12]}",
        f"  code     {licence.code}",
        f"  weights  {licence.weights}",
        *(f"  part     {part}" for part in licence.parts),
        f"  commercial use: {'allowed by these terms' if licence.commercial else 'not allowed, or not clear'}",
    ]
    return "\n".join(lines)


def licence_accepted(manifest: Manifest) -> bool:
    """True when this very text was accepted before, or nothing needs to be."""
    if not manifest.licence.accept:
        return True
    try:
        return (root(manifest) / "licence.sha256").read_text() == _digest(licence_text(manifest))
    except OSError:
        return False


def accept_licence(manifest: Manifest) -> None:
    """Remembers the acceptance, so that it is asked once."""
    try:
        write_bytes(root(manifest) / "licence.sha256", _digest(licence_text(manifest)).encode())
    except DependencyError as error:
        raise DependencyError(error.what, fix="set FLOATBENCH_CACHE to a folder that can be written") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# --- source ------------------------------------------------------------------------------------------------------


def _source(manifest: Manifest, choices: Choices, progress: Progress) -> Path:
    given = choices.source or (Path(os.environ[manifest.variable]) if os.environ.get(manifest.variable) else None)
    if given is not None:
        source = paths.expanded(given).absolute()
        check_source(manifest, source)
        return source
    source = root(manifest) / "src"
    if source.exists():
        try:
            check_source(manifest, source)
            return source
        except DataError:
            progress.note(f"{manifest.id}: the clone is of another commit or unfinished; cloning again")
            shutil.rmtree(source)
    _clone(manifest, source, progress)
    return source


def _clone(manifest: Manifest, source: Path, progress: Progress) -> None:
    """Fetches the pinned commit alone; the folder gets its name when the commit is whole."""
    fix = f"{install_command(manifest)} --source DIR   (a clone that holds {manifest.source.commit[:12]})"
    if paths.offline() and "://" in manifest.source.url and not manifest.source.url.startswith("file:"):
        raise DataError(f"{manifest.id} would have to be cloned, and --offline forbids the network", fix=fix)
    partial = source.with_name("src.partial")
    shutil.rmtree(partial, ignore_errors=True)
    progress.note(f"{manifest.id}: fetching {manifest.source.commit[:12]} from {manifest.source.url}")
    try:
        git(["init", "--quiet", partial])
        git(["-C", partial, "fetch", "--quiet", "--depth", "1", manifest.source.url, manifest.source.commit])
        git(["-C", partial, "update-ref", "HEAD", manifest.source.commit])
        check_source(manifest, partial)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if "No space left" in error.stderr:
            raise DependencyError(f"the disk is full: {source} could not be written", fix="free space") from None
        raise DataError(
            f"{manifest.source.url} does not serve commit {manifest.source.commit[:12]}, moved or rewritten?: "
            f"{_last(error.stderr)}",
            fix=fix,
        ) from None
    except subprocess.TimeoutExpired:
        raise DataError(f"{manifest.source.url} did not answer in time", fix=fix) from None
    partial.rename(source)


# --- environment -------------------------------------------------------------------------------------------------


def find_uv() -> str:
    """The uv of the environment that floatbench runs in, else one on PATH."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise DependencyError("uv is not in this environment", fix="pip install uv")
    return found


def _environment(
    manifest: Manifest, name: str, profile: Profile, choices: Choices, progress: Progress
) -> Path:  # fmt: skip
    if choices.environment is not None:
        environment = paths.expanded(choices.environment).absolute()
        if not interpreter(environment).exists():
            raise UsageError(f"{environment} holds no bin/python", fix="--environment with the folder of one")
        return environment
    digest = lock_sha256(manifest, name)
    environment = root(manifest) / f"env-{name}"
    done = environment / DONE
    stamp = f"{digest} {choices.python or profile.python}"
    whole = done.exists() and done.read_text() == stamp and interpreter(environment).exists()
    if whole and not choices.reinstall:
        return environment
    shutil.rmtree(environment, ignore_errors=True)  # an interrupted or outdated one; uv's cache keeps the wheels
    progress.note(f"{manifest.id}: making the {name} environment (Python {profile.python})")
    uv = find_uv()
    python = choices.python or find_python(profile.python)
    _uv([uv, "venv", "--quiet", "--python", python, str(environment)], manifest, profile, progress)
    lock = str(manifest.folder / profile.lock)
    _uv(
        [uv, "pip", "sync", "--quiet", "--require-hashes", "--allow-empty-requirements", *profile.uv_options,
         "--python", str(interpreter(environment)), lock],
        manifest, profile, progress,
    )  # fmt: skip
    write_bytes(done, stamp.encode())
    return environment


def find_python(version: str) -> str:
    """A path of that version where uv does not look (pyenv), else the version itself for uv to find or bring."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")) / "versions"  # noqa: PTH111 - never raises
    found = sorted(pyenv.glob(f"{version}.*/bin/python")) if version.count(".") == 1 else []
    return str(found[-1]) if found else version


def _uv(command: Sequence[str], manifest: Manifest, profile: Profile, progress: Progress) -> None:
    environment = {**os.environ, "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
    if paths.offline():
        environment["UV_OFFLINE"] = "1"
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, preexec_fn=partial(die_with, os.getpid())
    )  # a killed install leaves no uv behind that would fill the folder of the next one
    if done.returncode == 0:
        return
    for line in done.stderr.splitlines()[-40:]:
        progress.note(line)
    raise _uv_error(manifest, profile, done.stderr)


def _uv_error(manifest: Manifest, profile: Profile, stderr: str) -> DependencyError:
    """One line for the usual ends of an installation."""
    text = stderr.lower()
    if "no interpreter found" in text or "no download found" in text or "failed to inspect python" in text:
        return DependencyError(
            f"{manifest.id}: Python {profile.python} is not on this machine and uv could not bring it",
            fix=f"{install_command(manifest)} --python /path/to/python{profile.python}",
        )
    if "no space left" in text:
        return DependencyError(f"{manifest.id}: the disk is full", fix="free space, then run the same command again")
    if "read-only file system" in text or "permission denied" in text:
        what = f"{manifest.id}: uv may not write: {_last(stderr)}"
        return DependencyError(what, fix="set UV_CACHE_DIR (and FLOATBENCH_CACHE) to folders that can be written")
    if "hash mismatch" in text:
        return DependencyError(f"{manifest.id}: a package is not the locked one: {_last(stderr)}", fix="do not use it")
    if any(sign in text for sign in ("gcc", "unable to find a compatible visual", "cc1plus", "error: command 'c")):
        return DependencyError(f"{manifest.id}: a package needs a compiler", fix="apt-get install build-essential")
    return DependencyError(
        f"{manifest.id}: uv could not make the environment: {_last(stderr)}",
        fix=f"floatbench baseline show {manifest.id} --container   (or --environment DIR with one of your own)",
    )


def check_interpreter(manifest: Manifest, environment: Path) -> str:
    """The version of an environment's python; DependencyError when it does not start or is too old for a driver."""
    command = [str(interpreter(environment)), "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"]
    try:
        version = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise DependencyError(f"{manifest.id}: {command[0]} does not start: {error}") from None
    if _numbers(version) < _numbers(manifest.min_python):
        raise DependencyError(f"{manifest.id}: Python {version} is older than {manifest.min_python}")
    return version


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


# --- weights -----------------------------------------------------------------------------------------------------


def _weights(manifest: Manifest, source: Path, environment: Path, choices: Choices, progress: Progress) -> Path:
    if choices.weights is not None:
        weights = paths.expanded(choices.weights).absolute()
        if not weights.is_dir():
            raise UsageError(f"{weights} is no folder", fix="--weights with a folder in the layout of the checkout")
        if read_marker(weights) is None:
            check_weights(manifest, weights, "protocol")
        return weights
    if choices.fabricate:
        return fabricate(manifest, source, environment, choices.fabricate, choices.seed, progress)
    weights = weights_root(manifest)
    for weight in manifest.weights:
        target = weights / weight.path
        if target.exists() or weight.optional:
            continue
        label = f"{manifest.id} {weight.path}"
        fix = f"{install_command(manifest)} --weights DIR   (or --fabricate tiny to try the code)"
        if not weight.origins:
            raise DataError(f"{label} has no address: {weight.note or 'see the notes of the system'}", fix=fix)
        download(weight.origins, target, weight.sha256, weight.bytes, label, fix, progress)
    weights.mkdir(parents=True, exist_ok=True)
    check_weights(manifest, weights, "protocol")
    return weights


def fabricate(
    manifest: Manifest, source: Path, environment: Path, size: str, seed: int, progress: Progress | None = None
) -> Path:
    """Seeded random weights, made by the official classes under the official names; the marker is written last."""
    if size not in ("tiny", "full"):
        raise UsageError(f"--fabricate {size}: unknown size", fix="--fabricate tiny|full")
    if not (manifest.folder / "fabricate.py").is_file():
        raise UsageError(f"{manifest.id} has no fabricator", fix=f"{install_command(manifest)} --weights DIR")
    weights = paths.weights_dir() / "baselines" / f"{manifest.id}-fabricated-{size}-{seed}"
    if read_marker(weights) is not None:
        return weights
    if progress:
        progress.note(f"{manifest.id}: fabricating {size} weights with seed {seed}")
    work = root(manifest) / "fabricate"
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(weights, ignore_errors=True)
    (work / "driver").mkdir(parents=True)
    try:
        copy_driver(manifest, work / "driver")
        export_commit(manifest, source, work / "checkout")
        _run_fabricator(manifest, work, interpreter(environment), weights, size, seed)
    except BaseException:
        shutil.rmtree(weights, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return weights


def _run_fabricator(manifest: Manifest, work: Path, python: Path, weights: Path, size: str, seed: int) -> None:
    checkout = work / "checkout"
    variables = {
        **os.environ,
        "HOME": str(work),
        "PYTHONPATH": os.pathsep.join(str((checkout / part).resolve()) for part in manifest.source.python_path),
        "PYTHONNOUSERSITE": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
    command = [
        str(python), str(work / "driver" / "fabricate.py"), str(checkout), str(weights),
        "--size", size, "--seed", str(seed),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=checkout, env=variables, capture_output=True, text=True, preexec_fn=partial(die_with, os.getpid())
    )
    if "no space left" in done.stderr.lower():
        raise DependencyError(f"{manifest.id}: the disk is full", fix="free space, then run the same command again")
    if done.returncode != 0 or read_marker(weights) is None:
        raise DependencyError(f"{manifest.id}: the fabricator failed: {_last(done.stderr) or 'it left no marker'}")


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


# --- container ---------------------------------------------------------------------------------------------------


def container_recipe(manifest: Manifest, profile: str, kind: str = "docker") -> str:
    """A Dockerfile or Apptainer definition around the same lock, for clusters and archives; run from the folder."""
    described = manifest.profile(profile)
    packages = " ".join(["git", "libgl1", "libglib2.0-0", *described.apt])
    steps = [
        f"apt-get update && apt-get install -y --no-install-recommends {packages}",
        "pip install uv",
        f"uv venv --python {described.python} /opt/env",
        f"uv pip sync --require-hashes --python /opt/env/bin/python {' '.join(described.uv_options)} /opt/lock.txt",
        f"git init /opt/src && git -C /opt/src fetch --depth 1 {manifest.source.url} {manifest.source.commit}"
        f" && git -C /opt/src update-ref HEAD {manifest.source.commit}",
    ]
    steps = [" ".join(step.split()) for step in steps]
    use = f"floatbench baseline install {manifest.id} --profile {profile} --environment /opt/env --source /opt/src"
    return _RECIPES[kind](described.lock, steps, use)


def _docker(lock: str, steps: list[str], use: str) -> str:
    runs = "\n".join(f"RUN {step}" for step in steps)
    head = f"FROM python:3.11-slim\nCOPY {lock} /opt/lock.txt"
    return f"{head}\n{runs}\n# inside, with floatbench installed beside it:\n# {use}\n"


def _apptainer(lock: str, steps: list[str], use: str) -> str:
    runs = "\n".join(f"    {step}" for step in steps)
    return (
        f"Bootstrap: docker\nFrom: python:3.11-slim\n\n%files\n    {lock} /opt/lock.txt\n\n%post\n{runs}\n\n"
        f"%help\n    inside, with floatbench installed beside it: {use}\n"
    )


_RECIPES: dict[str, Callable[[str, list[str], str], str]] = {"docker": _docker, "apptainer": _apptainer}
