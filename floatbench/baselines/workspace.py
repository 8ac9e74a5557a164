"""The private folder of one worker: the pinned files of the repository, linked weights, a home of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from floatbench.baselines.installed import Installed, git
from floatbench.baselines.manifest import MARKER, Manifest, driverlib
from floatbench.errors import DependencyError
from floatbench.files import write_error

PREFIX = "floatbench-worker-"
HOME_PART = "@home"  # weights below this folder go to the private home, where torch hub or facexlib look for them
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
INHERITED = ("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "TZ", "NVIDIA_VISIBLE_DEVICES")


class Workspace:
    """Makes and removes the folder. Parts: checkout, driver, home, tmp, bin, clips, stderr.log."""

    def __init__(self, installed: Installed) -> None:
        _remove_stale()
        self._installed = installed
        try:
            self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=_scratch_root()))
            self.checkout = self.folder / "checkout"
            self.home, self.tmp, self.clips = (self._make(name) for name in ("home", "tmp", "clips"))
            self._bin, self.driver = self._make("bin"), self._make("driver")
            self.log = self.folder / "stderr.log"
            export_commit(installed.manifest, installed.source, self.checkout)
            self._link_weights()
            copy_driver(installed.manifest, self.driver)
            self._link_ffmpeg()
        except OSError as error:
            raise write_error(error, Path(tempfile.gettempdir())) from error

    def _make(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir()
        return path

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _link_weights(self) -> None:
        """Links every weight file to its place; a file of the same name in the repository gives way."""
        for path in _files(self._installed.weights):
            relative = path.relative_to(self._installed.weights)
            if relative.parts[0] == MARKER or any(part.startswith(".partial") for part in relative.parts):
                continue
            target = self.checkout / relative
            if relative.parts[0] == HOME_PART:
                target = self.home.joinpath(*relative.parts[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to(path.resolve())

    def _link_ffmpeg(self) -> None:
        """The program that the imageio-ffmpeg wheel carries, under the name that the systems call."""
        environment = self._installed.python.parent.parent
        for found in sorted(environment.glob("lib/python*/site-packages/imageio_ffmpeg/binaries/ffmpeg-*")):
            (self._bin / "ffmpeg").symlink_to(found)
            return

    def environment(self, device: str, threads: int) -> dict[str, str]:
        """All variables of the worker: private folders, no network, fixed threads, one visible device."""
        checkout = [str((self.checkout / part).resolve()) for part in self._installed.manifest.source.python_path]
        ffmpeg = self._bin / "ffmpeg"
        environment = {
            "PATH": os.pathsep.join(
                [str(self._installed.python.parent), str(self._bin), os.environ.get("PATH", os.defpath)]
            ),
            "HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            **_caches(self.home),
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "DIFFUSERS_OFFLINE": "1",
            "NO_ALBUMENTATIONS_UPDATE": "1",
            "PYTHONPATH": os.pathsep.join(checkout),
            "PYTHONNOUSERSITE": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONHASHSEED": "0",
            "PYTHONIOENCODING": "utf-8",
            "LC_ALL": "C.UTF-8",
            "CUDA_VISIBLE_DEVICES": _visible(device),
            **{name: str(threads) for name in THREAD_VARIABLES},
            **({"IMAGEIO_FFMPEG_EXE": str(ffmpeg)} if ffmpeg.exists() else {}),
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
        }
        return {**environment, **self._installed.profile.env}


def _caches(home: Path) -> Mapping[str, str]:
    cache = home / ".cache"
    return {
        "XDG_CACHE_HOME": str(cache),
        "TORCH_HOME": str(cache / "torch"),
        "HF_HOME": str(cache / "huggingface"),
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "NUMBA_CACHE_DIR": str(cache / "numba"),
    }


def _visible(device: str) -> str:
    """The device's number among those that this process sees; empty for the CPU."""
    if not device.startswith("cuda"):
        return ""
    index = int(device.partition(":")[2] or 0)
    seen = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
    return seen[index] if index < len(seen) else str(index)


def _scratch_root() -> Path:
    """A temporary folder without a space in its path: several systems build shell strings from their paths."""
    for candidate in (Path(tempfile.gettempdir()), Path("/var/tmp"), Path("/tmp")):
        if " " not in str(candidate) and os.access(candidate, os.W_OK):
            return candidate
    raise DependencyError("no writable temporary folder without a space in its path", fix="set TMPDIR to one")


def _remove_stale() -> None:
    """Removes the folders of hosts that were killed."""
    for folder in _scratch_root().glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def export_commit(manifest: Manifest, source: Path, target: Path) -> None:
    """Writes the files of the pinned commit, without the folders that are not needed, into a new folder."""
    target.mkdir()
    index = target.parent / "index"

    def in_clone(*arguments: str) -> str:  # a bare clone has no work tree of its own
        command = ["-C", source.absolute(), *arguments]
        return git(command, GIT_INDEX_FILE=str(index), GIT_WORK_TREE=str(target))

    in_clone("read-tree", manifest.source.commit)
    if manifest.source.sparse:
        listed = in_clone("ls-files", "-z")
        drop = [name for name in listed.split("\0") if name and _below(name, manifest.source.sparse)]
        for start in range(0, len(drop), 500):
            in_clone("update-index", "--force-remove", "--", *drop[start : start + 500])
    in_clone("checkout-index", "--all", "--force", f"--prefix={target}/")
    with suppress(FileNotFoundError):
        index.unlink()


def _below(name: str, folders: tuple[str, ...]) -> bool:
    return any(name == part.rstrip("/") or name.startswith(part.rstrip("/") + "/") for part in folders)


def copy_driver(manifest: Manifest, target: Path) -> None:
    """Driver, shims and the shared library side by side, where the interpreter finds them as plain modules."""
    for path in manifest.folder.glob("*.py"):
        shutil.copyfile(path, target / path.name)
    shutil.copyfile(driverlib(), target / "driverlib.py")
