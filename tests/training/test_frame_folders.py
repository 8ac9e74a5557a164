"""Folders of pictures as data of phase 1, alone and joined with a protocol."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from floatbench.errors import ClipError, DataError
from floatbench.media.image import write_image
from floatbench.training.clips import NO_EMOTION, ClipSet
from floatbench.training.data_config import DataConfig
from floatbench.training.frame_folders import MOST_FRAMES, FrameFolders, JoinedClips, identity_of
from floatbench.training.train import train_autoencoder, train_flow


def picture(level: int, size: int = 64) -> np.ndarray:
    return np.full((size, size, 3), level, np.uint8)


def make(root: Path, name: str, levels: list[int], size: int = 64) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    for number, level in enumerate(levels):
        write_image(folder / f"{number:08d}.png", picture(level, size))
    return folder


@pytest.fixture
def vfhq(tmp_path) -> Path:
    root = tmp_path / "vfhq"
    for number in range(3):
        make(root, f"Clip+-a_{number}+P{number % 2}+C0+F10-14", [40 * number + i for i in range(4)])
    (root / "meta_info").mkdir()
    (root / "README.txt").write_text("no clip")
    return root


def test_every_folder_of_pictures_is_a_clip_in_the_order_of_their_names(vfhq):
    clips = FrameFolders(vfhq, 64)
    assert len(clips) == 3
    second = clips.load(1)
    assert (second.id, second.identity) == ("Clip+-a_1+P1+C0+F10-14", "-a_1+P1")
    assert [int(frame[0, 0, 0]) for frame in second.frames] == [40, 41, 42, 43]
    assert second.emotion == NO_EMOTION and not second.boxes.any()


def test_hidden_files_are_no_pictures_and_links_are_followed(vfhq, tmp_path):
    for name in ("._00000000.png", "Thumbs.db", ".DS_Store"):
        (vfhq / "Clip+-a_1+P1+C0+F10-14" / name).write_bytes(b"no picture")
    for name in (".trash", "__MACOSX"):
        make(vfhq, name, [1])
    (tmp_path / "farm").mkdir()
    for folder in sorted(vfhq.glob("Clip*")):
        (tmp_path / "farm" / folder.name).symlink_to(folder)
    for root in (vfhq, tmp_path / "farm"):
        clips = FrameFolders(root, 64)
        assert len(clips) == 3
        assert [int(frame[0, 0, 0]) for frame in clips.load(1).frames] == [40, 41, 42, 43]
    (tmp_path / "farm" / "gone").symlink_to("nowhere")
    with pytest.raises(DataError, match="gone is a broken link to nowhere"):
        FrameFolders(tmp_path / "farm", 64)


def test_people_are_known_by_vfhqs_names_and_by_the_folder_otherwise():
    assert identity_of("Clip+-x+y-_+P12+C3+F1-2") == "Clip+-x+y-_+P12+C3+F1-2"  # six parts: not the layout
    assert identity_of("Clip+ab-_c+P12+C3+F1-2") == "ab-_c+P12"
    assert identity_of("my clip") == "my clip"


def test_a_long_folder_is_thinned_evenly_to_its_ends(tmp_path):
    make(tmp_path, "long", [i % 256 for i in range(2 * MOST_FRAMES - 1)], 8)
    levels = [int(frame[0, 0, 0]) for frame in FrameFolders(tmp_path, 8).load(0).frames]
    assert levels == [2 * i % 256 for i in range(MOST_FRAMES)]


def test_pictures_are_brought_to_the_models_size(tmp_path):
    make(tmp_path, "large", [7, 9], 96)
    assert FrameFolders(tmp_path, 64).load(0).frames.shape == (2, 64, 64, 3)


def test_a_folder_of_several_sizes_or_with_a_broken_picture_is_unusable(tmp_path):
    folder = make(tmp_path, "one", [1])
    write_image(folder / "00000001.png", picture(1)[:32])
    with pytest.raises(ClipError, match="64 x 32, 64 x 64"):
        FrameFolders(tmp_path, 64).load(0)
    (folder / "00000001.png").write_bytes(b"\x89PNG no")
    with pytest.raises(ClipError, match="unreadable"):
        FrameFolders(tmp_path, 64).load(0)


def test_a_missing_folder_and_one_without_pictures_are_errors_that_show_the_layout(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        FrameFolders(tmp_path / "absent", 64)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no folder with pictures") as error:
        FrameFolders(tmp_path, 64)
    assert "CLIP/0000.png" in str(error.value.fix)


def test_joined_data_sets_hold_every_clip_of_each_once(tmp_path):
    class Numbered(ClipSet):
        def __init__(self, *names: str) -> None:
            self.names = names

        def __len__(self) -> int:
            return len(self.names)

        def load(self, index: int):
            return self.names[index]

    joined = JoinedClips([Numbered("a"), Numbered("b", "c"), Numbered("d")])
    assert [joined.load(i) for i in range(len(joined))] == ["a", "b", "c", "d"]


def test_phase_1_trains_on_pictures_and_phase_2_says_that_they_have_no_sound(toy, vfhq, tmp_path):
    quiet = replace(
        toy.autoencoder, steps=1, batch=2, component=0.0, eye_adv=0.0, eye_style=0.0, lip_adv=0.0, lip_style=0.0,
        component_l1=0.0, component_l2=0.0, truth_warp=0.0, across=0.0,
    )  # fmt: skip
    config = replace(toy, data=DataConfig(protocol=f"frames:{vfhq}"), autoencoder=quiet)
    assert train_autoencoder(config, tmp_path / "run")["clips"] == 3
    losses = json.loads((tmp_path / "run" / "autoencoder" / "log.jsonl").read_text().splitlines()[0])
    assert losses["l1"] > 0
    with pytest.raises(DataError, match="has no sound"):
        train_flow(config, tmp_path / "run")
