"""Devices: what is missing is told in one line, and what a processor cannot do is known."""

import pickle
import warnings
from pathlib import Path

import pytest
import torch

from floatbench import device, doctor
from floatbench.errors import DependencyError, OutOfMemory
from floatbench.speed import machine

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
    device._say_once.cache_clear()


@pytest.mark.usefixtures("old_driver")
def test_a_driver_that_is_too_old_is_one_line_with_both_versions(caplog, recwarn):
    with pytest.raises(DependencyError) as caught:
        device.pick_device("cuda")
    assert caught.value.what == (
        "the NVIDIA driver is too old for this torch (it knows CUDA 12.2, torch was built for 13.2)"
    )
    assert caught.value.fix == device.NEW_DRIVER
    assert not caplog.messages and not recwarn  # or it would be said twice


@pytest.mark.usefixtures("old_driver")
def test_auto_goes_on_without_it_and_says_why_in_one_line_once(caplog, recwarn):
    assert [device.pick_device("auto") for _ in range(2)] == ["cpu", "cpu"]
    assert caplog.messages == [
        "CUDA is not used: the NVIDIA driver is too old for this torch (it knows CUDA 12.2, torch was built for 13.2); "
        "update the NVIDIA driver, or install a torch for it: https://pytorch.org"
    ]
    assert not recwarn


@pytest.mark.usefixtures("old_driver")
def test_who_only_asks_whether_there_is_cuda_is_told_nothing(caplog, recwarn):
    assert machine.machine()["cuda"] is None
    assert [found.state for found in doctor._torch() if found.name == "cuda"] != ["ok"]
    assert not caplog.messages and not recwarn


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


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("Failed to allocate memory for requested buffer of size 1024"),
    ],
)
def test_what_torch_and_the_libraries_below_it_say_of_memory_is_understood(error: Exception):
    with (
        pytest.raises(OutOfMemory, match="cuda:1 has too little memory for this") as caught,
        device.within_memory("cuda:1", "this"),
    ):
        raise error
    again = pickle.loads(pickle.dumps(caught.value))  # as it comes out of a worker
    assert (again.reason, again.exit_code, again.what) == ("out_of_memory", 3, caught.value.what)
    assert again.fix == caught.value.fix and "--device cpu" in again.fix


def test_other_errors_are_not_taken_for_too_little_memory():
    with pytest.raises(RuntimeError, match="shapes"), device.within_memory("cpu", "this"):
        raise RuntimeError("shapes do not match")
