"""Long clips in parts: which frames they hold, which clips are unusable, and that a part is what the whole clip has."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from floatbench import load_protocol
from floatbench.data.folder import FolderDataset
from floatbench.errors import ClipError, DataError
from floatbench.media import write_lossless, write_wav
from floatbench.model.float import FloatModel
from floatbench.progress import NullProgress
from floatbench.protocol.own_folder import folder_protocol
from floatbench.synthetic.expression import EMOTIONS
from floatbench.training import coefficients as coefficients_module
from floatbench.training import protocol_clips
from floatbench.training.clips import NO_EMOTION, usable
from floatbench.training.coefficients import motion_clips
from floatbench.training.data_config import DataConfig
from floatbench.training.frame_folders import JoinedClips
from floatbench.training.protocol_clips import FrameComb, ProtocolClips, _emotion, combs_of
from floatbench.training.train import clip_set

FRAMES = {"a.mkv": 45, "b.mkv": 30, "c.mkv": 64}


class Landmarks:
    """Stands in for the face landmarker: a frame's level is where its boxes are; frames below `blind` show no face."""

    def __init__(self, blind: int = -1) -> None:
        self.blind = blind

    def seen(self, media) -> np.ndarray:
        level = media.frames[:, 0, 0, 0].astype(np.float32)
        faces = np.repeat(level[:, None, None] / 255, 52, axis=1).reshape(-1, 13, 4)
        faces[level < self.blind] = np.nan
        return faces

    @property
    def sha256(self) -> str:
        return f"landmarks-{self.blind}"


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Three clips whose frame n is grey of level 3 n, prepared as they are; parts hold 20 frames at most."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, count in FRAMES.items():
        levels = np.arange(count, dtype=np.uint8) * 3
        write_lossless(folder / name, np.broadcast_to(levels[:, None, None, None], (count, 256, 256, 3)))
        noise = np.random.default_rng(0).integers(-3000, 3000, 640 * count).astype(np.int16)
        write_wav((folder / name).with_suffix(".wav"), noise)
    monkeypatch.setattr(protocol_clips, "MOST_FRAMES", 20)
    monkeypatch.setattr(protocol_clips, "load_protocol", whole_pictures)
    return f"folder:{folder}"


def whole_pictures(name: str):
    protocol = folder_protocol(Path(name.removeprefix("folder:")))
    rule = protocol.preprocessing.model_dump() | {"boxes": "none", "size": 256}
    return type(protocol).model_validate(protocol.model_dump() | {"preprocessing": rule})


