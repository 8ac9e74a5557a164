"""The feature store: what a backbone made of a clip, addressed by content, shared between runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from floatbench import paths
from floatbench.errors import ClipError, DataError, DependencyError, OutOfMemory
from floatbench.files import atomic_path
from floatbench.metrics.base import Backbone, PairBackbone, Part
from floatbench.types import ClipMedia, Features


def shared_cache() -> Path:
    """Where runs share their features."""
    return paths.cache_dir() / "features"


def feature_key(fingerprint: str, uses: frozenset[Part], clip: ClipMedia, reference: ClipMedia | None = None) -> str:
    """SHA-256 of the backbone's fingerprint and of the content it looks at: pixels, samples, or both.

    Args:
        reference: whose content counts, too, where the backbone sees it beside the clip.
    """
    parts = [fingerprint]
    if "frames" in uses:
        parts.append(f"frames {clip.pixels_sha256}")
    if "audio" in uses:
        parts.append(f"audio {clip.pcm_sha256} {clip.n_frames if clip.audio is None else ''}")
    if reference is not None:
        parts.append(f"beside {feature_key(fingerprint, uses, reference)}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class FeatureStore:
    """Features of one run: files in `<run>/features`, hard-linked with the shared cache where the disk allows it.

    A run folder is complete in itself: it can be moved, merged and re-scored without the cache, and clearing the cache
    loses nothing. A failed extraction is stored as well, so that it is neither retried nor forgotten.
    """

    def __init__(self, run: Path, cache: Path | None) -> None:
        self.folder = run / "features"
        self.cache = cache

    def path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _cached(self, key: str) -> Path | None:
        return self.cache / key[:2] / f"{key}.safetensors" if self.cache else None

    def has(self, key: str) -> bool:
        """True when the run holds the whole file; takes it over from the cache if it is there."""
        if _whole(self.path(key)):
            return True
        cached = self._cached(key)
        if cached is None or not _whole(cached):
            return False
        _link(cached, self.path(key))
        return True

    def put(self, key: str, result: Features | ClipError) -> None:
        """Stores features, or the reason why there are none."""
        if isinstance(result, ClipError):
            data = save({"failed": np.zeros(1, np.uint8)}, metadata={"reason": result.reason, "detail": result.what})
        else:
            data = save({name: np.ascontiguousarray(array) for name, array in result.items()})
        target = self.path(key)
        with atomic_path(target) as partial:
            partial.write_bytes(data)
        cached = self._cached(key)
        if cached is not None:
            with contextlib.suppress(DependencyError, OSError):  # without the cache another run only takes longer
                _link(target, cached)

    def get(self, key: str) -> Features:
        """The features; raises the stored ClipError of a failed extraction, DataError when the file is damaged."""
        path = self.path(key)
        try:
            with safe_open(str(path), framework="numpy") as stream:
                metadata = stream.metadata() or {}
                if "reason" in metadata:
                    raise ClipError(metadata["reason"], metadata.get("detail", ""))
                return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path} is missing or damaged: {error}", fix="run the same command again") from None


def _whole(path: Path) -> bool:
    """True when the file's length is what its safetensors header says (a file cut in half is not whole)."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 0 < length < 100_000_000:
                return False
            header = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return path.stat().st_size == 8 + length + max(ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _link(source: Path, target: Path) -> None:
    """Makes `target` the same file as `source`, or a copy where hard links are impossible; replaces a damaged one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as partial:
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)


def extract(store: FeatureStore, backbone: Backbone, fingerprint: str, clip: ClipMedia) -> str:
    """Makes sure the store holds the backbone's features of the clip and returns their key."""
    return _made(store, backbone, feature_key(fingerprint, backbone.uses, clip), lambda: backbone.extract(clip))


def extract_pair(
    store: FeatureStore, backbone: PairBackbone, fingerprint: str, generated: ClipMedia, reference: ClipMedia
) -> str:
    """The same of two clips that are seen together."""
    key = feature_key(fingerprint, backbone.uses, generated, reference)
    return _made(store, backbone, key, lambda: backbone.extract_pair(generated, reference))


def _made(store: FeatureStore, backbone: Backbone, key: str, make: Callable[[], Features]) -> str:
    if not store.has(key):
        try:
            result: Features | ClipError = _finite(backbone, make())
        except OutOfMemory:  # of this machine, now: nothing that is true of the clip
            raise
        except ClipError as error:
            result = error
        store.put(key, result)
    return key


def _finite(backbone: Backbone, features: Features) -> Features:
    for name, array in features.items():
        if array.dtype.kind == "f" and np.isinf(array).any():
            raise ClipError("not_finite", f"{backbone.id} gave infinite values in {name}")
    return features


def cache_size(cache: Path) -> tuple[int, int]:
    """Number of files and bytes in a shared cache, of features or of scores."""
    sizes = [path.stat().st_size for path in _kept(cache)]
    return len(sizes), sum(sizes)


def _kept(cache: Path) -> list[Path]:
    """What a shared cache holds, without files that are still being written."""
    return sorted(path for path in cache.rglob("*") if path.suffix in (".safetensors", ".json"))


def collect_garbage(cache: Path, keep_days: float) -> tuple[int, int]:
    """Deletes features or scores that were not read for `keep_days`; run folders keep links and scores of their own."""
    import time

    removed = size = 0
    limit = time.time() - keep_days * 86_400
    for path in _kept(cache):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            if max(stat.st_atime, stat.st_mtime) <= limit:
                path.unlink()
                removed, size = removed + 1, size + stat.st_size
    return removed, size
