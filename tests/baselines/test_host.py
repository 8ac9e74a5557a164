"""What the host promises: the frames that were made, and a reason for everything that goes wrong."""

import json
import os
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from floatbench.baselines.worker import BaselineWorker
from floatbench.baselines.workspace import PREFIX, Workspace
from floatbench.errors import ClipError, DataError, DependencyError, UsageError
from floatbench.media import read_video
from floatbench.methods.baseline import BaselineMethod
from floatbench.methods.baseline_files import resample_index
from floatbench.methods.baseline_health import Health
from floatbench.methods.method import ClipRequest

N = 5


def request(folder: Path, n_frames: int = N, seed: int = 5, shade: int = 90, clip: str = "clip a") -> ClipRequest:
    """A clip in a new folder; the engine's seeds have 63 bits, of which a system gets the first 31."""
    folder.mkdir()
    source = np.full((64, 64, 3), shade, np.uint8)
    audio = np.arange(n_frames * 640).astype(np.int16)
    return ClipRequest(clip, "clip_a", source, audio, n_frames, seed << 32 | 123, folder)


def drawn(seed: int, n_frames: int = N, level: int = 3) -> np.ndarray:
    """What the dummy's network draws after that seed."""
    generator = random.Random(seed)
    size = n_frames * 64 * 64 * 3
    values = [(generator.getrandbits(8) + level) % 256 for _ in range(size)]
    return np.array(values, np.uint8).reshape(n_frames, 64, 64, 3)


@pytest.fixture
def started(dummy):
    """Loads a dummy with switches; closes it after the test."""
    methods = []

    def make(preset: str = "protocol", **switches) -> BaselineMethod:
        dummy(**switches)
        method = BaselineMethod("dummy", preset)
        methods.append(method)
        method.load()
        return method

    yield make
    for method in methods:
        method.close()


def test_the_frames_are_those_that_the_system_drew_from_the_clip_s_seed(started, tmp_path):
    made = started().generate(request(tmp_path / "o"))
    frames, fps = read_video(made.video)
    np.testing.assert_array_equal(frames, drawn(5))
    assert fps == 25 and made.original is None
    assert made.details["seed"] == 5 and made.details["seeded"] is True
    assert set(made.timing) == {"draw", "write"} and made.details["native"]["height"] == 64


def test_a_system_that_needs_a_source_video_gets_it_without_a_loss_and_no_other_does(dummy, tmp_path):
    needy = 'capture = "raw frames"\nneeds = ["source_video"]'
    video = np.random.default_rng(0).integers(0, 255, (N, 64, 64, 3), np.uint8)
    for name, replaced in (("plain", {}), ("needy", {"capture": needy})):
        dummy(name=name, replaced=replaced)
        method = BaselineMethod(name)
        method.load()
        try:
            method.generate(replace(request(tmp_path / name), source_video=video))
            if name == "needy":
                with pytest.raises(ClipError) as caught:
                    method.generate(request(tmp_path / "none"))
                assert (caught.value.reason, caught.value.what) == ("no_source_video", "needy needs a source video")
        finally:
            method.close()
        assert (tmp_path / "given.mkv").exists() is (name == "needy")
    np.testing.assert_array_equal(read_video(tmp_path / "given.mkv")[0], video)


