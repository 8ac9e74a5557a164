"""The protocols that come with floatbench say what the data specification says."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from floatbench.files import file_sha256
from floatbench.metrics import sets
from floatbench.model.config import EMOTIONS
from floatbench.protocol.load import built_in, load_protocol
from floatbench.synthetic.clip import TEST_FIRST, parse_id

FOLDER = Path(__file__).resolve().parents[2] / "protocols"


def test_hdtf_has_78_people_with_15_seconds_each() -> None:
    protocol = load_protocol("hdtf")
    assert len(protocol.clips) == len({clip.identity for clip in protocol.clips}) == 78
    assert len({clip.video for clip in protocol.clips}) == 78
    assert {round((clip.end_s or 0) - (clip.start_s or 0), 6) for clip in protocol.clips} == {15.0}
    assert Counter(clip.labels["category"] for clip in protocol.clips) == {"WDA": 48, "WRA": 30}
    assert all(clip.face is not None and 0 <= clip.face[1] <= 1 for clip in protocol.clips)
    assert protocol.coverage_floor == 0.9
    assert protocol.settings["lse-direct-d"] == {"min_track": 100}


def test_hdtf_long_is_a_minute_of_every_test_recording_that_is_long_enough_by_the_same_rule() -> None:
    with (FOLDER / "hdtf.csv").open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["split"] == "test"]
    enough = {row["clip_id"]: row for row in rows if float(row["end_s"]) - float(row["start_s"]) >= 62}
    short, long = ({clip.id: clip for clip in load_protocol(name).clips} for name in ("hdtf", "hdtf-long"))
    assert len(long) == 68 and set(long) == {f"{name}-60s" for name in enough}
    for name, row in enough.items():
        clip = long[f"{name}-60s"]
        assert clip.start_s == short[name].start_s == float(row["start_s"]) + 1
        assert clip.end_s == clip.start_s + 60 <= float(row["end_s"]) - 1
        same = ("identity", "video", "labels", "face")
        assert [getattr(clip, field) for field in same] == [getattr(short[name], field) for field in same]


def test_nobody_of_synthetic_long_is_in_another_protocol_or_in_training() -> None:
    long, short = load_protocol("synthetic-long"), load_protocol("synthetic")
    assert {clip.end_s for clip in long.clips} == {60.0} and len({clip.identity for clip in long.clips}) == 12
    assert not {clip.identity for clip in long.clips} & {clip.identity for clip in short.clips}
    assert all(parse_id(clip.id)[0] >= TEST_FIRST for clip in long.clips)


def test_the_clip_table_of_hdtf_is_the_published_one() -> None:
    assert file_sha256(FOLDER / "hdtf.csv") == "93e8bbc8380e2af053d8ca27151afd3cb0c0b43c70fd9d94567bfba5ff615a4d"


def test_hdtf_training_shares_nobody_and_no_video_with_the_test() -> None:
    test, train = load_protocol("hdtf"), load_protocol("hdtf-train")
    assert len(train.clips) == 273 and len({clip.identity for clip in train.clips}) == 188
    assert not {clip.identity for clip in test.clips} & {clip.identity for clip in train.clips}
    assert not {clip.video for clip in test.clips} & {clip.video for clip in train.clips}


def test_ravdess_has_14_cells_of_two_actors() -> None:
    protocol = load_protocol("ravdess")
    cells = Counter((clip.labels["emotion"], clip.labels["intensity"]) for clip in protocol.clips)
    assert len(protocol.clips) == 112 and len(cells) == 14 and set(cells.values()) == {8}
    assert {clip.identity for clip in protocol.clips} == {"23", "24"}
    assert {c.labels["label_exact"] for c in protocol.clips if c.labels["emotion"] == "calm"} == {"no"}
    assert protocol.settings["lse-direct-d"] == {"min_track": 50}


def test_ravdess_13_has_only_exact_labels() -> None:
    protocol = load_protocol("ravdess-13")
    assert len(protocol.clips) == 104
    assert {clip.labels["label_exact"] for clip in protocol.clips} == {"yes"}
    assert "calm" not in {clip.labels["emotion"] for clip in protocol.clips}


def test_ravdess_13_scores_what_reads_its_labels_beside_the_columns_of_the_paper_and_the_others_the_columns_alone():
    paper, emotion = sets.members("paper"), sets.members("emotion")
    protocol = load_protocol("ravdess-13")
    assert protocol.metrics == paper + emotion
    assert {clip.labels["float_label"] for clip in protocol.clips} <= set(EMOTIONS)
    for name in ("hdtf", "ravdess"):
        assert load_protocol(name).metrics == paper  # Table 1


def test_ravdess_codes_agree_with_the_table_of_the_data_set() -> None:
    emotions = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    spoken = load_protocol("ravdess-train").clips + load_protocol("ravdess").clips
    sung = load_protocol("ravdess-song-train").clips + load_protocol("ravdess-song-test").clips
    assert (len(spoken), len(sung)) == (1320 + 112, 1012)
    for clip in spoken + sung:
        _, channel, emotion, intensity, statement, repetition, actor = clip.id.split("-")
        labels = clip.labels
        assert channel == ("02" if clip in sung else "01") and int(actor) == int(clip.identity)
        assert labels["emotion"] == emotions[int(emotion) - 1]
        assert labels["intensity"] == ("normal", "strong")[int(intensity) - 1]
        assert (int(labels["statement"]), int(labels["repetition"])) == (int(statement), int(repetition))
        assert labels["sex"] == ("male" if int(actor) % 2 else "female")
        assert clip.video == f"Actor_{actor}/{clip.id}.mp4"


def test_ravdess_song_has_44_files_of_every_singer_and_none_of_actor_18() -> None:
    """Neutral once and calm, happy, sad, angry, fearful at two strengths; two statements, two repetitions."""
    train, test = load_protocol("ravdess-song-train").clips, load_protocol("ravdess-song-test").clips
    for clips, actors in ((train, set(range(1, 23)) - {18}), (test, {23, 24})):
        counts = Counter(int(clip.identity) for clip in clips)
        assert counts == dict.fromkeys(actors, 44)
    assert {clip.labels["float_label"] for clip in train} == {"neutral", "happy", "sad", "angry", "fear"}
    assert all(clip.labels["archive"] == f"Video_Song_Actor_{int(clip.identity):02d}.zip" for clip in train + test)


@pytest.mark.parametrize("name", built_in())
def test_every_protocol_loads_and_has_a_label(name: str) -> None:
    protocol = load_protocol(name)
    assert re.fullmatch(r"[a-z0-9._-]+@[0-9a-f]{8}", protocol.label)
    assert len({clip.slug for clip in protocol.clips}) == len(protocol.clips)
