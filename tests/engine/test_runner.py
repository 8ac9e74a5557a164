"""The run: same scores whatever happens to it, a row for every failure, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from engine_toys import FRAMES, Jitter, ToyBackbone, ToyDataset, protocol

from floatbench.engine.merge import merge
from floatbench.engine.records import RowFile, ScoreFile
from floatbench.engine.runner import RunOptions, RunResult, run
from floatbench.errors import DataError, DependencyError, OutOfMemory, UsageError
from floatbench.methods.method import Method
from floatbench.records import read_record
from floatbench.reports.table import markdown

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def importable(toys, monkeypatch):
    """Workers find the toys, too."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{Path(__file__).parent}")


def run_toy(folder: Path, *names: str | Method, dataset: ToyDataset | None = None, **options) -> RunResult:
    dataset = dataset or ToyDataset(protocol())
    settings = {"methods": names, "controls": False, "out": folder, "workers": 0, "device": "cpu", **options}
    return run(dataset.protocol, dataset, RunOptions(**settings))


def score_bytes(folder: Path) -> bytes:
    return (folder / "scores.json").read_bytes()


def test_scores_are_the_same_bytes_for_any_number_of_workers(tmp_path):
    names = ("jitter", "reference", "swapped")
    for workers in (0, 2):
        run_toy(tmp_path / str(workers), *names, workers=workers)
    assert score_bytes(tmp_path / "0") == score_bytes(tmp_path / "2")


def test_scores_are_the_same_bytes_in_any_order_of_clips(tmp_path):
    run_toy(tmp_path / "a", "jitter")
    run_toy(tmp_path / "b", "jitter", clips=None, workers=0)
    forward, backward = protocol(), protocol()
    backward = backward.model_copy(update={"clips": tuple(reversed(backward.clips))})
    assert forward.hash == backward.hash
    run_toy(tmp_path / "c", "jitter", dataset=ToyDataset(backward))
    assert score_bytes(tmp_path / "a") == score_bytes(tmp_path / "b") == score_bytes(tmp_path / "c")


def test_a_second_call_does_nothing_and_keeps_the_scores(tmp_path):
    first = run_toy(tmp_path / "r", "jitter")
    before = score_bytes(tmp_path / "r")
    second = run_toy(tmp_path / "r", "jitter")
    assert (first.new_rows, second.new_rows) == (4, 0)
    assert score_bytes(tmp_path / "r") == before


def test_the_features_survive_the_loss_of_the_cache(tmp_path, monkeypatch):
    run_toy(tmp_path / "r", "jitter")
    monkeypatch.setenv("FLOATBENCH_CACHE", str(tmp_path / "another cache"))
    assert run_toy(tmp_path / "r", "jitter").new_rows == 0


def test_a_feature_file_cut_in_half_is_made_again(tmp_path, monkeypatch):
    run_toy(tmp_path / "r", "jitter")
    before = score_bytes(tmp_path / "r")
    for path in (tmp_path / "r" / "features").rglob("*.safetensors"):
        data = path.read_bytes()
        path.unlink()  # the link only: the cache's own file is damaged below
        path.write_bytes(data[: len(data) // 2])
    cache = Path(os.environ["FLOATBENCH_HOME"]) / "cache" / "features"
    for path in cache.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:20])
    assert run_toy(tmp_path / "r", "jitter").new_rows == 4
    assert score_bytes(tmp_path / "r") == before


def test_a_metric_added_later_uses_the_videos_that_are_there(tmp_path, monkeypatch):
    log = tmp_path / "calls"
    monkeypatch.setenv("FLOATBENCH_TOY_LOG", str(log))
    run_toy(tmp_path / "r", "jitter")
    changed = ToyDataset(protocol())
    result = run_toy(tmp_path / "r", "jitter", dataset=changed, metrics=["toy-mean", "toy-max", "psnr-grey128"])
    assert {cell.metric for cell in result.scores.scores} == {"toy-mean", "toy-max", "psnr-grey128"}
    assert len(log.read_text().splitlines()) == 4
    assert result.new_rows == 4


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from engine_toys import ToyDataset, protocol
from floatbench.engine.runner import RunOptions, run
if __name__ == "__main__":
    data = ToyDataset(protocol(6))
    options = RunOptions(methods=["jitter", "reference"], controls=False, out=Path(sys.argv[1]), workers=2)
    run(data.protocol, data, options)
