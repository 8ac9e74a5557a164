"""The sample of the FLOAT release: fetched by hash, run without naming a method, refused elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from floatbench.cli.app import main
from floatbench.data import float_sample
from floatbench.files import file_sha256
from floatbench.protocol.load import load_protocol


def floatbench(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    done = capfd.readouterr()
    return int(str(stopped.value.code)), done.out, done.err


def test_without_the_files_a_run_names_the_command_that_brings_them(capfd):
    code, _, err = floatbench(capfd, "run", "--protocol", "float-sample", "-q")
    assert code == 4 and "floatbench protocol fetch float-sample --accept-license" in err


def test_a_file_that_is_not_the_release_s_own_is_refused(capfd, tmp_path):
    for name in float_sample.FILES:
        (tmp_path / name).write_bytes(b"another")
    code, _, err = floatbench(capfd, "protocol", "fetch", "float-sample", "--from", tmp_path)
    assert code == 4 and "does not hold sam_altman_512x512.jpg of the release" in err
    assert not float_sample.present()


def test_the_video_is_nobody_s_row_on_other_clips(capfd):
    command = ("run", "--protocol", "synthetic", "--methods", "float-official-sample", "--limit", "1", "-q")
    code, _, err = floatbench(capfd, *command)
    assert code != 0 and "fix: floatbench run --protocol float-sample" in err


def test_the_protocol_measures_nothing_that_would_compare_the_video_with_itself():
    for name in load_protocol("float-sample").metrics:
        assert not name.endswith("-gap") and name.partition("-")[0] not in {
            "psnr", "ssim", "fid", "kid", "fvd", "kvd", "efid", "ekid", "pfid",
        }, name  # fmt: skip


def test_the_release_s_own_video_is_scored_with_one_command(capfd, shared: Path, tmp_path: Path):
    """Two metrics without weights of their own; those of all that was installed: docs/evidence/product-measured.md."""
    assert floatbench(capfd, "protocol", "fetch", "float-sample", "--from", shared / "data" / "real", "-q")[0] == 0
    assert {name: file_sha256(float_sample.folder() / name) for name in float_sample.FILES} == {
        name: digest for name, (_, digest) in float_sample.FILES.items()
    }
    command = ("run", "--protocol", "float-sample", "--metrics", "csim-tiny", "--no-controls", "--workers", "0", "-q")
    code, out, err = floatbench(capfd, *command, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    scores = json.loads(out)
    assert list(scores["methods"]) == ["float-official-sample"]
    assert scores["methods"]["float-official-sample"]["video_sha256"] == float_sample.FILES[float_sample.VIDEO][1]
    (cell,) = scores["scores"]
    assert cell["n"] == 1 and 0 < cell["value"] <= 1
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "rows.jsonl").read_text().splitlines()]
    assert (row["n_frames"], row["width"], row["status"]) == (376, 512, "ok")
