"""A stand-in for the module `pynvml`."""

from __future__ import annotations


class FakeNvml:
    """Looks like pynvml: three samples, then the last one."""

    class NVMLError(Exception):
        pass

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self) -> None:
        self.moment = -1
        self.clocks = [1980, 1500, 1200]
        self.bits = [0x1, 0x4, 0x4 | 0x20]

    def nvmlDeviceGetClockInfo(self, handle, kind):
        if kind == self.NVML_CLOCK_MEM:
            return 2619
        self.moment = min(self.moment + 1, 2)
        return self.clocks[self.moment]

    def nvmlDeviceGetPowerUsage(self, handle):
        return 350_000 + 1000 * self.moment

    def nvmlDeviceGetTemperature(self, handle, kind):
        raise self.NVMLError("not supported")

    def nvmlDeviceGetMemoryInfo(self, handle):
        class Info:
            used = 5_000_000

        return Info

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return self.bits[self.moment]

    def nvmlDeviceGetName(self, handle):
        return b"Some GPU"

    def nvmlSystemGetDriverVersion(self):
        return "580.1"
