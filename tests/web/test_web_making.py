"""What the page makes is what `floatbench generate` makes: the same bytes, the same errors; and it can be stopped."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from floatbench.cli.app import main
from floatbench.errors import DataError, FloatbenchError, Interrupted, UsageError
from floatbench.media import write_image, write_wav
from floatbench.web import making, offers
from floatbench.web.desk import Desk, foreseen
from floatbench.web.making import Models, Watcher, make
from floatbench.web.wish import Upload, VideoWish

FRAMES = 12


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that their owner has here, and the copies that the page has in `kept`."""
    monkeypatch.chdir(tmp_path)
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    write_image(Path("face.png"), picture)
    write_wav(Path("talk.wav"), np.random.default_rng(1).normal(0, 3000, FRAMES * 640).astype(np.int16))
    Path("kept").mkdir()


def upload(name: str) -> Upload:
    """As the page gets it: a copy at a place that nobody knows."""
    kept = Path("kept").resolve() / name
    kept.write_bytes(Path(name).read_bytes())
    return Upload(kept, name)


def finish(work: Generator[Any, None, Any], seen: list[Any] | None = None) -> Any:
    while True:
        try:
            watcher = next(work)
        except StopIteration as done:
            return done.value
        if seen is not None:
            seen.append((watcher.done, watcher.picture))


