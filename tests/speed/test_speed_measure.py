"""The speed protocol with a clock that obeys: what is timed, what is not, and what the numbers mean."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from nvml_toys import FakeNvml

from floatbench.cli import speed as speed_command
from floatbench.errors import ClipError
from floatbench.media import write_lossless
from floatbench.methods.method import ClipRequest, Generated, Method
from floatbench.speed import machine
from floatbench.speed.measure import Probes, SpeedInput, SpeedPlan, counted_frames, measure, start_delay
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
        self.requests: list[ClipRequest] = []
        self.closed = 0

    def describe(self) -> dict:
        return {"kind": "test", "steps": 3}

    def load(self, device: str = "cpu") -> None:
        self.device = device
        self.clock.work(self.load_seconds)

    def _next(self) -> float:
        return self.seconds[min(len(self.requests), len(self.seconds) - 1)]

    def generate(self, request: ClipRequest) -> Generated:
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


def test_what_is_said_of_any_clip_is_kept_and_shown():
    class Saying(Worker):
        def generate_many(self, requests):
            notes = [[], ["8 clips instead of 16"], ["8 clips instead of 16", "unfamiliar"]]
            frame = np.zeros((1, 4, 4, 3), np.uint8)
            return [Generated(media=ClipMedia(frame), details={"notes": said} if said else {}) for said in notes]

    clock = Clock()
    row = measure(Saying(clock, [1.0]), [given("a"), given("b"), given("c")], SpeedPlan("offline"), probes(clock))
    assert row.details["notes"] == ["8 clips instead of 16", "unfamiliar"]
    record = SimpleNamespace(rows=[row], machine={}, scenario="offline", clips=3, inputs="x", warmup=0, repeats=1,
                             environment={})  # fmt: skip
    assert any("8 clips instead of 16" in line for line in speed_command._lines(cast(Any, record)))


class Streamer(Worker):
    """First frame after 2 s, then one every `step` seconds."""

    step = 0.02

    def stream(self, request: ClipRequest):
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


def test_a_stream_of_other_frames_than_the_video_is_timed_and_named_as_what_it_is():
    class Whole(Streamer):
        def streaming(self) -> Method:
            return windowed

    clock = Clock()
    windowed, whole = Streamer(clock, [0.0]), Whole(clock, [0.0])
    windowed.name, windowed.describe = "worker?by=window", lambda: {"by": "window"}
    row = measure(whole, [given()], SpeedPlan("streaming", repeats=1), probes(clock))
    assert (row.method, row.configuration["by"], row.status) == ("worker?by=window", "window", "ok")
    assert measure(whole, [given()], SpeedPlan("single-stream", repeats=1), probes(clock)).method == "worker"


def test_stream_slower_than_play_needs_a_longer_wait():
    class Slow(Streamer):
        step = 0.05

    clock = Clock()
    row = measure(Slow(clock, [0.0]), [given(frames=101)], SpeedPlan("streaming", repeats=1), probes(clock))
    assert row.start_delay_s is not None and row.start_delay_s.median == pytest.approx(2.0 + 100 * (0.05 - 0.04))


def test_stream_of_blocks_counts_every_frame_at_the_time_of_its_block():
    class Blocks(Streamer):
        def stream(self, request: ClipRequest):
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
        kind = "videos"

    clock = Clock()
    for method in (Control(clock, [1.0]), Videos(clock, [1.0])):
        assert measure(method, [given()], SpeedPlan("single-stream"), probes(clock)).status == "n/a"
        assert method.requests == []


@pytest.mark.parametrize("error", [ClipError("no_face"), RuntimeError("broken\nbadly")])
def test_method_that_fails_gets_a_row_with_its_reason_and_is_closed(error):
    class Failing(Worker):
        def generate(self, request: ClipRequest) -> Generated:
            raise error

    clock = Clock()
    method = Failing(clock, [1.0])
    row = measure(method, [given()], SpeedPlan("single-stream"), probes(clock))
    assert row.status == "failed" and row.fps is None and method.closed == 1
    assert row.reason in ("no_face: no face was found", "RuntimeError: broken badly")


def test_method_that_makes_nothing_fails():
    class Nothing(Worker):
        def generate(self, request: ClipRequest) -> Generated:
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
    video = tmp_path / "made.mkv"
    write_lossless(video, np.zeros((7, 32, 32, 3), np.uint8))
    assert counted_frames(Generated(video=video)) == (7, (32, 32))


def test_device_is_waited_for_before_the_clock_is_read():
    clock, events = Clock(), []

    class Asynchronous(Worker):
        def generate(self, request: ClipRequest) -> Generated:
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


def test_gpu_is_sampled_while_the_method_is_timed_and_not_while_it_loads():
    states = []

    class Sampler:
        def start(self):
            states.append("start")

        def stop(self, timed):
            states.append("stop")
            assert timed == [(1.0, 2.0)]

    class Watched(Worker):
        def load(self, device: str = "cpu") -> None:
            states.append("load")

        def generate(self, request: ClipRequest) -> Generated:
            states.append("generate")
            return super().generate(request)

    clock = Clock()
    plan = SpeedPlan("single-stream", warmup=1, repeats=1)
    measure(Watched(clock, [1.0]), [given()], plan, probes(clock, gpu=Sampler))
    assert states == ["load", "generate", "start", "generate", "stop"]


def test_evaluations_are_counted_a_window_and_in_all():
    class Windows(Worker):
        def generate(self, request: ClipRequest) -> Generated:
            made = super().generate(request)
            return Generated(media=made.media, details={"nfe": 27, "windows": 3})

    clock = Clock()
    row = measure(Windows(clock, [1.0]), [given()], SpeedPlan("single-stream", repeats=1), probes(clock))
    assert (row.nfe, row.nfe_per_window) == (27.0, 9.0)
    assert (row.width, row.height) == (4, 4)


def test_the_forward_pass_is_timed_without_what_goes_into_files(tmp_path):
    """By the method's own clock of the same call: 2 s of work, 0.5 s of them for the file."""

    class Writes(Worker):
        def generate(self, request: ClipRequest) -> Generated:
            self.clock.work(2.0)
            video = request.folder / "made.mkv"
            write_lossless(video, np.zeros((request.n_frames, 32, 32, 3), np.uint8))
            return Generated(video=video, timing={"solve": 1.5, "mux": 0.5})

    clock = Clock()
    rows = {
        scenario: measure(Writes(clock, [2.0]), [given(frames=25)], SpeedPlan(scenario, repeats=2), probes(clock))
        for scenario in ("single-stream", "forward")
    }
    assert [row.fps.median for row in rows.values() if row.fps] == [12.5, pytest.approx(25 / 1.5)]