class Notes(NullProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


def levels(clip) -> list[int]:
    return [int(frame.mean() / 3) for frame in clip.frames]


def test_parts_hold_every_frame_once_and_the_first_ones_are_of_all_clips(videos):
    clips = ProtocolClips(videos, 64, pairs=True)
    assert [part.clip.id for part in clips.combs] == [
        "a.mkv", "b.mkv", "c.mkv", "a.mkv", "b.mkv", "c.mkv", "a.mkv", "c.mkv", "c.mkv"
    ]  # fmt: skip
    held: dict[str, list[int]] = {name: [] for name in FRAMES}
    for index, part in enumerate(clips.combs):
        clip = clips.load(index)
        assert clip.frames.shape[1:] == (64, 64, 3) and len(clip.frames) == len(part.numbers) <= 20
        assert levels(clip) == list(part.numbers) and not clip.boxes.any()
        held[part.clip.id] += levels(clip)
    assert {name: sorted(numbers) for name, numbers in held.items()} == {n: list(range(c)) for n, c in FRAMES.items()}
    assert usable(clips, 2, NullProgress()) == list(range(9))


def test_short_clips_and_those_of_phase_two_stay_whole(videos, monkeypatch):
    clips = ProtocolClips(videos, 64)
    assert [part.stride for part in clips.combs] == [1, 1, 1]
    assert levels(clips.load(1)) == list(range(30)) and len(clips.load(1).audio) == 30 * 640
    monkeypatch.setattr(protocol_clips, "MOST_FRAMES", 30)
    clips = ProtocolClips(videos, 64, pairs=True)
    assert [(part.clip.id, part.stride) for part in clips.combs][:3] == [("a.mkv", 2), ("b.mkv", 1), ("c.mkv", 3)]
    assert levels(clips.load(1)) == list(range(30))


def test_frames_of_a_part_without_a_face_are_left_out_and_boxes_stay_with_their_frames(videos):
    clips = ProtocolClips(videos, 64, pairs=True)
    clips._face_boxes = Landmarks(blind=3 * 3)  # type: ignore[assignment]
    clip = clips.load(3)
    assert levels(clip) == [4, *range(7, 45, 3)]
    assert clip.boxes[:, 0, 0] * 255 == pytest.approx(np.array(levels(clip)) * 3)


def test_the_first_part_says_whether_a_clip_is_usable(videos):
    clips = ProtocolClips(videos, 64, pairs=True)
    assert [clips.check(number) for number in (0, 3, 7)] == [15, 15, 16]
    blind = ProtocolClips(videos, 64, pairs=True)
    blind._face_boxes = Landmarks(blind=1)  # type: ignore[assignment]
    assert len(blind.load(3).frames) == 15
    for number in (0, 3):  # frame 0 is one of fifteen: more than 5 %
        with pytest.raises(ClipError, match="face_lost"):
            blind.check(number)
    joined = JoinedClips([clips, blind])
    assert joined.check(6) == 15
    with pytest.raises(ClipError, match="face_lost"):
        joined.check(9 + 6)


def test_a_clip_without_any_face_is_unusable(videos):
    clips = ProtocolClips(videos, 64, pairs=True)
    clips._face_boxes = Landmarks(blind=256)  # type: ignore[assignment]
    with pytest.raises(ClipError, match="no_face"):
        clips.check(5)
    with pytest.raises(DataError, match="9 of 9 training clips are unusable"):
        usable(clips, 2, NullProgress())


def test_a_prepared_clip_that_is_cut_short_is_unusable(videos):
    clips = ProtocolClips(videos, 64, pairs=True)
    assert isinstance(clips.dataset, FolderDataset)
    file = clips.dataset.folder(clips.combs[2].clip) / "video.mkv"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ClipError):
        clips.check(5)
    assert clips.check(4) == 15


def test_data_sets_that_are_not_prepared_stay_whole():
    dataset = ProtocolClips("synthetic", 64, pairs=True).dataset
    one = dataset.protocol.clips[0]
    assert combs_of([one], dataset) == [FrameComb(one)]


def test_phase_2_decodes_no_picture_of_a_clip_whose_coefficients_are_known(videos, toy, tmp_path, monkeypatch):
    torch.manual_seed(0)
    encoder, cache = FloatModel(toy.model).motion_autoencoder, tmp_path / "coefficients.safetensors"
    first = motion_clips(ProtocolClips(videos, 64), range(3), encoder, cache)
    again = ProtocolClips(videos, 64)
    monkeypatch.setattr(again.dataset, "load", None)
    assert usable(again, 2, NullProgress()) == [0, 1, 2]
    known = motion_clips(again, range(3), encoder, cache)
    for a, b in zip(first, known, strict=True):
        assert a.id == b.id and np.array_equal(a.coefficients, b.coefficients) and np.array_equal(a.audio, b.audio)


def test_known_coefficients_belong_to_a_clips_pictures_and_not_to_its_place(videos, toy, tmp_path):
    torch.manual_seed(0)
    encoder, cache = FloatModel(toy.model).motion_autoencoder, tmp_path / "coefficients.safetensors"
    first = motion_clips(ProtocolClips(videos, 64), range(3), encoder, cache)
    (Path(videos.removeprefix("folder:")) / "a.mkv").unlink()
    fewer = motion_clips(ProtocolClips(videos, 64), range(2), encoder, cache)
    assert [clip.id for clip in fewer] == ["b.mkv", "c.mkv"]
    assert all(np.array_equal(a.coefficients, b.coefficients) for a, b in zip(first[1:], fewer, strict=True))