"""


def test_a_killed_run_continues_and_gives_the_same_scores(tmp_path, monkeypatch, rows_before_the_kill=3):
    script = tmp_path / "main.py"
    script.write_text(KILLED)
    folder = tmp_path / "killed"
    monkeypatch.setenv("FLOATBENCH_TOY_SLEEP", "0.4")
    process = subprocess.Popen([sys.executable, str(script), str(folder), str(Path(__file__).parent)], cwd=ROOT)
    row_file = RowFile(folder / "rows.jsonl")
    deadline = time.monotonic() + 120
    while len(row_file.read()) < rows_before_the_kill and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    survived = len(row_file.read())
    assert rows_before_the_kill <= survived < 12
    monkeypatch.setenv("FLOATBENCH_TOY_SLEEP", "0")
    data = ToyDataset(protocol(6))
    again = run_toy(folder, "jitter", "reference", dataset=data)
    assert again.new_rows == 12 - survived
    run_toy(tmp_path / "undisturbed", "jitter", "reference", dataset=data)
    assert score_bytes(folder) == score_bytes(tmp_path / "undisturbed")


def test_a_torn_last_line_costs_that_row_only(tmp_path):
    run_toy(tmp_path / "r", "jitter")
    rows = tmp_path / "r" / "rows.jsonl"
    rows.write_bytes(rows.read_bytes()[:-25])
    before = score_bytes(tmp_path / "r")
    assert run_toy(tmp_path / "r", "jitter").new_rows == 1
    assert score_bytes(tmp_path / "r") == before


@pytest.mark.parametrize(
    ("how", "reason"),
    [("raise", "method_error"), ("nothing", "no_output"), ("garbage", "unreadable"), ("short", "length_mismatch")],
)
def test_a_failing_clip_is_a_row_with_its_reason(tmp_path, how, reason):
    result = run_toy(tmp_path / "r", f"bad@{how}", "reference")
    assert [(row.clip, row.reason) for row in result.failed] == [("clip 1", reason)]
    cell = next(cell for cell in result.scores.scores if cell.method != "reference")
    assert (cell.n, cell.n_available, cell.void) == (3, 4, True)  # 0.75 is below the floor of 0.9
    assert "void (3 of 4)" in markdown(result.scores)
    assert not result.complete


@pytest.mark.parametrize(
    ("how", "cut"), [("trim", {"generated": 0, "reference": 2}), ("long", {"generated": 2, "reference": 0})]
)
def test_two_frames_too_few_or_too_many_are_cut_and_recorded(tmp_path, how, cut):
    result = run_toy(tmp_path / "r", f"bad@{how}")
    row = next(row for row in result.rows.values() if row.clip == "clip 1")
    assert row.status == "ok"
    assert row.details["cut_frames"] == cut
    assert row.n_frames == min(FRAMES, row.details["native_frames"])


def test_a_system_that_does_not_load_fails_its_own_rows_only(tmp_path):
    result = run_toy(tmp_path / "r", "bad@load", "jitter")
    assert {row.reason for row in result.failed} == {"load_failed"}
    assert {row.method for row in result.failed} == {"bad@load"}
    assert sum(row.status == "ok" for row in result.rows.values()) == 4


@pytest.mark.parametrize("how", ["load-memory", "memory"])
@pytest.mark.parametrize("workers", [0, 1])
def test_too_little_memory_is_a_row_that_the_next_call_tries_again(tmp_path, how, workers):
    result = run_toy(tmp_path / "r", f"bad@{how}", "reference", workers=workers)
    assert {row.reason for row in result.failed} == {"out_of_memory"}
    assert len(result.failed) == (4 if how == "load-memory" else 1)
    again = run_toy(tmp_path / "r", f"bad@{how}", "reference", workers=workers)
    assert again.new_rows == len(result.failed)


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: out of memory"), OutOfMemory("not even a batch of 1")])
def test_memory_that_a_metric_lacked_is_not_kept_as_what_it_saw(tmp_path, monkeypatch, error):
    def scarce(self, clip):
        raise error

    with monkeypatch.context() as short:
        short.setattr(ToyBackbone, "extract", scarce)
        assert {row.reason for row in run_toy(tmp_path / "r", "reference").failed} == {"out_of_memory"}
    again = run_toy(tmp_path / "r", "reference")
    assert again.new_rows == 4 and not again.failed and again.scores.scores[0].n == 4


def test_a_crash_of_the_worker_costs_one_clip_and_is_tried_again(tmp_path):
    result = run_toy(tmp_path / "r", "bad@segfault", "reference", workers=1)
    assert [(row.method, row.clip, row.reason) for row in result.failed] == [("bad@segfault", "clip 1", "crashed")]
    assert "SIGSEGV" in result.failed[0].detail
    assert run_toy(tmp_path / "r", "bad@segfault", "reference", workers=1).new_rows == 1


def test_a_method_that_hangs_is_stopped_after_the_time_limit(tmp_path):
    result = run_toy(tmp_path / "r", "bad@hang", workers=1, timeout=6.0)
    assert [(row.clip, row.reason) for row in result.failed] == [("clip 1", "timeout")]


def test_rejected_clips_are_named_and_missing_ones_stop_the_run(tmp_path):
    whole = protocol(20)
    rejected = ToyDataset(whole, rejected=("clip 3",))
    result = run_toy(tmp_path / "a", "reference", dataset=rejected)
    assert (result.scores.scores[0].n, result.scores.n_available, result.scores.n_clips) == (19, 19, 20)
    assert result.scores.rejected == {"clip 3": "no_face: "}
    assert "Rejected by preprocessing: clip 3, no_face" in markdown(result.scores)
    assert not result.complete and not result.scores.ranked
    missing = ToyDataset(whole, missing=("clip 3",))
    with pytest.raises(DataError, match="1 of 20 clips") as caught:
        run_toy(tmp_path / "b", "reference", dataset=missing)
    assert caught.value.exit_code == 4
    assert "fetch the toys" in str(caught.value.fix)
    skipped = run_toy(tmp_path / "b", "reference", dataset=missing, skip_unavailable=True)
    assert (skipped.scores.n_available, skipped.scores.n_clips) == (19, 20)
    assert not skipped.scores.ranked


def test_methods_with_different_clips_get_a_value_on_the_common_ones(tmp_path):
    result = run_toy(tmp_path / "r", "jitter", "bad@raise")
    cells = {cell.method: cell for cell in result.scores.scores}
    assert cells["jitter"].common_n == 3
    assert cells["jitter"].common_value != cells["jitter"].value


def test_replicates_have_their_own_seeds_and_report_the_spread(tmp_path):
    result = run_toy(tmp_path / "r", "jitter", replicates=3)
    seeds = {row.seed for row in result.rows.values()}
    assert len(seeds) == 12
    cell = result.scores.scores[0]
    assert len(set(cell.replicate_values)) == 3
    assert cell.value == pytest.approx(sum(cell.replicate_values) / 3)
    assert cell.replicate_spread > 0


def test_merged_halves_give_the_scores_of_the_whole(tmp_path):
    run_toy(tmp_path / "a", "jitter", "swapped", clips=["clip 0", "clip 2"])
    run_toy(tmp_path / "b", "jitter", "swapped", clips=["clip 1", "clip 3"])
    whole = run_toy(tmp_path / "whole", "jitter", "swapped")
    merged = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    assert merged.scores.ranked == whole.scores.ranked is True
    assert merged.scores.scores == whole.scores.scores
    assert not read_record(tmp_path / "a" / "scores.json", ScoreFile).ranked


def test_runs_of_other_seeds_or_protocols_are_not_merged(tmp_path):
    run_toy(tmp_path / "a", "jitter", clips=["clip 0"])
    run_toy(tmp_path / "b", "jitter", clips=["clip 1"], seed=5)
    run_toy(tmp_path / "c", "jitter", dataset=ToyDataset(protocol(5)), clips=["clip 1"])
    with pytest.raises(UsageError, match="seed"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "m1")
    with pytest.raises(UsageError, match="protocol hash"):
        merge([tmp_path / "a", tmp_path / "c"], tmp_path / "m2")


def test_a_run_folder_of_another_seed_or_subset_is_refused(tmp_path):
    run_toy(tmp_path / "r", "jitter")
    with pytest.raises(UsageError, match="another seed"):
        run_toy(tmp_path / "r", "jitter", seed=9)
    with pytest.raises(UsageError, match="another subset"):
        run_toy(tmp_path / "r", "jitter", limit=2)


def test_a_run_folder_in_use_is_refused(tmp_path):
    from filelock import FileLock

    (tmp_path / "r").mkdir()
    with FileLock(tmp_path / "r" / ".lock"), pytest.raises(DependencyError, match="another floatbench is running"):
        run_toy(tmp_path / "r", "jitter")


def test_an_out_folder_that_is_a_file_is_one_line_and_exit_code_3(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DependencyError) as caught:
        run_toy(tmp_path / "file" / "run", "jitter")
    assert caught.value.exit_code == 3


def test_a_full_disk_while_writing_a_row_loses_nothing_already_done(tmp_path, monkeypatch):
    run_toy(tmp_path / "r", "jitter", clips=None)
    real = os.fsync
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 2:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DependencyError, match="disk is full"):
        run_toy(tmp_path / "r", "jitter", "reference")
    monkeypatch.setattr(os, "fsync", real)
    assert len(RowFile(tmp_path / "r" / "rows.jsonl").read()) == 6
    assert run_toy(tmp_path / "r", "jitter", "reference").new_rows == 2


def test_a_record_of_a_newer_schema_is_refused(tmp_path):
    run_toy(tmp_path / "r", "jitter")
    path = tmp_path / "r" / "scores.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))
    with pytest.raises(UsageError, match="schema version 99"):
        read_record(path, ScoreFile)


def test_changed_backbone_settings_make_new_features(tmp_path):
    first = run_toy(tmp_path / "a", "jitter")
    scaled = ToyDataset(protocol(settings={"toy": {"scale": 2.0}}))
    second = run_toy(tmp_path / "b", "jitter", dataset=scaled)
    assert second.scores.scores[0].value == pytest.approx(2 * first.scores.scores[0].value)
    assert first.scores.protocol_hash != second.scores.protocol_hash


def test_the_parquet_tables_can_be_read_in_two_lines(tmp_path):
    run_toy(tmp_path / "r", "jitter", "bad@raise")
    values = pd.read_parquet(tmp_path / "r" / "clip_values.parquet")
    mean = values[values.name == "value"].groupby("method").value.mean()
    assert set(mean.index) == {"jitter", "bad@raise"}
    rows = pd.read_parquet(tmp_path / "r" / "rows.parquet")
    assert set(rows.status) == {"ok", "failed"}
    tracks = pd.read_parquet(tmp_path / "r" / "tracks.parquet")
    assert len(tracks["values"].iloc[0]) == FRAMES


def test_a_subset_or_a_replaced_weight_is_never_ranked(tmp_path):
    assert run_toy(tmp_path / "a", "jitter").scores.ranked
    limited = run_toy(tmp_path / "b", "jitter", limit=3)
    assert limited.scores.unranked_because == ["only 3 of 4 clips were run"]


def test_unknown_names_get_the_nearest_ones(tmp_path):
    with pytest.raises(UsageError, match="did you mean reference"):
        run_toy(tmp_path / "r", "refrence")
    with pytest.raises(UsageError, match="toy-mean"):
        run_toy(tmp_path / "r", "jitter", metrics=["toy-men"])
    with pytest.raises(UsageError, match="whole number"):
        run_toy(tmp_path / "r", "shifted:a")


@pytest.mark.slow
def test_a_ray_cluster_of_two_nodes_gives_the_same_scores_with_a_worker_killed(tmp_path, monkeypatch):
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("FLOATBENCH_TOY_SLEEP", "0.3")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        assert len(ray.nodes()) == 2
        import threading

        killed = []

        def kill_one() -> None:
            import psutil

            while not killed:
                time.sleep(0.2)
                if len(RowFile(tmp_path / "ray" / "rows.jsonl").read()) < 2:
                    continue
                actors = [
                    p for p in psutil.process_iter(["cmdline"]) if "ray::_Actor" in " ".join(p.info["cmdline"] or [])
                ]
                if actors:
                    actors[0].kill()
                    killed.append(actors[0].pid)

        thread = threading.Thread(target=kill_one, daemon=True)
        thread.start()
        data = ToyDataset(protocol(8))
        run_toy(tmp_path / "ray", "jitter", "reference", dataset=data, executor="ray", workers=2)
        thread.join(timeout=5)
        assert killed
    finally:
        ray.shutdown()
        cluster.shutdown()
    monkeypatch.setenv("FLOATBENCH_TOY_SLEEP", "0")
    run_toy(tmp_path / "local", "jitter", "reference", dataset=data)
    assert score_bytes(tmp_path / "ray") == score_bytes(tmp_path / "local")


def test_a_method_as_an_object_runs_like_one_by_name(tmp_path):
    class Here(Jitter):
        name = "here"

    named = run_toy(tmp_path / "named", "jitter")
    given = run_toy(tmp_path / "given", Here())
    assert [cell.value for cell in given.scores.scores] == [cell.value for cell in named.scores.scores]
    with pytest.raises(UsageError, match="here cannot be handed to worker processes"):  # a class inside a function
        run_toy(tmp_path / "far", Here(), workers=1)