def test_a_method_with_a_forward_pass_of_its_own_is_asked_for_that():
    class Forward(Worker):
        def forward(self, request: ClipRequest) -> Generated:
            self.clock.work(0.25)
            return Generated(media=ClipMedia(np.zeros((request.n_frames, 4, 4, 3), np.uint8)))

    clock = Clock()
    row = measure(Forward(clock, [9.0]), [given(frames=25)], SpeedPlan("forward", repeats=2), probes(clock))
    assert row.fps is not None and row.fps.median == 100.0


def test_a_method_whose_files_are_not_clocked_has_no_forward_pass():
    class Hides(Worker):
        def generate(self, request: ClipRequest) -> Generated:
            video = request.folder / "made.mkv"
            write_lossless(video, np.zeros((2, 32, 32, 3), np.uint8))
            return Generated(video=video, timing={"solve": 1.0})

    clock = Clock()
    row = measure(Hides(clock, [1.0]), [given()], SpeedPlan("forward"), probes(clock))
    assert row.status == "n/a" and "mux" in row.reason and row.fps is None


def test_energy_is_that_of_the_timed_calls_for_each_second_of_video():
    """100 W throughout: two calls of 3 s make 2 s of video each, so 150 J a second, whatever lies between the calls."""

    class Nvml(FakeNvml):
        def nvmlDeviceGetPowerUsage(self, handle):
            return 100_000

    clock = Clock()
    samplers = []

    def gpu() -> machine.GpuSampler:
        samplers.append(machine.GpuSampler(Nvml(), object(), interval=60.0, clock=clock))
        return samplers[-1]

    def tick(note: str) -> None:
        samplers[-1].sample() if samplers else None
        clock.work(50.0)

    plan = SpeedPlan("single-stream", warmup=0, repeats=2)
    row = measure(Worker(clock, [3.0]), [given(frames=50)], plan, probes(clock, gpu=gpu, tick=tick))
    assert row.gpu is not None and row.gpu.energy_j == pytest.approx(600.0)
    assert row.joules_per_video_s == pytest.approx(150.0)
