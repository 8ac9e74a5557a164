"""What is installed of a baseline on this machine, and the checks before it is started."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from floatbench import paths
from floatbench.baselines.manifest import MARKER, Manifest, Profile
from floatbench.errors import DataError, DependencyError
from floatbench.files import file_sha256, write_json
from floatbench.records import RecordFile, read_record


class InstallRecord(RecordFile):
    """One installed profile: where its parts lie. Written last, so that an interrupted install has none."""

    profile: str
    commit: str
    lock_sha256: str
    environment: str
    external_environment: bool = False
    source: str
    weights: str
    python: str = ""  # version


@dataclass(frozen=True)
class Installed:
    """A baseline that can be started: interpreter, clone, weights with hashes, and a hash of the environment.

    `environment_sha256` is that of the lock, or of names and versions of all packages of an environment of one's own.
    """

    manifest: Manifest
    profile_name: str
    python: Path
    source: Path
    weights: Path
    fabricated: dict[str, Any] | None
    weight_hashes: dict[str, str] = field(default_factory=dict)
    environment_sha256: str = ""

    @property
    def profile(self) -> Profile:
        return self.manifest.profiles[self.profile_name]


def root(manifest: Manifest) -> Path:
    """Folder of clone, environments and install records of a baseline."""
    return paths.cache_dir() / "baselines" / manifest.id


def weights_root(manifest: Manifest) -> Path:
    """Folder of downloaded weights, in the layout of the checkout."""
    return paths.weights_dir() / "baselines" / manifest.id


def record_path(manifest: Manifest, profile: str) -> Path:
    return root(manifest) / f"install-{profile}.json"


def install_record(manifest: Manifest, profile: str) -> InstallRecord | None:
    """The record of an installed profile; None when it was never finished."""
    try:
        return read_record(record_path(manifest, profile), InstallRecord)
    except DataError:
        return None


def interpreter(environment: Path) -> Path:
    """The python of an environment folder."""
    return environment / "bin" / "python"


def install_command(manifest: Manifest, profile: str = "") -> str:
    """The command that errors recommend."""
    return f"floatbench baseline install {manifest.id}" + (f" --profile {profile}" if profile else "")


def lock_sha256(manifest: Manifest, profile: str) -> str:
    """Hash of a profile's lock file; DataError when the file is not there."""
    path = manifest.folder / manifest.profile(profile).lock
    if not path.is_file():
        raise DataError(f"{manifest.id}: the lock {path.name} of profile {profile} is missing", fix="git checkout it")
    return file_sha256(path)


def fits_card(profile: Profile, sm: float) -> bool:
    """True when the profile's torch holds code for a card of that compute capability."""
    return profile.sm_max > 0 and profile.sm_min <= sm <= profile.sm_max


def card(device: str) -> float | None:
    """Compute capability of the CUDA device, None for the CPU."""
    if not device.startswith("cuda"):
        return None
    import torch

    major, minor = torch.cuda.get_device_capability(torch.device(device))
    return major + minor / 10


def choose_profile(manifest: Manifest, device: str, wanted: str = "") -> str:
    """The installed profile for a device: `FLOATBENCH_PROFILE_<NAME>` or `wanted`, else `modern` first, never by trial.

    Raises DependencyError when none is installed, or none that is installed has code for the card.
    """
    sm = card(device)
    wanted = wanted or os.environ.get(f"FLOATBENCH_PROFILE_{manifest.id.upper().replace('-', '_')}", "")
    names = [wanted] if wanted else sorted(manifest.profiles, key=lambda name: (name != "modern", name))
    suitable = [name for name in names if _suits(manifest.profile(name), sm)]
    if not suitable:
        where = "the CPU" if sm is None else f"a card of compute capability {sm:g}"
        raise DependencyError(
            f"{manifest.id}: {f'profile {wanted} does not run' if wanted else 'no profile runs'} on {where}",
            fix=f"floatbench baseline show {manifest.id}",
        )
    for name in suitable:
        if install_record(manifest, name) is not None:
            return name
    raise DependencyError(f"{manifest.id} is not installed", fix=install_command(manifest, suitable[0]))


def _suits(profile: Profile, sm: float | None) -> bool:
    return profile.cpu_ok if sm is None else fits_card(profile, sm)


def resolve(manifest: Manifest, device: str = "cpu", preset: str = "protocol", profile: str = "") -> Installed:
    """Everything that a worker needs, checked: record, lock, clone at the pinned commit, weights by their hashes.

    Raises DependencyError (environment, card) or DataError (clone, weights), each with the command that mends it.
    """
    name = choose_profile(manifest, device, profile)
    record = install_record(manifest, name)
    assert record is not None  # choose_profile returns installed ones only
    source = check_parts(manifest, name, record)
    python, weights = interpreter(Path(record.environment)), Path(record.weights)
    marker = read_marker(weights)
    hashes = hash_all(weights) if marker is not None else check_weights(manifest, weights, preset)
    environment = packages_sha256(Path(record.environment)) if record.external_environment else record.lock_sha256
    return Installed(manifest, name, python, source, weights, marker, hashes, environment)


