"""The speed protocol with a clock that obeys: what is timed, what is not, and what the numbers mean."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from floatbench.bench import speed_machine
from floatbench.bench.method import Generated, Method, Request
from floatbench.bench.speed import Probes, SpeedInput, SpeedPlan, count_frames, measure, start_delay
from floatbench.bench.speed_record import (
    Quality,
    SpeedFile,
    SpeedRow,
    configuration_sha256,
    read_speed,
    rows_for_figure,
    spread,
    write_speed,
)
from floatbench.errors import ClipError, DataError, UsageError
from floatbench.types import ClipMedia


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time

    def work(self, seconds: float) -> None:
        self.time += seconds


class Worker(Method):
    """Takes `seconds[n]` for its n-th call (the last one from then on) and makes as many frames as were asked for."""

    name = "worker"

    def __init__(self, clock: Clock, seconds: list[float], load: float = 0.0) -> None:
        self.clock, self.seconds, self.load_seconds = clock, seconds, load
        self.requests: list[Request] = []
        self.closed = 0

    def describe(self) -> dict:
        return {"kind": "test", "steps": 3}

    def load(self, device: str = "cpu") -> None:
        self.device = device
        self.clock.work(self.load_seconds)

    def _next(self) -> float:
        return self.seconds[min(len(self.requests), len(self.seconds) - 1)]

    def generate(self, request: Request) -> Generated:
        seconds = self._next()
        self.requests.append(request)
        assert request.folder.is_dir() and not list(request.folder.iterdir())
        (request.folder / "left behind").write_text("")
        self.clock.work(seconds)
        frames = np.zeros((request.n_frames, 4, 4, 3), np.uint8)
        timing = {"solve": seconds * 0.25, "decode": seconds * 0.75}
        return Generated(media=ClipMedia(frames), timing=timing, details={"nfe": 27, "network_rows": 81})

    def close(self) -> None:
        self.closed += 1


def given(name: str = "clip", frames: int = 25) -> SpeedInput:
    return SpeedInput(name, name, np.zeros((8, 8, 3), np.uint8), np.zeros(640 * frames, np.int16))


def probes(clock: Clock, **changes) -> Probes:
    return Probes(clock=clock, peak_memory=lambda: 1000, **changes)


def test_warm_up_and_loading_are_not_in_the_frame_rate():
    clock = Clock()
    method = Worker(clock, [100.0, 100.0, 2.0, 1.0, 4.0], load=7.0)
    row = measure(method, [given()], SpeedPlan("single-stream", warmup=2, repeats=3), probes(clock))
    assert row.status == "ok" and row.load_s == 7.0
    assert row.clips[0].seconds == [2.0, 1.0, 4.0]
    assert row.fps is not None and (row.fps.median, row.fps.low, row.fps.high) == (12.5, 6.25, 25.0)
    assert row.realtime_factor == 2.0
    assert row.peak_memory_bytes == 1000 and row.peak_cuda_bytes is None
    assert method.closed == 1


def test_every_repeat_gets_the_same_seed_and_sound():
    clock = Clock()
    method = Worker(clock, [1.0])
    measure(method, [given("a"), given("b")], SpeedPlan("single-stream", repeats=2, seed=5), probes(clock))
    asked = [(request.clip_id, request.seed, request.n_frames) for request in method.requests[1:]]
    assert asked[:2] == asked[2:] and asked[0][1] != asked[1][1]
    other = Worker(clock, [1.0])
    measure(other, [given("a")], SpeedPlan("single-stream", repeats=1, seed=6), probes(clock))
    assert other.requests[0].seed != method.requests[0].seed


def test_single_stream_reports_the_latency_of_each_clip():
    clock = Clock()
    seconds = [0.0, *[float(n) for n in range(1, 11)]]
    row = measure(
        Worker(clock, seconds), [given("a"), given("b")], SpeedPlan("single-stream", repeats=5), probes(clock)
    )
    assert row.clip_s is not None and row.clip_s.n == 10
    assert row.clip_s.median == 5.5 and row.clip_p90_s == pytest.approx(9.1)
    assert [timing.seconds for timing in row.clips] == [[1.0, 3.0, 5.0, 7.0, 9.0], [2.0, 4.0, 6.0, 8.0, 10.0]]


def test_offline_times_all_clips_together():
    clock = Clock()
    method = Worker(clock, [0.0, 1.0, 3.0, 2.0, 2.0])
    row = measure(method, [given("a", 10), given("b", 30)], SpeedPlan("offline", repeats=2), probes(clock))
    assert row.fps is not None and row.fps.median == 40 / 4.0 and row.fps.n == 2
    assert row.clip_s is None and row.clip_p90_s is None and not row.batched


def test_offline_gives_all_clips_to_a_method_that_takes_them_at_once():
    class Batched(Worker):
        def generate_many(self, requests):
            self.clock.work(1.0)
            frames = [np.zeros((request.n_frames, 4, 4, 3), np.uint8) for request in requests]
            return [Generated(media=ClipMedia(frame)) for frame in frames]

    clock = Clock()
    row = measure(Batched(clock, [50.0]), [given("a"), given("b")], SpeedPlan("offline", repeats=3), probes(clock))
    assert row.batched and row.fps is not None and row.fps.median == 50.0


class Streamer(Worker):
    """First frame after 2 s, then one every `step` seconds."""

    step = 0.02

    def stream(self, request: Request):
        self.clock.work(2.0)
        for number in range(request.n_frames):
            if number:
                self.clock.work(self.step)
            yield np.zeros((4, 4, 3), np.uint8)


def test_streaming_measures_the_first_frame_and_the_wait_before_play():
    clock = Clock()
    row = measure(Streamer(clock, [0.0]), [given(frames=100)], SpeedPlan("streaming", repeats=2), probes(clock))
    assert row.first_frame_s is not None and row.first_frame_s.median == pytest.approx(2.0)
    assert row.start_delay_s is not None and row.start_delay_s.median == pytest.approx(2.0)
    assert row.fps is not None and row.fps.median == pytest.approx(100 / (2.0 + 99 * 0.02))
    assert row.clips[0].frames == 100


def test_stream_slower_than_play_needs_a_longer_wait():
    class Slow(Streamer):
        step = 0.05

    clock = Clock()
    row = measure(Slow(clock, [0.0]), [given(frames=101)], SpeedPlan("streaming", repeats=1), probes(clock))
    assert row.start_delay_s is not None and row.start_delay_s.median == pytest.approx(2.0 + 100 * (0.05 - 0.04))


def test_stream_of_blocks_counts_every_frame_at_the_time_of_its_block():
    class Blocks(Streamer):
        def stream(self, request: Request):
            for _ in range(2):
                self.clock.work(1.0)
                yield np.zeros((50, 4, 4, 3), np.uint8)

    clock = Clock()
    row = measure(Blocks(clock, [0.0]), [given(frames=100)], SpeedPlan("streaming", repeats=1), probes(clock))
    assert row.clips[0].frames == 100 and row.clips[0].first_frame_s == [1.0]


def test_wait_before_play_is_set_by_the_worst_frame():
    assert start_delay([1.0]) == 1.0
    assert start_delay([0.5, 0.5, 0.58]) == 0.5
    assert start_delay([0.5, 2.0, 2.0]) == pytest.approx(2.0 - 1 / 25)


def test_method_without_a_stream_is_not_applicable_and_never_loaded():
    clock = Clock()
    method = Worker(clock, [1.0], load=1.0)
    row = measure(method, [given()], SpeedPlan("streaming"), probes(clock))
    assert row.status == "n/a" and "stream" in row.reason and clock() == 0.0


def test_controls_and_finished_videos_have_no_speed():
    class Control(Worker):
        needs = frozenset({"reference"})

    class Videos(Worker):
        def describe(self) -> dict:
            return {"kind": "videos"}

    clock = Clock()
    for method in (Control(clock, [1.0]), Videos(clock, [1.0])):
        assert measure(method, [given()], SpeedPlan("single-stream"), probes(clock)).status == "n/a"
        assert method.requests == []


@pytest.mark.parametrize("error", [ClipError("no_face"), RuntimeError("broken\nbadly")])
def test_method_that_fails_gets_a_row_with_its_reason_and_is_closed(error):
    class Failing(Worker):
        def generate(self, request: Request) -> Generated:
            raise error

    clock = Clock()
    method = Failing(clock, [1.0])
    row = measure(method, [given()], SpeedPlan("single-stream"), probes(clock))
    assert row.status == "failed" and row.fps is None and method.closed == 1
    assert row.reason in ("no_face: no face was found", "RuntimeError: broken badly")


def test_method_that_makes_nothing_fails():
    class Nothing(Worker):
        def generate(self, request: Request) -> Generated:
            return Generated()

    clock = Clock()
    row = measure(Nothing(clock, [1.0]), [given()], SpeedPlan("single-stream", warmup=0), probes(clock))
    assert row.status == "failed" and row.reason.startswith("no_output")


def test_stages_are_medians_over_repeats_and_means_over_clips():
    clock = Clock()
    method = Worker(clock, [0.0, 4.0, 8.0, 4.0, 8.0, 400.0, 8.0])
    row = measure(method, [given("a"), given("b")], SpeedPlan("single-stream", repeats=3), probes(clock))
    assert row.stages == {"solve": (1.0 + 2.0) / 2, "decode": (3.0 + 6.0) / 2}
    assert (row.nfe, row.network_rows) == (27, 81) and row.details == {"nfe": 27, "network_rows": 81}


def test_frames_are_counted_in_the_file_and_not_believed(tmp_path):
    from floatbench.media import write_lossless

    video = tmp_path / "made.mkv"
    write_lossless(video, np.zeros((7, 32, 32, 3), np.uint8))
    assert count_frames(Generated(video=video)) == 7


def test_device_is_waited_for_before_the_clock_is_read():
    clock, events = Clock(), []

    class Asynchronous(Worker):
        def generate(self, request: Request) -> Generated:
            made = super().generate(request)
            events.append("made")
            return made

    def synchronize() -> None:
        events.append("wait")
        if "made" in events[-2:]:
            clock.work(10.0)  # the device finishes only now

    method = Asynchronous(clock, [1.0])
    row = measure(
        method,
        [given()],
        SpeedPlan("single-stream", warmup=0, repeats=1),
        probes(clock, synchronize=synchronize),
    )
    assert row.clips[0].seconds == [11.0]
    assert events == ["wait", "wait", "made", "wait"]


def test_progress_is_told_of_every_call():
    clock, notes = Clock(), []
    plan = SpeedPlan("single-stream", warmup=2, repeats=3)
    measure(Worker(clock, [1.0]), [given("a"), given("b")], plan, probes(clock, tick=notes.append))
    assert len(notes) == plan.calls(2) == 8


# the GPU


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


def test_gpu_clocks_power_and_limits_are_summarised():
    sampler = speed_machine.GpuSampler(FakeNvml(), object(), interval=0.001)
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


def test_gpu_is_sampled_while_the_method_is_timed_and_not_while_it_loads():
    states = []

    class Sampler:
        def start(self):
            states.append("start")

        def stop(self):
            states.append("stop")

    class Watched(Worker):
        def load(self, device: str = "cpu") -> None:
            states.append("load")

        def generate(self, request: Request) -> Generated:
            states.append("generate")
            return super().generate(request)

    clock = Clock()
    plan = SpeedPlan("single-stream", warmup=1, repeats=1)
    measure(Watched(clock, [1.0]), [given()], plan, probes(clock, gpu=Sampler))
    assert states == ["load", "generate", "start", "generate", "stop"]


def test_visible_devices_name_the_gpu_torch_uses(monkeypatch):
    class Handles:
        def nvmlDeviceGetHandleByIndex(self, index):
            return f"index {index}"

        def nvmlDeviceGetHandleByUUID(self, uuid):
            return f"uuid {uuid}"

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert speed_machine._handle(Handles(), 1) == "index 1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-abc")
    assert speed_machine._handle(Handles(), 0) == "index 3"
    assert speed_machine._handle(Handles(), 1) == "uuid GPU-abc"


def test_machine_without_the_driver_has_no_sampler(monkeypatch):
    class Broken(FakeNvml):
        def nvmlInit(self):
            raise self.NVMLError("driver not loaded")

    monkeypatch.setitem(sys.modules, "pynvml", Broken())
    assert speed_machine.gpu_sampler(0) is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert speed_machine.gpu_sampler(0) is None


# the machine


def test_processor_flags_that_decide_fast_paths_are_read(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu sse4_2 avx2 avx512_bf16 amx_bf16 xyz\n"
    )
    assert speed_machine.processor(cpuinfo) == ("Some CPU @ 2 GHz", ["sse4_2", "avx2", "avx512_bf16", "amx_bf16"])
    assert speed_machine.processor(tmp_path / "absent")[1] == []


def test_machine_record_names_processor_threads_and_memory(monkeypatch):
    class Torch:
        cuda = version = SimpleNamespace(is_available=lambda: True, cuda="13.0")

        @staticmethod
        def get_num_threads() -> int:
            return 3

    monkeypatch.setitem(sys.modules, "torch", Torch)
    machine = speed_machine.machine()
    assert machine["cpu"] and machine["memory_bytes"] > 0
    assert machine["torch_threads"] == 3 and machine["cuda"] == "13.0"
    monkeypatch.delitem(sys.modules, "torch")  # a method without torch is not made to load it
    assert speed_machine.machine()["torch_threads"] is None
    assert "torch" not in sys.modules
    json.dumps(machine)


def test_peak_memory_sees_what_was_freed_again():
    before = speed_machine.peak_memory()
    block = np.ones(300_000_000, np.uint8)
    del block
    after = speed_machine.peak_memory()
    assert before is not None and after is not None and after >= before
    assert after > 300_000_000


# the record


def test_spread_is_median_quartiles_and_range():
    found = spread([4.0, 1.0, 2.0, 3.0, 5.0])
    assert (found.median, found.q25, found.q75, found.low, found.high, found.n) == (3.0, 2.0, 4.0, 1.0, 5.0, 5)
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_configuration_hash_ignores_order_and_sees_values():
    first = configuration_sha256({"a": 1, "b": (1, 2)})
    assert first == configuration_sha256({"b": [1, 2], "a": 1})
    assert first != configuration_sha256({"a": 1, "b": [1, 3]})


def record(*rows: SpeedRow) -> SpeedFile:
    return SpeedFile(
        created="2026-01-01T00:00:00Z",
        scenario="offline",
        inputs="hdtf",
        clips=1,
        warmup=1,
        repeats=5,
        seed=0,
        threads=1,
        machine={},
        environment={},
        rows=list(rows),
    )


QUALITY = Quality(
    run="hdtf-1", run_sha256="0" * 64, label="hdtf-78-v1 71/78", protocol_hash="1" * 64, ranked=True, scores={}, n={}
)


def test_record_survives_its_file(tmp_path):
    rows = (SpeedRow(method="a", status="ok", fps=spread([1.0]), quality=QUALITY), SpeedRow(method="b", status="n/a"))
    write_speed(tmp_path / "speed.json", record(*rows))
    assert read_speed(tmp_path / "speed.json") == record(*rows)


def test_figure_refuses_speed_without_quality_by_name(tmp_path):
    paired = SpeedRow(method="good", status="ok", fps=spread([1.0]), quality=QUALITY)
    unpaired = SpeedRow(method="lonely", status="ok", fps=spread([1.0]), unpaired_because="no --run was given")
    skipped = SpeedRow(method="still", status="n/a", reason="the method does not stream")
    write_speed(tmp_path / "a.json", record(paired, skipped))
    write_speed(tmp_path / "b.json", record(unpaired))
    assert [row.method for _, row in rows_for_figure([tmp_path / "a.json"])] == ["good"]
    with pytest.raises(UsageError, match="lonely") as error:
        rows_for_figure([tmp_path / "a.json", tmp_path / "b.json"])
    assert "good" not in error.value.what


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", DataError),
        ("[]", DataError),
        ('{"schema_version": 99}', UsageError),
        ('{"kind": "floatbench-speed"}', DataError),
    ],
)
def test_damaged_or_newer_speed_file_is_one_line(tmp_path: Path, text, error):
    path = tmp_path / "speed.json"
    path.write_text(text)
    with pytest.raises(error, match=r"speed\.json"):
        read_speed(path)
    with pytest.raises(DataError, match=r"absent\.json"):
        read_speed(tmp_path / "absent.json")
