"""What a run lacks: everything at once, each thing once, with one line that mends all of it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

import floatbench
from floatbench.cli.app import main
from floatbench.engine.needs import needed
from floatbench.errors import DataError
from floatbench.media import write_lossless


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(str(stopped.value.code)), out, err


def cells(err: str) -> dict[str, list[str]]:
    """Name -> size, licence and users of a Markdown table's rows."""
    rows = [re.split(r" +\| +|^\| +| +\|$", line)[1:-1] for line in err.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows[2:]}


def test_every_missing_weight_is_in_the_table_once_with_all_who_need_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "run", "-p", "hdtf", "-m", "float,hallo")
    found = cells(err)
    assert code == 4
    assert set(found) == {*needed("hdtf"), *needed("float"), "hallo is not installed", "78 of 78 clips"}
    assert found["scrfd-det-10g"][2] == "csim-source, efid"  # the second weight of both
    assert found["reconnet-epoch20"] == [
        "288.9 MB",
        "code MIT; the weights carry no statement ...",
        "efid, pfid-fixedcrop",
    ]
    assert found["s3fd-face-alignment"][2] == "face boxes"
    assert err.count("\nfix: ") == 1
    assert "floatbench weights fetch --for hdtf --for float --accept-license && floatbench baseline install" in err
    assert err.startswith(f"error: {len(found)} things that this run needs")


def test_the_fetch_of_the_fix_names_all_that_is_missing_and_only_that(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "run", "-p", "hdtf", "--metrics", "fid,csim-source,lse-direct-c", "--json")
    told = json.loads(out)
    fetch = shlex.split(told["fix"].partition(" && ")[0])
    weights = {thing["name"] for thing in told["missing"]} - {"78 of 78 clips"}
    assert set(fetch[3:]) == {*weights, "--accept-license"}
    assert {"inception-fid", "arcface-w600k-r50", "scrfd-det-10g", "syncnet-v2", "s3fd-sfd-face"} <= weights


def test_what_is_missing_is_data_with_json_and_in_a_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "run", "-p", "hdtf", "--metrics", "efid", "--json")
    told = json.loads(out)
    assert code == told["exit_code"] == 4 and "|" not in err
    things = {thing["name"]: thing for thing in told["missing"]}
    assert things["scrfd-det-10g"]["used_by"] == ["efid"] and things["scrfd-det-10g"]["size"] == 16_923_827
    assert things["78 of 78 clips"]["fix"] == "floatbench protocol fetch hdtf"
    code, out, _ = call(capsys, "run", "-p", "hdtf", "--metrics", "efid", "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 4 and plan["missing"] == told["missing"] and told["fix"].startswith(plan["fix"])
    assert len(cells(call(capsys, "run", "-p", "hdtf", "--metrics", "efid", "--dry-run")[1])) == len(things)


def test_from_python_the_error_names_everything() -> None:
    with pytest.raises(DataError, match=r"inception-fid, s3fd-face-alignment, 78 of 78 clips\)"):
        floatbench.run("hdtf", metrics=["fid"], controls=False)


def test_what_a_folder_needs_to_be_prepared_is_told_before_the_work_with_all_the_rest(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import numpy as np

    (tmp_path / "real").mkdir()
    write_lossless(tmp_path / "real" / "a.mkv", np.zeros((26, 64, 64, 3), np.uint8))
    code, _, err = call(
        capsys, "run", "-p", f"folder:{tmp_path / 'real'}", "--metrics", "fid,avcorr", "--out", str(tmp_path / "run")
    )
    assert code == 4 and not (tmp_path / "run").exists()
    assert cells(err)["mediapipe-face-landmarker"][2] == "avcorr, face boxes"
    assert "fix: floatbench weights fetch inception-fid mediapipe-face-landmarker" in err


def test_one_missing_thing_is_said_in_full(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = call(
        capsys, "run", "-p", "synthetic", "--metrics", "fid", "--limit", "2", "-o", str(tmp_path / "run")
    )
    assert code == 4
    assert err.startswith("error: metric fid: weights 'inception-fid' (InceptionV3")
    assert err.rstrip().endswith(
        "fix: floatbench weights fetch inception-fid   (or leave them out with --skip-unavailable)"
    )


def test_generating_names_all_weights_that_it_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(
        capsys, "generate", "-i", "a.png", "-a", "b.wav", "-o", "o.mp4", "--weights", "float", "--no-crop"
    )
    told = err.splitlines()
    assert code == 4 and len(told) == 2
    assert told[1] == f"fix: floatbench weights fetch {' '.join(needed('float'))} --accept-license"


def test_a_generated_folder_that_is_none_is_told_by_its_option(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = call(capsys, "score", "--generated", str(tmp_path / "no"), "--reference", str(tmp_path))
    assert code == 2 and "--generated" in err.splitlines()[1]