def check_parts(manifest: Manifest, name: str, record: InstallRecord) -> Path:
    """Whether an installed profile is still where its record says, without hashing a weight; returns the clone.

    Raises DependencyError (environment, lock) or DataError (clone, weights), each with the command that mends it.
    """
    fix = install_command(manifest, name)
    if not interpreter(Path(record.environment)).exists():
        raise DependencyError(f"{manifest.id}: the environment of profile {name} is gone", fix=fix)
    if not record.external_environment and record.lock_sha256 != lock_sha256(manifest, name):
        raise DependencyError(f"{manifest.id}: the lock of profile {name} has changed since the install", fix=fix)
    source = Path(os.environ.get(manifest.variable) or record.source).absolute()
    check_source(manifest, source)
    weights = Path(record.weights)
    if not weights.is_dir():
        raise DataError(f"{manifest.id}: the folder of weights {weights} is gone", fix=fix)
    if read_marker(weights) is None:
        for weight in manifest.needed("protocol"):
            if not (weights / weight.path).is_file():
                raise DataError(f"{manifest.id}: weight file {weight.path} is missing", fix=fix)
    return source


def installed_profiles(manifest: Manifest) -> dict[str, DependencyError | DataError | None]:
    """Profiles that were installed here -> None where all of their parts are still there, else what is wrong."""
    found: dict[str, DependencyError | DataError | None] = {}
    for name in manifest.profiles:
        record = install_record(manifest, name)
        if record is None:
            continue
        try:
            check_parts(manifest, name, record)
            found[name] = None
        except (DependencyError, DataError) as error:
            found[name] = error
    return found


def packages_sha256(environment: Path) -> str:
    """One hash over names and versions of the packages in an environment folder."""
    found = sorted(path.name for path in environment.glob("lib/python*/site-packages/*.dist-info"))
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def hash_all(weights: Path) -> dict[str, str]:
    """Path -> SHA-256 of every file in a folder of fabricated weights, whose content nobody promised."""
    from floatbench.weights.file_hashes import FileHashes

    hashes = FileHashes()
    files = sorted(path for path in weights.rglob("*") if path.is_file())
    found = {path.relative_to(weights).as_posix(): hashes.sha256(path) for path in files}
    hashes.save()
    return found


def git(arguments: Sequence[str | Path], timeout: float = 1800, **variables: str) -> str:
    """Runs git without prompts and hooks; the CalledProcessError holds its stderr."""
    command = ["git", "-c", "safe.directory=*", "-c", "core.hooksPath=/dev/null", *map(str, arguments)]
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C", **variables}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=True, env=environment)
    except FileNotFoundError:
        raise DependencyError("git is not on this machine", fix="install git") from None
    return done.stdout.strip()


def check_source(manifest: Manifest, source: Path) -> None:
    """The clone must hold the pinned commit with the pinned tree. What lies in its work tree does not matter.

    Workers take their files from the commit, so that local changes never enter a result.
    """
    fix = f"{install_command(manifest)} --source DIR   (a clone that holds {manifest.source.commit[:12]})"
    if source == root(manifest) / "src":  # one of our own is simply made again
        fix = install_command(manifest)
    try:
        tree = git(["-C", source, "rev-parse", "--verify", f"{manifest.source.commit}^{{tree}}"])
    except (subprocess.SubprocessError, OSError):
        raise DataError(
            f"{manifest.id}: {source} is no git clone that holds commit {manifest.source.commit[:12]}", fix=fix
        ) from None
    if manifest.source.tree_sha and tree != manifest.source.tree_sha:
        raise DataError(f"{manifest.id}: the tree of the pinned commit is {tree}, not the manifest's", fix=fix)


def read_marker(weights: Path) -> dict[str, Any] | None:
    """What FABRICATED.json in a weights folder says; None for real weights."""
    path = weights / MARKER
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError:
        content = {}
    return content if isinstance(content, dict) else {}


def _seen_path(manifest: Manifest) -> Path:
    return paths.weights_dir() / "baselines" / f"{manifest.id}.lock.json"


def check_weights(manifest: Manifest, weights: Path, preset: str | None = None) -> dict[str, str]:
    """Path -> SHA-256 of the weight files; compared with the manifest, else with what the first use recorded.

    Args:
        preset: only the files that it opens; None for all that are there.
    """
    from floatbench.weights.file_hashes import FileHashes
    from floatbench.weights.kinds import refusal

    hashes, known = FileHashes(), _read_seen(manifest)
    fix = f"{install_command(manifest)} --weights DIR"
    found: dict[str, str] = {}
    for weight in manifest.weights if preset is None else manifest.needed(preset):
        path = weights / weight.path
        if not path.is_file():
            if preset is None or path.is_dir():
                continue
            raise DataError(f"{manifest.id}: weight file {weight.path} is missing", fix=install_command(manifest))
        digest = hashes.sha256(path)
        expected = weight.sha256 or known.get(weight.path)
        if expected is None and (kind := refusal(path)) is not None:  # before it is remembered as the right one
            raise DataError(f"{manifest.id}: {weight.path} is {kind}", fix=fix)
        if expected and digest != expected:
            origin = "the manifest's" if weight.sha256 else "the file of the first use"
            raise DataError(f"{manifest.id}: {weight.path} is not {origin} ({digest[:16]}...)", fix=fix)
        found[weight.path] = digest
    hashes.save()
    _record_seen(manifest, {**known, **found}, known)
    return found


def _read_seen(manifest: Manifest) -> dict[str, str]:
    try:
        return dict(json.loads(_seen_path(manifest).read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def _record_seen(manifest: Manifest, seen: dict[str, str], before: dict[str, str]) -> None:
    """Remembers hashes of first use; on a read-only weights folder they are in each run's record all the same."""
    if seen == before:
        return
    try:
        write_json(_seen_path(manifest), seen)
    except (DependencyError, OSError):
        return
