"""The machine a speed was measured on: processor, threads, memory, and the GPU's clocks, power and limits."""

from __future__ import annotations

import importlib
import os
import platform
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from floatbench.device import cuda_answers
from floatbench.speed.record import GpuUse, spread

FLAGS = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_bf16", "amx_int8", "asimd", "sve", "sve2", "bf16", "i8mm",
)  # fmt: skip
"""Processor flags that decide which fast paths exist (bf16 needs avx512_bf16, amx_bf16 or bf16)."""

REASONS = {
    0x2: "application clocks",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal",
    0x40: "hardware thermal",
    0x80: "hardware power brake",
    0x100: "display clocks",
}
"""Bits of NVML's clock event reasons; 0x1 (idle) is not a limit."""


def machine() -> dict[str, Any]:
    """Processor, flags that matter, cores of the machine and of this process, memory, threads (torch's if loaded)."""
    import psutil

    torch = sys.modules.get("torch")
    model, flags = processor(Path("/proc/cpuinfo"))
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        cores = os.cpu_count() or 1
    return {
        "cpu": model,
        "cpu_flags": flags,
        "cores": os.cpu_count(),
        "cores_usable": cores,
        "memory_bytes": psutil.virtual_memory().total,
        "torch_threads": torch.get_num_threads() if torch else None,
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "cuda": torch.version.cuda if torch and cuda_answers()[0] else None,
    }


def processor(cpuinfo: Path) -> tuple[str, list[str]]:
    """Name of the processor and those of its flags that are in `FLAGS`."""
    try:
        lines = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
    except OSError:
        return platform.processor() or platform.machine(), []
    facts = {key.strip().lower(): value.strip() for key, _, value in lines}
    present = set(facts.get("flags", facts.get("features", "")).split())
    return facts.get("model name") or platform.machine(), [flag for flag in FLAGS if flag in present]


def gpu_sampler(index: int) -> GpuSampler | None:
    """A sampler of the GPU torch calls `index`; None where nvidia-ml-py or its driver is absent."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except (ImportError, OSError):
        return None
    except nvml.NVMLError:
        return None
    return GpuSampler(nvml, _handle(nvml, index))


def _handle(nvml: Any, index: int) -> Any:
    """NVML counts all GPUs of the machine, torch only the visible ones."""
    visible = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
    name = visible[index] if index < len(visible) else str(index)
    if name.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    return nvml.nvmlDeviceGetHandleByUUID(name)


class GpuSampler:
    """Asks the driver a few times a second for clocks, power, temperature, memory and what holds the clocks down.

    Args:
        nvml: the module `pynvml` (or one that looks like it), initialised.
        handle: of the device.
        interval: seconds between questions.
        clock: the one that calls are timed with.
    """

    def __init__(
        self, nvml: Any, handle: Any, interval: float = 0.2, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._nvml, self._handle, self._interval, self._clock = nvml, handle, interval, clock
        self._samples: list[dict[str, float | None]] = []
        self._reasons: Counter[str] = Counter()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def start(self) -> None:
        """Takes the first sample, then one after another beside the calls."""
        self.sample()
        self._thread.start()

    def _loop(self) -> None:
        while not self._end.wait(self._interval):
            self.sample()

    def sample(self) -> None:
        """Takes one sample; a question this GPU does not answer gives None."""
        nvml, handle = self._nvml, self._handle
        self._samples.append(
            {
                "time": self._clock(),
                "energy": self._ask(getattr(nvml, "nvmlDeviceGetTotalEnergyConsumption", self._unanswered)),
                "sm": self._ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
                "memory": self._ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_MEM),
                "power": self._ask(nvml.nvmlDeviceGetPowerUsage),
                "temperature": self._ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
                "used": float(nvml.nvmlDeviceGetMemoryInfo(handle).used),
            }
        )
        bits = int(self._ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons) or 0)
        self._reasons.update(name for bit, name in REASONS.items() if bits & bit)

    def _ask(self, function: Any, *arguments: Any) -> float | None:
        try:
            return float(function(self._handle, *arguments))
        except self._nvml.NVMLError:
            return None

    def _unanswered(self, handle: Any) -> float:
        """What stands for a question that an old module does not know."""
        raise self._nvml.NVMLError(f"{handle} was not asked")

    def stop(self, timed: Sequence[tuple[float, float]] = ()) -> GpuUse:
        """Ends the sampling with a last sample and summarises it.

        Args:
            timed: beginnings and ends of the calls whose energy counts, by the clock.
        """
        self._end.set()
        self._thread.join()
        self.sample()
        count = len(self._samples)
        power = self._values("power")
        temperature = self._values("temperature")
        return GpuUse(
            name=_text(self._nvml.nvmlDeviceGetName(self._handle)),
            driver=_text(self._nvml.nvmlSystemGetDriverVersion()),
            samples=count,
            sm_clock_mhz=spread(self._values("sm") or [0.0]),
            memory_clock_mhz=spread(self._values("memory") or [0.0]),
            power_w=spread([value / 1000 for value in power]) if power else None,  # NVML gives milliwatts
            energy_j=self._energy(timed),
            temperature_c=spread(temperature) if temperature else None,
            memory_used_bytes=int(max(self._values("used"))),
            throttled={name: number / count for name, number in self._reasons.items()},
        )

    def _energy(self, timed: Sequence[tuple[float, float]]) -> float | None:
        """Joules of the timed calls, by the curve of energy over time; None where neither it nor the power was read."""
        times = np.array([sample["time"] for sample in self._samples], np.float64)
        counted = np.array([np.nan if (e := sample["energy"]) is None else e for sample in self._samples]) / 1000
        power = np.array([np.nan if (p := sample["power"]) is None else p for sample in self._samples]) / 1000
        curve = counted if np.isfinite(counted).all() else _integral(times, power)
        if not len(timed) or not np.isfinite(curve).all():
            return None
        return float(sum(np.diff(np.interp(ends, times, curve))[0] for ends in timed))

    def _values(self, key: str) -> list[float]:
        return [value for sample in self._samples if (value := sample[key]) is not None]


def _integral(times: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Joules since the first sample, by trapezoids; samples without a power are left out, NaN where none has one."""
    known = np.isfinite(power)
    if known.sum() < 2:
        return np.full(len(times), np.nan)
    times_known, power = times[known], power[known]
    steps = np.diff(times_known) * (power[1:] + power[:-1]) / 2
    return np.interp(times, times_known, np.concatenate([[0.0], np.cumsum(steps)]))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
