"""RAVDESS archives: held to their hash, resumed, unpacked safely; loopback only."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from floatbench.data.fetch import fetch
from floatbench.data.fetch_ravdess import extract
from floatbench.data.ravdess import raw_path
from floatbench.errors import DataError
from floatbench.paths import data_dir
from floatbench.progress import NullProgress
from floatbench.protocol.protocol import Clip, Protocol
from floatbench.weights import download

NAMES = ("01-01-03-01-01-01-23", "01-01-03-01-01-02-23")
ARCHIVE = "Video_Speech_Actor_23.zip"
FILE = f"/records/1188976/files/{ARCHIVE}"
LIST = "/api/records/1188976"


@pytest.fixture
def protocol() -> Protocol:
    clips = [Clip(id=n, identity="23", video=f"Actor_23/{n}.mp4", labels={"archive": ARCHIVE}) for n in NAMES]
    return Protocol(id="few", dataset="ravdess", metrics=(), clips=tuple(clips))


def archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        for name, data in members.items():
            opened.writestr(name, data)
    return stream.getvalue()


@pytest.fixture
def site(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The loopback server in the place of Zenodo; the list of hashes is there, waits are cut short."""
    monkeypatch.setenv("FLOATBENCH_RAVDESS_URL", server.url)
    monkeypatch.setattr(download, "settings", lambda: download.Settings(timeout=5.0, attempts=3, sleep=lambda _: None))
    members = {f"Actor_23/{name}.mp4": name.encode() * 40_000 for name in NAMES}
    members["Actor_23/02-01-03-01-01-01-23.mp4"] = b"no sound"
    server.files[FILE] = archive(members)
    publish(server)
    return server


def publish(server: Any) -> None:
    data = server.files[FILE]
    row = {"key": ARCHIVE, "size": len(data), "checksum": f"md5:{hashlib.md5(data).hexdigest()}"}
    server.files[LIST] = json.dumps({"files": [row]}).encode()


def raw_files() -> list[str]:
    root = data_dir() / "raw" / "ravdess"
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.mp4"))


def test_only_clips_with_sound_and_picture_are_unpacked(site: Any, protocol: Protocol) -> None:
    report = fetch(protocol, NullProgress())
    assert report.fetched == list(NAMES) and report.complete
    assert raw_files() == [f"Actor_23/{name}.mp4" for name in NAMES]
    assert raw_path(protocol.clips[1]).read_bytes() == NAMES[1].encode() * 40_000
    before = len(site.requests)
    assert fetch(protocol, NullProgress()).present == list(NAMES)
    assert len(site.requests) == before


def test_a_cut_download_goes_on_where_it_stopped(site: Any, protocol: Protocol) -> None:
    site.trouble[FILE] = ["cut"]
    assert fetch(protocol, NullProgress()).complete
    ranges = [wanted for method, path, wanted in site.requests if path == FILE and wanted]
    assert len(ranges) == 1 and int(ranges[0].removeprefix("bytes=").rstrip("-")) > 0


def test_a_server_that_falls_silent_is_given_up_and_asked_again(
    site: Any, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "settings", lambda: download.Settings(timeout=0.5, attempts=3, sleep=lambda _: None))
    site.trouble[FILE] = ["stall"]
    assert fetch(protocol, NullProgress()).complete
    assert site.asked(FILE) == 2


def test_a_wrong_archive_is_refused_and_not_kept(site: Any, protocol: Protocol) -> None:
    site.files[FILE] = site.files[FILE].replace(b"no sound", b"NO SOUND")
    with pytest.raises(DataError, match="md5"):
        fetch(protocol, NullProgress())
    assert raw_files() == [] and not (data_dir() / "raw" / "ravdess" / "archives" / ARCHIVE).exists()


def test_without_published_hashes_the_first_download_is_held_to(site: Any, protocol: Protocol) -> None:
    del site.files[LIST]
    assert fetch(protocol, NullProgress()).complete
    site.files[FILE] = site.files[FILE].replace(b"no sound", b"NO SOUND")
    raw_path(protocol.clips[0]).unlink()
    with pytest.raises(DataError, match="not the file of the first download"):
        fetch(protocol, NullProgress())


def test_a_missing_archive_is_an_error_with_its_name(site: Any, protocol: Protocol) -> None:
    del site.files[FILE]
    with pytest.raises(DataError, match=ARCHIVE):
        fetch(protocol, NullProgress())


def test_members_that_climb_out_of_the_folder_stay_inside(tmp_path: Path) -> None:
    path = tmp_path / "evil.zip"
    path.write_bytes(archive({f"../../{NAMES[0]}.mp4": b"a", f"/etc/{NAMES[1]}.mp4": b"b", "../../.bashrc": b"c"}))
    root = tmp_path / "deep" / "root"
    assert extract(path, root) == 2
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()) == [
        *(f"deep/root/Actor_23/{name}.mp4" for name in NAMES),
        "evil.zip",
    ]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_archive_is_one_line_and_leaves_no_half_file(damage: str, tmp_path: Path) -> None:
    data = archive({f"Actor_23/{NAMES[0]}.mp4": b"x" * 50_000})
    data = {"cut": data[:-100], "flipped": data[:20_000] + b"y" + data[20_001:], "empty": b""}[damage]
    path = tmp_path / ARCHIVE
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged") as caught:
        extract(path, tmp_path / "root")
    assert "\n" not in caught.value.what
    assert [p for p in (tmp_path / "root").rglob("*") if p.is_file()] == []


def test_files_on_disk_are_taken_from_archives_and_folders(site: Any, protocol: Protocol, tmp_path: Path) -> None:
    (tmp_path / "some where").mkdir()
    (tmp_path / "some where" / f"{NAMES[0]}.mp4").write_bytes(b"on disk")
    report = fetch(protocol, NullProgress(), source=tmp_path)
    assert report.fetched == [NAMES[0]] and list(report.unavailable) == [NAMES[1]]
    (tmp_path / ARCHIVE).write_bytes(site.files[FILE])
    assert fetch(protocol, NullProgress(), source=tmp_path).complete
    assert (tmp_path / ARCHIVE).is_file() and site.requests == []
