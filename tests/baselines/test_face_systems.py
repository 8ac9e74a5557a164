"""The systems of the paper and of today: what their manifests promise, and whole runs with random weights."""

from __future__ import annotations

import hashlib
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from floatbench.baselines import manifest as manifests

ROOT = Path(__file__).resolve().parents[2]
PAPER = ("edtalk", "anitalker", "sadtalker", "float-official", "hallo", "echomimic")
FIELD = ("wav2lip", "imtalker", "latentsync", "sonic", "flashhead", "joyvasa", "ditto")
SYSTEMS = (*PAPER, *FIELD)
FRAMES = {"sonic": 23}  # of 25: two of every 80 ms of sound, less one; all others make what the sound has


@pytest.mark.parametrize("name", SYSTEMS)
def test_locks_are_hashed_and_name_no_index(name: str) -> None:
    manifest = manifests.load(name)
    assert "modern" in manifest.profiles
    for profile in manifest.profiles.values():
        lines = (manifest.folder / profile.lock).read_text().splitlines()
        pinned = [index for index, line in enumerate(lines) if "==" in line]
        assert len(pinned) > 20
        for index in pinned:
            assert lines[index].endswith("\\") and lines[index + 1].strip().startswith("--hash=sha256:"), lines[index]
        assert not [line for line in lines if "://" in line or line.startswith(("-i", "--index", "--extra", "--find"))]


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_shim_of_a_profile_exists_beside_the_driver(name: str) -> None:
    manifest = manifests.load(name)
    shims = manifest.folder / "shims.py"
    code = shims.read_text() if shims.exists() else ""
    for profile in manifest.profiles.values():
        assert not [shim for shim in profile.shims if f"def {shim}(" not in code]
    assert 50 <= len((manifest.folder / manifest.driver).read_text().splitlines()) <= 150


def test_systems_refuse_the_lengths_that_break_them() -> None:
    assert set(manifests.load("sadtalker").limits.forbidden_frames) == {1, 2, 21}
    assert manifests.load("sonic").limits.min_frames == 11


def test_sonic_asks_for_the_gated_files_before_the_large_ones_of_its_own() -> None:
    gated = ["stabilityai/" in weight.origins[0] for weight in manifests.load("sonic").weights]
    assert gated == [True] * 7 + [False] * 8


def test_flashheads_full_random_weights_have_the_published_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What diffusers 0.36 writes of the fabricator's settings is the pinned config.json, byte by byte."""
    manifest = manifests.load("flashhead")
    monkeypatch.syspath_prepend(str(manifest.folder.parent))
    settings = runpy.run_path(str(manifest.folder / "fabricate.py"))["TRANSFORMER"]
    config = {"_class_name": "WanModelAudioProject", "_diffusers_version": "0.36.0", **settings}
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    [pinned] = [weight for weight in manifest.weights if weight.path.endswith("Model_Pro/config.json")]
    assert (len(text), hashlib.sha256(text.encode()).hexdigest()) == (pinned.bytes, pinned.sha256)


def test_the_ranked_presets_switch_the_traps_of_the_repositories_off() -> None:
    flow, echo = manifests.load("float-official"), manifests.load("echomimic")
    assert flow.preset("protocol").flags["no_crop"] and flow.preset("protocol").flags["fix_noise_seed"]
    assert flow.limits.forbidden_frames == (1,)
    ranked, shown = echo.preset("protocol"), echo.preset("author")
    assert (ranked.fps, ranked.flags["fps"], shown.fps, shown.flags["fps"]) == (25, 25, 24, 24)
    assert ranked.flags["facecrop_dilation_ratio"] >= 1 > shown.flags["facecrop_dilation_ratio"]
    assert (shown.seed, manifests.load("hallo").preset("author").seed) == (420, 42)
    for manifest in (flow, echo):
        assert not manifest.preset("author").rank and "re-cropped" in manifest.preset("author").marks


@pytest.mark.parametrize("name", SYSTEMS)
def test_only_the_protocol_preset_is_ranked_and_only_a_declared_author_preset_has_another_rate(name: str) -> None:
    manifest = manifests.load(name)
    assert "protocol" in manifest.presets and (name in FIELD or "author" in manifest.presets)
    assert [preset for preset, settings in manifest.presets.items() if settings.rank] == ["protocol"]
    assert {p for p, settings in manifest.presets.items() if settings.fps != 25} == (
        {"author"} if name == "echomimic" else set()
    )


@pytest.mark.parametrize("name", ["joyvasa", "ditto"])
def test_addresses_of_the_hub_name_a_full_revision(name: str) -> None:
    origins = [origin for weight in manifests.load(name).weights for origin in weight.origins]
    assert origins
    for origin in origins:
        assert not origin.startswith("hf://") or re.fullmatch(r"hf://[^/]+/[^/@]+@[0-9a-f]{40}/.+", origin), origin