def test_results_do_not_depend_on_the_order_of_the_clips(started, tmp_path):
    method = started()
    hashes = []
    for run, order in enumerate([(1, 2), (2, 1)]):
        found = {}
        for seed in order:
            made = method.generate(request(tmp_path / f"{run}{seed}", seed=seed))
            found[seed] = read_video(made.video)[0].tobytes()
        hashes.append(found)
    assert hashes[0] == hashes[1]
    assert hashes[0][1] != hashes[0][2]


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        ("no_face", "no_face", "nobody is there"),
        ("nothing", "no_output", "left no whole frames"),
        ("constant", "blank", "5 frames is one colour"),
        ("rate", "rate_mismatch", "30 frames a second"),
        ("nan", "not_finite", "NaN"),
        ("exit0", "method_error", "SystemExit"),
        ("network", "method_error", "network is switched off"),
        ("odd_code", "method_error", "strange"),
    ],
)
def test_a_failure_of_the_clip_has_its_reason_and_is_not_tried_again(started, tmp_path, fault, reason, words):
    method = started(fault=fault)
    pid = method._worker.pid
    with pytest.raises(ClipError) as caught:
        method.generate(request(tmp_path / "o"))
    assert caught.value.reason == reason and words in caught.value.what
    if fault != "network":  # an operating system's error is one of the machine: tried once more, in a fresh worker
        assert method._worker.pid == pid and method._worker.alive  # the worker lives, the next clip has it


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        ("crash", "crashed", "SIGKILL"),
        ("oom", "out_of_memory", "CUDA out of memory"),
        ("close", "crashed", "during the clip"),
    ],
)
def test_a_failure_of_the_machine_is_tried_once_more_and_keeps_the_last_words(started, tmp_path, fault, reason, words):
    method = started(fault=fault)
    with pytest.raises(ClipError) as caught:
        method.generate(request(tmp_path / "o"))
    assert caught.value.reason == reason and words in caught.value.what
    assert method._health.in_a_row == 2
    if fault == "crash":
        assert "about to die" in caught.value.details["stderr_tail"]
    if fault == "oom":
        assert any("RuntimeError: CUDA out of memory" in line for line in caught.value.details["stderr_tail"])


def test_a_crash_that_does_not_come_back_costs_nothing(started, tmp_path):
    made = started(fault="crash_once").generate(request(tmp_path / "o"))
    np.testing.assert_array_equal(read_video(made.video)[0], drawn(5))
    assert made.details["attempts"] == 2


@pytest.mark.parametrize(("field", "words"), [("cpu_base_s", "no end of the clip"), ("silence_s", "no sign of life")])
def test_a_system_that_hangs_is_ended_with_its_children(dummy, tmp_path, field, words):
    replaced = {"cpu_base_s": "cpu_base_s = 0.6"} if field == "cpu_base_s" else {"load_s": "silence_s = 0.6"}
    dummy(replaced=replaced, fault="hang")
    method = BaselineMethod("dummy")
    method.load()
    group = method._worker.pid
    with pytest.raises(ClipError) as caught:
        method.generate(request(tmp_path / "o"))
    method.close()
    assert caught.value.reason == "timeout" and words in caught.value.what
    gone = [p for p in psutil.process_iter() if _group(p.pid) == group and p.status() != psutil.STATUS_ZOMBIE]
    assert gone == []


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def test_a_system_that_takes_too_much_memory_is_ended(started, tmp_path):
    with pytest.raises(ClipError) as caught:
        started(fault="ram").generate(request(tmp_path / "o"))
    assert caught.value.reason == "out_of_memory" and "of 0.2 allowed" in caught.value.what


def test_garbage_and_a_huge_line_on_standard_output_change_nothing(started, tmp_path):
    method = started(fault="garbage")
    made = method.generate(request(tmp_path / "o"))
    np.testing.assert_array_equal(read_video(made.video)[0], drawn(5))
    assert made.details["garbage_lines"] == 3  # a broken line, a number, a line of more than 1 MB
    assert "print() of a system" in method._worker.tail()


def test_three_failures_in_a_row_give_the_system_up(started, tmp_path):
    method = started(fault="crash")
    reasons = []
    for clip in range(3):
        with pytest.raises(ClipError) as caught:
            method.generate(request(tmp_path / str(clip), seed=clip))
        reasons.append(caught.value.reason)
    assert reasons == ["crashed", "crashed", "broken"]
    assert "given up after 3 failures in a row" in caught.value.what


