"""Every official network at full size through `floatbench run` on real clips, with seeded random weights: no score."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from floatbench import weights

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ("inception-fid", "i3d-400", "arcface-w600k-r50", "scrfd-det-10g", "reconnet-epoch20", "syncnet-v2")
WEIGHTS += ("s3fd-sfd-face", "float", "wav2vec2-base-960h", "wav2vec2-speech-emotion")
METRICS = "fid,fvd,csim-source,efid,pfid-fixedcrop,lse-wholeframe-d,lse-wholeframe-c"


@pytest.mark.slow
def test_the_official_networks_and_float_512_run_on_real_clips_and_are_unscorable(shared, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("2.mp4", "3.mp4"):
        shutil.copy(shared / "data" / "real" / "video" / "video-retalking" / name, videos / name)
    (videos / "clips.csv").write_text("id,identity,start_s,end_s\n2.mp4,a,0.5,1.7\n3.mp4,b,0.5,1.7\n")
    for seed, name in enumerate(WEIGHTS):
        weights.fabricate(name, seed)
    command = [sys.executable, "-m", "floatbench", "run", "--protocol", f"folder:{videos}", "--boxes", "none"]
    command += ["--metrics", METRICS, "--methods", "float", "--out", str(tmp_path / "run"), "--fabricated"]
    command += ["--workers", "1", "--device", "cpu", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    scores = json.loads(done.stdout)
    assert not scores["ranked"]
    assert any(reason.startswith("unscorable") for reason in scores["unranked_because"])
    used = {name for record in scores["metrics"].values() for name in record["fabricated"]}
    assert used == set(WEIGHTS) - {"float", "wav2vec2-base-960h", "wav2vec2-speech-emotion", "s3fd-sfd-face"}
    assert scores["methods"]["float"]["fabricated"]
    values = {(cell["method"], cell["metric"]): cell["value"] for cell in scores["scores"]}
    assert len(values) == 9 * 7  # float and eight controls
    assert all(value is not None for value in values.values())
    for variant in ("fid", "fvd", "efid", "pfid-fixedcrop"):
        assert values["reference", variant] == pytest.approx(0, abs=1e-6 * max(1.0, values["wrong-identity", variant]))
        assert values["float", variant] > 0
