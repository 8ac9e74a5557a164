"""The page as files: what is shown is what was scored, names are text, bad runs are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from page_toys import FRAMES, moving, write_page_run
from report_toys import toy_protocol, write_run

import floatbench
from floatbench.cli.app import main
from floatbench.errors import DataError, UsageError
from floatbench.media import probe, read_video, write_lossless
from floatbench.protocol.protocol import Clip
from floatbench.reports.comparison import compare_runs
from floatbench.reports.loading import load_run
from floatbench.reports.page.build import ASSETS, SCRIPTS, STYLES, PageOptions, build_page
from floatbench.reports.page.document import PageRuns, document
from floatbench.reports.page.footage import provenance_tags, waveform
from floatbench.reports.page.tracks import RecordedTracks, median_smooth, rotation_speed, sync_confidence
from floatbench.reports.table import number

EVIL = "<img src=x onerror=alert(1)></script>"


def page_data(page: Path) -> dict:
    """The document of a page's data.js."""
    text = (page / "data.js").read_text()
    return json.loads(text.removeprefix("window.floatbench = ").rstrip().removesuffix(";"))


def clip_tracks(page: Path, clip: int = 0) -> list:
    file = page / "clips" / f"{page_data(page)['clips'][clip]['file']}.js"
    text = file.read_text()
    return json.loads(text[text.index(",") + 1 : text.rindex(")")])


def test_a_page_has_a_video_for_every_finished_row_and_a_reason_for_the_others(tmp_path):
    run = write_page_run(tmp_path / "run", {"one": 1.0, "two": 2.0}, failed={"two": ("clip 1",)})
    made = build_page([load_run(run)], tmp_path / "page")
    media = page_data(tmp_path / "page")["media"]
    assert made.videos == 3
    assert made.without == {"no_face: none": 1}
    assert media[1][1] == "no_face: none"
    for entry in (media[0][0], media[0][1], media[1][0]):
        assert all((tmp_path / "page" / name).is_file() for name in entry)


def test_the_videos_show_the_scored_frames_and_say_who_made_them(tmp_path):
    run = write_page_run(tmp_path / "run", {"one": 1.0}, clips=1)
    build_page([load_run(run)], tmp_path / "page")
    video = tmp_path / "page" / page_data(tmp_path / "page")["media"][0][0][0]
    info = probe(video)
    assert (info.video.codec, info.audio.codec, info.video.pix_fmt) == ("h264", "aac", "yuv420p")
    assert info.metadata["synthetic_media"] == "yes"
    assert "synthetic media: made by one" in info.metadata["comment"]
    settings = json.loads(info.metadata["floatbench"])
    assert (settings["system"], settings["clip"]) == ("one", "clip 0")
    assert settings["settings"] == {"kind": "system", "licence": "Apache-2.0", "weights": {}}
    frames, fps = read_video(video)
    assert (fps, len(frames)) == (25, FRAMES)
    assert np.abs(frames.astype(int) - moving(0).frames.astype(int)).mean() < 4


def test_recordings_and_altered_recordings_are_not_called_synthetic(tmp_path):
    run = load_run(write_page_run(tmp_path / "run", {"one": 1.0, "reference": 0.0, "frozen": 1.0}, clips=1))
    marks = {name: provenance_tags(run, run.rows[name, "clip 0", 0])["synthetic_media"] for name in run.scores.methods}
    assert marks == {"one": "yes", "reference": "no", "frozen": "altered"}


def test_a_video_that_was_changed_after_scoring_is_not_shown(tmp_path):
    run = write_page_run(tmp_path / "run", {"one": 1.0}, clips=1)
    (video,) = (run / "generated").glob("*.mkv")
    write_lossless(video, moving(5).frames)
    made = build_page([load_run(run)], tmp_path / "page")
    assert made.without == {"the video is no longer the one that was scored": 1}


