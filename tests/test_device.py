"""Devices: what is missing is told in one line, and what a processor cannot do is known."""

import warnings
from pathlib import Path

import pytest
import torch

from floatbench import device
from floatbench.errors import DependencyError

OLD = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 12020). Please update your GPU "
    "driver by downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx "
    "Alternatively, go to: https://pytorch.org to install a PyTorch version that has been compiled with your version "
    "of the CUDA driver. (Triggered internally at /pytorch/c10/cuda/CUDAFunctions.cpp:119.)"
)
"""What torch says where the driver is older than the CUDA it was built for."""


@pytest.fixture
def old_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def available() -> bool:
        warnings.warn(OLD, UserWarning, stacklevel=1)
        return False

    def init() -> None:
        raise RuntimeError(OLD.removeprefix("CUDA initialization: "))

    monkeypatch.setattr(torch.cuda, "is_available", available)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.version, "cuda", "13.2")


def test_a_driver_that_is_too_old_is_one_line_with_both_versions(old_driver: None):
    with pytest.warns(RuntimeWarning), pytest.raises(DependencyError) as caught:
        device.pick_device("cuda")
    assert caught.value.what == (
        "the NVIDIA driver is too old for this torch (it knows CUDA 12.2, torch was built for 13.2)"
    )
    assert "update the NVIDIA driver" in (caught.value.fix or "")


def test_auto_goes_on_without_it_and_says_why_in_one_line(old_driver: None):
    with pytest.warns(RuntimeWarning) as told:
        assert device.pick_device("auto") == "cpu"
    assert [str(one.message) for one in told] == [
        "CUDA is not used: the NVIDIA driver is too old for this torch (it knows CUDA 12.2, torch was built for 13.2)"
    ]


@pytest.mark.parametrize(
    ("flags", "emulated"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", True),
        ("flags\t\t: fpu avx2 avx512f avx512_bf16", False),
        ("flags\t\t: fpu avx512f amx_bf16 amx_tile", False),
        ("Features\t: fp asimd bf16 i8mm", False),
        ("Features\t: fp asimd", True),
        ("model name\t: of unknown flags", False),
    ],
)
def test_processors_without_bfloat16_are_known(tmp_path: Path, flags: str, emulated: bool):
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\n{flags}\n")
    assert device.emulates_bf16(file) is emulated
    assert device.emulates_bf16(tmp_path / "none") is False


def test_emulated_bfloat16_is_said_with_its_measured_ratio(network, monkeypatch: pytest.MonkeyPatch):
    from floatbench.sampling import animator
    from floatbench.sampling.loading import Origin

    monkeypatch.setattr(animator, "emulates_bf16", lambda: True)
    half, full = (animator.Animator(network, Origin("t", {}), "cpu", dtype=dtype) for dtype in ("bfloat16", "float32"))
    assert len(half.notes) == 1 and "2.1 times" in half.notes[0] and "\n" not in half.notes[0]
    assert full.notes == []


def test_what_torch_says_of_memory_is_understood():
    said = (
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"
    )
    for error in (torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError(said)):
        assert device.ran_out_of_memory(error)
    assert not device.ran_out_of_memory(RuntimeError("shapes do not match"))
