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
from floatbench.data.youtube import PAUSE, Access
from floatbench.errors import ClipError, DataError, UsageError
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
    fetch(protocol, NullProgress())
    report = fetch(protocol, NullProgress(), access=Access(retry=True))
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
    before = len(site.requests)
    assert "2026-01-01; --retry" in fetch(protocol, NullProgress()).unavailable["WDA_Nobody1_000"]
    assert len(site.requests) == before  # nobody is asked again unbidden
    assert fetch(protocol, NullProgress(), access=Access(retry=True)).complete
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


def test_videos_on_disk_may_be_links_hidden_ones_are_none_and_one_name_twice_is_refused(
    protocol: Protocol, long_video: Path, tmp_path: Path
) -> None:
    (tmp_path / "disk" / "here").mkdir(parents=True)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "WDA_Nobody0.mp4").symlink_to(long_video)
    (tmp_path / "disk" / "big").symlink_to("../store")
    (tmp_path / "disk" / "._video0.mp4").write_bytes(b"of another system")
    for suffix in ("mp4", "webm"):
        (tmp_path / "disk" / "here" / f"video1.{suffix}").symlink_to(long_video)
    report = fetch(protocol, NullProgress(), source=tmp_path / "disk")
    assert report.fetched == ["WDA_Nobody0_000"]
    assert "one name twice: " in report.unavailable["WDA_Nobody1_000"]
    (tmp_path / "disk" / "gone").symlink_to("nowhere")
    with pytest.raises(DataError, match="gone is a broken link to nowhere"):
        fetch(protocol, NullProgress(), source=tmp_path / "disk")


def test_a_server_that_falls_silent_is_given_up_and_asked_again(
    site: Any, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_hdtf, "settings", lambda: Settings(timeout=0.5, attempts=3, sleep=lambda _: None))
    site.trouble["/watch/video0"] = ["ok", "stall"]
    assert fetch(protocol, NullProgress()).complete
    assert site.trouble["/watch/video0"] == []


# what YouTube says, word for word as yt-dlp hands it on (yt_dlp/extractor/youtube/_video.py)

LIMITED = (
    "ERROR: [youtube] {}: Video unavailable. This content isn't available, try again later. The current session has "
    "been rate-limited by YouTube for up to an hour. It is recommended to use `-t sleep` to add a delay between video "
    "requests to avoid exceeding the rate limit."
)
DOUBTED = (
    "ERROR: [youtube] {}: Sign in to confirm you\u2019re not a bot. Use --cookies-from-browser or --cookies for the "
    "authentication."
)
GONE = (
    "ERROR: [youtube] {}: Video unavailable",
    "ERROR: [youtube] {}: Private video. Sign in if you've been granted access to this video",
    "ERROR: [youtube] {}: Video unavailable. This video has been removed by the uploader",
    "ERROR: [youtube] {}: Video unavailable. This video is no longer available because the YouTube account associated "
    "with this video has been terminated.",
    "ERROR: [youtube] {}: The uploader has not made this video available in your country",
)
FORMATLESS = "ERROR: [youtube] {}: Requested format is not available. Use --list-formats for a list of formats"
UNREACHABLE = (
    "ERROR: [youtube] {}: Unable to download API page: [Errno -3] Temporary failure in name resolution "
    "(caused by TransportError('Failed to resolve'))"
)


class Youtube:
    """The site as yt-dlp shows it: texts by video, else the loopback server's file; what was asked, and the waits."""

    def __init__(self) -> None:
        self.says: dict[str, str] = {}
        self.asked: list[str] = []
        self.waits: list[float] = []
        self.options: dict[str, Any] = {}


@pytest.fixture
def youtube(site: Any, monkeypatch: pytest.MonkeyPatch) -> Youtube:
    state = Youtube()

    class Page(yt_dlp.YoutubeDL):
        def __init__(self, options: Any) -> None:
            state.options = options

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: Any) -> None: ...

        def extract_info(self, url: str, download: bool = True, **_: Any) -> Any:
            video = url.rpartition("/")[2]
            state.asked.append(video)
            if video in state.says:
                raise yt_dlp.utils.DownloadError(state.says[video].format(video))
            return {"url": f"{site.url}/watch/video0", "http_headers": {}}

    monkeypatch.setattr(yt_dlp, "YoutubeDL", Page)
    how = Settings(timeout=5.0, attempts=3, sleep=state.waits.append)
    monkeypatch.setattr(fetch_hdtf, "settings", lambda: how)
    return state


def many(count: int, clips: int = 1) -> Protocol:
    rows = [
        Clip(id=f"WDA_P{v:02}_{c:03}", identity=f"P{v}", video=f"talk{v:02}", start_s=20.0 + c, end_s=22.0 + c)
        for v in range(count)
        for c in range(clips)
    ]
    return Protocol(id="many", dataset="hdtf", metrics=(), clips=tuple(rows))


def ledger() -> Path:
    return data_dir() / "raw" / "hdtf" / "unavailable.jsonl"


