"""Two processes as one: the critic sees the whole batch, and a signal to one of them ends both after the same step."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from floatbench.errors import Interrupted
from floatbench.progress import NullProgress
from floatbench.training.checkpoints import read_checkpoint
from floatbench.training.devices import PATIENCE, Devices
from floatbench.training.discriminators import TwoScaleDiscriminator
from floatbench.training.loop import CHECKPOINT, Schedule, run_phase
from floatbench.training.losses.adversarial import generator_loss, r1_penalty

PROCESSES = 2


def together(rank: int, work, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES)
    work(rank, Path(folder))
    dist.destroy_process_group()


def run_together(work, folder: Path) -> None:
    multiprocessing.spawn(together, (work, str(folder)), nprocs=PROCESSES)


def judged(rows: slice) -> dict[str, torch.Tensor]:
    """What a step asks of the critic, of some rows of one batch of four, and the gradient in all its weights."""
    torch.manual_seed(0)
    critic, real = TwoScaleDiscriminator(16, 4, 64), torch.rand(4, 3, 16, 16)[rows]
    loss, penalty = generator_loss(critic(real)), r1_penalty(critic, real)
    (loss + penalty).backward()
    whole = torch.cat([p.grad.double().flatten() for p in critic.parameters() if p.grad is not None])
    return {"loss": loss.detach(), "r1": penalty.detach(), "weights": whole}


def judge_a_share(rank: int, folder: Path) -> None:
    torch.save(judged(slice(rank, None, PROCESSES)), folder / f"{rank}.pt")


def test_losses_and_gradients_of_the_critic_are_those_of_the_whole_batch(tmp_path):
    run_together(judge_a_share, tmp_path)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]
    alone = judged(slice(None))
    for name in ("loss", "r1", "weights"):  # what data parallelism makes of the shares: their mean
        mean = torch.stack([part[name].double() for part in parts]).mean(0)
        assert torch.allclose(mean, alone[name].double(), rtol=1e-4, atol=1e-5 * float(alone[name].abs().max())), name
    other = judged(slice(0, None, 2))  # a process by itself, which sees how half a batch varies
    assert not torch.allclose(other["loss"], parts[0]["loss"], rtol=1e-4)


class Signalled:
    """A phase of no work; process 1 is told to stop in its fourth step."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def step(self, step: int) -> dict[str, float]:
        if self.rank == 1 and step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"total": 0.0}

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"x": torch.zeros(1)}

    def load(self, tensors: object, state: object) -> None:
        raise AssertionError("nothing is resumed")

    def state(self) -> dict[str, object]:
        return {}

    def sample(self, folder: Path, step: int) -> None:
        raise AssertionError("no run came to its end")


def run_until_told(rank: int, folder: Path) -> None:
    schedule = Schedule("phase", folder / "phase", 1_000, 0, 0, "hash", "toy", rank == 0, ())
    with pytest.raises(Interrupted, match="after step 4"):
        run_phase(Signalled(rank), schedule, NullProgress())


def test_a_signal_to_one_process_ends_all_after_the_same_step_and_the_first_one_saves_it(tmp_path):
    run_together(run_until_told, tmp_path)
    assert read_checkpoint(tmp_path / "phase" / CHECKPOINT, "hash")[1]["step"] == 4


def wait_long(rank: int, folder: str, port: int) -> None:
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": PROCESSES, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in own.items()}
    assert Devices("cpu").count == PROCESSES
    assert dist.group.WORLD is not None
    backend = dist.group.WORLD._get_backend(torch.device("cpu"))
    (Path(folder) / str(rank)).write_text(str(backend.options._timeout.total_seconds()))
    dist.destroy_process_group()


def test_processes_wait_for_hours_while_the_first_one_looks_at_clips_or_validates(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(wait_long, (str(tmp_path), port), nprocs=PROCESSES)
    assert [float((tmp_path / str(rank)).read_text()) for rank in range(PROCESSES)] == [PATIENCE.total_seconds()] * 2
    assert PATIENCE.total_seconds() >= 12 * 3600