def test_a_second_build_makes_nothing_again_and_removes_what_is_stale(tmp_path):
    run = write_page_run(tmp_path / "run", {"one": 1.0})
    page = tmp_path / "page"
    build_page([load_run(run)], page)
    before = {path: path.stat().st_mtime_ns for path in page.rglob("*.mp4")}
    first = page_data(page)
    (page / "media" / "old.mp4").write_bytes(b"stale")
    build_page([load_run(run)], page)
    assert {path: path.stat().st_mtime_ns for path in page.rglob("*.mp4")} == before
    assert page_data(page) == first
    assert clip_tracks(page)[0]["peaks"] == waveform(moving(0).audio)


def test_only_the_worst_clips_get_videos_when_asked(tmp_path):
    run = write_page_run(tmp_path / "run", {"one": 1.0}, clips=3)
    made = build_page([load_run(run)], tmp_path / "page", PageOptions(videos=1))
    assert (made.videos, made.without) == (1, {"left out by --videos": 2})


def test_names_cannot_become_markup(tmp_path):
    protocol = toy_protocol("toy", n=1).model_copy(update={"clips": (Clip(id=EVIL, identity=EVIL),)})
    run = write_page_run(tmp_path / EVIL.replace("/", "|"), {f"m{EVIL}": 1.0}, protocol=protocol)
    build_page([load_run(run)], tmp_path / "page")
    index = (tmp_path / "page" / "index.html").read_text()
    assert "<img" not in index
    assert "&lt;img src=x" in index
    for script in (tmp_path / "page" / "data.js", next((tmp_path / "page" / "clips").iterdir())):
        assert "</script" not in script.read_text()
    assert page_data(tmp_path / "page")["clips"][0]["id"] == EVIL


def test_no_script_of_the_page_writes_markup_or_asks_a_network():
    for path in ASSETS.glob("*.js"):
        text = path.read_text()
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "fetch(",
            "XMLHttpRequest",
            "eval(",
        ):
            assert word not in text, f"{path.name} uses {word}"
    for path in ASSETS.iterdir():
        assert "http://" not in path.read_text().replace("http://www.w3.org/2000/svg", ""), path.name
        assert "https://" not in path.read_text(), path.name


