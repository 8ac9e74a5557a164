"""Downloads from hosts that behave as the real ones are recorded to; everything on the loopback."""

from __future__ import annotations

import gzip
import io
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import md5, sha256
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from hosts import CDN, cut, file, git_blob, named, packed, page, redirect, status

from floatbench.errors import DataError
from floatbench.weights.download import Settings, download


def network(seed: int = 0) -> bytes:
    """A small torch file, as networks come."""
    stream = io.BytesIO()
    torch.save({"weight": torch.full((40, 40), float(seed))}, stream)
    return stream.getvalue()


CONTENT = network()
SHA256 = sha256(CONTENT).hexdigest()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def how(waits: list[float]) -> Settings:
    return Settings(timeout=5.0, attempts=3, sleep=waits.append)


# every host gives its file


def test_each_host_gives_its_file_through_its_redirects(hosts, tmp_path, how):
    for k, address in enumerate(
        [
            hosts.hub("o/r", "deep/net.pth", CONTENT),
            hosts.hub("spaces/o/s", "net.pth", CONTENT, "b" * 40),
            hosts.hub("datasets/o/d", "net.pth", CONTENT, "c" * 40),
            hosts.release("o/r/releases/download/v1/net.pth", CONTENT),
            hosts.raw("o/r", "d" * 40, "net.pth", CONTENT),
            hosts.drive("ID", CONTENT),
            hosts.dropbox("s/x/net.pth", CONTENT),
        ]
    ):
        got = download([address], tmp_path / str(k) / "net.pth", SHA256, len(CONTENT), how=how)
        assert (tmp_path / str(k) / "net.pth").read_bytes() == CONTENT and got.sha256 == SHA256


def test_every_request_says_who_asks(hosts, tmp_path, how):
    hosts.at("zenodo.org/records/1/files/a.zip", named(file(CONTENT)))
    download(["https://zenodo.org/records/1/files/a.zip"], tmp_path / "a.zip", how=how)
    assert all(headers["User-Agent"].startswith("floatbench/") for _, headers in hosts.requests)


def test_a_broken_certificate_costs_one_address_not_the_file(hosts, tmp_path, how):
    hosts.broken_certificates.add("www.robots.ox.ac.uk")
    urls = ["https://www.robots.ox.ac.uk/~vgg/net.pth", hosts.hub("o/r", "net.pth", CONTENT)]
    assert "huggingface.co" in download(urls, tmp_path / "net.pth", SHA256, how=how).url


# the hub


@pytest.mark.parametrize("large", [True, False])
def test_a_file_without_a_published_hash_is_held_to_what_the_hub_states(hosts, tmp_path, how, large):
    address = hosts.hub("o/r", "net.pth", CONTENT, large=large)
    assert download([address], tmp_path / "net.pth", how=how).sha256 == SHA256
    served = next(place for place in hosts.answers if place.startswith((CDN, "huggingface.co/api/resolve-cache")))
    etag = f'"{git_blob(CONTENT)}"'
    hosts.at(served, file(network(1), etag))
    with pytest.raises(DataError, match="wrong file"):
        download([address], tmp_path / "other.pth", how=how)
    assert not (tmp_path / "other.pth").exists()


def test_another_file_on_the_hub_is_refused_before_it_is_transferred(hosts, tmp_path, how):
    address = hosts.hub("o/r", "net.pth", network(1))
    with pytest.raises(DataError, match="the hub states sha256"):
        download([address], tmp_path / "net.pth", SHA256, how=how)
    assert sum(len(headers.get("Range", "")) for _, headers in hosts.requests) == 0
    assert not (tmp_path / ".partial" / "net.pth.part").exists()


def test_a_cut_transfer_from_the_hub_is_resumed_and_still_held_to_its_hash(hosts, tmp_path, how):
    address = hosts.hub("o/r", "net.pth", CONTENT)
    place = next(name for name in hosts.answers if name.startswith(CDN))
    (whole,) = hosts.answers[place]
    hosts.at(place, cut(CONTENT, 3000, f'"{md5(CONTENT).hexdigest()}"'), whole)
    assert download([address], tmp_path / "net.pth", how=how).sha256 == SHA256