def test_a_rate_limit_stops_the_fetch_and_is_nobodys_absence(youtube: Youtube) -> None:
    youtube.says = dict.fromkeys([f"talk{v:02}" for v in range(2, 8)], LIMITED)
    with pytest.raises(DataError, match=r"rate limit, after 3 videos") as error:
        fetch(many(8), NullProgress())
    assert "again after" in (error.value.fix or "") and "--cookies" in (error.value.fix or "")
    assert youtube.asked == ["talk00", "talk01", "talk02"] and not ledger().exists()
    youtube.says = {}
    assert fetch(many(8), NullProgress()).complete  # goes on where it stopped


def test_videos_are_asked_for_with_pauses_between_them(youtube: Youtube) -> None:
    fetch(many(4), NullProgress())
    assert youtube.waits == [PAUSE] * 3 and youtube.options["sleep_interval_requests"] > 0


def test_the_bot_check_stops_at_once_and_names_the_cookies(youtube: Youtube) -> None:
    youtube.says = dict.fromkeys([f"talk{v:02}" for v in range(8)], DOUBTED)
    with pytest.raises(DataError, match="a person asks") as error:
        fetch(many(8), NullProgress())
    assert "--cookies-from-browser" in (error.value.fix or "") and len(youtube.asked) == 1 and not ledger().exists()


def test_cookies_reach_yt_dlp(youtube: Youtube, tmp_path: Path) -> None:
    (tmp_path / "cookies.txt").write_text("# Netscape HTTP Cookie File\n")
    fetch(many(1), NullProgress(), access=Access(cookies=tmp_path / "cookies.txt"))
    assert youtube.options["cookiefile"] == str(tmp_path / "cookies.txt")
    raw_path(many(1).clips[0]).unlink()
    fetch(many(1), NullProgress(), access=Access(browser="firefox:work"))
    assert youtube.options["cookiesfrombrowser"][:2] == ("firefox", "work")
    raw_path(many(1).clips[0]).unlink()
    with pytest.raises(UsageError, match="no such browser"):
        fetch(many(1), NullProgress(), access=Access(browser="netscape9"))
    with pytest.raises(UsageError, match="is no file"):
        fetch(many(1), NullProgress(), access=Access(cookies=tmp_path / "absent"))


@pytest.mark.parametrize("text", GONE)
def test_what_is_gone_goes_into_the_ledger_once_for_all_its_clips(youtube: Youtube, text: str) -> None:
    youtube.says = {"talk00": text}
    report = fetch(many(2, clips=3), NullProgress())
    assert len(report.unavailable) == 3 and len(report.fetched) == 3
    assert youtube.asked == ["talk00", "talk01"]
    assert len(ledger().read_text().splitlines()) == 3
    again = fetch(many(2, clips=3), NullProgress())
    assert list(again.unavailable) == list(report.unavailable) and len(youtube.asked) == 2


def test_a_video_is_resolved_once_for_all_its_clips(youtube: Youtube) -> None:
    assert len(fetch(many(1, clips=5), NullProgress()).fetched) == 5
    assert youtube.asked == ["talk00"]


def test_one_unhappy_video_does_not_stop_the_rest(youtube: Youtube) -> None:
    youtube.says = {"talk01": FORMATLESS}
    report = fetch(many(6, clips=4), NullProgress())
    assert len(report.fetched) == 20 and list(report.failed) == [f"WDA_P01_{c:03}" for c in range(4)]
    assert [video for video in youtube.asked if video != "talk01"] == [f"talk{v:02}" for v in (0, 2, 3, 4, 5)]
    assert youtube.asked[-1] == "talk01"  # asked once more at the end
    assert not ledger().exists()


def test_without_a_network_three_videos_are_enough_to_stop(youtube: Youtube) -> None:
    youtube.says = dict.fromkeys([f"talk{v:02}" for v in range(20)], UNREACHABLE)
    with pytest.raises(DataError, match="no connection"):
        fetch(many(20), NullProgress())
    assert len(set(youtube.asked)) == fetch_hdtf.GIVE_UP_AFTER


def test_rate_limits_that_older_versions_took_for_absences_are_asked_again(youtube: Youtube) -> None:
    ledger().parent.mkdir(parents=True)
    row = {"clip_id": "WDA_P00_000", "video": "talk00", "reason": LIMITED.format("talk00")[7:150]}
    row |= {"since": "2026-01-01T00:00:00Z", "last_tried": "2026-01-01T00:00:00Z", "tries": 1}
    ledger().write_text(json.dumps(row) + "\n")
    assert fetch(many(1), NullProgress()).complete and ledger().read_text() == ""


def test_what_yt_dlp_says_about_itself_is_shown_once(youtube: Youtube) -> None:
    lines: list[str] = []

    class Notes(NullProgress):
        def note(self, line: str) -> None:
            lines.append(line)

    fetch(many(1), Notes())
    for _ in range(2):
        youtube.options["logger"].warning(
            "[youtube] No supported JavaScript runtime could be found. Only deno is enabled"
        )
        youtube.options["logger"].warning("[youtube] talk01: some formats may be missing")
    assert lines == ["yt-dlp: No supported JavaScript runtime could be found. Only deno is enabled"]
