"""Finished videos that show another section of the scene than the reference are not scored unsaid."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

import floatbench
from floatbench.api import Result
from floatbench.cli.app import main
from floatbench.data.catalogue import dataset_for
from floatbench.engine.framing import framing_of, joined_framing
from floatbench.engine.merge import merge
from floatbench.engine.records import Framing, RunInfo
from floatbench.errors import UsageError
from floatbench.media import read_video, write_lossless
from floatbench.methods.videos import VideosMethod
from floatbench.protocol.load import load_protocol
from floatbench.protocol.protocol import Clip
from floatbench.records import read_record
from floatbench.reports.layout import build_table
from floatbench.reports.loading import load_run
from floatbench.reports.page.document import PageRuns, document
from floatbench.reports.page.footage import Footage
from floatbench.reports.render import render
from floatbench.synthetic.clip import SyntheticClip

CLIPS = ("a", "b", "c")
BOX = "left,top,right,bottom\n39,35,89,85\n"
"""A face box of side 50 about (64, 60): the crop of pp1 is the square of side 80 there."""
SCALE, SHIFT = 80 / 128, 4 / 128  # of things in the whole picture of side 128, beside that crop of it


@pytest.fixture(scope="module")
def heads() -> dict[str, np.ndarray]:
    return {name: SyntheticClip(90000 + k, 0, 0.04).media(128).frames[0] for k, name in enumerate(CLIPS)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where prepared clips lie, found by content: equal films are prepared once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def project(heads: dict[str, np.ndarray], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`real` and `mine` hold the same films of the whole scene; `real` also has the face box."""
    monkeypatch.setenv("FLOATBENCH_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    for folder in ("real", "mine"):
        for name, picture in heads.items():
            film(tmp_path / folder / f"{name}.mkv", picture)
    (tmp_path / "real/boxes.csv").write_text(BOX)
    return tmp_path


def film(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    write_lossless(path, np.repeat(picture[None], 26, axis=0))


def run(methods: str = "videos:mine as Mine", boxes: str = "given", **more: object) -> Result:
    options = {"metrics": ["psnr-grey128"], "controls": False, "workers": 0, "out": "run"} | more
    return floatbench.run("folder:real", [methods], boxes=boxes, size=128, **options)  # pyright: ignore[reportArgumentType]


def score(**more: object) -> Result:
    return floatbench.score("mine", "real", metrics=["psnr-grey128"], controls=False, workers=0, name="Mine", **more)  # pyright: ignore[reportArgumentType]


def psnr(result: Result) -> float:
    return float(result.scores.value[0])


def test_whole_pictures_beside_a_cropped_reference_end_the_call_with_the_numbers(project: Path) -> None:
    with pytest.raises(UsageError) as error:
        run()
    said = re.search(r"Mine: scale ([\d.]+) .*, shift ([\d.]+)% of the width .*, (\d) of (\d) clips", error.value.what)
    assert said is not None
    assert float(said[1]) == pytest.approx(SCALE, abs=0.01)
    assert float(said[2]) == pytest.approx(100 * SHIFT, abs=0.5)
    assert (said[3], said[4]) == ("3", "3")
    assert all(way in str(error.value.fix) for way in ("--boxes none", "--crop-videos same", "--any-framing"))
    assert not (project / "run/rows.jsonl").exists()  # nothing was measured
    assert not (project / "run/run.json").exists()


def test_the_exit_code_is_that_of_usage(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "--protocol", "folder:real", "--methods", "videos:mine", "--boxes", "given", "--size", "128",
               "--metrics", "psnr-grey128", "--no-controls", "--workers", "0", "--out", "run"]  # fmt: skip
    for more, code in (([], 2), (["--crop-videos", "same"], 0), (["--any-framing"], 0)):
        with pytest.raises(SystemExit) as stopped:
            main([*command, *more])
        assert int(stopped.value.code or 0) == code
        assert ("framed differently" in capsys.readouterr().err) == (code == 2)


def test_cropped_as_the_reference_the_same_films_are_the_reference(project: Path) -> None:
    result = run(crop_videos="same")
    assert psnr(result) == 100
    assert "| Mine (cropped as the reference) |" in (project / "run/table.md").read_text()


def test_beside_a_reference_that_is_not_cropped_nothing_is_said(project: Path) -> None:
    result = run(boxes="none")
    assert psnr(result) == 100
    assert result.run.scores.notes == []
    assert "marks" not in result.run.scores.methods["Mine"]


def test_whoever_insists_goes_on_and_every_table_says_so(project: Path) -> None:
    result = run(any_framing=True)
    assert psnr(result) < 30
    [note] = [note for note in result.run.scores.notes if "framing" in note]
    assert "3 of 3 clips differ" in note
    assert "| Mine (other framing) |" in (project / "run/table.md").read_text()
    assert note[1:] in (project / "run/table.md").read_text()
    again = run(any_framing=True)
    assert again.run.new_rows == 0 and again.run.scores == result.run.scores
    with pytest.raises(UsageError, match="framed differently"):
        run()


def test_another_crop_makes_the_rows_anew(project: Path) -> None:
    before = run(any_framing=True)
    cropped = run(crop_videos="same")
    assert (cropped.run.new_rows, psnr(cropped)) == (3, 100)
    back = run(any_framing=True)
    assert (back.run.new_rows, psnr(back)) == (3, psnr(before))


def test_one_odd_clip_is_no_alarm_two_of_three_are(project: Path, heads: dict[str, np.ndarray]) -> None:
    film(project / "mine/a.mkv", np.roll(heads["a"], 15, axis=1))
    assert read_record(run(boxes="none").folder / "run.json", RunInfo).framing["Mine"].apart == 1
    film(project / "mine/b.mkv", cv2.resize(heads["b"][24:104, 24:104], (128, 128)))
    with pytest.raises(UsageError, match="2 of 3 clips differ"):  # a video that was replaced is compared again
        run(boxes="none")


def test_what_cannot_be_compared_is_said_and_is_no_alarm(project: Path) -> None:
    for name in CLIPS[:2]:
        noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
        film(project / f"mine/{name}.mkv", noise)
    result = run(boxes="none")
    assert result.run.scores.notes == [
        "the framing of Mine is not known on 2 of 3 clips compared",
    ]


def test_a_video_that_is_missing_or_broken_is_its_row_alone(project: Path) -> None:
    (project / "mine/a.mkv").unlink()
    (project / "mine/b.mkv").write_bytes(b"no video")
    result = run(boxes="none")
    assert sorted(row.reason for row in result.run.failed) == ["missing", "unreadable"]
    assert read_record(result.folder / "run.json", RunInfo).framing["Mine"].compared == 1


def test_the_picture_of_a_drawn_clip_is_found_without_drawing_the_rest() -> None:
    protocol = load_protocol("synthetic")
    dataset, clip = dataset_for(protocol), protocol.clips[0]
    picture, cut = dataset.load_source(clip)
    np.testing.assert_array_equal(picture, dataset.load(clip).source)
    assert cut is None


def test_clips_that_a_system_has_are_compared_wherever_they_stand(project: Path) -> None:
    clips = [Clip(id=f"{k:03}", identity="one") for k in range(200)]
    film(project / "mine/117.mkv", picture_of(project / "real/a.mkv"))
    dataset = dataset_for(load_protocol("folder:real", boxes="none", size=128))
    dataset.load_source = lambda clip: (picture_of(project / "real/a.mkv"), None)
    mine = VideosMethod("mine")
    mine.match(clips, clips)
    assert framing_of(mine, clips, dataset).compared == 1


def test_score_compares_the_two_folders(project: Path) -> None:
    for name in CLIPS:
        film(project / f"mine/{name}.mkv", picture_of(project / f"real/{name}.mkv")[20:100, 24:104])
    with pytest.raises(UsageError, match="3 of 3 clips differ") as error:
        score(out="out")
    assert "--any-framing" in str(error.value.fix)
    assert "--crop-videos" not in str(error.value.fix) and "--boxes" not in str(error.value.fix)
    assert "the framing of Mine differs" in score(out="out", any_framing=True).run.scores.notes[0]


def picture_of(path: Path) -> np.ndarray:
    return read_video(path)[0][0]


@pytest.mark.parametrize(
    ("protocol", "options", "what"),
    [
        ("synthetic", {"crop_videos": "same"}, "is not cropped"),
        ("folder:real", {"crop_videos": "face"}, "unknown crop 'face'"),
    ],
)
def test_a_crop_that_cannot_be_given_is_refused(project: Path, protocol: str, options: dict, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        floatbench.run(protocol, ["videos:mine"], controls=False, workers=0, **options)


def test_another_size_and_aspect_stand_in_every_table(project: Path, heads: dict[str, np.ndarray]) -> None:
    for name, picture in heads.items():
        film(project / f"mine/{name}.mkv", cv2.resize(picture, (96, 64), interpolation=cv2.INTER_AREA))
    result = score(out="out")
    mark = "96x64, reference 128x128"
    [note] = result.run.scores.notes
    assert "(96x64 beside 128x128) on 3 of 3 clips, another aspect on 3" in note
    assert f"| Mine ({mark}) |" in (project / "out/table.md").read_text()
    [line] = csv.DictReader((project / "out/table.csv").read_text().splitlines())
    assert line["marks"] == mark
    found = load_run(project / "out")
    table = build_table(1, [found])
    for style in ("md", "csv", "latex", "html", "json"):
        assert mark in render(table, style)
    page = document(PageRuns([found]), None)
    assert page["methods"][0]["marks"] == (mark,)
    assert note in page["runs"][0]["notes"]


def test_a_row_of_the_first_version_is_held_to_the_prepared_size(project: Path, heads: dict[str, np.ndarray]) -> None:
    for name, picture in heads.items():
        film(project / f"mine/{name}.mkv", cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA))
    folder = run(boxes="none").folder
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    for row in rows:
        del row["reference_width"], row["reference_height"]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    again = run(boxes="none")
    assert again.run.new_rows == 0
    assert again.run.scores.methods["Mine"]["marks"] == ["64x64, reference 128x128"]


def test_parts_that_are_merged_keep_what_was_found(project: Path) -> None:
    for part, clips in (("one", ["a.mkv"]), ("two", ["b.mkv", "c.mkv"])):
        run(clips=clips, out=part, any_framing=True)
    merged = merge([project / "one", project / "two"], project / "both")
    framing = read_record(project / "both/run.json", RunInfo).framing["Mine"]
    assert (framing.compared, framing.apart) == (3, 3)
    assert merged.scores.methods["Mine"]["marks"] == ["other framing"]


def test_counts_are_added_and_ranges_widened_when_parts_are_joined() -> None:
    few = Framing(compared=2, known=1, apart=0, scale=1.0, shift=0.0, scales=(1.0, 1.0), shifts=(0.0, 0.0))
    many = Framing(compared=5, known=5, apart=5, scale=0.8, shift=0.1, scales=(0.7, 0.9), shifts=(0.05, 0.2))
    joined = joined_framing([{"one": few}, {"one": many, "two": few}])
    assert joined["two"] == few
    assert joined["one"] == Framing(
        compared=7, known=6, apart=5, scale=0.8, shift=0.1, scales=(0.7, 1.0), shifts=(0.0, 0.2)
    )


def test_the_page_shows_what_was_cropped_as_it_was_scored(project: Path) -> None:
    result = run(crop_videos="same")
    found = load_run(result.folder)
    footage = Footage(found, dataset_for(load_protocol("folder:real", boxes="given", size=128)))
    row = found.rows["Mine", "a.mkv", 0]
    assert footage.load(row).pixels_sha256 == row.pixels_sha256 == row.reference_pixels_sha256