def test_bad_runs_are_refused_before_anything_is_written(tmp_path):
    one = load_run(write_page_run(tmp_path / "one", {"mine": 1.0}))
    same = load_run(write_page_run(tmp_path / "same", {"mine": 2.0}))
    other = load_run(write_page_run(tmp_path / "other", {"yours": 2.0}, protocol=toy_protocol("hdtf", n=2)))
    with pytest.raises(UsageError, match="both have the method mine"):
        build_page([one, same], tmp_path / "page")
    with pytest.raises(UsageError, match="one data set"):
        build_page([one, other], tmp_path / "page")
    bare = load_run(write_run(tmp_path / "bare", {"mine": 1.0}))
    with pytest.raises(DataError, match=r"tracks\.parquet is missing or damaged"):
        build_page([bare], tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    run = load_run(write_page_run(tmp_path / "run", {"mine": 1.0}, clips=1))
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        build_page([run], tmp_path / "page")
    assert [path.name for path in (tmp_path / "page").iterdir()] == ["thesis.tex"]


def test_two_runs_of_one_protocol_share_a_page(tmp_path):
    runs = [
        load_run(write_page_run(tmp_path / n, {n: v, "reference": 0.0}, clips=1)) for n, v in (("a", 1.0), ("b", 2.0))
    ]
    build_page(runs, tmp_path / "page")
    data = page_data(tmp_path / "page")
    assert [(m["name"], m["run"]) for m in data["methods"]] == [("a", 0), ("b", 1), ("reference", 0)]


def test_the_matrix_is_taken_over_and_another_file_is_refused(tmp_path):
    run = load_run(write_page_run(tmp_path / "run", {"mine": 1.0}, clips=1))
    cell = {"metric": "toy-fid", "damage": "blur", "share": 1.0, "direction": "worse", "monotonicity": 1.0,
            "clean": 0.0, "scores": [1.0], "strengths": [2.0]}  # fmt: skip
    matrix = {"protocol": "toy", "clips": ["a"], "frames": 50, "responses": [{**cell, "move": 1, "failures": 0}]}
    (tmp_path / "matrix.json").write_text(json.dumps(matrix))
    build_page([run], tmp_path / "page", PageOptions(matrix=tmp_path / "matrix.json"))
    assert page_data(tmp_path / "page")["matrix"]["responses"] == [cell]
    for bad in (tmp_path / "none.json", run.folder / "run.json"):
        with pytest.raises(DataError, match="matrix"):
            build_page([run], tmp_path / "page", PageOptions(matrix=bad))


def test_tracks_name_their_source_and_what_is_absent(tmp_path):
    run = write_page_run(tmp_path / "run", {"mine": 1.0}, clips=1)
    build_page([load_run(run)], tmp_path / "page")
    (mine,) = clip_tracks(tmp_path / "page")
    assert set(mine["absent"]) == {"sync confidence", "mouth opening", "head motion"}
    assert {(track["from"], track["label"]) for track in mine["tracks"]} == {
        ("toy-fid", "FID (gap)"),
        ("toy-csim", "CSIM to source"),
    }
    assert mine["pixels"] == moving(0).pixels_sha256


def test_sync_confidence_is_the_median_distance_less_each_windows_own():
    distance = np.array([9.0] * 20)
    found = sync_confidence(distance, {"distance": 9.0, "confidence": 2.5})
    np.testing.assert_allclose(found, 2.5)
    distance[10] = 0.0  # one window alone does not pass the running median
    np.testing.assert_allclose(sync_confidence(distance, {"distance": 9.0, "confidence": 2.5}), 2.5)


def test_a_running_median_keeps_length_and_ends():
    np.testing.assert_array_equal(median_smooth(np.array([1.0, 1, 5, 1, 1, 7, 7, 7]), 3), [1, 1, 1, 1, 1, 7, 7, 7])


def test_rotation_speed_is_in_degrees_a_second_and_skips_lost_faces():
    angles = np.zeros((5, 3))
    angles[:, 1] = np.radians([0, 2, 4, 6, 8])
    speed = rotation_speed(angles, np.array([1, 1, 0, 1, 1]))
    np.testing.assert_allclose(speed, [np.nan, 50, np.nan, np.nan, 50], atol=1e-9)
    full_turn = rotation_speed(np.radians([[0, 179, 0], [0, -179, 0]]), np.ones(2))
    np.testing.assert_allclose(full_turn[1], 50, atol=1e-9)


def test_the_waveform_is_the_largest_magnitude_of_each_half_frame():
    audio = np.zeros(1280, np.int16)
    audio[330] = -32768
    audio[1279] = 16384
    assert waveform(audio) == [0, 100, 0, 50]
    assert waveform(None) == []


def test_recorded_values_leave_out_distributions(tmp_path):
    run = load_run(write_page_run(tmp_path / "run", {"mine": 3.0}, clips=1))
    found = RecordedTracks(run)
    assert found.value("mine", "clip 0", "toy-fid") == 3.0
    assert found.value("mine", "clip 9", "toy-fid") is None


def test_the_command_writes_the_page_and_says_what_has_no_video(tmp_path, capfd):
    run = write_page_run(tmp_path / "run", {"mine": 1.0}, failed={"mine": ("clip 1",)})
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(run), "--page", str(tmp_path / "page"), "--json"])
    out, _ = capfd.readouterr()
    assert stopped.value.code in (0, None)
    assert json.loads(out) == {
        "page": str(tmp_path / "page" / "index.html"),
        "videos": 1,
        "without_video": {"no_face: none": 1},
    }