def test_phase_2_leaves_out_a_clip_that_turns_out_damaged_and_counts_it(videos, toy, monkeypatch):
    clips = ProtocolClips(videos, 64)
    assert isinstance(clips.dataset, FolderDataset)
    file = clips.dataset.folder(clips.combs[0].clip) / "video.mkv"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    encoder = FloatModel(toy.model).motion_autoencoder
    with pytest.raises(DataError, match="1 of 3 training clips are unusable"):
        motion_clips(clips, range(3), encoder)
    monkeypatch.setattr("floatbench.training.clips.MAX_UNUSABLE", 0.5)
    assert [(clip.id, clip.number) for clip in motion_clips(clips, range(3), encoder)] == [("b.mkv", 1), ("c.mkv", 2)]


def test_phase_1_needs_no_sound(videos):
    for file in Path(videos.removeprefix("folder:")).glob("*.wav"):
        file.unlink()
    assert len(ProtocolClips(videos, 64, pairs=True).load(0).frames) == 15
    with pytest.raises(ClipError, match="no sound"):
        ProtocolClips(videos, 64).check(0)


def test_phase_2_keeps_what_it_encoded_before_it_was_killed(videos, toy, tmp_path, monkeypatch):
    torch.manual_seed(0)
    encoder, cache = FloatModel(toy.model).motion_autoencoder, tmp_path / "coefficients.safetensors"
    whole = motion_clips(ProtocolClips(videos, 64), range(3), encoder)
    killed = ProtocolClips(videos, 64)
    load, calls = killed.dataset.load, iter(range(9))

    def dying(clip):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return load(clip)

    monkeypatch.setattr(killed.dataset, "load", dying)
    with pytest.raises(KeyboardInterrupt):
        motion_clips(killed, range(3), encoder, cache)
    again = ProtocolClips(videos, 64)
    decoded: list[str] = []
    load_again = again.dataset.load
    monkeypatch.setattr(again.dataset, "load", lambda clip: decoded.append(clip.id) or load_again(clip))
    found = motion_clips(again, range(3), encoder, cache)
    assert decoded == ["c.mkv"]
    assert all(np.array_equal(a.coefficients, b.coefficients) for a, b in zip(whole, found, strict=True))


def test_phase_2_writes_its_cache_while_it_encodes(videos, toy, tmp_path, monkeypatch):
    monkeypatch.setattr("floatbench.training.coefficients.SAVE_SECONDS", 0.0)
    encoder, cache = FloatModel(toy.model).motion_autoencoder, tmp_path / "coefficients.safetensors"
    clips, held = ProtocolClips(videos, 64), []
    load = clips.dataset.load
    monkeypatch.setattr(clips.dataset, "load", lambda clip: held.append(cache.is_file()) or load(clip))
    motion_clips(clips, range(3), encoder, cache)
    assert held == [False, True, True]


def test_a_second_start_of_phase_1_decodes_nothing_and_draws_what_the_parts_hold(videos, monkeypatch):
    first = ProtocolClips(videos, 64, pairs=True)
    first._face_boxes = Landmarks(blind=3 * 3)  # type: ignore[assignment]
    monkeypatch.setattr("floatbench.training.protocol_clips.LOST_SHARE", 0.5)
    assert usable(first, 2, NullProgress()) == list(range(9))
    again = ProtocolClips(videos, 64, pairs=True)
    again._face_boxes = Landmarks(blind=3 * 3)  # type: ignore[assignment]
    assert [again.known(index) for index in range(9)] == [True] * 9
    with monkeypatch.context() as patch:
        patch.setattr(protocol_clips, "read_pictures", None)
        assert usable(again, 2, NullProgress()) == list(range(9))
    for index in range(9):
        whole = again.load(index)
        two = again.picked(index, (again.count(index) - 1, 0))
        assert np.array_equal(two.frames, whole.frames[[-1, 0]])
        assert np.array_equal(two.boxes, whole.boxes[[-1, 0]]) and whole.lips is not None and two.lips is not None
        assert np.array_equal(two.lips, whole.lips[[-1, 0]])


