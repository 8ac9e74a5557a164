"""HDTF windows: exact time stamps, only the needed part, and every misfortune of a web server; loopback only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import pytest

from floatbench.data import fetch_hdtf, remote_file
from floatbench.data.fetch import fetch
from floatbench.data.hdtf import raw_path
from floatbench.data.window import cut_window
from floatbench.errors import ClipError, DataError
from floatbench.paths import data_dir
from floatbench.progress import NullProgress
from floatbench.protocol.protocol import Clip, Protocol
from floatbench.weights.download import Settings

yt_dlp = pytest.importorskip("yt_dlp", reason="the extra `data` is not installed")


def stamps(path: Path, kind: str) -> list[Any]:
    """Exact time stamps of the packets of a stream, in order."""
    with av.open(str(path)) as opened:
        stream = next(stream for stream in opened.streams if stream.type == kind)
        return sorted(p.pts * p.time_base for p in opened.demux(stream) if p.pts is not None)


@pytest.fixture
def protocol() -> Protocol:
    clips = [
        Clip(id=f"WDA_Nobody{k}_000", identity=f"Nobody{k}", video=f"video{k}", start_s=20.0, end_s=23.0)
        for k in (0, 1)
    ]
    return Protocol(id="few", dataset="hdtf", metrics=(), clips=tuple(clips))


@pytest.fixture
def site(server: Any, long_video: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The loopback server in the place of the video site, with waits cut short."""
    monkeypatch.setenv("FLOATBENCH_HDTF_URL", f"{server.url}/watch/")
    monkeypatch.setattr(remote_file, "BLOCK", 1 << 14)  # small videos, small blocks
    monkeypatch.setattr(fetch_hdtf, "settings", lambda: Settings(timeout=5.0, attempts=3, sleep=lambda _: None))
    for k in (0, 1):
        server.files[f"/watch/video{k}"] = long_video.read_bytes()
        server.types[f"/watch/video{k}"] = "video/mp4"
    return server


def test_a_window_keeps_the_exact_time_stamps_of_the_original(long_video: Path, tmp_path: Path) -> None:
    cut_window([long_video], 20.0, 23.0, tmp_path / "cut.nut")
    for kind in ("video", "audio"):
        kept, whole = stamps(tmp_path / "cut.nut", kind), stamps(long_video, kind)
        assert kept == [stamp for stamp in whole if kept[0] <= stamp <= kept[-1]]
        assert kept[0] <= 20 and kept[-1] >= 23 and len(kept) < len(whole) / 3


def test_picture_and_sound_may_come_from_two_files(long_video: Path, tmp_path: Path) -> None:
    for kind in ("video", "audio"):
        with av.open(str(long_video)) as source, av.open(str(tmp_path / f"{kind}.mp4"), "w") as out:
            stream: Any = next(s for s in source.streams if s.type == kind)
            target = out.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.stream = target
                    out.mux(packet)
    cut_window([tmp_path / "video.mp4", tmp_path / "audio.mp4"], 20.0, 23.0, tmp_path / "cut.nut")
    assert stamps(tmp_path / "cut.nut", "video")[-1] >= 23 and stamps(tmp_path / "cut.nut", "audio")[-1] >= 23


def test_a_video_that_ends_before_the_window_is_too_short(long_video: Path, tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="too_short"):
        cut_window([long_video], 34.0, 49.0, tmp_path / "cut.nut")
    assert list(tmp_path.iterdir()) == []


def test_only_the_window_is_transferred_and_a_second_call_asks_nothing(site: Any, protocol: Protocol) -> None:
    report = fetch(protocol, NullProgress())
    assert report.fetched == ["WDA_Nobody0_000", "WDA_Nobody1_000"] and report.complete
    whole = len(site.files["/watch/video0"])
    assert 0 < site.sent["/watch/video0"] < 0.7 * whole
    before = len(site.requests)
    assert fetch(protocol, NullProgress()).present == report.fetched
    assert len(site.requests) == before


def test_cut_connections_and_busy_servers_are_tried_again(site: Any, protocol: Protocol) -> None:
    site.trouble["/watch/video0"] = [503, "cut", 429]
    report = fetch(protocol, NullProgress(), only=["WDA_Nobody0_000"])
    assert report.complete
    assert len(stamps(raw_path(protocol.clips[0]), "video")) >= 90


def test_a_video_that_is_gone_stands_in_the_ledger_since_the_first_try(
    site: Any, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = site.files.pop("/watch/video1")
    times = iter(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"])
    monkeypatch.setattr(fetch_hdtf, "now", lambda: next(times))
    for _ in range(2):
        report = fetch(protocol, NullProgress())
    assert list(report.unavailable) == ["WDA_Nobody1_000"] and not report.complete
    ledger = data_dir() / "raw" / "hdtf" / "unavailable.jsonl"
    (row,) = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert (row["clip_id"], row["since"], row["last_tried"], row["tries"]) == (
        "WDA_Nobody1_000",
        "2026-01-01T00:00:00Z",
        "2026-02-01T00:00:00Z",
        2,
    )
    assert "404" in row["reason"]
    site.files["/watch/video1"] = kept
    assert fetch(protocol, NullProgress()).complete
    assert ledger.read_text() == ""


def test_a_refusal_that_may_pass_is_no_absence(site: Any, protocol: Protocol) -> None:
    site.trouble["/watch/video0"] = [403] * 50
    report = fetch(protocol, NullProgress(), only=["WDA_Nobody0_000"])
    assert "403" in report.failed["WDA_Nobody0_000"] and not report.unavailable
    assert not (data_dir() / "raw" / "hdtf" / "unavailable.jsonl").exists()


def test_without_any_connection_the_fetch_stops_soon(
    site: Any, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_hdtf, "GIVE_UP_AFTER", 2)
    monkeypatch.setenv("FLOATBENCH_HDTF_URL", "http://127.0.0.1:9/watch/")
    with pytest.raises(DataError, match="no connection"):
        fetch(protocol, NullProgress())


def test_offline_forbids_the_network_but_not_the_disk(
    site: Any, protocol: Protocol, long_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOATBENCH_OFFLINE", "1")
    with pytest.raises(DataError, match="--offline"):
        fetch(protocol, NullProgress())
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "A talk [video1234567].mp4").write_bytes(long_video.read_bytes())
    (tmp_path / "WDA_Nobody0.mp4").write_bytes(long_video.read_bytes())
    report = fetch(protocol, NullProgress(), source=tmp_path)
    assert report.fetched == ["WDA_Nobody0_000"]
    assert "no video named video1 or WDA_Nobody1" in report.unavailable["WDA_Nobody1_000"]
    assert site.requests == []
    assert not (data_dir() / "raw" / "hdtf" / "unavailable.jsonl").exists()


def test_a_server_that_falls_silent_is_given_up_and_asked_again(
    site: Any, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_hdtf, "settings", lambda: Settings(timeout=0.5, attempts=3, sleep=lambda _: None))
    site.trouble["/watch/video0"] = ["ok", "stall"]
    assert fetch(protocol, NullProgress()).complete
    assert site.trouble["/watch/video0"] == []