def typed(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as done:
        main([*shlex.split(command)[1:], "--json"])
    return int(done.value.code or 0), json.loads(capsys.readouterr().out)


def wish_for(checkpoint: Path, **changes: Any) -> VideoWish:
    return VideoWish(str(checkpoint), **changes)


def test_the_command_under_a_result_makes_the_same_file(checkpoint: Path, capsys: pytest.CaptureFixture[str]):
    wish = wish_for(checkpoint, emotion="happy", e_cfg=1.7, nfe=4, seed=9, directions=((1, 2.5), (3, -0.4)))
    out = Path("made.mp4")
    video = finish(make(Models(), wish, upload("face.png"), upload("talk.wav"), out, Watcher()))
    assert video.path == out and video.n_frames == FRAMES
    code, document = typed(wish.command("face.png", "talk.wav", "typed.mp4"), capsys)
    assert code == 0 and document["settings"] == json.loads(json.dumps(video.settings))
    assert Path("typed.mp4").read_bytes() == out.read_bytes()


def test_frames_are_seen_while_they_are_made(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    looked = threading.Semaphore(0)
    taken: list[int] = []
    show = Watcher.show

    def show_and_wait(self: Watcher, pictures: Any) -> None:
        show(self, pictures)
        taken.append(self.done)
        assert looked.acquire(timeout=20)  # the maker waits until this frame was looked at

    monkeypatch.setattr(Watcher, "show", show_and_wait)
    monkeypatch.setattr(making, "LOOK_S", 0.0)
    pictures = set()
    work = make(Models(), wish_for(checkpoint), upload("face.png"), upload("talk.wav"), Path("o.mp4"), Watcher())
    for watcher in work:
        if watcher.picture and watcher.picture not in pictures:
            pictures.add(watcher.picture)
        if len(taken) > 0:
            taken.pop()
            looked.release()
    assert len(pictures) > FRAMES // 2  # noise that moves: hardly two are alike
    assert all(picture.startswith(b"\xff\xd8") for picture in pictures)


def test_a_stopped_video_leaves_nothing(checkpoint: Path, tmp_path: Path):
    desk = Desk(tmp_path / "desk", "cpu")

    class StoppedAtThree(Watcher):
        def advance(self, amount: int = 1, note: str = "") -> None:
            if self.done == 3:
                desk.stop("somebody else")
                assert not self.stop.is_set()
                desk.stop("me")
            super().advance(amount, note)

    desk.begin("me")
    with pytest.raises(Interrupted, match="stopped"), desk.work("me") as (place, stop):
        watcher = StoppedAtThree(stop=stop)
        finish(
            make(desk.models, wish_for(checkpoint), upload("face.png"), upload("talk.wav"), place / "o.mp4", watcher)
        )
    assert watcher.done == 4 and list((tmp_path / "desk").rglob("*")) == []


def test_a_finished_video_does_not_stop_the_next_one_of_a_comparison(checkpoint: Path, tmp_path: Path):
    desk = Desk(tmp_path / "desk", "cpu")
    desk.begin("me")
    for _ in "ab":
        with desk.work("me") as (place, stop):
            files = upload("face.png"), upload("talk.wav")
            video = finish(make(desk.models, wish_for(checkpoint), *files, place / "o.mp4", Watcher(stop=stop)))
            assert video.path.is_file()


def test_what_is_stopped_while_it_waits_never_starts_and_the_next_wish_does(tmp_path: Path):
    desk = Desk(tmp_path / "desk", "cpu")
    desk.begin("me")
    desk.stop("me")
    with pytest.raises(Interrupted), desk.work("me"):
        raise AssertionError("it started")
    desk.begin("me")
    with desk.work("me") as (place, stop):
        assert place.is_dir() and not stop.is_set()
        desk.close(seconds=0)
        assert stop.is_set()


def test_who_goes_away_stops_the_work(checkpoint: Path):
    watcher = Watcher()
    work = make(Models(), wish_for(checkpoint), upload("face.png"), upload("talk.wav"), Path("o.mp4"), watcher)
    next(work)
    work.close()
    assert watcher.stop.is_set() and not Path("o.mp4").exists()
    assert [thread for thread in threading.enumerate() if thread.name == "make"] == []


def spoil(kind: str) -> None:
    if kind == "no picture":
        Path("face.png").write_bytes(b"GIF89a is a lie")
    elif kind == "cut picture":
        Path("face.png").write_bytes(Path("face.png").read_bytes()[:600])
    elif kind == "empty picture":
        Path("face.png").write_bytes(b"")
    elif kind == "small picture":
        Image.new("RGB", (16, 16)).save("face.png")
    elif kind == "no sound":
        Path("talk.wav").write_text("la la la")
    elif kind == "picture as sound":
        Path("talk.wav").write_bytes(Path("face.png").read_bytes())


@pytest.mark.parametrize(
    "kind", ["no picture", "cut picture", "empty picture", "small picture", "no sound", "picture as sound"]
)
def test_a_bad_upload_has_the_error_of_the_command_line(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], kind: str
):
    spoil(kind)
    wish = wish_for(checkpoint)
    with pytest.raises(FloatbenchError) as error:
        finish(make(Models(), wish, upload("face.png"), upload("talk.wav"), Path("o.mp4"), Watcher()))
    code, document = typed(wish.command("face.png", "talk.wav", "o.mp4"), capsys)
    assert (code, document["error"], document.get("fix")) == (error.value.exit_code, error.value.what, error.value.fix)
    assert "kept" not in error.value.what and "\n" not in error.value.what


@pytest.mark.parametrize("changes", [{"directions": ((19, 1.0),)}, {"emotion": "hungry"}, {"a_cfg": -1.0}])
def test_impossible_settings_have_the_error_of_the_command_line(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
):
    wish = wish_for(checkpoint, **changes)
    with pytest.raises(UsageError) as error:
        finish(make(Models(), wish, upload("face.png"), upload("talk.wav"), Path("o.mp4"), Watcher()))
    code, document = typed(wish.command("face.png", "talk.wav", "o.mp4"), capsys)
    assert (code, document["error"], document.get("fix")) == (2, error.value.what, error.value.fix)


def test_missing_weights_are_all_named_with_sizes_and_one_command():
    with pytest.raises(DataError) as error:
        offers.check_weights("float", "s3fd")
    for name in ("float", "wav2vec2-base-960h (378 MB)", "wav2vec2-speech-emotion", "s3fd-face-alignment"):
        assert name in error.value.what
    assert error.value.fix == (
        "floatbench weights fetch float wav2vec2-base-960h wav2vec2-speech-emotion s3fd-face-alignment --accept-license"
    )
    assert offers.missing_weights("float-tiny") == [] and offers.missing_weights("none") == []


def test_the_first_choice_is_what_can_run_here(monkeypatch: pytest.MonkeyPatch):
    assert offers.first_choice(offers.models()) == "float-tiny" and offers.first_detector() == "none"
    monkeypatch.setattr(offers.weights, "available", lambda name: True)
    assert offers.first_choice(offers.models()) == "float" and offers.first_detector() == "s3fd"


def test_a_checkpoint_file_can_be_chosen_by_its_name(checkpoint: Path):
    assert offers.models((str(checkpoint),)) == ["float", "float-tiny", str(checkpoint)]
    assert offers.label(str(checkpoint)) == checkpoint.name and len(offers.directions(str(checkpoint))) == 4
    with pytest.raises(DataError, match="neither"):
        offers.models(("nowhere.safetensors",))


def test_no_more_models_are_kept_than_a_comparison_needs(monkeypatch: pytest.MonkeyPatch):
    loaded: list[str] = []
    monkeypatch.setattr(making.ShownFloat, "from_pretrained", lambda name, device: loaded.append(name) or object())
    models = Models()
    first = models.get("a", "cpu")
    models.get("b", "cpu")
    assert models.get("a", "cpu") is first and loaded == ["a", "b"]
    models.get("c", "cpu")
    assert models.get("a", "cpu") is first and loaded == ["a", "b", "c"]
    models.get("b", "cpu")
    assert loaded == ["a", "b", "c", "b"]


def test_an_unforeseen_error_is_one_line_on_the_page_and_whole_in_the_terminal(capsys: pytest.CaptureFixture[str]):
    try:
        raise ZeroDivisionError("division by zero")
    except ZeroDivisionError as error:
        told = foreseen(error)
    assert told.what == "ZeroDivisionError: division by zero" and "terminal" in (told.fix or "")
    assert "Traceback" in capsys.readouterr().err
    known = DataError("a", fix="b")
    assert foreseen(known) is known
