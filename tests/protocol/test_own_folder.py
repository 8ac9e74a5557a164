"""`folder:DIR`: which files become clips, what clips.csv may say, and that the hash follows the content."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from floatbench.data.catalogue import dataset_for
from floatbench.errors import ClipError, DataError, UsageError
from floatbench.methods.catalogue import create
from floatbench.progress import NullProgress
from floatbench.protocol.load import load_protocol
from floatbench.protocol.protocol import Protocol


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    (root / "sub").mkdir(parents=True)
    for name in ("a.mp4", "sub/b.MOV", "-dash it's.mp4", "ü\nx.webm"):
        (root / name).write_bytes(name.encode())
    (root / "a.wav").write_bytes(b"sound")
    (root / "notes.txt").write_text("no video")
    return root


def load(folder: Path) -> Protocol:
    return load_protocol(f"folder:{folder}")


def test_every_video_is_a_clip_named_by_its_path(folder: Path) -> None:
    protocol = load(folder)
    assert [clip.id for clip in protocol.clips] == ["-dash it's.mp4", "a.mp4", "sub/b.MOV", "ü\nx.webm"]
    assert {clip.id: clip.audio for clip in protocol.clips if clip.audio} == {"a.mp4": "a.wav"}
    assert {clip.identity for clip in protocol.clips} == {"-dash it's", "a", "sub/b", "ü\nx"}
    assert protocol.preprocessing.id == "pp2-mp-512" and protocol.metrics == ("efid-mp52", "pfid-mp6", "avcorr-excess")


@pytest.mark.parametrize(
    ("table", "spec"), [("", "pp1"), ("[preprocessing]\nsize = 256", "pp1"), ('[preprocessing]\nspec = "pp2"', "pp2")]
)
def test_a_protocol_file_keeps_its_rule_and_so_its_hash_until_it_names_another(
    folder: Path, tmp_path: Path, table: str, spec: str
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'id = "mine"\ndataset = "folder:videos"\nmetrics = ["avcorr"]\n{table}\n')
    assert load_protocol(str(file)).preprocessing.spec == spec


def test_hidden_and_unsafe_files_are_passed_over_with_a_note(folder: Path) -> None:
    (folder / ".hidden.mp4").write_bytes(b"x")
    (folder / "c.mp4").symlink_to(folder / "a.mp4")
    os.mkfifo(folder / "pipe.mp4")
    protocol = load(folder)
    assert [clip.id for clip in protocol.clips] == ["-dash it's.mp4", "a.mp4", "c.mp4", "sub/b.MOV", "ü\nx.webm"]
    text = "; ".join(protocol.notes)
    assert "1 hidden file" in text and "pipe.mp4: not a regular file" in text


def test_names_that_are_not_utf8_are_passed_over_with_a_note_and_refused_as_methods(folder: Path) -> None:
    bad = os.fsdecode(b"caf\xe9")
    (folder / bad).mkdir()
    (folder / bad / "d.mp4").write_bytes(b"d")
    (folder / f"{bad}.mp4").write_bytes(b"e")
    protocol = load(folder)
    assert [clip.id for clip in protocol.clips] == ["-dash it's.mp4", "a.mp4", "sub/b.MOV", "ü\nx.webm"]
    assert sum("its name is not UTF-8" in note for note in protocol.notes) == 2
    with pytest.raises(UsageError, match="not UTF-8"):
        create(f"videos:{folder / bad}")


def test_the_hash_follows_the_content_and_not_the_place_or_the_time(folder: Path, tmp_path: Path) -> None:
    first = load(folder).hash
    shutil.copytree(folder, tmp_path / "elsewhere" / "videos")
    assert load(tmp_path / "elsewhere" / "videos").hash == first
    os.utime(folder / "a.mp4", (1, 1))
    assert load(folder).hash == first
    (folder / "a.wav").write_bytes(b"SOUND")
    assert load(folder).hash != first


def test_clips_csv_gives_people_windows_and_labels(folder: Path) -> None:
    (folder / "clips.csv").write_text("id,identity,start_s,end_s,mood\na.mp4,ann,0.5,2,calm\nsub/b.MOV,ann,,,\n")
    clips = {clip.id: clip for clip in load(folder).clips}
    a = clips["a.mp4"]
    assert (a.identity, a.start_s, a.end_s, a.labels) == ("ann", 0.5, 2.0, {"mood": "calm"})
    assert clips["sub/b.MOV"].identity == "ann" and clips["sub/b.MOV"].labels == {}


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("identity\nann\n", "clips.csv:1: the column 'id' is missing"),
        ("id\na.mp5\n", "clips.csv:2: id: no video 'a.mp5'"),
        ("id\na.mp4\na.mp4\n", "clips.csv:3: id: the id 'a.mp4' is also on line 2"),
        ("id,audio\na.mp4,../x.wav\n", "clips.csv:2: audio: no file"),
        ("id,audio\na.mp4,/etc/passwd\n", "clips.csv:2: audio: no file"),
        ("id,start_s,end_s\na.mp4,5,2\n", "the window ends at 2.0 s, before it starts"),
    ],
)
def test_a_mistake_in_clips_csv_names_line_and_column(folder: Path, table: str, what: str) -> None:
    (folder / "clips.csv").write_text(table, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load(folder)
    assert what in caught.value.what


def test_no_folder_and_no_video_are_usage_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(UsageError):
            load(path)


def test_own_boxes_are_part_of_the_hash(folder: Path) -> None:
    with pytest.raises(UsageError, match="box back end"):
        load_protocol(f"folder:{folder}", boxes="given")
    (folder / "boxes.csv").write_text("left,top,right,bottom\n1,2,3,4\n")
    first = load_protocol(f"folder:{folder}", boxes="given").hash
    (folder / "boxes.csv").write_text("left,top,right,bottom\n1,2,3,5\n")
    assert load_protocol(f"folder:{folder}", boxes="given").hash != first


def test_clips_are_prepared_once_and_rejections_are_kept(tmp_path: Path, long_video: Path) -> None:
    root = tmp_path / "v"
    root.mkdir()
    (root / "bad.mp4").write_bytes(b"no video at all")
    shutil.copy(long_video, root / "good.mp4")
    (root / "clips.csv").write_text("id,start_s,end_s\ngood.mp4,1,3\n")
    protocol = load_protocol(f"folder:{root}", boxes="none", size=64)
    data = dataset_for(protocol)
    assert [row.state for row in data.availability()] == ["unprepared", "unprepared"]
    with pytest.raises(DataError, match="not prepared yet") as caught:
        data.load(protocol.clips[1])
    assert "--boxes none --size 64" in (caught.value.fix or "")
    data.prepare(NullProgress())
    assert [(row.state, row.reason) for row in data.availability()] == [("rejected", "unreadable"), ("ready", "")]
    reference = data.load(protocol.clips[1])
    assert reference.media.frames.shape == (50, 64, 64, 3)
    assert reference.media.audio is not None and reference.media.audio.shape == (32_000,)
    assert (reference.source == reference.media.frames[0]).all()
    with pytest.raises(ClipError, match="unreadable"):
        data.load(protocol.clips[0])
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("clip.json")}
    data.prepare(NullProgress())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("clip.json")} == made


def test_several_processes_prepare_the_same_clips_as_one(
    tmp_path: Path, long_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "v"
    root.mkdir()
    for name in ("a", "b", "c"):
        shutil.copy(long_video, root / f"{name}.mp4")
    (root / "broken.mp4").write_bytes(b"no video")
    (root / "clips.csv").write_text("id,end_s\na.mp4,1\nb.mp4,1.5\nc.mp4,2\nbroken.mp4,\n")
    made = {}
    for workers in (1, 3):
        monkeypatch.setenv("FLOATBENCH_HOME", str(tmp_path / f"home{workers}"))
        data = dataset_for(load_protocol(f"folder:{root}", boxes="none", size=64))
        data.prepare(NullProgress(), workers)
        states = {row.clip_id: row.state for row in data.availability()}
        clips = [data.load(clip).media for clip in data.protocol.clips if states[clip.id] == "ready"]
        made[workers] = (states, [(media.pixels_sha256, media.pcm_sha256) for media in clips])
    assert made[1] == made[3] and list(made[1][0].values()).count("rejected") == 1


def test_the_column_source_gives_another_picture_than_the_first_frame(tmp_path: Path, long_video: Path) -> None:
    root = tmp_path / "v"
    root.mkdir()
    shutil.copy(long_video, root / "a.mp4")
    picture = np.full((80, 80, 3), (250, 10, 20), np.uint8)
    Image.fromarray(picture).save(root / "face.png")
    (root / "clips.csv").write_text("id,end_s,source\na.mp4,1,face.png\n")
    data = dataset_for(load_protocol(f"folder:{root}", boxes="none", size=64))
    data.prepare(NullProgress())
    reference = data.load(data.protocol.clips[0])
    assert reference.source.shape == (64, 64, 3) and (reference.source == picture[:64, :64]).all()
    assert (reference.source != reference.media.frames[0]).any()


def test_a_changed_file_is_prepared_anew(tmp_path: Path, long_video: Path) -> None:
    root = tmp_path / "v"
    root.mkdir()
    shutil.copy(long_video, root / "a.mp4")
    first = dataset_for(load_protocol(f"folder:{root}", boxes="none", size=64))
    (root / "clips.csv").write_text("id,end_s\na.mp4,2\n")
    second = dataset_for(load_protocol(f"folder:{root}", boxes="none", size=64))
    second.prepare(NullProgress())
    assert [data.availability()[0].state for data in (first, second)] == ["unprepared", "ready"]


def test_a_protocol_file_may_name_a_folder_beside_it(folder: Path) -> None:
    file = folder.parent / "mine.toml"
    file.write_text(
        'id = "mine-v1"\ndataset = "folder:videos"\nmetrics = ["avcorr"]\n[preprocessing]\nboxes = "none"\n'
    )
    protocol = load_protocol(str(file))
    assert (protocol.id, protocol.metrics, protocol.preprocessing.id) == ("mine-v1", ("avcorr",), "pp1-none-512")
    assert [clip.id for clip in protocol.clips] == [clip.id for clip in load(folder).clips]
    assert type(dataset_for(protocol)).__name__ == "FolderDataset"
