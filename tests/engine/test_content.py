"""What is scored is what is there: rows follow the content of everything they were made from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from folder_toys import film, project, psnr, score

import floatbench
from floatbench.data.folder import FolderDataset
from floatbench.data.hdtf import HdtfDataset, raw_path
from floatbench.data.overview import verify
from floatbench.data.prepared import STALE
from floatbench.engine import environment, runner
from floatbench.engine.records import RowFile, RunInfo, ScoreFile
from floatbench.engine.runner import RunOptions
from floatbench.errors import DataError, UsageError
from floatbench.metrics import base
from floatbench.metrics.basic import Pixels
from floatbench.progress import NullProgress
from floatbench.protocol.load import load_protocol
from floatbench.protocol.protocol import Clip, Preprocessing, Protocol
from floatbench.records import read_record
from floatbench.reports.explain import differences
from floatbench.reports.loading import load_run


def same_times(path: Path, as_of: Path) -> None:
    state = as_of.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_finished_videos_that_were_replaced_are_scored_anew(tmp_path):
    project(tmp_path)
    first = psnr(score(tmp_path, tmp_path / "run"))
    for video in (tmp_path / "ref").iterdir():
        shutil.copy(video, tmp_path / "gen")
    second = score(tmp_path, tmp_path / "run")
    assert (psnr(second), second.run.new_rows) == (100.0, 3) and first is not None and first < 30


def test_only_what_was_replaced_is_scored_anew_even_with_equal_size_and_times(tmp_path):
    project(tmp_path)
    score(tmp_path, tmp_path / "run")
    changed, before = tmp_path / "gen/b.mkv", tmp_path / "before.mkv"
    shutil.copy2(changed, before)
    shutil.copy(tmp_path / "ref/b.mkv", changed)
    same_times(changed, before)
    second = score(tmp_path, tmp_path / "run")
    assert second.run.new_rows == 1
    assert psnr(second) == psnr(score(tmp_path, tmp_path / "fresh"))


def test_a_damaged_video_that_was_repaired_and_a_late_one_are_tried_again(tmp_path):
    project(tmp_path)
    whole = (tmp_path / "gen/a.mkv").read_bytes()
    (tmp_path / "gen/a.mkv").write_bytes(whole[: len(whole) // 3])
    (tmp_path / "gen/b.mkv").rename(tmp_path / "b.mkv")
    first = score(tmp_path, tmp_path / "run")
    assert {row.clip: row.reason for row in first.run.failed}.keys() == {"a", "b"}
    assert score(tmp_path, tmp_path / "run").run.new_rows == 0  # nothing has changed: nothing is tried again
    (tmp_path / "gen/a.mkv").write_bytes(whole)
    (tmp_path / "b.mkv").rename(tmp_path / "gen/b.mkv")
    second = score(tmp_path, tmp_path / "run")
    assert second.run.new_rows == 2 and second.complete


def test_touching_and_copying_with_other_times_costs_nothing(tmp_path):
    project(tmp_path)
    score(tmp_path, tmp_path / "run")
    (tmp_path / "gen/a.mkv").touch()
    (tmp_path / "copy.mkv").write_bytes((tmp_path / "gen/b.mkv").read_bytes())
    (tmp_path / "copy.mkv").replace(tmp_path / "gen/b.mkv")
    assert score(tmp_path, tmp_path / "run").run.new_rows == 0


def test_a_call_that_does_nothing_leaves_the_records_byte_for_byte(tmp_path, monkeypatch):
    project(tmp_path)
    score(tmp_path, tmp_path / "run")
    files = [tmp_path / "run" / name for name in ("run.json", "scores.json", "rows.jsonl")]
    before = [file.read_bytes() for file in files]
    monkeypatch.setattr(environment, "commit", lambda: {"commit": "f" * 40, "dirty": True})
    score(tmp_path, tmp_path / "run")
    assert [file.read_bytes() for file in files] == before


def test_every_row_keeps_what_made_it_and_the_run_lists_all_of_them(tmp_path, monkeypatch):
    project(tmp_path)
    score(tmp_path, tmp_path / "run")
    monkeypatch.setattr(environment, "commit", lambda: {"commit": "f" * 40, "dirty": True})
    film(tmp_path / "gen/b.mkv", 7)
    score(tmp_path, tmp_path / "run")
    info = read_record(tmp_path / "run/run.json", RunInfo)
    rows = RowFile(tmp_path / "run/rows.jsonl").read().values()
    made = {row.clip: info.environments[row.made_by]["commit"] for row in rows}
    assert made["b"] == "f" * 40 != made["a"] == made["c"]
    parts = read_record(tmp_path / "run/scores.json", ScoreFile).environment["parts"]
    assert [part["commit"] for part in parts] == [made["a"], made["b"]]


@pytest.mark.parametrize("how", ["code", "library"])
def test_features_of_other_code_or_another_library_are_made_again_and_named(tmp_path, monkeypatch, how):
    project(tmp_path)
    score(tmp_path, tmp_path / "a")
    real = base.code_of

    def other(what):
        code = real(what)
        changes = {"sources": {**code.sources, "floatbench.metrics.basic": "0" * 64}}
        if how == "library":
            changes = {"libraries": {**code.libraries, "numpy": "0.0"}}
        return type(code)(**({"sources": code.sources, "libraries": code.libraries} | changes))

    monkeypatch.setattr(base, "code_of", other)
    assert score(tmp_path, tmp_path / "b").run.new_rows == 3
    assert score(tmp_path, tmp_path / "a").run.new_rows == 3
    monkeypatch.undo()
    score(tmp_path, tmp_path / "a")
    [found] = [d for d in differences(load_run(tmp_path / "a"), load_run(tmp_path / "b")) if d.factor != "environment"]
    named = "code of pixels.floatbench.metrics.basic" if how == "code" else "libraries of pixels.numpy"
    assert (found.factor, found.what) == ("code" if how == "code" else "libraries", named)


def test_the_key_of_features_holds_the_kind_of_device_where_it_matters():
    assert Pixels().fingerprint("cuda") == Pixels().fingerprint("cpu")

    class Network(Pixels):
        on_device = True

    assert Network().fingerprint("cuda:1") == Network().fingerprint("cuda") != Network().fingerprint("cpu")


@pytest.mark.parametrize("command", ["score", "folder"])
def test_the_outputs_of_a_run_and_of_a_page_are_never_its_inputs(tmp_path, monkeypatch, command):
    """A run folder inside the folder of the reference: a second call finds the same clips as the first."""
    project(tmp_path, frames=30)
    monkeypatch.chdir(tmp_path / "ref")
    out, page = tmp_path / "ref/runs/first", tmp_path / "ref/page"

    def call() -> runner.RunResult:
        if command == "score":
            return score(tmp_path, out, controls=True).run
        names = {"metrics": ["psnr-grey128"], "boxes": "none", "size": 32, "workers": 0, "out": out}
        return floatbench.run("folder:.", [f"videos:{tmp_path / 'gen'}"], **names).run

    first = call()
    assert [path.suffix for path in (out / "generated/reencoded").iterdir()] == [".mp4"] * 3
    (page / "media").mkdir(parents=True)
    film(page / "media/shown.mkv", 3)
    for name in ("index.html", "data.js"):
        (page / name).write_text("")
    second = call()
    assert (second.new_rows, second.scores.protocol_hash) == (0, first.scores.protocol_hash)


@pytest.mark.parametrize("inside", ["generated/float", "features", "tmp"])
def test_a_run_that_would_read_what_it_writes_is_refused(tmp_path, inside):
    project(tmp_path / "x")
    (tmp_path / "run" / inside).parent.mkdir(parents=True)
    (tmp_path / "x/gen").rename(tmp_path / "run" / inside)
    (tmp_path / "x/gen").symlink_to(tmp_path / "run" / inside)
    with pytest.raises(UsageError, match="would hold what the run writes"):
        score(tmp_path / "x", tmp_path / "run")
    with pytest.raises(UsageError, match="the reference is read from there"):
        floatbench.score(tmp_path / "x/ref", tmp_path / "x/ref", out=tmp_path / "x/ref", metrics=["psnr-grey128"])


def test_run_and_verify_agree_that_another_raw_file_is_stale(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOATBENCH_DATA", str(tmp_path / "data"))
    clip = Clip(id="a", identity="p")
    rule = Preprocessing(boxes="none", size=32)
    protocol = Protocol(id="two", dataset="hdtf", preprocessing=rule, metrics=("psnr-grey128",), clips=(clip,))
    data = HdtfDataset(protocol)
    raw = raw_path(clip)
    film(tmp_path / "one.mkv", 1, frames=30)
    raw.parent.mkdir(parents=True)
    shutil.copy2(tmp_path / "one.mkv", raw)
    data.prepare(NullProgress())
    assert [state.state for state in data.availability()] == ["ready"]
    assert [check.state for check in verify(protocol, [clip], NullProgress())] == ["exact"]
    film(tmp_path / "two.mkv", 2, frames=30)
    shutil.copy(tmp_path / "two.mkv", raw)
    same_times(raw, tmp_path / "one.mkv")
    assert [state.state for state in data.availability()] == ["unprepared"]
    assert [(check.state, check.detail) for check in verify(protocol, [clip], NullProgress())] == [("different", STALE)]
    with pytest.raises(DataError, match="1 of 1 clips are not prepared"):
        runner.run(protocol, data, RunOptions(["reference"], controls=False, workers=0, out=tmp_path / "run"))
    data.prepare(NullProgress())
    assert [state.state for state in data.availability()] == ["ready"]
    raw.unlink()  # what is prepared needs no raw file
    assert [state.state for state in data.availability()] == ["ready"]


def test_a_prepared_clip_that_was_changed_is_not_taken_for_the_old_one(tmp_path):
    for number, clip in enumerate("ab"):
        film(tmp_path / f"ref/{clip}.mkv", number, frames=30)
    protocol = load_protocol(f"folder:{tmp_path / 'ref'}", boxes="none", size=32, metrics=["psnr-grey128"])
    data = FolderDataset(protocol)
    options = RunOptions(["reference"], controls=False, workers=0, out=tmp_path / "run")
    assert runner.run(protocol, data, options).complete
    clip = protocol.clips[0]
    video = data.folder(clip) / "video.mkv"
    film(video, 99, frames=30)
    second = runner.run(protocol, data, options)
    assert [(row.clip, row.reason) for row in second.failed] == [(clip.id, "damaged")]
