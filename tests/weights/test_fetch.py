"""Fetching entries: licences, mirrors, archives, wrong files and what is remembered."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from floatbench import paths, weights
from floatbench.errors import DataError, UsageError
from floatbench.weights import lockfile, store
from floatbench.weights.download import Settings
from floatbench.weights.fetch import fetch, licence_open
from floatbench.weights.table import WeightEntry, WeightFile

CONTENT = b"network" * 1000
QUICK = Settings(timeout=5.0, attempts=1, sleep=lambda seconds: None)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def row(url: str, name: str = "tiny", sha256: str | None = digest(CONTENT), **changes) -> WeightEntry:
    values = {
        "name": name,
        "title": "a tiny file",
        "files": (WeightFile("tiny.dat", (url,), sha256),),
        "licence": "research only",
        "commercial": True,
        "used_by": ("fid",),
        "format": "pickle",
    }
    return WeightEntry(**{**values, **changes})


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch):
    def use(*rows: WeightEntry) -> None:
        monkeypatch.setattr(store, "ENTRIES", rows)

    monkeypatch.delenv("FLOATBENCH_MIRROR", raising=False)
    return use


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    folder = tmp_path / "pool"
    folder.mkdir()
    (folder / "tiny.dat").write_bytes(CONTENT)
    return folder


@pytest.fixture
def web(pool: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serves `pool` on this machine."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return None

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(pool)))
    threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.server_address[1]}"
    finally:
        listener.shutdown()
        listener.server_close()


def test_fetched_file_is_verified_recorded_and_not_hashed_again(table, web, monkeypatch):
    table(row(f"{web}/tiny.dat"))
    got = fetch("tiny", how=QUICK)
    assert got.path.read_bytes() == CONTENT and got.sources == {"tiny.dat": f"{web}/tiny.dat"}
    record = lockfile.read().entries["tiny"]
    assert record.source == f"{web}/tiny.dat" and record.files["tiny.dat"].sha256 == digest(CONTENT)
    monkeypatch.setattr(lockfile, "file_sha256", lambda path: pytest.fail("hashed again"))
    assert weights.path("tiny") == got.path
    assert fetch("tiny", how=QUICK).sources == {}


def test_hash_of_the_first_download_is_held_to_in_the_next(table, web, pool):
    table(row(f"{web}/tiny.dat", sha256=None))
    got = fetch("tiny", how=QUICK)
    got.path.unlink()
    (pool / "tiny.dat").write_bytes(b"another version")
    with pytest.raises(DataError, match="wrong file"):
        fetch("tiny", how=QUICK)
    assert fetch("tiny", force=True, how=QUICK).path.read_bytes() == b"another version"
    assert weights.sha256("tiny") == digest(b"another version")


def test_wrong_file_in_place_stays_until_force_is_given(table, web):
    table(row(f"{web}/tiny.dat"))
    target = paths.weights_dir() / "tiny" / "tiny.dat"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"mine")
    with pytest.raises(DataError, match="not the right file") as error:
        fetch("tiny", how=QUICK)
    assert error.value.fix == "floatbench weights fetch --force tiny"
    assert target.read_bytes() == b"mine"
    assert fetch("tiny", force=True, how=QUICK).path.read_bytes() == CONTENT


def test_wrong_file_stays_when_the_replacement_does_not_come(table, web, pool):
    table(row(f"{web}/tiny.dat"))
    fetch("tiny", how=QUICK).path.write_bytes(b"mine")
    (pool / "tiny.dat").unlink()
    with pytest.raises(DataError, match="404"):
        fetch("tiny", force=True, how=QUICK)
    assert (paths.weights_dir() / "tiny" / "tiny.dat").read_bytes() == b"mine"


def test_restricted_licence_is_asked_for_once(table, web):
    table(row(f"{web}/tiny.dat", commercial=False))
    with pytest.raises(UsageError, match="research only") as error:
        fetch("tiny", how=QUICK)
    assert error.value.fix == "floatbench weights fetch tiny --accept-license"
    assert not weights.available("tiny")
    fetch("tiny", accept_license=True, how=QUICK)
    (paths.weights_dir() / "tiny" / "tiny.dat").unlink()
    assert not licence_open(weights.entry("tiny"))
    assert fetch("tiny", how=QUICK).path.is_file()


def test_mirror_is_tried_before_the_authors_address(table, web, pool, monkeypatch):
    table(row("http://127.0.0.1:1/tiny.dat"))
    (pool / "tiny").mkdir()
    (pool / "tiny.dat").rename(pool / "tiny" / "tiny.dat")
    for base in (web, pool.as_uri()):
        monkeypatch.setenv("FLOATBENCH_MIRROR", f"{base}/absent {base}")
        got = fetch("tiny", how=QUICK)
        assert got.sources["tiny.dat"] == f"{base}/tiny/tiny.dat"
        got.path.unlink()
    monkeypatch.setenv("FLOATBENCH_OFFLINE", "1")  # a file:// mirror is no network
    assert fetch("tiny", how=QUICK).path.read_bytes() == CONTENT


def test_mirror_with_a_wrong_file_does_not_win(table, web, pool, monkeypatch):
    table(row(f"{web}/tiny.dat"))
    (pool / "tiny").mkdir()
    (pool / "tiny" / "tiny.dat").write_bytes(b"tampered")
    monkeypatch.setenv("FLOATBENCH_MIRROR", pool.as_uri())
    assert fetch("tiny", how=QUICK).sources["tiny.dat"] == f"{web}/tiny.dat"


def test_offline_names_the_import_command(table, monkeypatch):
    table(row("http://127.0.0.1:1/tiny.dat"))
    monkeypatch.setenv("FLOATBENCH_OFFLINE", "1")
    with pytest.raises(DataError, match="forbids the network") as error:
        fetch("tiny", how=QUICK)
    assert error.value.fix == "floatbench weights import tiny FILE"


def archived(web: str, name: str, member: str, content: bytes) -> WeightEntry:
    file = WeightFile(member, (f"{web}/gone/{member}", f"{web}/pack.zip"), digest(content), member=member)
    return row("", name=name, files=(file,))


def test_archive_is_fetched_once_for_all_entries_kept_in_it(table, web, pool):
    with zipfile.ZipFile(pool / "pack.zip", "w") as archive:
        archive.writestr("pack/one.onnx", b"one")
        archive.writestr("pack/two.onnx", b"two")
    table(archived(web, "one", "one.onnx", b"one"), archived(web, "two", "two.onnx", b"two"))
    got = fetch("one", how=QUICK)
    assert got.path.read_bytes() == b"one" and got.sources == {"one.onnx": f"{web}/pack.zip"}
    assert weights.path("two").read_bytes() == b"two"
    assert lockfile.read().entries["two"].source == f"{web}/pack.zip (two.onnx)"
    assert not list(paths.weights_dir().rglob("*.zip"))


def test_archive_with_a_wrong_member_installs_nothing(table, web, pool):
    with zipfile.ZipFile(pool / "pack.zip", "w") as archive:
        archive.writestr("one.onnx", b"something else")
    table(archived(web, "one", "one.onnx", b"one"))
    with pytest.raises(DataError, match=r"one\.onnx: "):
        fetch("one", how=QUICK)
    assert not weights.available("one")
    assert not list(paths.weights_dir().rglob("*.zip"))


def test_folder_entry_fetches_only_what_is_absent(table, web, pool):
    (pool / "config.json").write_bytes(b"{}")
    files = (
        WeightFile("config.json", (f"{web}/config.json",)),
        WeightFile("model/tiny.dat", (f"{web}/tiny.dat",), digest(CONTENT)),
    )
    table(row("", files=files, format="folder"))
    assert set(fetch("tiny", how=QUICK).sources) == {"config.json", "model/tiny.dat"}
    (paths.weights_dir() / "tiny" / "config.json").unlink()
    assert set(fetch("tiny", how=QUICK).sources) == {"config.json"}
