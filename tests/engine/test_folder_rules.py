"""A run on a folder keeps the rule it was begun with, and what methods make is decoded by the rule of the reference."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from floatbench.data.catalogue import dataset_for
from floatbench.engine.admission import admit
from floatbench.engine.inputs import inputs_of
from floatbench.engine.records import RunInfo
from floatbench.engine.runner import RunOptions, default_folder, plan_run, run
from floatbench.media import read_video
from floatbench.methods import catalogue
from floatbench.methods.damage import h264
from floatbench.methods.method import Generated
from floatbench.protocol.load import load_protocol
from floatbench.protocol.protocol import Protocol
from floatbench.records import read_record
from floatbench.reports.loading import load_run
from floatbench.reports.page.footage import Footage
from floatbench.types import ClipMedia


def film(path: Path, frames: int = 30) -> Path:
    """A video in 4:2:0, the colours of which no rule but an accurate one gives back."""
    rng = np.random.default_rng(len(path.name))
    picture = rng.integers(0, 255, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(f"file:{path}", "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for k in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, k, axis=1), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.fixture
def protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Protocol:
    monkeypatch.setenv("FLOATBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mkv", "bb.mkv"):
        film(folder / name)
    return load_protocol(f"folder:{folder}", boxes="none", size=64, metrics=["psnr-grey128"])


def older(protocol: Protocol) -> Protocol:
    """The protocol of the same folder as floatbench 0.1 made it."""
    rule = protocol.preprocessing.model_dump() | {"spec": "pp1"}
    return Protocol.model_validate(protocol.model_dump() | {"preprocessing": rule})


def test_clips_of_a_folder_are_prepared_by_pp2(protocol: Protocol, tmp_path: Path) -> None:
    result = run(protocol, dataset_for(protocol), RunOptions(["reference"], controls=False, workers=0))
    assert read_record(result.folder / "run.json", RunInfo).protocol.preprocessing.spec == "pp2"
    assert {path.name for path in (tmp_path / "home/data/prepared/folder").iterdir()} == {"pp2-none-64"}


@pytest.mark.parametrize("named", [True, False])
def test_a_run_that_was_begun_under_pp1_goes_on_under_pp1(protocol: Protocol, tmp_path: Path, named: bool) -> None:
    options = RunOptions(["reference"], controls=False, workers=0, out=tmp_path / "run" if named else None)
    before = run(older(protocol), dataset_for(older(protocol)), options)
    scores = (before.folder / "scores.json").read_bytes()
    assert plan_run(protocol, dataset_for(protocol), options).protocol.hash == older(protocol).hash
    again = run(protocol, dataset_for(protocol), options)
    assert (again.folder, again.new_rows) == (before.folder, 0)
    assert (again.folder / "scores.json").read_bytes() == scores
    more = run(protocol, dataset_for(protocol), replace(options, methods=["reference", "frozen"]))
    assert more.folder == before.folder and more.new_rows == 2


def test_another_folder_gets_a_run_of_its_own(protocol: Protocol) -> None:
    options = RunOptions(["reference"], controls=False, workers=0)
    folder = run(protocol, dataset_for(protocol), options).folder
    assert folder == default_folder(protocol, options) != default_folder(older(protocol), options)


@pytest.mark.parametrize("spec", ["pp1", "pp2"])
def test_what_a_method_made_is_decoded_like_the_reference(tmp_path: Path, spec: str) -> None:
    video = film(tmp_path / "made.mkv")
    frames, _ = read_video(video, spec)
    admitted = admit(Generated(video=video), ClipMedia(frames), spec)
    assert (admitted.generated.frames == frames).all()
    assert (read_video(video, "pp1")[0] != read_video(video, "pp2")[0]).any()


def test_a_control_that_decodes_does_so_by_the_rule_of_the_reference(protocol: Protocol, tmp_path: Path) -> None:
    options = RunOptions(["reference", "h264:23"], controls=False, workers=0, keep_videos=False)
    damaged = {}
    for number, one in enumerate((older(protocol), protocol)):
        dataset = dataset_for(one)
        result = run(one, dataset, replace(options, out=tmp_path / str(number)))
        media = dataset.load(one.clips[0]).media
        damaged[one.preprocessing.spec] = ClipMedia(h264(media.frames, 23, 0, one.preprocessing.spec))
        row = result.rows["h264:23", one.clips[0].id, 0]
        assert row.pixels_sha256 == damaged[one.preprocessing.spec].pixels_sha256
    assert (damaged["pp1"].frames != damaged["pp2"].frames).any()


def test_what_is_decoded_otherwise_under_pp2_has_another_key_there_only(protocol: Protocol) -> None:
    clips = protocol.clips

    def digest(name: str, spec: str) -> str:
        return inputs_of(catalogue.create(name), clips, {}, {clip.id: "content" for clip in clips}, spec)[
            clips[0].id
        ].digest

    assert digest("h264:23", "pp1") == digest("blur:5", "pp1") == digest("blur:5", "pp2") != digest("h264:23", "pp2")
    assert digest("edtalk@official", "pp1") == digest("edtalk", "pp2") != digest("edtalk@official", "pp2")


@pytest.mark.parametrize("method", ["reencoded", "frozen-reencoded", "videos:videos"])
def test_the_page_decodes_by_the_rule_by_which_it_was_scored(protocol: Protocol, method: str) -> None:
    result = run(protocol, dataset_for(protocol), RunOptions([method], controls=False, workers=0))
    found = load_run(result.folder)
    [name] = found.scores.methods
    row = found.rows[name, protocol.clips[0].id, 0]
    assert Footage(found, dataset_for(protocol)).load(row).pixels_sha256 == row.pixels_sha256