def test_systems_that_liveportrait_renders_share_what_is_known_of_it() -> None:
    """Its data sets, its face-id loss, and the hashes of its five files, whatever they are called."""
    joy, ditto = manifests.load("joyvasa"), manifests.load("ditto")
    for manifest in (joy, ditto):
        assert {"VoxCeleb", "MEAD", "RAVDESS", "AAHQ"} < set(manifest.trained_on)
        assert manifest.trained_with == ("arcface",)
    files = {weight.sha256 for weight in joy.weights if "/liveportrait/" in weight.path}
    assert len(files) == 6 and files < {weight.sha256 for weight in ditto.weights}


def floatbench(*arguments: Any) -> str:
    """The command line as typed; its standard output. Exit code 1 is a run with failed clips."""
    command = [sys.executable, "-m", "floatbench", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FLOATBENCH_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def install(name: str) -> None:
    """Clone, environment and weights that are at hand are named by variables; the rest is made."""
    manifest = manifests.load(name)
    if not os.environ.get(manifest.variable):
        pytest.skip(f"{manifest.variable} does not name a clone of {manifest.source.repo}")
    variable = name.upper().replace("-", "_")
    environment, weights = (os.environ.get(f"FLOATBENCH_{part}_{variable}") for part in ("ENV", "FABRICATED"))
    options = ["--environment", environment] if environment else []
    options += ["--weights", weights] if weights else ["--fabricate", "tiny"]
    floatbench("baseline", "install", name, "--accept-license", *options)


@pytest.mark.peers
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_official_code_makes_two_real_clips(
    name: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The untouched repository at the pinned commit, with fabricated weights, through `floatbench run`.

    EchoMimic also as its authors run it: its 24 frames a second are resampled and kept. A system that dubs is given the
    clip's own pictures.
    """
    landmarks = shared / "data" / "models" / "face_landmarker_v2_with_blendshapes.task"
    monkeypatch.setenv("FLOATBENCH_FACE_LANDMARKER", str(landmarks))  # Hallo's fabricator cannot make this one
    install(name)
    videos = tmp_path / "videos"
    videos.mkdir()
    for clip in ("2.mp4", "3.mp4"):
        shutil.copy(shared / "data" / "real" / "video" / "video-retalking" / clip, videos / clip)
    (videos / "clips.csv").write_text("id,identity,start_s,end_s\n2.mp4,a,0.5,1.5\n3.mp4,b,0.5,1.5\n")
    out = tmp_path / "run"
    names = [name, "echomimic@author"] if name == "echomimic" else [name]
    given = ["--source-video", "own"] if manifests.load(name).needs else []
    printed = floatbench(
        "run", "--protocol", f"folder:{videos}", "--boxes", "none", "--size", "256", "--metrics", "psnr-grey128",
        "--methods", ",".join(names), "--no-controls", "--workers", "1", "--device", "cpu", "--fabricated", "--timeout",
        "3600", "--out", out, "--json", *given,
    )  # fmt: skip
    scores = json.loads(printed)
    assert not scores["ranked"] and scores["methods"][name]["fabricated"]
    assert {cell["method"] for cell in scores["scores"]} == set(names)
    assert all(cell["n"] == 2 for cell in scores["scores"])
    for line in (out / "rows.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert (row["n_frames"], row["details"]["native"].get("resampled", False)) == (
            FRAMES.get(name, 25),
            row["method"] not in names[:1],
        )
        assert (out / row["details"].get("original", row["video"])).is_file()


@pytest.mark.peers
def test_the_batch_of_sadtalker_changes_no_pixel_by_more_than_a_level(shared: Path, tmp_path: Path) -> None:
    """What must hold before the manifest names a batch_knob: one at a time gives the frames of two at a time."""
    import numpy as np

    from floatbench.media import read_clip, read_video
    from floatbench.methods.baseline import BaselineMethod
    from floatbench.methods.method import ClipRequest

    install("sadtalker")
    clip = read_clip(shared / "data" / "real" / "video" / "video-retalking" / "2.mp4", start=0.5, end=1.5)
    assert clip.audio is not None
    side = min(clip.frames.shape[1:3])
    picture = np.ascontiguousarray(clip.frames[0, :side, :side])
    found = []
    for name, changed in (("two", {}), ("one", {"batch_size": 1})):
        method = BaselineMethod("sadtalker")
        folder = tmp_path / name
        folder.mkdir()
        try:
            method.load("cpu")
            assert method._worker is not None
            method._worker.close()  # the next start has the smaller batch, as after memory ran out
            method._worker.changed = changed
            made = method.generate(ClipRequest("c", "c", picture, clip.audio[: 3 * 640], 3, 5 << 32, folder))
        finally:
            method.close()
        assert made.video is not None
        found.append(read_video(made.video)[0].astype(int))
    assert found[0].shape == found[1].shape == (3, 256, 256, 3)
    assert np.abs(found[0] - found[1]).max() <= 1 and found[0].std() > 1