def test_a_page_has_a_title_authors_a_link_and_a_text_of_ones_own(tmp_path, capfd):
    run = write_page_run(tmp_path / "run", {"mine": 1.0}, clips=1)
    (tmp_path / "about.txt").write_text(f"First of two.\n\nSecond {EVIL}\nstill second.\n", encoding="utf-8")
    words = ["--title", EVIL, "--authors", "A & B", "--link", "https://example.org/", "--about"]
    page = ["report", str(run), "--page", str(tmp_path / "page")]
    with pytest.raises(SystemExit) as stopped:
        main([*page, *words, str(tmp_path / "about.txt")])
    assert not stopped.value.code
    index = (tmp_path / "page" / "index.html").read_text()
    assert "<img" not in index and "<h1>&lt;img src=x" in index
    for part in (
        "A &amp; B",
        '<a href="https://example.org/"',
        "<p>First of two.</p>",
        "<p>Second &lt;img",
        "toy-toy@",
    ):
        assert part in index
    for wrong, said in (
        (["--link", "javascript:alert(1)"], "no address of the web"),
        (["--about", "no"], "cannot be"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*page, *wrong])
        assert stopped.value.code
        assert said in capfd.readouterr().err


def test_marks_and_copies_are_those_of_compare_and_report(tmp_path):
    """Eight people, each of them nearer with one system than with the other: decided, in both directions."""
    ours, theirs = np.linspace(1, 2, 8), np.linspace(3, 4, 8) + np.arange(8) % 2
    run = load_run(write_page_run(tmp_path / "run", {"ours": ours, "theirs": theirs, "frozen": 9.0}, clips=8))
    found = document(PageRuns([run]), None)
    judged = {verdict.metric: verdict for verdict in compare_runs([run]).verdicts}
    for metric, verdicts in zip(found["metrics"], found["verdicts"], strict=True):
        (shown,), verdict = verdicts, judged[metric["id"]]
        assert (shown["a"], shown["b"], shown["word"]) == (0, 1, verdict.word)
        assert shown["difference"].startswith(f"{number(verdict.difference)} [{number(verdict.low)}, ")
        assert shown["reversed"] == f"{number(-verdict.difference)} [{number(-verdict.high)}, {number(-verdict.low)}]"
    assert {verdict.word for verdict in judged.values()} == {"better", "worse"}  # a distance, and a likeness
    assert "frozen" not in found["copies"]["CSV"] and "ours" in found["copies"]["CSV"]
    assert found["copies"]["LaTeX"].count("\\textbf") == 2
    assert found["cells"][0][0]["shown"] == number(run.cell("ours", found["metrics"][0]["id"]).value)


def test_a_page_of_score_finds_both_folders_again(tmp_path, monkeypatch):
    for name, seed in (("mine", 1), ("real", 2)):
        media = moving(seed, 30)
        (tmp_path / name).mkdir()
        write_lossless(tmp_path / name / "a.mkv", media.frames)
    monkeypatch.chdir(tmp_path)
    floatbench.score("mine", "real", metrics=["psnr-grey128"], out="run", workers=0, name="Mine")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    made = build_page([load_run(tmp_path / "run")], tmp_path / "page")
    data = page_data(tmp_path / "page")
    names = [method["name"] for method in data["methods"]]
    shown = {name for name, (found,) in zip(names, data["media"], strict=True) if isinstance(found, list)}
    assert {"Mine", "reference", "frozen"} <= shown
    assert str(tmp_path) not in (tmp_path / "run" / "run.json").read_text()
    (tmp_path / "run" / "local.json").write_text("no record")
    lost = build_page([load_run(tmp_path / "run")], tmp_path / "page2")
    assert lost.videos < made.videos
    assert lost.without["the real video is not on this machine"] > 1


def test_commercial_safe_also_guards_the_page(tmp_path, capfd):
    run = write_page_run(tmp_path / "run", {"mine": 1.0}, licence="CC BY-NC 4.0")
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(run), "--page", str(tmp_path / "page"), "--commercial-safe"])
    assert stopped.value.code == 2
    assert not (tmp_path / "page").exists()


def test_every_asset_that_is_copied_exists():
    assert all((ASSETS / name).is_file() for name in (*SCRIPTS, *STYLES, "index.html"))
