"""`folder:DIR`: which files become clips, what clips.csv may say, and that the hash follows the content."""

from __future__ import annotations

import os
import shutil
import unicodedata
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
        ("id,start_s\na.mp4,-1\n", "clips.csv:2: start_s: should be greater than or equal to 0"),
        ("id,source\na.mp4,sub/../a.wav\n", "clips.csv:2: source: no file"),
        ("id\nA.mp4\n", "clips.csv:2: id: no video 'A.mp4'"),
        ("id\n./a.mp4\n", "clips.csv:2: id: no video './a.mp4'"),
        ("id\nsub\\b.MOV\n", "clips.csv:2: id: no video 'sub"),
        ("id\na\na.mp4\n", "clips.csv:2: id: no video 'a' in the folder"),
        ("id;identity\na.mp4;ann\n", "clips.csv:1: semicolons separate the columns"),
        ("id\tidentity\na.mp4\tann\n", "clips.csv:1: tabs separate the columns"),
        ("id,identity, identity\na.mp4,ann,bob\n", "clips.csv:1: the column 'identity' is there twice"),
        ("id,mood,\na.mp4,calm,\n", "clips.csv:1: column 3 has no name"),
    ],
)
def test_a_mistake_in_clips_csv_names_line_and_column(folder: Path, table: str, what: str) -> None:
    (folder / "clips.csv").write_text(table, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load(folder)
    assert what in caught.value.what


@pytest.mark.parametrize(
    ("column", "known"),
    [
        ("Identity", "identity"), ("IDENTITY", "identity"), ("identiy", "identity"), ("speaker", "identity"),
        ("Speaker ID", "identity"), ("person", "identity"), ("start", "start_s"), ("Start_S", "start_s"),
        ("start (s)", "start_s"), ("begin", "start_s"), ("starts", "start_s"), ("end", "end_s"), ("stop", "end_s"),
        ("end-s", "end_s"), ("sound", "audio"), ("Audio", "audio"), ("audios", "audio"), ("portrait", "source"),
        ("ID", "id"),
    ],
)  # fmt: skip
def test_a_column_that_nearly_is_a_known_one_is_no_label(folder: Path, column: str, known: str) -> None:
    (folder / "clips.csv").write_text(
        f"{'' if known == 'id' else 'id,'}{column}\n{'' if known == 'id' else 'a.mp4,'}1\n"
    )
    with pytest.raises(UsageError, match=f"clips.csv:1: the column .* nearly is '{known}'") as caught:
        load(folder)
    assert caught.value.fix and f"call it {known}" in caught.value.fix


def test_such_a_column_beside_the_known_one_and_other_names_are_labels_and_said(folder: Path) -> None:
    (folder / "clips.csv").write_text("id,identity,speaker,emotion,score,stage\na.mp4,ann,left,calm,3,x\n")
    protocol = load(folder)
    [a] = [clip for clip in protocol.clips if clip.id == "a.mp4"]
    assert (a.identity, a.labels) == ("ann", {"speaker": "left", "emotion": "calm", "score": "3", "stage": "x"})
    assert "clips.csv: read as labels: speaker, emotion, score, stage" in protocol.notes
    (folder / "clips.csv").write_text("id,identity,Identity\na.mp4,ann,bob\n")
    with pytest.raises(UsageError, match="nearly is 'identity'"):
        load(folder)


def test_spaces_marks_and_empty_rows_of_spreadsheets_change_nothing(folder: Path) -> None:
    (folder / "clips.csv").write_text("id,identity,start_s,mood\na.mp4,ann,0.5,calm\n")
    plain = load(folder)
    text = '\ufeffid, identity , start_s, mood\r\na.mp4, ann , 0.5, "calm"\r\n,,,\r\n'
    (folder / "clips.csv").write_text(text, encoding="utf-8", newline="")
    loaded = load(folder)
    assert loaded.hash == plain.hash
    assert "clips.csv: the column ' start_s' is read as 'start_s'" in loaded.notes


def test_one_person_in_two_spellings_is_said(folder: Path) -> None:
    (folder / "clips.csv").write_text("id,identity\na.mp4,Ann\nsub/b.MOV,ann\n")
    assert "clips.csv: 'Ann' and 'ann' count as 2 people" in load(folder).notes


def test_an_id_in_a_table_follows_the_rules_of_names(folder: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "ü.webm") for form in ("NFC", "NFD"))
    (folder / decomposed).write_bytes(b"x")
    (folder / "clips.csv").write_text(f"id,identity\na,ann\nsub/b.mov,bob\n{composed},ute\n")
    people = {clip.id: clip.identity for clip in load(folder).clips}
    assert (people["a.mp4"], people["sub/b.MOV"], people[decomposed]) == ("ann", "bob", "ute")


@pytest.mark.parametrize("twice", ["a.mov", "a.MP4", "sub/b.mkv"])
def test_one_name_twice_is_refused(folder: Path, twice: str) -> None:
    (folder / twice).write_bytes(b"x")
    with pytest.raises(UsageError, match="are one name twice"):
        load(folder)


def test_a_sound_is_found_by_the_rules_of_names(folder: Path) -> None:
    (folder / "sub/b.WAV").write_bytes(b"sound")
    assert {clip.id: clip.audio for clip in load(folder).clips if clip.audio} == {
        "a.mp4": "a.wav", "sub/b.MOV": "sub/b.WAV",
    }  # fmt: skip
    (folder / "sub/b.wav").write_bytes(b"sound")
    with pytest.raises(UsageError, match=r"sub/b\.WAV and sub/b\.wav are one name twice"):
        load(folder)


def test_a_link_that_leaves_the_folder_is_followed_and_keyed_by_content(folder: Path, tmp_path: Path) -> None:
    plain = load(folder).hash
    (folder / "sub").rename(tmp_path / "elsewhere")
    (folder / "sub").symlink_to(tmp_path / "elsewhere")
    (folder / "a.mp4").rename(tmp_path / "a")
    (folder / "a.mp4").symlink_to("../a")
    assert load(folder).hash == plain
    (tmp_path / "a").write_bytes(b"another")
    assert load(folder).hash != plain


def test_a_window_outside_of_the_file_says_where_the_files_time_begins_and_ends(
    tmp_path: Path, long_video: Path
) -> None:
    (tmp_path / "v").mkdir()
    for name in ("out", "part", "in"):
        shutil.copy(long_video, tmp_path / f"v/{name}.mp4")
    (tmp_path / "v/clips.csv").write_text("id,start_s,end_s\nout.mp4,600,615\npart.mp4,34,75\nin.mp4,1,3\n")
    protocol = load_protocol(f"folder:{tmp_path / 'v'}", boxes="none", size=64)
    data, said = dataset_for(protocol), Said()
    data.prepare(said)
    states = {row.clip_id: row for row in data.availability()}
    assert states["out.mp4"].detail == (
        "0 frames at 25 a second, 25 are needed: the window is from 600 s to 615 s, "
        "the file's time begins at 0.00 s and ends at 36.00 s"
    )
    assert "part.mp4: the window is 34 to 75 s; the file has 34.00 to 36.00 s of it" in said.lines
    assert not [line for line in said.lines if line.startswith("in.mp4")]


class Said(NullProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


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