def test_restarts_beyond_five_percent_of_the_clips_give_the_system_up_even_between_successes(started, tmp_path):
    method = started(fault="crash_once")
    method.expect(20)  # one restart in twenty; three are always allowed
    attempts, reason = [], ""
    for clip in range(4):
        try:
            made = method.generate(request(tmp_path / str(clip), seed=clip, shade=clip))
            attempts.append(made.details["attempts"])
        except ClipError as error:
            reason = error.reason
            assert "given up after 4 failures in 20 clips" in method._health.broken
    assert attempts == [2, 2, 2] and reason == "crashed"
    with pytest.raises(ClipError) as caught:
        method.generate(request(tmp_path / "last", shade=0))  # it has crashed once already: nothing is tried any more
    assert caught.value.reason == "broken"


@pytest.mark.parametrize(("n_clips", "allowed"), [(0, 3), (20, 3), (60, 3), (80, 4), (1000, 50)])
def test_restarts_are_counted_against_the_clips_of_the_process(n_clips, allowed):
    health = Health(n_clips=n_clips)
    for count in range(60):
        health.succeeded()
        if not health.failed("crash", "x"):
            assert count == allowed and n_clips
            return
    assert not n_clips  # nothing was promised: only failures in a row count


def test_the_pause_before_a_restart_doubles_and_is_bounded():
    health = Health()
    pauses = []
    for health.in_a_row in range(1, 10):
        pauses.append(health.back_off_s)
    assert pauses[:3] == [0.5, 1.0, 2.0] and max(pauses) == 30.0


def test_memory_that_ran_out_is_tried_again_one_at_a_time_where_that_changes_nothing(started, tmp_path):
    method = started(fault="oom_batch")
    made = method.generate(request(tmp_path / "o"))
    np.testing.assert_array_equal(read_video(made.video)[0], drawn(5))
    assert made.details["attempts"] == 2 and made.details["smaller_batch"] == {"batch": 1}
    assert method.generate(request(tmp_path / "p")).details["attempts"] == 1  # kept for the clips that follow


def test_without_a_batch_to_shrink_memory_that_ran_out_is_tried_again_as_it_was():
    health = Health(settings={"batch": 4})
    assert health.failed("oom", "x") and health.smaller == {}
    health = Health(settings={"batch": 1}, batch_knob="batch")
    assert health.failed("oom", "x") and health.smaller == {}


def test_the_key_changes_with_weights_adapter_preset_and_environment_and_with_nothing_else(dummy, tmp_path):
    manifest = dummy()
    (tmp_path / "weights" / "dummy" / "FABRICATED.json").write_text('{"seed": 1}')
    keys = [BaselineMethod("dummy").key()]
    assert keys[0] == BaselineMethod("dummy").key() and len(keys[0]) == 64
    keys += [BaselineMethod("dummy", "author").key(), BaselineMethod("dummy", "official").key()]
    _append(manifest.folder / "manifest.toml", "\n# a word\n")
    assert BaselineMethod("dummy").key() == keys[0]
    _append(manifest.folder / "fabricate.py", "\n# a word\n")
    assert BaselineMethod("dummy").key() == keys[0]
    _append(manifest.folder / "driver.py", "\n# a change\n")
    keys.append(BaselineMethod("dummy").key())
    level = tmp_path / "weights" / "dummy" / "ckpts" / "level.json"
    level.write_text(level.read_text() + " ")
    keys.append(BaselineMethod("dummy").key())
    record = Path(os.environ["FLOATBENCH_HOME"])
    installed = next(record.rglob("install-modern.json"))
    packages = Path(json.loads(installed.read_text())["environment"]) / "lib" / "python3" / "site-packages"
    (packages / "torch-2.0.dist-info").mkdir(parents=True)
    try:
        keys.append(BaselineMethod("dummy").key())
    finally:
        (packages / "torch-2.0.dist-info").rmdir()
    assert len(set(keys)) == len(keys)


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("load_error", "the checkpoint does not fit"), ("load_crash", "SIGSEGV"), ("load_hang", "no end of loading")],
)
def test_a_system_that_does_not_load_says_so_and_leaves_nothing_behind(dummy, fault, words):
    dummy(replaced={"load_s": "load_s = 1"}, fault=fault)
    method = BaselineMethod("dummy")
    with pytest.raises(ClipError) as caught:
        method.load()
    assert caught.value.reason == "load_failed" and words in caught.value.what
    assert method._worker is None


