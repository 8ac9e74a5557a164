"""A remembered hash is never that of other content, and remembering saves the reading."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from floatbench.files import file_sha256
from floatbench.weights import file_hashes, lockfile
from floatbench.weights.file_hashes import RESTED_NS, SMALL, FileHashes

SIZE = 3 * SMALL


def content(seed: int, size: int = SIZE) -> bytes:
    return bytes([seed]) * size


@pytest.fixture
def read_whole(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose whole content was read."""
    seen: list[Path] = []

    def watched(path: Path) -> str:
        seen.append(path)
        return file_sha256(path)

    monkeypatch.setattr(file_hashes, "file_sha256", watched)
    monkeypatch.setattr(file_hashes, "rested", lambda state: True)
    return seen


def test_an_unchanged_file_is_read_once_in_this_call_and_the_next(tmp_path, read_whole):
    video = tmp_path / "a.mp4"
    video.write_bytes(content(1))
    hashes = FileHashes()
    digests = {hashes.sha256(video), hashes.sha256(video)}
    hashes.save()
    assert digests == {FileHashes().sha256(video)} == {file_sha256(video)}
    assert read_whole == [video]


@pytest.mark.parametrize("size", [100, SIZE])
@pytest.mark.parametrize("way", ["replaced", "written over", "swapped by names", "relinked"])
def test_other_content_of_equal_size_and_time_of_change_is_seen(tmp_path, read_whole, size, way):
    video, other = tmp_path / "a.mp4", tmp_path / "b.mp4"
    for path, seed in ((video, 1), (other, 2)):
        path.write_bytes(content(seed, size))
        os.utime(path, ns=(10**18, 10**18))
    if way == "relinked":
        video.rename(tmp_path / "c.mp4")
        video.symlink_to("c.mp4")
    hashes = FileHashes()
    before = hashes.sha256(video)
    if way == "replaced":
        shutil.copy2(other, tmp_path / "new")
        (tmp_path / "new").replace(video)
    elif way == "written over":
        shutil.copy2(other, video)
    elif way == "swapped by names":
        video.rename(tmp_path / "t")
        other.rename(video)
    else:
        video.unlink()
        video.symlink_to("b.mp4")
    assert video.stat().st_mtime_ns == 10**18
    assert hashes.sha256(video) == file_sha256(video) != before


def test_a_file_that_has_just_changed_is_not_believed_the_next_time(tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(content(1))
    hashes = FileHashes()
    hashes.sha256(video)
    assert hashes._known == {}
    state = file_hashes.state_of(video)
    assert not file_hashes.rested(state)
    assert file_hashes.rested({**state, "mtime": time.time_ns() - 2 * RESTED_NS, "ctime": 0})


def test_a_weight_file_is_hashed_again_when_only_its_content_changed(tmp_path):
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(content(1))
    os.utime(weights, ns=(10**18, 10**18))
    first = lockfile.hashed(weights)
    weights.write_bytes(content(2))
    os.utime(weights, ns=(10**18, 10**18))
    assert lockfile.hashed(weights) == file_sha256(weights) != first
