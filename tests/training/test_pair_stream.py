"""Pairs straight from the files: coverage, shares of processes, resuming, workers; and what a second start looks at."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from floatbench.errors import ClipError, DataError, DependencyError, UsageError
from floatbench.files import file_sha256
from floatbench.media.image import write_image
from floatbench.paths import cache_dir
from floatbench.progress import NullProgress
from floatbench.training import clip_facts, frame_folders
from floatbench.training.batches import Pairs
from floatbench.training.clip_order import MixedOrder
from floatbench.training.clips import NO_EMOTION, ClipOrder, ClipSet, TrainingClip, usable
from floatbench.training.frame_folders import FrameFolders
from floatbench.training.pair_stream import PairStream

FRAMES = 5


class Numbered(ClipSet):
    """Every picture of clip i has level i, and its frame in the box; clips in `blind` show no face, 99 kills."""

    def __init__(self, count: int, blind: tuple[int, ...] = (), deadly: int = -1) -> None:
        self.size, self.blind, self.deadly = count, blind, deadly

    def __len__(self) -> int:
        return self.size

    def load(self, index: int) -> TrainingClip:
        if index == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if index in self.blind:
            raise ClipError("no_face", f"clip {index}")
        frames = np.full((FRAMES, 8, 8, 3), index, np.uint8)
        boxes = np.broadcast_to(np.arange(FRAMES, dtype=np.float32)[:, None, None], (FRAMES, 3, 4)).copy()
        return TrainingClip(str(index), str(index), frames, np.zeros(640 * FRAMES, np.int16), boxes, NO_EMOTION, {})


def stream(clips: ClipSet, rows: slice = slice(None), workers: int = 0, steps: int = 40) -> PairStream:
    order = MixedOrder(clips, range(len(clips)), 1)
    return PairStream(clips, order, 4, 7, False, steps, rows, workers)


def levels(pairs: Pairs) -> list[int]:
    return pairs.source[:, 0, 0, 0].tolist()


def same(a: Pairs, b: Pairs) -> bool:
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


def test_every_clip_comes_once_an_epoch_and_pictures_are_bytes():
    whole = stream(Numbered(20))
    for epoch in range(3):
        shown = [level for step in range(5) for level in levels(whole.at(5 * epoch + step))]
        assert sorted(shown) == list(range(20))
    assert whole.at(0).source.dtype == torch.uint8 and whole.at(0).source.shape == (4, 8, 8, 3)


def test_processes_share_the_batch_of_one_and_see_different_clips():
    alone, ranks = stream(Numbered(20)), [stream(Numbered(20), slice(rank, None, 2)) for rank in range(2)]
    seen: list[list[int]] = [[], []]
    for step in range(5):
        batch, parts = alone.at(step), [rank.at(step) for rank in ranks]
        for rank, part in enumerate(parts):
            assert same(batch.each(lambda value, rank=rank: value[rank::2]), part)
            seen[rank] += levels(part)
    assert not set(seen[0]) & set(seen[1]) and set(seen[0]) | set(seen[1]) == set(range(20))


def test_a_batch_follows_from_seed_and_step_alone_so_that_a_resumed_run_draws_it_again():
    first, later = stream(Numbered(20)), stream(Numbered(20))
    batches = [first.at(step) for step in range(12)]
    assert all(same(batches[step], later.at(step)) for step in (7, 8, 3, 11))
    assert not torch.equal(batches[0].boxes, batches[5].boxes)


def test_workers_decode_the_same_batches_in_the_same_order():
    with stream(Numbered(20), workers=2, steps=6) as ahead:
        found = [ahead.at(step) for step in range(6)]
    alone = stream(Numbered(20))
    assert all(same(pairs, alone.at(step)) for step, pairs in enumerate(found))


def test_a_clip_without_a_face_gives_its_row_to_the_one_of_the_next_batch_and_too_many_are_an_error():
    order = ClipOrder(range(20))
    blind = PairStream(Numbered(20, blind=(1, 5)), order, 4, 7, False, 40, workers=0)
    assert levels(blind.at(0)) == [0, 9, 2, 3]  # 1, then 5, then 9
    with pytest.raises(DataError, match=r"3 clips in a row show no face, e\.g\. number 1"):
        PairStream(Numbered(20, blind=(1, 5, 9)), order, 4, 7, False, 40, workers=0).at(0)


def test_what_goes_wrong_in_a_worker_is_raised_as_it_was_and_a_dead_one_is_named():
    order = ClipOrder(range(4))
    with (
        pytest.raises(DataError, match="3 clips in a row"),
        PairStream(Numbered(4, blind=(0, 1, 2, 3)), order, 4, 7, False, 4, workers=1) as broken,
    ):
        broken.at(0)
    with (
        pytest.raises(DependencyError, match="decodes training clips died"),
        PairStream(Numbered(4, deadly=2), order, 4, 7, False, 4, workers=1) as deadly,
    ):
        deadly.at(0)


def test_true_motion_needs_clips_in_memory(toy, clips, tmp_path):
    from floatbench.training.train import train_autoencoder

    direct = replace(toy, data=replace(toy.data, pool=0), autoencoder=replace(toy.autoencoder, batch=2))
    assert direct.autoencoder.both_ways
    with pytest.raises(UsageError, match=r"clips in memory\nfix: set data\.pool above 0"):
        train_autoencoder(direct, tmp_path, device="cpu", clips=clips)


class Looks:
    """Stands in for the face landmarker and counts what it looks at."""

    sha256 = "looks"

    def __init__(self) -> None:
        self.seen_frames = 0

    def seen(self, media) -> np.ndarray:
        self.seen_frames += media.n_frames
        return np.full((media.n_frames, 13, 4), 0.5, np.float32)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("floatbench.weights.file_hashes.RESTED_NS", -1)
    for clip in range(3):
        for number in range(4):
            (tmp_path / f"c{clip}").mkdir(exist_ok=True)
            write_image(tmp_path / f"c{clip}" / f"{number}.png", np.full((16, 16, 3), 10 * clip + number, np.uint8))
    return tmp_path


def looked(root: Path) -> FrameFolders:
    clips = FrameFolders(root, 16)
    clips._face_boxes = Looks()  # type: ignore[assignment]
    return clips


def test_a_second_start_of_the_same_folders_decodes_no_picture(folders, monkeypatch):
    first = looked(folders)
    assert usable(first, 2, NullProgress()) == [0, 1, 2]
    assert first._face_boxes.seen_frames == 12  # type: ignore[union-attr]
    again = looked(folders)
    monkeypatch.setattr(frame_folders, "read_image", None)
    assert all(again.known(index) for index in range(3))
    assert usable(again, 2, NullProgress()) == [0, 1, 2]


def test_what_is_known_belongs_to_the_pictures_and_not_to_their_names(folders):
    usable(looked(folders), 2, NullProgress())
    write_image(folders / "c1" / "2.png", np.full((16, 16, 3), 99, np.uint8))
    changed = looked(folders)
    assert [changed.known(index) for index in range(3)] == [True, False, True]
    usable(changed, 2, NullProgress())
    assert changed._face_boxes.seen_frames == 4  # type: ignore[union-attr]


def test_pictures_that_were_copied_moved_or_given_other_rights_are_known_by_their_bytes(
    folders, tmp_path_factory, monkeypatch
):
    usable(looked(folders), 2, NullProgress())
    shutil.copytree(folders, copied := tmp_path_factory.mktemp("other") / "disk")
    for file in copied.rglob("*.png"):
        file.chmod(0o600)
        os.utime(file, (1, 1))
    monkeypatch.setattr(frame_folders, "read_image", None)  # nothing is decoded
    hashed: list[Path] = []
    monkeypatch.setattr(clip_facts, "file_sha256", lambda file: hashed.append(file) or file_sha256(file))
    for _ in range(2):
        again = looked(copied)
        assert usable(again, 2, NullProgress()) == [0, 1, 2]
        assert again._face_boxes.seen_frames == 0  # type: ignore[union-attr]
    assert len(hashed) == 12  # and read whole but once


def test_pictures_that_changed_places_are_not_taken_for_each_other(folders):
    usable(looked(folders), 2, NullProgress())
    one, other, aside = (folders / "c0" / name for name in ("0.png", "1.png", "aside"))
    for old, new in ((one, aside), (other, one), (aside, other)):
        old.rename(new)
    assert [looked(folders).known(index) for index in range(3)] == [False, True, True]
    changed = looked(folders)
    usable(changed, 2, NullProgress())
    assert changed._face_boxes.seen_frames == 4  # type: ignore[union-attr]


def test_a_start_that_was_killed_goes_on(folders, monkeypatch):
    killed, read = looked(folders), frame_folders.read_image
    calls = iter(range(100))

    def dying(file: Path) -> np.ndarray:
        if next(calls) == 6:
            raise KeyboardInterrupt
        return read(file)

    monkeypatch.setattr(frame_folders, "read_image", dying)
    with pytest.raises(KeyboardInterrupt):
        usable(killed, 2, NullProgress())
    monkeypatch.setattr(frame_folders, "read_image", read)
    assert [looked(folders).known(index) for index in range(3)] == [True, False, False]


def test_two_frames_of_a_folder_are_read_without_the_others(folders, monkeypatch):
    clips, read = looked(folders), frame_folders.read_image
    usable(clips, 2, NullProgress())
    files: list[str] = []
    monkeypatch.setattr(frame_folders, "read_image", lambda file: files.append(file.name) or read(file))
    two = clips.picked(2, (3, 1))
    assert files == ["3.png", "1.png"] and two.frames[:, 0, 0, 0].tolist() == [23, 21]
    assert two.boxes.shape == (2, 3, 4) and two.lips is not None and two.lips.shape == (2, 20, 2)
    assert np.array_equal(two.frames, clips.load(2).frames[[3, 1]])


def test_a_damaged_record_is_made_again(folders):
    clips = looked(folders)
    usable(clips, 2, NullProgress())
    records = [file for kind in ("clips-1", "pictures-1") for file in (cache_dir() / "training" / kind).glob("*/*")]
    assert len(records) == 6  # what was seen, and the content of the pictures
    for file in records:
        file.write_bytes(b"no array")
    assert usable(looked(folders), 2, NullProgress()) == [0, 1, 2]


def test_clips_that_go_to_workers_leave_the_landmarker_behind(folders):
    clips = pickle.loads(pickle.dumps(FrameFolders(folders, 16)))
    assert usable(clips, 2, NullProgress(), workers=2) == [0, 1, 2]