def test_the_preview_holds_ten_seconds_of_a_clip_and_no_more(videos):
    clips = ProtocolClips(videos, 64)
    short = clips.beginning(2, 10)
    assert levels(short) == list(range(10))
    assert np.array_equal(short.audio, clips.load(2).audio[:6400])
    assert len(clips.beginning(1, 250).frames) == FRAMES["b.mkv"]


def test_clips_that_are_decoded_ahead_come_in_their_order_and_never_more_than_the_workers(videos, toy, monkeypatch):
    torch.manual_seed(0)
    encoder = FloatModel(toy.model).motion_autoencoder
    one = motion_clips(ProtocolClips(videos, 64), range(3), encoder)
    clips, events = ProtocolClips(videos, 64), []
    load = clips.dataset.load
    monkeypatch.setattr(clips.dataset, "load", lambda clip: events.append(clip.id) or load(clip))
    coefficients = coefficients_module._coefficients
    monkeypatch.setattr(coefficients_module, "_coefficients", lambda *a: events.append("encoded") or coefficients(*a))
    two = motion_clips(clips, range(3), encoder, workers=2)
    assert sorted(events[:2]) == ["a.mkv", "b.mkv"] and events.index("c.mkv") > events.index("encoded")
    assert [clip.id for clip in two] == ["a.mkv", "b.mkv", "c.mkv"]
    assert all(np.array_equal(a.coefficients, b.coefficients) for a, b in zip(one, two, strict=True))


def test_every_emotion_of_ravdess_that_is_one_of_the_seven_teaches_it():
    labels = {}
    for clip in load_protocol("ravdess-train").clips:
        labels.setdefault(clip.labels["emotion"], set()).add(_emotion(clip))
    known = {"angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised"}
    assert set(labels) == {"calm", *known} and labels["calm"] == {NO_EMOTION}
    assert {name: EMOTIONS[label] for name in known for label in labels[name]} == {
        name: {"fearful": "fear", "surprised": "surprise"}.get(name, name) for name in known
    }


def test_clips_that_were_prepared_with_other_boxes_are_named_and_trained_on_when_asked_for(videos, toy, monkeypatch):
    monkeypatch.setattr(protocol_clips, "load_protocol", load_protocol)
    monkeypatch.setattr(FolderDataset, "auto_prepare", False)
    FolderDataset(load_protocol(videos, boxes="none", size=256)).prepare(NullProgress())
    data = DataConfig(protocol=f"{videos}, synthetic")
    with pytest.raises(DataError, match=r"no prepared clip .* pp\d-\w+-512, .* pp\d-none-256\nfix: name"):
        clip_set(replace(toy, data=data), NullProgress())
    found = clip_set(replace(toy, data=replace(data, boxes="none", size=256)), NullProgress())
    assert Counter(found.origin(index)[0] for index in range(len(found)))[videos] == 3
    assert found.load(0).frames.shape[1:] == (64, 64, 3)  # the model's size
    assert replace(toy, data=replace(data, boxes="none")).hash("flow") != replace(toy, data=data).hash("flow")


def test_a_data_set_that_lacks_more_than_a_tenth_of_its_clips_is_refused_with_counts(videos, toy, monkeypatch):
    whole = load_protocol(videos, boxes="none", size=256)
    clips = [whole.clips[0].model_copy(update={"id": f"{n}.mkv", "video": f"{n}.mkv"}) for n in range(10)]
    listed = whole.model_copy(update={"clips": tuple(clips)})
    monkeypatch.setattr(protocol_clips, "load_protocol", lambda _: listed)
    config, video = replace(toy, data=DataConfig(protocol=videos)), Path(whole.root) / "a.mkv"
    for name in range(8):
        shutil.copy(video, video.with_name(f"{name}.mkv"))
    notes = Notes()
    with pytest.raises(DataError, match=r"2 of 10 clips are not ready .*\nfix: put the file .* or --allow-missing"):
        clip_set(config, notes)
    assert len(clip_set(config, notes, allow_missing=True)) == 8
    assert "2 of 10" in notes.lines[-1]
    shutil.copy(video, video.with_name("8.mkv"))
    assert len(clip_set(config, notes)) == 9
    assert "1 of 10" in notes.lines[-1]