def test_the_token_goes_to_the_hub_and_to_nobody_else(hosts, tmp_path, how, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    download([hosts.hub("o/r", "net.pth", CONTENT)], tmp_path / "a.pth", how=how)
    download([hosts.drive("ID", CONTENT)], tmp_path / "b.pth", how=how)
    for place, headers in hosts.requests:
        assert ("Authorization" in headers) == place.startswith("huggingface.co/")


def test_gated_files_name_the_log_in_and_open_with_a_token(hosts, tmp_path, how, monkeypatch):
    address = hosts.hub_gated("o/r", "net.pth", CONTENT, "hf_right")
    with pytest.raises(DataError, match=r"gated: `hf auth login` or HF_TOKEN .*https://huggingface\.co/o/r"):
        download([address], tmp_path / "net.pth", how=how)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(DataError, match="this token may not read it"):
        download([address], tmp_path / "net.pth", how=how)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert download([address], tmp_path / "net.pth", how=how).sha256 == SHA256


def test_a_path_that_is_not_in_the_repository_says_so(hosts, tmp_path, how):
    hosts.at("huggingface.co/o/r/resolve/main/net.pth", status(404, {"X-Error-Code": "EntryNotFound"}))
    with pytest.raises(DataError, match="HTTP 404 no such file in that revision"):
        download(["hf://o/r@main/net.pth"], tmp_path / "net.pth", how=how)


def test_a_renamed_repository_is_followed(hosts, tmp_path, how):
    hosts.hub("new/r", "net.pth", CONTENT)
    place = f"new/r/resolve/{'a' * 40}/net.pth"
    hosts.at(f"huggingface.co/old/r/resolve/{'a' * 40}/net.pth", redirect(f"/{place}", 307))
    assert download([f"hf://old/r@{'a' * 40}/net.pth"], tmp_path / "net.pth", how=how).sha256 == SHA256


def in_cache(content: bytes, revision: str, name: str | None = None) -> None:
    """Puts a file where transformers would have put it."""
    root = Path(huggingface_hub.constants.HF_HUB_CACHE) / "models--o--r"
    blob = root / "blobs" / (name or sha256(content).hexdigest())
    link = root / "snapshots" / revision / "net.pth"
    blob.parent.mkdir(parents=True, exist_ok=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link.symlink_to(blob)


def test_what_transformers_has_fetched_is_copied_from_its_cache_also_offline(hosts, tmp_path, how, monkeypatch):
    in_cache(CONTENT, "a" * 40)
    monkeypatch.setenv("FLOATBENCH_OFFLINE", "1")
    address = f"hf://o/r@{'a' * 40}/net.pth"
    got = download([address], tmp_path / "a.pth", SHA256, how=how)
    assert got.url.startswith("file:") and hosts.requests == []
    assert download([address], tmp_path / "b.pth", how=how).sha256 == SHA256
    assert not (tmp_path / "a.pth").is_symlink()


def test_a_damaged_file_in_the_cache_does_not_win(hosts, tmp_path, how):
    in_cache(network(1), "a" * 40, name=SHA256)
    address = hosts.hub("o/r", "net.pth", CONTENT)
    assert download([address], tmp_path / "net.pth", how=how).url.startswith("https://huggingface.co")


# hosts that want to be asked later


def test_a_pause_in_seconds_is_kept_and_is_no_broken_attempt(hosts, tmp_path, how, waits):
    busy = status(429, {"Retry-After": "20"})
    url = hosts.at("h.org/net.pth", busy, busy, busy, busy, file(CONTENT))
    download([url], tmp_path / "net.pth", SHA256, how=how)
    assert waits == [20, 20, 20, 20] and len(waits) > how.attempts


def test_a_pause_until_a_date_is_measured_by_the_servers_clock(hosts, tmp_path, how, waits):
    now = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)  # its clock is years ahead of ours
    until = {"Date": format_datetime(now, True), "Retry-After": format_datetime(now + timedelta(seconds=45), True)}
    past = {"Date": format_datetime(now, True), "Retry-After": format_datetime(now - timedelta(hours=1), True)}
    url = hosts.at("h.org/net.pth", _only(503, until), _only(503, past), file(CONTENT))
    download([url], tmp_path / "net.pth", SHA256, how=how)
    assert waits == [45, 1]


def _only(code: int, headers: dict[str, str]):
    """A status with these headers alone (the server's library would add a date of its own)."""

    def answer(handler) -> None:
        handler.send_response_only(code)
        for name, value in {**headers, "Content-Length": "0"}.items():
            handler.send_header(name, value)
        handler.end_headers()

    return answer


def test_the_hubs_and_zenodos_own_headers_are_understood(hosts, tmp_path, how, waits):
    hub = status(
        429, {"RateLimit": '"resolvers";r=0;t=55', "RateLimit-Policy": '"fixed window";"resolvers";q=5000;w=300'}
    )
    date = datetime(2026, 11, 28, tzinfo=UTC)
    reset = {"Date": format_datetime(date, True), "X-RateLimit-Reset": str(int(date.timestamp()) + 30)}
    url = hosts.at("h.org/net.pth", hub, _only(429, reset), file(CONTENT))
    download([url], tmp_path / "net.pth", SHA256, how=how)
    assert waits == [55, 30]


def test_an_unreasonable_pause_goes_to_the_next_address_and_says_when_to_come_back(hosts, tmp_path, how, waits):
    later = hosts.at("h.org/net.pth", status(429, {"Retry-After": "3600"}))
    with pytest.raises(DataError, match="asks for a pause of 60 min") as error:
        download([later], tmp_path / "net.pth", SHA256, fix="do that", how=how)
    assert error.value.fix == "run the same command again later, or do that" and waits == []
    assert download([later, hosts.drive("ID", CONTENT)], tmp_path / "net.pth", SHA256, how=how).sha256 == SHA256


def test_a_host_that_only_asks_for_pauses_is_given_up(hosts, tmp_path, how, waits):
    url = hosts.at("h.org/net.pth", status(429, {"Retry-After": "0"}))
    with pytest.raises(DataError, match="HTTP 429"):
        download([url], tmp_path / "net.pth", SHA256, how=how)
    assert len(waits) == how.pauses and min(waits) >= 1


def test_cuts_that_never_get_further_end(hosts, tmp_path, how):
    """Without ranges, cut at a half and at a third in turn: each one is longer or shorter than the last."""
    half, third = cut(CONTENT, len(CONTENT) // 2), cut(CONTENT, len(CONTENT) // 3)
    url = hosts.at("h.org/net.pth", *[half, third] * 20)
    with pytest.raises(DataError, match="attempts"):
        download([url], tmp_path / "net.pth", SHA256, how=how)
    assert len(hosts.requests) <= 1 + how.attempts


def test_a_circle_of_redirects_is_one_attempt(hosts, tmp_path, how):
    url = hosts.at("h.org/net.pth", redirect("https://h.org/net.pth"))
    with pytest.raises(DataError, match="redirects in a circle"):
        download([url], tmp_path / "net.pth", how=how)
    assert len(hosts.requests) <= 11


# what a body is


def test_a_compressed_body_is_the_file_and_its_sizes_are_not_confused(hosts, tmp_path, how):
    url = hosts.at("h.org/net.pth", packed(CONTENT))
    download([url], tmp_path / "a.pth", SHA256, len(CONTENT), how=how)
    download([url], tmp_path / "b.pth", how=how)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes() == CONTENT
    assert len(hosts.requests) == 2


def test_a_compressed_rest_is_not_glued_to_plain_bytes(hosts, tmp_path, how):
    def packed_rest(handler) -> None:
        if "Range" not in handler.headers:
            return packed(CONTENT, '"e"')(handler)
        body = gzip.compress(CONTENT)[3000:]
        span = f"bytes 3000-{2999 + len(body)}/{3000 + len(body)}"
        return status(206, {"Content-Encoding": "gzip", "Content-Range": span, "ETag": '"e"'}, body)(handler)

    url = hosts.at("h.org/net.pth", cut(CONTENT, 3000), packed_rest)
    download([url], tmp_path / "net.pth", SHA256, how=how)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


def test_an_encoding_nobody_asked_for_is_refused(hosts, tmp_path, how):
    url = hosts.at("h.org/net.pth", file(CONTENT, headers={"Content-Encoding": "br"}))
    with pytest.raises(DataError, match="compressed as br"):
        download([url], tmp_path / "net.pth", how=how)


def test_the_right_bytes_under_a_wrong_type_are_the_file(hosts, tmp_path, how):
    url = hosts.at("h.org/net.pth", file(CONTENT, content_type="text/html"))
    assert download([url], tmp_path / "net.pth", SHA256, how=how).sha256 == SHA256
    with pytest.raises(DataError, match="HTML page"):  # nothing speaks for it without a hash
        download([url], tmp_path / "other.pth", how=how)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error":"Sharing limit exceeded for this account. Try later."}', "JSON message"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 134\n", "Git LFS pointer"),
        (b"../../.git/annex/objects/Mk/w1/SHA256E-s123--0.pth/SHA256E-s123--0.pth\n", "git-annex pointer"),
        (b"", "empty file"),
        (b"\xef\xbb\xbf<!DOCTYPE html><title>Quota exceeded</title>", "HTML page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML message"),
        (b"Rate limit exceeded\n", "neither a zip archive nor a pickle"),
        (CONTENT[: len(CONTENT) // 2], "only a part"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_other_bytes_are_refused_by_kind_whether_a_hash_is_known_or_not(hosts, tmp_path, how, body, words, known):
    hosts.at("h.org/net.pth", lambda handler: _bare(handler, body))
    with pytest.raises(DataError, match=words):
        download(["https://h.org/net.pth"], tmp_path / "net.pth", SHA256 if known else None, how=how)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def _bare(handler, body: bytes) -> None:
    """Bytes without type and length, ended by the end of the connection."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = True


def test_googles_and_dropboxs_pages_are_not_the_file(hosts, tmp_path, how):
    hosts.drive("ID", CONTENT)
    for url in ("https://drive.usercontent.google.com/download?id=ID", hosts.dropbox("s/x", CONTENT)[:-1] + "0"):
        with pytest.raises(DataError, match="HTML page"):
            download([url], tmp_path / "net.pth", how=how)
    quota = page(b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>")
    hosts.at("drive.usercontent.google.com/download", quota)
    with pytest.raises(DataError, match=r"drive\.usercontent\.google\.com: an HTML page"):
        download(["gdrive://ID"], tmp_path / "net.pth", SHA256, how=how)


def test_a_whole_part_of_unknown_size_is_tried_before_it_is_fetched_again(hosts, tmp_path, how):
    url = hosts.at("h.org/net.pth", file(CONTENT, '"e"'))
    part = tmp_path / ".partial" / "net.pth.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    assert download([url], tmp_path / "net.pth", SHA256, how=how).sha256 == SHA256
    assert len(hosts.requests) == 1