def test_lengths_that_a_system_is_known_to_fail_on_are_not_tried(started, tmp_path):
    method = started()
    for n_frames, reason in [(1, "too_short"), (21, "bad_length"), (751, "too_long")]:
        with pytest.raises(ClipError) as caught:
            method.generate(request(tmp_path / str(n_frames), n_frames))
        assert caught.value.reason == reason


def test_another_rate_is_resampled_only_where_the_preset_declares_it_and_uses_the_authors_seed(started, tmp_path):
    method = started("author")
    assert method.ranked is False and method.describe()["marks"] == ["re-cropped", "24 fps resampled"]
    made = method.generate(request(tmp_path / "o", 25))
    native = drawn(7, 24)
    np.testing.assert_array_equal(read_video(made.video)[0], native[resample_index(24, 24.0)])
    original, fps = read_video(made.original)  # what it wrote stays, at its own rate
    np.testing.assert_array_equal(original, native)
    assert fps == pytest.approx(24, rel=1e-3)  # Matroska's stamps are milliseconds
    assert made.details["native"] == {"frames": 24, "height": 64, "width": 64, "fps": 24.0, "resampled": True}
    assert made.details["seed"] == 7


def test_resampling_shows_the_nearest_frame_and_keeps_equal_rates():
    np.testing.assert_array_equal(resample_index(7, 25.0), np.arange(7))
    index = resample_index(48, 24.0)
    assert len(index) == 50 and index[0] == 0 and index[-1] == 47
    np.testing.assert_array_less(np.abs(index / 24 - np.arange(50) / 25), 0.5 / 24 + 1e-9)


def test_a_row_of_the_official_file_needs_one(started, tmp_path):
    method = started("official")
    assert method.ranked is False and "official file" in method.describe()["marks"]
    with pytest.raises(ClipError, match="no video of its own"):
        method.generate(request(tmp_path / "o"))


