"""Worker processes: a death costs the task in hand and is named, limits hold, order and threads are as asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from floatbench.errors import DataError, DependencyError
from floatbench.processes import (
    THREAD_VARIABLES,
    Death,
    Perform,
    Send,
    Stage,
    WorkerPool,
    as_finished,
    in_order,
    thread_limits,
)


def _answer(task: str) -> str:
    if task == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "exit":
        os._exit(7)
    if task == "wrong":
        raise ValueError("no such task")
    if task == "absent":
        raise DataError("the file is absent", fix="fetch it")
    if task == "slow":
        time.sleep(0.5)
    return task.upper()


def test_a_process_that_dies_costs_its_item_and_the_reason_is_named():
    tasks = ["a", "killed", "b", "segfault", "exit", "c"]
    assert dict(as_finished(_answer, tasks, 2)) == {
        0: "A",
        1: Death("out_of_memory", "ended by SIGKILL, usually the system's out-of-memory killer"),
        2: "B",
        3: Death("crashed", "ended by SIGSEGV"),
        4: Death("crashed", "exit code 7"),
        5: "C",
    }


def test_results_come_in_the_order_of_the_items_however_long_each_takes():
    assert list(in_order(_answer, ["slow", "a", "b", "c"], 2, "answers")) == ["SLOW", "A", "B", "C"]


def test_one_process_more_or_less_changes_no_result():
    items = [str(number) for number in range(5)]
    assert list(in_order(_answer, items, 1, "answers")) == list(in_order(_answer, items, 3, "answers"))


def test_a_death_where_every_result_is_needed_is_an_error_with_a_fix():
    with pytest.raises(DependencyError, match=r"a process that answers died: exit code 7\nfix: .*--workers"):
        list(in_order(_answer, ["a", "exit"], 2, "answers"))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("task", "error"), [("wrong", ValueError), ("absent", DataError)])
def test_what_a_task_raises_is_raised_here(workers, task, error):
    with pytest.raises(error) as caught:
        list(as_finished(_answer, ["a", task], workers))
    assert str(caught.value) == {"wrong": "no such task", "absent": "the file is absent\nfix: fetch it"}[task]


@contextmanager
def _stages(folder: Path) -> Iterator[Perform]:
    def perform(task: str, send: Send) -> None:
        send(Stage("think"))
        send(f"{task} begun")
        send(Stage("work"))
        time.sleep(60 if task == "hangs" else 0)
        send(f"{task} done")

    yield perform
    (folder / f"left-{os.getpid()}").touch()


def test_a_stage_that_overruns_is_stopped_and_named_and_the_rest_goes_on(tmp_path):
    pool = WorkerPool[str](_stages, 1, limits={"work": 1.0, "think": 30.0}, arguments=lambda _: (tmp_path,))
    begin = time.monotonic()
    assert list(pool.run(deque(["hangs", "short"]))) == [
        ("hangs", "hangs begun"),
        ("hangs", Death("timeout", "no end of work after 1 s")),
        ("short", "short begun"),
        ("short", "short done"),
    ]
    assert time.monotonic() - begin < 30


def test_a_process_with_nothing_left_to_do_leaves_by_itself(tmp_path):
    pool = WorkerPool[str](_stages, 2, arguments=lambda _: (tmp_path,))
    list(pool.run(deque(["a", "b", "c"])))
    assert len(list(tmp_path.glob("left-*"))) == 2


def test_busy_processes_are_stopped_when_nobody_listens_any_more(tmp_path):
    events = WorkerPool[str](_stages, 1, arguments=lambda _: (tmp_path,)).run(deque(["hangs"]))
    assert next(events) == ("hangs", "hangs begun")
    begin = time.monotonic()
    events.close()
    assert time.monotonic() - begin < 10
    assert not list(tmp_path.iterdir())


def test_the_rest_of_a_lost_task_may_be_put_back_into_the_queue(tmp_path):
    tasks = deque(["hangs"])
    seen = []
    for task, news in WorkerPool[str](_stages, 1, limits={"work": 0.5}, arguments=lambda _: (tmp_path,)).run(tasks):
        seen.append(news)
        if isinstance(news, Death):
            tasks.append(f"rest of {task}")
    assert seen[-1] == "rest of hangs done"


@contextmanager
def _never_starts() -> Iterator[Perform]:
    os._exit(1)
    yield lambda task, send: None


def test_processes_that_die_while_starting_are_an_error_not_a_loop():
    with pytest.raises(DependencyError, match="die while starting"):
        list(WorkerPool[str](_never_starts, 1).run(deque(["a"])))


@contextmanager
def _environment() -> Iterator[Perform]:
    yield lambda name, send: send(os.environ.get(name, ""))


def test_every_thread_variable_is_set_for_the_process_and_put_back_here(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    found = dict(WorkerPool[str](_environment, 1, threads=3).run(deque(THREAD_VARIABLES)))
    assert found == dict.fromkeys(THREAD_VARIABLES, "3")
    assert dict(os.environ) == before


def test_without_a_limit_the_thread_variables_stay_as_they_are(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with thread_limits(None):
        assert os.environ["OMP_NUM_THREADS"] == "5"


PARENT = """
import sys, time
from collections import deque
from pathlib import Path
from tests.test_processes import _pids
from floatbench.processes import WorkerPool
if __name__ == "__main__":
    for _, pid in WorkerPool(_pids, 1).run(deque(["a"])):
        print(pid, flush=True)
"""


@contextmanager
def _pids() -> Iterator[Perform]:
    def perform(task: str, send: Send) -> None:
        send(os.getpid())
        time.sleep(120)

    yield perform


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot be asked for it")
def test_a_parent_killed_at_any_moment_leaves_no_process_behind(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    root = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment, cwd=root) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 20
        while Path(f"/proc/{child}/stat").exists() and time.monotonic() < deadline:
            state = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0]
            if state == "Z":
                break
            time.sleep(0.05)
        else:
            assert not Path(f"/proc/{child}").exists()
