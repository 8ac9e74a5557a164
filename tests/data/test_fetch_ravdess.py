"""RAVDESS archives: held to their hash, resumed, unpacked safely; loopback only."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hosts import Hosts, file, status

from floatbench.data import fetch_ravdess
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
    (tmp_path.parent / "big disk").mkdir()
    (tmp_path.parent / "big disk" / f"{NAMES[0]}.mp4").write_bytes(b"on disk")
    (tmp_path / "some where").symlink_to(tmp_path.parent / "big disk")
    (tmp_path / f"._{NAMES[1]}.mp4").write_bytes(b"of another system")
    report = fetch(protocol, NullProgress(), source=tmp_path)
    assert report.fetched == [NAMES[0]] and list(report.unavailable) == [NAMES[1]]
    (tmp_path / ARCHIVE).write_bytes(site.files[FILE])
    assert fetch(protocol, NullProgress(), source=tmp_path).complete
    assert (tmp_path / ARCHIVE).is_file() and site.requests == []


# Zenodo as it is recorded to answer


@pytest.fixture
def zenodo(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    monkeypatch.delenv("FLOATBENCH_RAVDESS_URL", raising=False)
    hosts.zenodo("1188976", {ARCHIVE: archive({f"Actor_23/{name}.mp4": name.encode() * 4000 for name in NAMES})})
    return hosts


class Notes(NullProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


def test_zenodo_is_asked_under_our_own_name_and_its_md5_is_held_to(zenodo: Hosts, protocol: Protocol) -> None:
    notes = Notes()
    assert fetch(protocol, notes).complete and notes.lines == []
    pinned = json.loads((data_dir() / "raw" / "ravdess" / "checksums.json").read_text())
    assert set(pinned[ARCHIVE]) == {"md5", "size"}
    assert all(headers["User-Agent"].startswith("floatbench/") for _, headers in zenodo.requests)


def test_it_is_said_when_the_md5_sums_cannot_be_had_and_a_later_list_is_taken(
    zenodo: Hosts, protocol: Protocol
) -> None:
    listing = zenodo.answers.pop("zenodo.org/api/records/1188976")
    zenodo.at("zenodo.org/api/records/1188976", status(403))
    notes = Notes()
    assert fetch(protocol, notes).complete
    assert len(notes.lines) == 1 and "HTTP 403" in notes.lines[0] and "first download" in notes.lines[0]
    zenodo.at("zenodo.org/api/records/1188976", *listing)
    raw_path(protocol.clips[0]).unlink()
    assert fetch(protocol, NullProgress()).complete
    assert "md5" in json.loads((data_dir() / "raw" / "ravdess" / "checksums.json").read_text())[ARCHIVE]


def test_the_copy_on_the_hub_stands_in_for_zenodo(zenodo: Hosts, protocol: Protocol) -> None:
    (whole,) = zenodo.answers[f"zenodo.org/records/1188976/files/{ARCHIVE}"]
    zenodo.at(f"zenodo.org/records/1188976/files/{ARCHIVE}", status(403))
    data = archive({f"Actor_23/{name}.mp4": name.encode() * 4000 for name in NAMES})
    assert zenodo.hub("datasets/Jayson236/RAV", ARCHIVE, data, fetch_ravdess.MIRROR.rpartition("@")[2])
    assert fetch(protocol, NullProgress()).complete
    # without Zenodo's list the hub, which states its hashes, is asked first
    zenodo.at("zenodo.org/api/records/1188976", status(403))
    zenodo.at(f"zenodo.org/records/1188976/files/{ARCHIVE}", whole)
    for path in (raw_path(protocol.clips[0]), data_dir() / "raw" / "ravdess" / "checksums.json"):
        path.unlink()
    before = len(zenodo.asked("zenodo.org"))
    assert fetch(protocol, NullProgress()).complete
    assert zenodo.asked("zenodo.org")[before:] == ["api/records/1188976"]


def test_a_foreign_archive_is_not_recorded_as_the_right_one(zenodo: Hosts, protocol: Protocol) -> None:
    zenodo.at("zenodo.org/api/records/1188976", status(503))
    place = f"zenodo.org/records/1188976/files/{ARCHIVE}"
    for members, words in (
        ({f"Actor_01/{NAMES[0][:-2]}01.mp4": b"x"}, "holds clips of actors 01"),
        ({"model.bin": b"x"}, "holds none of them"),
    ):
        zenodo.at(place, file(archive(members)))
        with pytest.raises(DataError, match=words):
            fetch(protocol, NullProgress())
        assert raw_files() == [] and not (data_dir() / "raw" / "ravdess" / "checksums.json").exists()


def test_a_pause_that_zenodo_asks_for_is_kept(
    zenodo: Hosts, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    how = download.Settings(timeout=5.0, attempts=3, sleep=waits.append)
    monkeypatch.setattr(download, "settings", lambda: how)
    monkeypatch.setattr(fetch_ravdess, "settings", lambda: how)
    busy = status(429, {"Retry-After": "60", "X-RateLimit-Remaining": "0"})
    for place in ("api/records/1188976", f"records/1188976/files/{ARCHIVE}"):
        zenodo.at(f"zenodo.org/{place}", busy, *zenodo.answers[f"zenodo.org/{place}"])
    assert fetch(protocol, NullProgress()).complete and waits == [60, 60]


def test_songs_come_from_archives_of_their_own(site: Any) -> None:
    name, file = "01-02-06-02-01-01-04", "Video_Song_Actor_04.zip"
    members = {f"Actor_04/{name}.mp4": b"sung", "Actor_04/02-02-06-02-01-01-04.mp4": b"no sound"}
    site.files[f"/records/1188976/files/{file}"] = archive(members)
    clip = Clip(id=name, identity="4", video=f"Actor_04/{name}.mp4", labels={"archive": file})
    assert fetch(Protocol(id="song", dataset="ravdess", metrics=(), clips=(clip,)), NullProgress()).fetched == [name]
    assert raw_files() == [f"Actor_04/{name}.mp4"] and raw_path(clip).read_bytes() == b"sung"