def test_a_worker_sees_private_folders_and_no_network_and_removes_them(started, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    method = started(fault="environment")
    made = method.generate(request(tmp_path / "o"))
    seen = made.details["environment"]
    folder = method._worker.workspace.folder
    for name in ("HOME", "TMPDIR", "TORCH_HOME", "HF_HOME"):
        assert Path(seen[name]).is_relative_to(folder)
    assert seen["HF_HUB_OFFLINE"] == "1" and seen["CUDA_VISIBLE_DEVICES"] == ""
    assert "SECRET_TOKEN" not in seen
    assert Path(seen["cwd"]) == folder / "checkout"
    assert "." not in Path(seen["image"]).stem and " " not in seen["image"]
    method.close()
    assert not folder.exists()


def test_a_worker_runs_the_pinned_commit_not_what_lies_in_the_clone(dummy, repository, tmp_path):
    manifest = dummy()
    code = repository / "network.py"
    before = code.read_text()
    try:
        code.write_text("raise SystemExit('a local change')")
        method = BaselineMethod("dummy")
        method.load()
        assert method._worker.workspace.checkout.joinpath("network.py").read_text() == before
        method.close()
    finally:
        code.write_text(before)
    assert manifest.source.tree_sha


def test_folders_that_are_not_needed_are_left_out(dummy):
    from floatbench.baselines.installed import resolve

    manifest = dummy(replaced={"tree_sha": 'sparse = ["docs"]'})
    workspace = Workspace(resolve(manifest))
    assert workspace.checkout.joinpath("network.py").is_file() and not workspace.checkout.joinpath("docs").exists()
    workspace.remove()


def test_the_folders_of_killed_hosts_are_removed(started, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stale = tmp_path / f"{PREFIX}{2**22 + 1}-x"
    stale.mkdir()
    started()
    assert not stale.exists()


def test_the_driver_dies_with_its_host(dummy, tmp_path):
    import subprocess
    import sys

    dummy(fault="hang")
    code = (
        "import os, time; from floatbench.methods.baseline import BaselineMethod as B\n"
        "m = B('dummy'); m.load(); print(m._worker.pid, flush=True); time.sleep(600)"
    )
    host = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    pid = int(host.stdout.readline())
    assert psutil.pid_exists(pid)
    host.kill()
    host.wait()
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.05)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_what_is_not_installed_names_the_command(systems):
    systems()
    with pytest.raises(DependencyError) as caught:
        BaselineMethod("dummy").describe()
    assert caught.value.fix == "floatbench baseline install dummy --profile modern"


def test_weights_that_changed_after_the_first_use_are_refused(dummy, tmp_path):
    dummy()
    BaselineMethod("dummy").describe()
    (tmp_path / "weights" / "dummy" / "ckpts" / "level.json").write_text(json.dumps({"level": 200}))
    with pytest.raises(DataError, match="not the file of the first use"):
        BaselineMethod("dummy").describe()


def test_fabricated_weights_are_told(dummy, tmp_path):
    dummy()
    (tmp_path / "weights" / "dummy" / "FABRICATED.json").write_text('{"seed": 1}')
    assert BaselineMethod("dummy").describe()["fabricated"] is True


def test_a_card_outside_the_profile_s_range_is_refused(dummy, monkeypatch):
    from floatbench.baselines import installed

    manifest = dummy(replaced={"python": 'python = "3"\nsm_min = 7.5\nsm_max = 9.0'})
    monkeypatch.setattr(installed, "card", lambda device: 12.0)
    with pytest.raises(DependencyError, match="compute capability 12"):
        installed.choose_profile(manifest, "cuda")
    monkeypatch.setattr(installed, "card", lambda device: 9.0)
    assert installed.choose_profile(manifest, "cuda") == "modern"


def test_a_device_that_takes_another_profile_than_the_record_names_is_refused(dummy, monkeypatch):
    from floatbench.baselines import installed

    replaced = {"shims": 'shims = ["grin"]\nsm_min = 7.5\nsm_max = 9.0\ncpu_ok = false'}
    for profile in ("modern", "period"):
        dummy(profile=profile, replaced=replaced)
    monkeypatch.setattr(installed, "card", lambda device: 8.0 if device == "cuda" else None)
    monkeypatch.setattr("floatbench.device.pick_device", lambda device: "cuda")
    method = BaselineMethod("dummy")
    assert method.describe()["profile"] == "modern"
    with pytest.raises(DependencyError, match="takes profile period, the record says modern"):
        method.load("cpu")
    monkeypatch.setenv("FLOATBENCH_PROFILE_DUMMY", "period")
    monkeypatch.setattr("floatbench.device.pick_device", lambda device: "cpu")
    method.load("cpu")
    method.close()


def test_unknown_presets_and_profiles_are_usage_errors(dummy):
    manifest = dummy()
    with pytest.raises(UsageError, match="no preset 'pose'"):
        BaselineMethod("dummy", "pose")
    with pytest.raises(UsageError, match="no profile 'old'"):
        manifest.profile("old")


def test_a_time_limit_can_be_stretched(dummy, monkeypatch):
    from floatbench.baselines import worker

    monkeypatch.setenv("FLOATBENCH_TIMEOUT_SCALE", "3")
    assert worker._scale() == 3.0
    monkeypatch.setenv("FLOATBENCH_TIMEOUT_SCALE", "x")
    with pytest.raises(DependencyError):
        worker._scale()


def test_a_worker_that_was_not_started_says_so(dummy):
    from floatbench.baselines.installed import resolve

    with pytest.raises(RuntimeError, match=r"start\(\) comes first"):
        BaselineWorker(resolve(dummy()), "protocol").generate({}, 1.0)
