"""What a speed record says of the machine: GPU samples, processor, memory."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from nvml_toys import FakeNvml

from floatbench.processes import peak_memory
from floatbench.speed import machine


def test_gpu_clocks_power_and_limits_are_summarised():
    sampler = machine.GpuSampler(FakeNvml(), object(), interval=0.001)
    sampler.start()
    while len(sampler._samples) < 3:
        pass
    use = sampler.stop()
    assert use.name == "Some GPU" and use.driver == "580.1" and use.samples >= 3
    assert use.sm_clock_mhz.high == 1980 and use.sm_clock_mhz.low == 1200
    assert use.memory_clock_mhz.median == 2619
    assert use.power_w is not None and use.power_w.low == 350.0 and use.power_w.high == 352.0
    assert use.temperature_c is None
    assert use.memory_used_bytes == 5_000_000
    assert use.throttled["software power cap"] == (use.samples - 1) / use.samples
    assert set(use.throttled) == {"software power cap", "software thermal"}  # idle is no limit


def test_visible_devices_name_the_gpu_torch_uses(monkeypatch):
    class Handles:
        def nvmlDeviceGetHandleByIndex(self, index):
            return f"index {index}"

        def nvmlDeviceGetHandleByUUID(self, uuid):
            return f"uuid {uuid}"

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert machine._handle(Handles(), 1) == "index 1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-abc")
    assert machine._handle(Handles(), 0) == "index 3"
    assert machine._handle(Handles(), 1) == "uuid GPU-abc"


def test_machine_without_the_driver_has_no_sampler(monkeypatch):
    class Broken(FakeNvml):
        def nvmlInit(self):
            raise self.NVMLError("driver not loaded")

    monkeypatch.setitem(sys.modules, "pynvml", Broken())
    assert machine.gpu_sampler(0) is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert machine.gpu_sampler(0) is None


def test_processor_flags_that_decide_fast_paths_are_read(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu sse4_2 avx2 avx512_bf16 amx_bf16 xyz\n"
    )
    assert machine.processor(cpuinfo) == ("Some CPU @ 2 GHz", ["sse4_2", "avx2", "avx512_bf16", "amx_bf16"])
    assert machine.processor(tmp_path / "absent")[1] == []


def test_machine_record_names_processor_threads_and_memory(monkeypatch):
    class Torch:
        cuda = version = SimpleNamespace(is_available=lambda: True, cuda="13.0")

        @staticmethod
        def get_num_threads() -> int:
            return 3

    monkeypatch.setitem(sys.modules, "torch", Torch)
    found = machine.machine()
    assert found["cpu"] and found["memory_bytes"] > 0
    assert found["torch_threads"] == 3 and found["cuda"] == "13.0"
    monkeypatch.delitem(sys.modules, "torch")  # a method without torch is not made to load it
    assert machine.machine()["torch_threads"] is None
    assert "torch" not in sys.modules
    json.dumps(found)


def test_peak_memory_sees_what_was_freed_again():
    before = peak_memory()
    block = np.ones(300_000_000, np.uint8)
    del block
    after = peak_memory()
    assert before is not None and after is not None and after >= before
    assert after > 300_000_000


class Metered(FakeNvml):
    """Power that rises by 10 W a second from 100 W on, by a clock that the test turns."""

    now = 0.0

    def nvmlDeviceGetPowerUsage(self, handle):
        return 1000 * (100 + 10 * self.now)


class Counted(Metered):
    """The driver's own counter says 7 J a second, in millijoules."""

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        return 1e9 + 7000 * self.now


class Blind(Metered):
    """Tells no power."""

    def nvmlDeviceGetPowerUsage(self, handle):
        raise self.NVMLError("not supported")


@pytest.mark.parametrize(("kind", "joules"), [(Metered, 105 + 140), (Counted, 7 * 2), (Blind, None)])
def test_power_is_integrated_over_the_timed_calls_and_a_counter_goes_first(kind, joules):
    """From 0 to 1 s the power is 105 W on average, from 3.5 to 4.5 s it is 140 W."""
    nvml = kind()
    sampler = machine.GpuSampler(nvml, object(), interval=60.0, clock=lambda: nvml.now)
    sampler.start()
    for nvml.now in np.arange(0.25, 5.0, 0.25).tolist():
        sampler.sample()
    use = sampler.stop([(0.0, 1.0), (3.5, 4.5)])
    assert use.energy_j == (None if joules is None else pytest.approx(joules, rel=1e-9))


def test_nothing_timed_has_no_energy():
    assert machine.GpuSampler(FakeNvml(), object(), interval=60.0)._energy([]) is None
