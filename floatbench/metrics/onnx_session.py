"""ONNX Runtime sessions with a stated provider (asking for CUDA never runs on the CPU), and insightface on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from floatbench.device import ran_out_of_memory, within_memory
from floatbench.errors import DataError, DependencyError, OutOfMemory
from floatbench.paths import quiet_third_parties


def open_session(model: Path, device: str = "cpu", threads: int = 0) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU, or on CUDA when `device` starts with "cuda".

    Args:
        threads: 0 takes as many as torch does, which obeys `OMP_NUM_THREADS`; ONNX Runtime's own choice, one a core of
            the machine, waits for work by spinning, beside whatever else has these cores.

    Raises DependencyError when the provider asked for is not the one in use, DataError for a file that is no model,
    OutOfMemory.
    """
    quiet_third_parties()  # before the import: telemetry is decided there
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError("onnxruntime is not installed", fix="pip install 'floatbench[metrics]'") from error
    provider = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    wanted: list[Any] = [provider]
    if ":" in device:
        wanted = [(provider, {"device_id": int(device.split(":")[1])})]
    if provider not in onnxruntime.get_available_providers():
        raise DependencyError(f"onnxruntime has no {provider}", fix="pip install onnxruntime-gpu, or use --device cpu")
    try:
        with within_memory(device, model.name), memory_errors():
            session = onnxruntime.InferenceSession(str(model), options, providers=wanted)
    except OutOfMemory:
        raise
    except Exception as error:  # onnxruntime's errors share no base class below Exception
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"{model} is no ONNX model: {reason}", fix="floatbench weights fetch NAME --force") from error
    if session.get_providers()[0] != provider:
        raise DependencyError(f"onnxruntime could not use {provider}", fix="check CUDA, or use --device cpu")
    return session


@contextmanager
def memory_errors() -> Iterator[None]:
    """ONNX Runtime's failed allocations as MemoryError, so that a batch can be halved."""
    try:
        yield
    except Exception as error:  # see open_session
        if ran_out_of_memory(error):
            raise MemoryError(str(error)) from error
        raise


def insightface_zoo() -> Any:
    """`insightface.model_zoo`, imported at its first use (0.4 s, 38 MB); raises DependencyError without the package.

    Its classes are given a session and a file that was verified: its own download and choice of providers never run.
    """
    quiet_third_parties()
    try:
        from insightface import model_zoo
    except ImportError as error:
        raise DependencyError("insightface is not installed", fix="pip install 'floatbench[metrics]'") from error
    return model_zoo
