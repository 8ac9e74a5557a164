"""Installing: every step is whole or absent, and bad input gets one line and the command that mends it."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from floatbench.baselines import install as steps
from floatbench.baselines import manifest as manifests
from floatbench.baselines.install import Choices, install
from floatbench.baselines.installed import install_record, resolve, root
from floatbench.baselines.workspace import export_commit
from floatbench.errors import DataError, DependencyError, UsageError
from floatbench.media import write_lossless

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def given(repository, environment, tmp_path):
    """Choices that take nothing from anywhere."""
    weights = tmp_path / "w"
    (weights / "ckpts").mkdir(parents=True)
    (weights / "ckpts" / "level.json").write_text('{"level": 1}')
    return {"source": repository, "environment": environment, "weights": weights}


def test_the_pinned_commit_is_cloned_and_the_environment_made_once(systems, given):
    systems()
    manifest = manifests.load("dummy")
    choices = Choices(weights=given["weights"], python=sys.executable)
    record = install(manifest, "modern", choices)
    python = Path(record.environment) / "bin" / "python"
    made = python.lstat().st_mtime_ns
    assert Path(record.source) == root(manifest) / "src" and python.exists()
    assert resolve(manifest).weights == given["weights"]
    install(manifest, "modern", choices)
    assert python.lstat().st_mtime_ns == made


def test_an_interrupted_install_starts_over_cleanly(systems, given):
    systems()
    manifest = manifests.load("dummy")
    for half in ("src/.git", "env-modern/bin"):
        (root(manifest) / half).mkdir(parents=True)
    with pytest.raises(DependencyError, match="not installed"):
        resolve(manifest)
    install(manifest, "modern", Choices(weights=given["weights"], python=sys.executable))
    assert resolve(manifest).profile_name == "modern"


def test_a_failed_install_is_not_taken_for_an_installed_one(systems, given):
    systems()
    manifest = manifests.load("dummy")
    install(manifest, "modern", Choices(**given))
    with pytest.raises(DataError):
        install(manifest, "modern", Choices(**{**given, "source": given["weights"]}))
    assert install_record(manifest, "modern") is None


def test_a_moved_repository_is_one_line_with_the_way_out(systems, given):
    systems(repo='repo = "file:///nowhere/at/all"')
    choices = Choices(environment=given["environment"], weights=given["weights"])
    with pytest.raises(DataError, match="moved or rewritten") as caught:
        install(manifests.load("dummy"), "modern", choices)
    assert "--source DIR" in (caught.value.fix or "")


def test_a_rewritten_tree_is_refused(systems, given):
    systems(tree_sha=f'tree_sha = "{"1" * 40}"')
    with pytest.raises(DataError, match="not the manifest's"):
        install(manifests.load("dummy"), "modern", Choices(**given))


def test_a_folder_that_is_no_clone_is_refused(systems, given, tmp_path):
    systems()
    with pytest.raises(DataError, match="no git clone that holds commit"):
        install(manifests.load("dummy"), "modern", Choices(**{**given, "source": tmp_path}))


def test_offline_forbids_the_clone_but_not_a_local_one(systems, given, monkeypatch):
    systems(repo='repo = "example/dummy"')
    monkeypatch.setenv("FLOATBENCH_OFFLINE", "1")
    manifest = manifests.load("dummy")
    with pytest.raises(DataError, match="--offline forbids"):
        install(manifest, "modern", Choices(environment=given["environment"], weights=given["weights"]))
    monkeypatch.setenv("FLOATBENCH_SRC_DUMMY", str(given["source"]))
    record = install(manifest, "modern", Choices(environment=given["environment"], weights=given["weights"]))
    assert record.source == str(given["source"])


def test_relative_paths_are_taken_from_the_current_folder(systems, given, monkeypatch):
    systems()
    monkeypatch.chdir(given["source"].parent)
    relative = {name: Path(os.path.relpath(path)) for name, path in given.items()}
    install(manifests.load("dummy"), "modern", Choices(**relative))
    monkeypatch.chdir("/")
    assert resolve(manifests.load("dummy")).python.exists()


def test_a_python_that_cannot_be_had_names_the_option(systems, given, monkeypatch):
    systems(python='python = "3.99"')
    monkeypatch.setenv("FLOATBENCH_OFFLINE", "1")
    with pytest.raises(DependencyError, match=r"Python 3.99 is not on this machine") as caught:
        install(manifests.load("dummy"), "modern", Choices(source=given["source"], weights=given["weights"]))
    assert "--python /path/to/python3.99" in (caught.value.fix or "")


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("error: command 'gcc' failed: No such file or directory", "needs a compiler"),
        ("Hash mismatch for `torch==2.0`", "not the locked one"),
        ("failed to write: No space left on device (os error 28)", "disk is full"),
        ("something else\nthe reason", "the reason"),
    ],
)
def test_the_usual_ends_of_an_environment_are_one_line(systems, stderr, words):
    systems()
    manifest = manifests.load("dummy")
    assert words in steps._uv_error(manifest, manifest.profiles["modern"], stderr).what


def test_a_cache_that_cannot_be_written_names_the_variable(systems, given, tmp_path, monkeypatch):
    systems()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLOATBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DependencyError, match="cannot be written") as caught:
        install(manifests.load("dummy"), "modern", Choices(**given))
    assert "FLOATBENCH_CACHE" in (caught.value.fix or "")


def test_weights_are_fetched_checked_and_recorded(systems, given, tmp_path):
    data = tmp_path / "served.json"
    data.write_text('{"level": 9}')
    digest = hashlib.sha256(data.read_bytes()).hexdigest()
    systems(origins=f'origins = ["file://{data}"]\nsha256 = "{digest}"')
    manifest = manifests.load("dummy")
    choices = Choices(source=given["source"], environment=given["environment"])
    install(manifest, "modern", choices)
    assert resolve(manifest).weight_hashes == {"ckpts/level.json": digest}


def test_a_weight_with_the_wrong_hash_is_refused(systems, given):
    systems(origins=f'origins = []\nsha256 = "{"0" * 64}"')
    with pytest.raises(DataError, match="not the manifest's"):
        install(manifests.load("dummy"), "modern", Choices(**given))


def test_a_bare_clone_serves_as_well_as_one_with_a_work_tree(systems, given, tmp_path):
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(given["source"]), str(bare)], check=True)
    systems(tree_sha='sparse = ["docs"]')
    manifest = manifests.load("dummy")
    export_commit(manifest, bare, tmp_path / "checkout")
    assert {path.name for path in (tmp_path / "checkout").iterdir()} == {"network.py"}


def test_a_weight_without_an_address_names_the_ways_out(systems, given):
    systems()
    with pytest.raises(DataError, match="has no address") as caught:
        install(manifests.load("dummy"), "modern", Choices(source=given["source"], environment=given["environment"]))
    assert "--weights DIR" in (caught.value.fix or "")


def test_fabricated_weights_depend_on_their_seed_and_are_marked(systems, given):
    systems()
    manifest = manifests.load("dummy")
    contents = []
    for seed in (0, 1):
        choices = Choices(given["source"], None, given["environment"], fabricate="tiny", seed=seed)
        install(manifest, "modern", choices)
        found = resolve(manifest)
        contents.append(json.loads((found.weights / "ckpts" / "level.json").read_text()))
        assert found.fabricated == {"seed": seed, "size": "tiny"}
        assert set(found.weight_hashes) == {"FABRICATED.json", "ckpts/level.json"}
    assert contents[0] != contents[1]


def test_a_changed_lock_asks_for_a_new_install(systems, given):
    folder = systems()
    manifest = manifests.load("dummy")
    install(manifest, "modern", Choices(source=given["source"], weights=given["weights"], python=sys.executable))
    (folder / "lock-modern.txt").write_text("# changed\n")
    with pytest.raises(DependencyError, match="has changed since"):
        resolve(manifest)


def test_a_container_recipe_holds_lock_commit_and_packages(systems):
    systems(tool="", lock='lock = "lock-modern.txt"\napt = ["ffmpeg"]')
    manifest = manifests.load("dummy")
    for kind in ("docker", "apptainer"):
        recipe = steps.container_recipe(manifest, "modern", kind)
        assert manifest.source.commit in recipe and "--require-hashes" in recipe and "ffmpeg" in recipe


def test_an_installed_package_brings_a_system_by_its_entry_point(systems, tmp_path, monkeypatch):
    folder = systems("outside")
    monkeypatch.delenv("FLOATBENCH_BASELINES")
    assert "outside" not in manifests.names()
    package = tmp_path / "package"
    (package / "outside_1-1.0.dist-info").mkdir(parents=True)
    (package / "outside_1.py").write_text(f"FOLDER = {str(folder)!r}\n")
    (package / "outside_1-1.0.dist-info" / "METADATA").write_text("Name: outside-1\nVersion: 1.0\n")
    points = "[floatbench.baselines]\noutside = outside_1:FOLDER\n"
    (package / "outside_1-1.0.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(package))
    assert "outside" in manifests.names()
    assert manifests.load("outside").title.startswith("Dummy")


def test_a_manifest_says_which_field_is_wrong(systems):
    systems(version='version = "many"')
    with pytest.raises(UsageError, match=r"manifest.toml: version"):
        manifests.load("dummy")


@pytest.mark.parametrize(
    ("replaced", "words"),
    [
        ({"rank": "rank = true"}, "preset author: only 'protocol' may be ranked"),
        ({"note": 'note = "x"\nfps = 24'}, "preset protocol: only 'protocol' may be ranked, and only at 25"),
        ({"batch_knob": 'batch_knob = "nothing"'}, "memory.batch_knob nothing is no number"),
    ],
)
def test_a_preset_that_would_rank_what_may_not_be_ranked_is_refused(systems, replaced, words):
    systems(**replaced)
    with pytest.raises(UsageError, match=words):
        manifests.load("dummy")


def test_a_shim_that_nobody_explains_is_refused(systems):
    systems(shims='shims = ["unknown"]')
    with pytest.raises(UsageError, match="does not explain"):
        manifests.load("dummy")


def floatbench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "floatbench", "baseline", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_the_licence_is_shown_and_asked_once(systems, given):
    systems()
    arguments = ["install", "dummy", *(part for name, path in given.items() for part in (f"--{name}", str(path)))]
    refused = floatbench(*arguments)
    assert refused.returncode == 3 and "nothing else" in refused.stderr
    assert "fix: floatbench baseline install dummy --accept-license" in refused.stderr
    assert floatbench(*arguments, "--accept-license").returncode == 0
    again = floatbench(*arguments)
    assert again.returncode == 0 and "nothing else" not in again.stderr


def test_check_reports_load_time_speed_and_memory_and_a_failure_the_last_words(dummy):
    dummy(replaced={"min_audio_s": "min_audio_s = 0.44"})
    done = floatbench("check", "dummy", "--device", "cpu", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["seeded"] is True
    assert report["frames"] == 11  # ten would be too short for it
    assert report["load_s"] >= 0 and report["seconds_per_frame"] > 0 and report["memory"]["ram_mb"] > 1
    dummy(name="other", fault="crash")
    failed = floatbench("check", "other", "--device", "cpu")
    assert failed.returncode == 1
    assert "about to die" in failed.stderr and "error: other: crashed" in failed.stderr


def test_run_animates_one_picture(dummy, tmp_path):
    from PIL import Image

    from floatbench.media import read_video, write_wav

    dummy()
    Image.fromarray(np.full((64, 64, 3), 99, np.uint8)).save(tmp_path / "a face.png")
    write_wav(tmp_path / "s.wav", np.zeros(640 * 4, np.int16))
    out = tmp_path / "o.mkv"
    done = floatbench(
        "run", "dummy", "-i", str(tmp_path / "a face.png"), "-a", str(tmp_path / "s.wav"), "-o", str(out), "--device",
        "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(read_video(out)[0]) == 4


def test_two_profiles_that_agree_are_certified_and_two_that_differ_are_not(dummy, tmp_path):
    dummy()
    dummy(profile="period")
    out = tmp_path / "certificate.json"
    done = floatbench("certify", "dummy", "--frames", "4", "--out", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["passed"] and found["difference"]["maximum"] == 0
    assert [side["profile"] for side in found["profiles"]] == ["period", "modern"]


def test_a_certificate_counts_differences_in_fractions_of_the_range():
    import numpy as np

    from floatbench.baselines.certify import compare

    first = np.zeros((1, 10, 100, 3), np.uint8)
    second = first.copy()
    second[0, 0, 0] = 51  # 3 of 3000 values, a fifth of the range
    found = compare(first, second)
    assert found.mean == pytest.approx(0.001 * 0.2) and found.p999 == 0 and found.maximum == pytest.approx(0.2)
    assert not found.passed
    second[0, 0, 1, 0] = 51
    assert compare(first, second).p999 == pytest.approx(0.2)


def test_list_tells_how_far_each_was_proven(dummy):
    dummy()
    rows = json.loads(floatbench("list", "--json").stdout)
    row = next(row for row in rows if row["name"] == "dummy")
    assert row["installed"] == ["modern"] and row["proven_furthest"] == "whole clip"
    assert floatbench("list").stdout.splitlines()[0].split()[1:8:2] == ["NAME", "INSTALLED", "NEEDS", "PROVEN"]


def test_list_and_show_say_that_a_system_needs_a_source_video(dummy, tmp_path):
    from floatbench.methods.baseline import BaselineMethod
    from floatbench.methods.baseline_runs import picture_or_video

    dummy()
    dummy(name="needy", replaced={"capture": 'capture = "raw frames"\nneeds = ["source_video"]'})
    line = next(line for line in floatbench("list").stdout.splitlines() if "| needy" in line)
    assert [part.strip() for part in line.split("|")][3] == "source video"
    assert "needs: source_video" in floatbench("show", "needy").stdout.splitlines()
    frames = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), np.uint8)
    video = tmp_path / "talk.mkv"
    write_lossless(video, frames)
    np.testing.assert_array_equal(picture_or_video(BaselineMethod("needy"), None, video), frames)
    with pytest.raises(UsageError, match="dummy animates a picture"):
        picture_or_video(BaselineMethod("dummy"), None, video)
    with pytest.raises(UsageError, match="one picture or one video is wanted"):
        picture_or_video(BaselineMethod("needy"), None, None)


def test_new_makes_a_folder_whose_manifest_is_valid(tmp_path, monkeypatch):
    done = floatbench("new", "my-system", "--folder", str(tmp_path / "a"))
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("FLOATBENCH_BASELINES", str(tmp_path / "a"))
    assert manifests.load("my-system").folder.name == "my_system"
    assert floatbench("new", "my-system", "--folder", str(tmp_path / "a")).returncode == 2
    assert floatbench("new", "Bad Name", "--folder", str(tmp_path / "a")).returncode == 2
    assert floatbench("show", "dumy").returncode == 2


def test_the_template_filled_in_is_a_system_that_makes_a_clip(repository, environment, tmp_path, monkeypatch):
    """What `baseline new` leaves to its reader: repository, commit, one weight file, three lines of the driver."""
    monkeypatch.setenv("FLOATBENCH_BASELINES", str(tmp_path / "own"))
    assert floatbench("new", "mine", "--folder", str(tmp_path / "own")).returncode == 0
    folder = tmp_path / "own" / "mine"
    head = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    filled = {
        "manifest.toml": {
            '"<owner>/<repository>"': f'"file://{repository}"',
            "0" * 40: head.stdout.strip(),
            "checkpoints/<model.pth>": "checkpoints/level.txt",
            'python = "3.11"': 'python = "3"',
        },
        "driver.py": {
            '        raise NotImplementedError("build the networks here")': "        import network\n\n"
            '        self.model = network.Network(int(open("checkpoints/level.txt").read()))',
            "driverlib.count_parameters(self.model)": "1",
            "frames = self.model(request.image, request.audio)  # (T, H, W, 3) in [0, 1]": "import random\n\n"
            "            frames = [self.model.draw(random, 16) for _ in range(request.n_frames)]",
            "driverlib.to_uint8(frames)": "((frame, 16, 16) for frame in frames)",
        },
    }
    for name, changes in filled.items():
        text = (folder / name).read_text()
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        (folder / name).write_text(text)
    (folder / "lock-modern.txt").write_text("")
    (tmp_path / "w" / "checkpoints").mkdir(parents=True)
    (tmp_path / "w" / "checkpoints" / "level.txt").write_text("5")
    places = ["--source", str(repository), "--environment", str(environment), "--weights", str(tmp_path / "w")]
    done = floatbench("install", "mine", "--accept-license", *places)
    assert done.returncode == 0, done.stderr
    report = json.loads(floatbench("check", "mine", "--frames", "3", "--device", "cpu", "--json").stdout)
    assert (report["frames"], report["height"], report["parameters"]) == (3, 16, {"model": 1})
