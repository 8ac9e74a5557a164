"""Downloads against a server on this machine that behaves badly in every way a real one does."""

from __future__ import annotations

import http.server
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from download_server import CONTENT, SHA256, Server, cut, page, serving, stalled, status, whole

from floatbench.errors import DataError, DependencyError
from floatbench.weights import download as module
from floatbench.weights.archive import extract_member
from floatbench.weights.download import Settings, download, mirrors, resolve


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def how(waits: list[float]) -> Settings:
    return Settings(timeout=5.0, attempts=3, sleep=waits.append)


def leftovers(folder: Path) -> list[str]:
    """Files a download left behind, without the lock it holds."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_file_arrives_whole_and_leaves_nothing_else(server, tmp_path, how):
    got = download([server.at("/a", whole)], tmp_path / "a.dat", SHA256, len(CONTENT), how=how)
    assert (tmp_path / "a.dat").read_bytes() == CONTENT
    assert got.sha256 == SHA256 and got.size == len(CONTENT) and got.url == f"{server.base}/a"
    assert leftovers(tmp_path) == ["a.dat"]


def test_cut_connection_goes_on_with_a_range_header(server, tmp_path, how):
    half = len(CONTENT) // 2 // module.CHUNK * module.CHUNK
    download([server.at("/a", cut(half), whole)], tmp_path / "a.dat", SHA256, how=how)
    assert (tmp_path / "a.dat").read_bytes() == CONTENT
    assert server.requests == [("/a", None), ("/a", f"bytes={half}-")]


def test_later_call_goes_on_where_the_last_one_stopped(server, tmp_path, how):
    half = 4 * module.CHUNK
    with pytest.raises(DataError, match="HTTP 503"):
        download([server.at("/a", cut(half), status(503))], tmp_path / "a.dat", SHA256, how=how)
    assert not (tmp_path / "a.dat").exists()
    server.requests.clear()
    download([server.at("/a", whole)], tmp_path / "a.dat", SHA256, how=how)
    assert server.requests == [("/a", f"bytes={half}-")]
    assert (tmp_path / "a.dat").read_bytes() == CONTENT


def test_file_that_changed_on_the_server_is_not_mixed_with_its_old_half(server, tmp_path, how):
    newer = b"new" * 100_000

    def changed(handler: http.server.BaseHTTPRequestHandler) -> None:
        whole(handler, newer, '"v2"')

    url = server.at("/a", cut(4 * module.CHUNK), changed)
    download([url], tmp_path / "a.dat", how=how)
    assert (tmp_path / "a.dat").read_bytes() == newer


def test_without_hash_or_version_a_cut_download_starts_over(server, tmp_path, how):
    download([server.at("/a", cut(4 * module.CHUNK, etag=""), whole)], tmp_path / "a.dat", how=how)
    assert [wanted for _, wanted in server.requests] == [None, None]
    assert (tmp_path / "a.dat").read_bytes() == CONTENT


def test_server_that_ignores_ranges_is_read_from_the_start(server, tmp_path, how):
    def no_ranges(handler: http.server.BaseHTTPRequestHandler) -> None:
        del handler.headers["Range"]
        whole(handler)

    download([server.at("/a", cut(4 * module.CHUNK), no_ranges)], tmp_path / "a.dat", SHA256, how=how)
    assert (tmp_path / "a.dat").read_bytes() == CONTENT


def test_server_that_sends_another_range_is_not_believed(server, tmp_path, how):
    def shifted(handler: http.server.BaseHTTPRequestHandler) -> None:
        if not handler.headers.get("Range"):
            return whole(handler)
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.send_header("Content-Length", str(len(CONTENT) - 7))
        handler.end_headers()
        handler.wfile.write(CONTENT[7:])
        return None

    download([server.at("/a", cut(4 * module.CHUNK), shifted)], tmp_path / "a.dat", how=how)
    assert (tmp_path / "a.dat").read_bytes() == CONTENT


def test_part_that_is_too_long_is_thrown_away(server, tmp_path, how):
    part = tmp_path / ".partial" / "a.dat.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT + b"more")
    download([server.at("/a", whole)], tmp_path / "a.dat", SHA256, len(CONTENT), how=how)
    assert (tmp_path / "a.dat").read_bytes() == CONTENT


def test_finished_part_is_used_without_another_transfer(server, tmp_path, how):
    part = tmp_path / ".partial" / "a.dat.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    download([server.at("/a", whole)], tmp_path / "a.dat", SHA256, len(CONTENT), how=how)
    assert server.requests == [("/a", f"bytes={len(CONTENT)}-")]
    assert (tmp_path / "a.dat").read_bytes() == CONTENT


def test_poisoned_part_is_found_by_the_hash_and_fetched_anew(server, tmp_path, how):
    part = tmp_path / ".partial" / "a.dat.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * module.CHUNK)
    download([server.at("/a", whole)], tmp_path / "a.dat", SHA256, how=how)
    assert [wanted for _, wanted in server.requests] == [f"bytes={module.CHUNK}-", None]
    assert (tmp_path / "a.dat").read_bytes() == CONTENT


def test_wrong_hash_never_gets_the_name_and_the_next_address_is_tried(server, tmp_path, how):
    wrong = server.at("/wrong", lambda handler: whole(handler, b"other" * 1000))
    with pytest.raises(DataError, match="wrong file: sha256"):
        download([wrong], tmp_path / "a.dat", SHA256, how=how)
    assert leftovers(tmp_path) == []
    got = download([wrong, server.at("/a", whole)], tmp_path / "a.dat", SHA256, how=how)
    assert got.url.endswith("/a")


def test_wrong_size_is_refused(server, tmp_path, how):
    with pytest.raises(DataError, match=f"{len(CONTENT)} bytes instead of 7"):
        download([server.at("/a", whole)], tmp_path / "a.dat", size=7, how=how)
    assert leftovers(tmp_path) == []


def test_silent_server_times_out_and_is_asked_again(server, tmp_path, waits):
    how = Settings(timeout=0.3, attempts=3, sleep=waits.append)
    with pytest.raises(DataError, match=r"timed out \(3 attempts\)"):
        download([server.at("/a", stalled)], tmp_path / "a.dat", SHA256, how=how)
    assert len(waits) == 2 and waits[1] > waits[0]
    assert not (tmp_path / "a.dat").exists()


def test_busy_server_is_asked_again(server, tmp_path, how, waits):
    download([server.at("/a", status(503), status(429), whole)], tmp_path / "a.dat", SHA256, how=how)
    assert len(waits) == 2


def test_progress_between_cuts_renews_the_patience(server, tmp_path, how):
    pieces = 6  # more cuts than attempts

    def piece(handler: http.server.BaseHTTPRequestHandler) -> None:
        first = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        handler.send_response(206 if first else 200)
        handler.send_header("Content-Length", str(len(CONTENT) - first))
        handler.send_header("ETag", '"v1"')
        handler.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.end_headers()
        handler.wfile.write(CONTENT[first : first + module.CHUNK])
        handler.close_connection = True

    assert len(CONTENT) > pieces * module.CHUNK and pieces > how.attempts
    download([server.at("/a", piece)], tmp_path / "a.dat", SHA256, how=how)
    assert (tmp_path / "a.dat").read_bytes() == CONTENT


def test_absent_file_is_not_asked_for_twice(server, tmp_path, how, waits):
    with pytest.raises(DataError, match="HTTP 404 not found") as error:
        download([server.at("/a", status(404))], tmp_path / "a.dat", fix="do this", how=how)
    assert waits == [] and len(server.requests) == 1
    assert error.value.fix == "do this" and error.value.exit_code == 4


def test_every_address_is_named_with_its_reason(server, tmp_path, how):
    urls = [server.at("/a", status(404)), server.at("/b", page), "http://127.0.0.1:1/c"]
    with pytest.raises(DataError) as error:
        download(urls, tmp_path / "a.dat", label="the file", how=how)
    for part in ("the file", "404", "HTML page", "127.0.0.1:1: no connection (3 attempts)"):
        assert part in error.value.what


def test_redirect_to_a_page_is_not_taken_for_the_file(server, tmp_path, how):
    def redirect(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "/blob/main/a.dat")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.at("/blob/main/a.dat", page)
    with pytest.raises(DataError, match="/blob/"):
        download([server.at("/a", redirect)], tmp_path / "a.dat", how=how)
    assert leftovers(tmp_path) == []


def test_page_without_its_content_type_is_recognised(server, tmp_path, how):
    url = server.at("/a", lambda handler: whole(handler, b"\n<html><body>quota exceeded</body></html>"))
    with pytest.raises(DataError, match="HTML page"):
        download([url], tmp_path / "a.dat", how=how)


def test_page_in_place_of_the_rest_does_not_cost_what_has_arrived(server, tmp_path, how):
    half = 4 * module.CHUNK
    with pytest.raises(DataError, match="HTML page"):
        download([server.at("/a", cut(half), page)], tmp_path / "a.dat", SHA256, how=how)
    download([server.at("/a", whole)], tmp_path / "a.dat", SHA256, how=how)
    assert server.requests[-1] == ("/a", f"bytes={half}-")


def test_full_disk_is_one_line_and_keeps_what_arrived(server, tmp_path, how, monkeypatch):
    real = module._Megabytes.add
    seen = []

    def add(self, count: int) -> None:
        seen.append(count)
        if len(seen) == 3:
            raise OSError(28, "No space left on device")
        real(self, count)

    monkeypatch.setattr(module._Megabytes, "add", add)
    with pytest.raises(DependencyError, match="disk is full"):
        download([server.at("/a", whole)], tmp_path / "a.dat", SHA256, how=how)
    assert not (tmp_path / "a.dat").exists()
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    download([server.at("/a", whole)], tmp_path / "a.dat", SHA256, how=how)
    assert server.requests[-1][1] is not None  # went on from the bytes that had arrived


def test_disk_that_cannot_hold_the_file_is_refused_before_the_transfer(server, tmp_path, how, monkeypatch):
    usage = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DependencyError, match="disk is full"):
        download([server.at("/a", whole)], tmp_path / "a.dat", SHA256, how=how)


def test_folder_that_cannot_be_written_is_one_line(server, tmp_path, how):
    (tmp_path / "file").write_text("")
    with pytest.raises(DependencyError, match="cannot be written"):
        download([server.at("/a", whole)], tmp_path / "file" / "a.dat", how=how)


def test_offline_uses_files_only(server, tmp_path, how, monkeypatch):
    monkeypatch.setenv("FLOATBENCH_OFFLINE", "1")
    with pytest.raises(DataError, match="--offline"):
        download([server.at("/a", whole)], tmp_path / "a.dat", how=how)
    assert server.requests == []
    source = tmp_path / "with space.bin"
    source.write_bytes(CONTENT)
    download([server.base + "/a", source.as_uri()], tmp_path / "a.dat", SHA256, how=how)
    assert (tmp_path / "a.dat").read_bytes() == CONTENT and source.exists()
    assert server.requests == []


def test_absent_file_mirror_is_named(tmp_path, how):
    with pytest.raises(DataError, match=r"nothing\.dat: no such file"):
        download([(tmp_path / "nothing.dat").as_uri()], tmp_path / "a.dat", how=how)


def test_nonsense_address_is_refused_without_retries(tmp_path, how, waits):
    with pytest.raises(DataError, match="not an address"):
        download(["ftp://127.0.0.1/a"], tmp_path / "a.dat", how=how)
    assert waits == []


def _fetch_in_process(url: str, target: str, queue) -> None:
    got = download([url], Path(target), SHA256, how=Settings(timeout=10.0))
    queue.put(got.url)


def test_two_processes_transfer_the_file_once(server, tmp_path):
    def slowly(handler: http.server.BaseHTTPRequestHandler) -> None:
        time.sleep(0.5)
        whole(handler)

    url = server.at("/a", slowly)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    jobs = [context.Process(target=_fetch_in_process, args=(url, str(tmp_path / "a.dat"), queue)) for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    assert [job.exitcode for job in jobs] == [0, 0]
    assert sorted([queue.get(timeout=5), queue.get(timeout=5)]) == sorted([url, "another process"])
    assert len(server.requests) == 1
    assert (tmp_path / "a.dat").read_bytes() == CONTENT


def test_progress_counts_megabytes_up_to_the_total(server, tmp_path, how):
    class Bars:
        def __init__(self) -> None:
            self.totals: list[int | None] = []
            self.counted = 0

        def note(self, line: str) -> None:
            return None

        @contextmanager
        def task(self, label: str, total: int | None, unit: str = "clip"):
            self.totals.append(total)
            assert unit == "MB"
            yield self

        def advance(self, amount: int = 1, note: str = "") -> None:
            self.counted += amount

    big = CONTENT * 5
    bars = Bars()
    url = server.at("/a", lambda handler: whole(handler, big))
    download([url], tmp_path / "a.dat", size=len(big), progress=bars, how=how)
    assert bars.totals == [3] and bars.counted == 3  # 2.56 MB


def test_addresses_of_hubs_and_drives(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert resolve("hf://o/r@abc/d/f.bin") == "https://huggingface.co/o/r/resolve/abc/d/f.bin"
    monkeypatch.setenv("HF_ENDPOINT", "http://localhost:1/hub/")
    assert resolve("hf://o/r@main/f.bin") == "http://localhost:1/hub/o/r/resolve/main/f.bin"
    assert "id=XYZ" in resolve("gdrive://XYZ")
    assert resolve("https://a/b?dl=1") == "https://a/b?dl=1"


def test_mirrors_are_read_from_the_environment(monkeypatch):
    monkeypatch.delenv("FLOATBENCH_MIRROR", raising=False)
    assert mirrors("float/float.pth") == []
    monkeypatch.setenv("FLOATBENCH_MIRROR", "file:///mnt/pool http://localhost/w/")
    assert mirrors("a/b c.bin") == ["file:///mnt/pool/a/b%20c.bin", "http://localhost/w/a/b%20c.bin"]


def test_patience_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("FLOATBENCH_TIMEOUT", "7")
    assert module.settings().timeout == 7
    monkeypatch.setenv("FLOATBENCH_TIMEOUT", "soon")
    with pytest.raises(DependencyError, match="FLOATBENCH_TIMEOUT"):
        module.settings()


def test_damaged_archive_is_one_line(tmp_path):
    archive = tmp_path / "a.zip"
    archive.write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(DataError, match="damaged"):
        extract_member(archive, "a.dat", tmp_path / "a.dat")
