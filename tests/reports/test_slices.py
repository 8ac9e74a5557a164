"""Scores of some clips of a finished run are those of a run on these clips alone, and say which clips they are of."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from report_toys import toy_protocol, write_run
from test_commands import floatbench

from floatbench.engine.features import FeatureStore
from floatbench.engine.records import RowFile
from floatbench.media import write_mp4
from floatbench.protocol.protocol import Clip
from floatbench.reports.loading import load_run
from floatbench.reports.subset import restricted

FAR = [1.0, 2.0, 3.0, 5.0, 7.0, 9.0]
"""Distance of each clip: its score in the toy metric."""


def clips(**labels: list[str]) -> tuple[Clip, ...]:
    return tuple(
        Clip(id=f"clip {k}", identity=f"person {k // 2}", labels={name: v[k] for name, v in labels.items() if v[k]})
        for k in range(len(FAR))
    )


def run_of(folder: Path, **labels: list[str]) -> Path:
    return write_run(folder, {"mine": FAR, "reference": 0.0}, protocol=toy_protocol(clips=clips(**labels)))


def turn_heads(folder: Path, yaw: list[float]) -> None:
    """Adds to each row what a landmarker saw in the real video: one lost frame, then `yaw` degrees to the left."""
    rows, store = RowFile(folder / "rows.jsonl"), FeatureStore(folder, None)
    found = list(rows.read().values())
    (folder / "rows.jsonl").unlink()
    for row in found:
        turned = -np.radians(yaw[int(row.clip.split()[1])])
        key = hashlib.sha256(f"{turned}".encode()).hexdigest()
        rotation = np.zeros((5, 3))
        rotation[:, 1] = [2.0, *[turned] * 4]
        store.put(key, {"rotation": rotation, "found": np.array([0, 1, 1, 1, 1])})
        row.features["reference"]["mp-landmarker"] = key
        rows.append(row)


def table(capfd, *given) -> dict[str, dict[str, str]]:
    """Block -> its line of `mine` under toy-fid."""
    code, out, err = floatbench(capfd, "report", *given, "--format", "csv")
    assert code == 0, err
    lines = csv.DictReader(out.splitlines())
    return {line["origin"]: line for line in lines if (line["method"], line["variant"]) == ("mine", "toy-fid")}


def test_each_emotion_has_its_own_score_interval_and_count(capfd, tmp_path):
    emotions = ["happy", "happy", "sad", "sad", "sad", ""]
    found = table(capfd, run_of(tmp_path / "run", emotion=emotions), "--by", "emotion")
    assert list(found) == [
        "measured", "emotion happy: 2 clips of 1 person", "emotion sad: 3 clips of 2 people",
        "emotion not known: 1 clip of 1 person",
    ]  # fmt: skip
    expected = [np.mean(FAR), np.mean(FAR[:2]), np.mean(FAR[2:5]), FAR[5]]
    assert [float(line["value"]) for line in found.values()] == pytest.approx(expected)
    assert [float(line["high"]) for line in found.values()] == pytest.approx([value + 0.5 for value in expected])
    assert [(line["n"], line["of"]) for line in found.values()] == [("6", "6"), ("2", "2"), ("3", "3"), ("1", "1")]
    assert {line["ranked"] for name, line in found.items() if name != "measured"} == {"False"}


def test_clips_are_cut_by_how_far_the_head_turns_whichever_way(capfd, tmp_path):
    folder = run_of(tmp_path / "run")
    turn_heads(folder, [3.0, -14.0, 15.5, -29.0, 16.0, 44.0])
    found = table(capfd, folder, "--by", "yaw:15")
    assert [name.partition(":")[0] for name in found] == [
        "measured", "yaw 0 to 15°", "yaw 15 to 30°", "yaw 30 to 45°",
    ]  # fmt: skip
    assert [float(line["value"]) for line in found.values()][1:] == pytest.approx([1.5, 5.0, 9.0])
    assert list(table(capfd, folder, "--by", "pitch"))[1].startswith("pitch 0 to 10°: 6 clips")


def test_clips_are_cut_by_length_and_the_text_has_every_slice(capfd, tmp_path):
    code, out, _ = floatbench(capfd, "report", run_of(tmp_path / "run"), "--by", "length:2", "--name", "mine=Ours")
    assert code == 0 and "**length 0 to 2 s: 6 clips of 3 people**" in out and out.count("| Ours |") == 2
    assert "Slices are not ranked" in out


def test_loudness_is_that_of_the_real_sound(capfd, tmp_path):
    """A sine at a hundredth of full scale is 40 dB, and 3 dB for the sine, below full scale."""
    (tmp_path / "videos").mkdir()
    wave = np.sin(np.arange(48_000) * 0.1)
    frames = np.random.default_rng(0).integers(0, 256, (75, 48, 48, 3), dtype=np.uint8)
    for k, level in enumerate((0.01, 0.5)):
        write_mp4(tmp_path / "videos" / f"{k}.mp4", frames, (wave * level * 32767).astype(np.int16))
    code, _, err = floatbench(
        capfd, "score", "--generated", tmp_path / "videos", "--reference", tmp_path / "videos", "--metrics",
        "psnr-grey128", "--out", tmp_path / "run",
    )  # fmt: skip
    assert code in (0, 1), err
    code, out, err = floatbench(capfd, "report", tmp_path / "run", "--by", "loudness:6")
    assert code == 0 and "loudness -48 to -42 dBFS: 1 clip" in out, err  # the run remembers where its videos lie
    (tmp_path / "videos").rename(tmp_path / "moved")
    code, out, err = floatbench(capfd, "report", tmp_path / "run", "--by", "loudness:6")
    assert code == 4 and "loudness needs the real sound of 0" in err
    given = ("--by", "loudness:6", "--reference", tmp_path / "moved")
    code, out, err = floatbench(capfd, "report", tmp_path / "run", *given)
    assert code == 0, err
    assert "loudness -48 to -42 dBFS: 1 clip" in out and "loudness -12 to -6 dBFS: 1 clip" in out


def test_a_part_of_a_run_scores_as_a_run_on_that_part(tmp_path):
    whole = load_run(run_of(tmp_path / "whole"))
    part = restricted(whole, ["clip 0", "clip 3", "no such clip"], "a part")
    found = {cell.metric: cell.value for cell in part.scores.scores if cell.method == "mine"}
    assert found == pytest.approx({"toy-fid": 3.0, "toy-csim": 0.03})
    assert (part.scores.n_available, part.scores.ranked) == (2, False)
    assert {row.clip for row in part.rows.values()} == {"clip 0", "clip 3"}
    assert load_run(whole.folder).scores == whole.scores  # the folder is as it was


def test_people_of_a_training_list_are_left_out_by_person_and_nothing_is_ranked(capfd, tmp_path):
    """Clip 0 is in the list; clip 1 is not, but shows the same person."""
    listed = ["train", "test", "test", "test", "test", "test"]
    people = ["train", "train", "test", "test", "test", "test"]
    folder = run_of(tmp_path / "run", edtalk_list=listed, edtalk_identity=people)
    code, out, err = floatbench(capfd, "report", folder, "--table", 1, "--disjoint-from", "edtalk")
    assert code == 0, err
    assert "| mine | 6 [5.5, 6.5] (4 of 4) |" in out
    assert "not ranked: only the 4 clips of people who are not in the training list of edtalk" in out
    whole = json.loads(floatbench(capfd, "report", folder, "--json", "--disjoint-from", "edtalk")[1])[0]
    assert (whole["n_available"], whole["ranked"]) == (4, False)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--by", "mood"), "not cut by 'mood'"),
        (("--by", "yaw:0"), "no positive number"),
        (("--by", "yaw:-5"), "no positive number"),
        (("--by", "yaw"), "does not say yaw of any clip"),
        (("--by", "number"), "45 slices"),
        (("--by", "number", "--row"), "leave out one"),
        (("--disjoint-from", "edtalk"), "does not say which of its clips EDTalk"),
        (("--disjoint-from", "nobody"), "no training list is known"),
    ],
)
def test_what_cannot_be_cut_is_one_line(capfd, tmp_path, given, said):
    many = tuple(Clip(id=f"clip {k}", identity=f"person {k}", labels={"number": f"{k}"}) for k in range(45))
    folder = write_run(tmp_path / "run", {"mine": 1.0}, protocol=toy_protocol(clips=many))
    code, out, err = floatbench(capfd, "report", folder, *given)
    assert (code, out) == (2, "") and said in err and len(err.splitlines()) <= 2


def test_features_that_are_gone_are_named(capfd, tmp_path):
    folder = run_of(tmp_path / "run", emotion=["happy"] * 6)
    for file in (folder / "features").rglob("*.safetensors"):
        file.unlink()
    code, _, err = floatbench(capfd, "report", folder, "--by", "emotion")
    assert code == 4 and "the features of toy of mine, clip 0 are gone" in err
