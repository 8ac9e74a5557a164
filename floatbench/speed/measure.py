"""Times methods the way MLPerf does: a scenario, warm-up, repeats, medians, and nothing counted twice.

- `single-stream`: one clip after the other, each timed by itself; the latency a user of one clip sees.
- `offline`: all clips at once (one call of `generate_many(requests)` where the method offers it); the throughput.
- `forward`: one clip after the other until its last frame is there, without encoding and writing: what papers print as
  frames a second of the forward pass. A method with `forward(request)` gives the frames in memory; of another one the
  stages in which it writes files are taken off, by its own clock of the same call.
- `streaming`: the method's `stream(request)`, an iterator of frames; time to the first frame, and the smallest wait
  after which play never stalls. A method without `stream` is n/a there.

Every repeat gives a method the same pictures, sounds and seeds. Counting frames and reading memory are off the clock.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Protocol, runtime_checkable

import numpy as np

from floatbench.errors import ClipError
from floatbench.methods.evaluations import evaluations_a_window
from floatbench.methods.method import ClipRequest, Generated, Method
from floatbench.methods.source_video import still
from floatbench.processes import peak_memory
from floatbench.seeds import derive_seed
from floatbench.speed import machine
from floatbench.speed.record import ClipTiming, Scenario, SpeedRow, configuration_sha256, plain, spread
from floatbench.types import FPS, SAMPLES_PER_FRAME

FILE_STAGES = ("mux", "write")
"""Stages in which methods encode and write what they made."""


@runtime_checkable
class Streams(Protocol):
    """A method that gives frames while it makes them: (H, W, 3) uint8 one by one, or (n, H, W, 3) blocks."""

    name: str

    def stream(self, request: ClipRequest) -> Iterable[np.ndarray]: ...


@runtime_checkable
class StreamsOtherwise(Protocol):
    """A method whose stream is not the video that it generates: `streaming()` is the one that generates it."""

    def streaming(self) -> Method: ...


@runtime_checkable
class Batches(Protocol):
    """A method that makes many clips in one call, in the order they were given."""

    def generate_many(self, requests: Sequence[ClipRequest]) -> Sequence[Generated]: ...


@runtime_checkable
class ForwardPass(Protocol):
    """A method that gives the frames of a clip in memory and encodes and writes nothing."""

    def forward(self, request: ClipRequest) -> Generated: ...


class NotApplicable(Exception):
    """What a method did shows that it cannot be timed in a scenario."""


@dataclass(frozen=True)
class SpeedInput:
    """One picture and sound: (H, W, 3) uint8 and int16 mono 16 kHz of a whole number of frames."""

    clip_id: str
    slug: str
    source: np.ndarray
    audio: np.ndarray

    @property
    def n_frames(self) -> int:
        return len(self.audio) // SAMPLES_PER_FRAME


@dataclass(frozen=True)
class SpeedPlan:
    """How to measure: scenario, untimed warm-up calls, timed repeats over all clips, run seed, device."""

    scenario: Scenario
    warmup: int = 1
    repeats: int = 5
    seed: int = 0
    device: str = "cpu"

    def calls(self, clips: int) -> int:
        """Calls of the method in all, for progress."""
        return self.warmup + self.repeats * (1 if self.scenario == "offline" else clips)


@dataclass
class Probes:
    """What a measurement looks at; replaced in tests."""

    clock: Callable[[], float] = time.perf_counter
    synchronize: Callable[[], None] = lambda: None
    peak_memory: Callable[[], int | None] = peak_memory
    peak_cuda: Callable[[], int | None] = lambda: None
    gpu: Callable[[], machine.GpuSampler | None] = lambda: None
    tick: Callable[[str], None] = lambda note: None


def probes_for(device: str, tick: Callable[[str], None]) -> Probes:
    """The real clock and counters of a device."""
    if not device.startswith("cuda"):
        return Probes(tick=tick)
    import torch

    torch.cuda.reset_peak_memory_stats(device)
    return Probes(
        synchronize=lambda: torch.cuda.synchronize(device),
        peak_cuda=lambda: int(torch.cuda.max_memory_reserved(device)),
        gpu=lambda: machine.gpu_sampler(torch.device(device).index or 0),
        tick=tick,
    )


@dataclass
class _Taken:
    """Timings of one method while they are collected."""

    clips: list[ClipTiming]
    repeat_s: list[float] = field(default_factory=list)
    counts: dict[str, list[float]] = field(default_factory=dict)
    timed: list[tuple[float, float]] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)

    def lasted(self, start: float, end: float) -> float:
        """Seconds of a timed call, which is remembered."""
        self.timed.append((start, end))
        return end - start

    details: dict[str, Any] = field(default_factory=dict)


def measure(method: Method, inputs: Sequence[SpeedInput], plan: SpeedPlan, probes: Probes | None = None) -> SpeedRow:
    """Loads, warms up, times and closes a method; a method that fails gets a row with its reason, nothing is raised.

    A stream is timed, named and described as the method that generates the same video.
    """
    probes = probes or Probes()
    if plan.scenario == "streaming" and isinstance(method, StreamsOtherwise):
        method = method.streaming()
    row = SpeedRow(method=method.name, status="ok")
    try:
        row.configuration = plain(method.record())
        row.configuration_sha256 = configuration_sha256(row.configuration)
        row.reason = unsuitable(method, plan.scenario)
        if row.reason:
            row.status = "n/a"
            return row
        _measure(method, inputs, plan, probes, row)
    except NotApplicable as error:
        row.status, row.reason = "n/a", str(error)
    except ClipError as error:
        row.status, row.reason = "failed", str(error)
    except Exception as error:  # whatever a method raises is its own failure: the others are still measured
        row.status, row.reason = "failed", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        method.close()
    return row


def unsuitable(method: Method, scenario: Scenario) -> str:
    """Why a method cannot be timed in a scenario; empty when it can."""
    if more := method.needs - {"source_video"}:
        return f"a control: it is given the {', '.join(sorted(more))}"
    if method.kind == "videos":
        return "finished videos: nothing is generated"
    if scenario == "streaming" and not isinstance(method, Streams):
        return "the method does not stream"
    return ""


def _measure(method: Method, inputs: Sequence[SpeedInput], plan: SpeedPlan, probes: Probes, row: SpeedRow) -> None:
    start = probes.clock()
    method.load(plan.device)
    probes.synchronize()
    row.load_s = probes.clock() - start
    for _ in range(plan.warmup):
        with _request(inputs[0], plan.seed) as request:
            _exhaust(method, request, plan.scenario)
        probes.tick(f"{method.name} warm-up")
    taken = _Taken([ClipTiming(clip=item.clip_id, frames=0, seconds=[]) for item in inputs])
    sampler = probes.gpu()
    if sampler is not None:
        sampler.start()
    run = {"offline": _offline, "streaming": _streaming}.get(plan.scenario, _one_by_one)
    try:
        for number in range(plan.repeats):
            run(method, inputs, plan, probes, taken, number)
    finally:
        if sampler is not None:
            row.gpu = sampler.stop(taken.timed)
    row.peak_memory_bytes, row.peak_cuda_bytes = probes.peak_memory(), probes.peak_cuda()
    row.batched = plan.scenario == "offline" and isinstance(method, Batches)
    _summarise(row, taken)


@contextmanager
def _request(item: SpeedInput, seed: int) -> Iterator[ClipRequest]:
    """The request of one call, with an empty folder that goes away afterwards."""
    with tempfile.TemporaryDirectory(prefix="floatbench-speed-") as folder:
        yield ClipRequest(
            clip_id=item.clip_id,
            slug=item.slug,
            source=item.source,
            audio=item.audio,
            n_frames=item.n_frames,
            seed=derive_seed(seed, item.clip_id),
            folder=Path(folder),
            source_video=still(item.source, item.n_frames),  # a view: nothing is copied
        )


def _exhaust(method: Method, request: ClipRequest, scenario: Scenario) -> None:
    if scenario == "streaming":
        for _ in _stream(method, request):
            pass
    elif scenario == "forward":
        _forward_pass(method, request)
    else:
        method.generate(request)


def _forward_pass(method: Method, request: ClipRequest) -> tuple[Generated, float]:
    """A clip, and the seconds in which the method encoded and wrote it, by its own clock."""
    if isinstance(method, ForwardPass):
        return method.forward(request), 0.0
    made = method.generate(request)
    stages = [made.timing[stage] for stage in FILE_STAGES if stage in made.timing]
    if made.media is None and not stages:
        raise NotApplicable(f"the method has no forward pass of its own and clocks no stage {' or '.join(FILE_STAGES)}")
    return made, sum(stages)


def _stream(method: Method, request: ClipRequest) -> Iterable[np.ndarray]:
    if not isinstance(method, Streams):
        raise TypeError(f"{method.name} does not stream")  # `unsuitable` has kept such methods out
    return method.stream(request)


def _one_by_one(
    method: Method, inputs: Sequence[SpeedInput], plan: SpeedPlan, probes: Probes, taken: _Taken, number: int
) -> None:
    """`single-stream` and `forward`, which leaves out what went into files."""
    total = 0.0
    for item, timing in zip(inputs, taken.clips, strict=True):
        with _request(item, plan.seed) as request:
            probes.synchronize()
            start = probes.clock()
            made, off = _forward_pass(method, request) if plan.scenario == "forward" else (method.generate(request), 0)
            probes.synchronize()
            seconds = taken.lasted(start, probes.clock()) - off
            _note(method, taken, timing, made, first=number == 0)
        timing.seconds.append(seconds)
        total += seconds
        probes.tick(f"{method.name} {item.clip_id}")
    taken.repeat_s.append(total)


def _offline(
    method: Method, inputs: Sequence[SpeedInput], plan: SpeedPlan, probes: Probes, taken: _Taken, number: int
) -> None:
    with ExitStack() as stack:
        requests = [stack.enter_context(_request(item, plan.seed)) for item in inputs]
        probes.synchronize()
        start = probes.clock()
        if isinstance(method, Batches):
            many = method.generate_many(requests)
        else:
            many = [method.generate(request) for request in requests]
        probes.synchronize()
        seconds = taken.lasted(start, probes.clock())
        for timing, made in zip(taken.clips, many, strict=True):
            _note(method, taken, timing, made, first=number == 0)
    taken.repeat_s.append(seconds)
    probes.tick(f"{method.name} all clips")


def _streaming(
    method: Method, inputs: Sequence[SpeedInput], plan: SpeedPlan, probes: Probes, taken: _Taken, number: int
) -> None:
    total = 0.0
    for item, timing in zip(inputs, taken.clips, strict=True):
        with _request(item, plan.seed) as request:
            start = probes.clock()
            arrivals: list[float] = []
            for block in _stream(method, request):
                moment = probes.clock() - start
                arrivals += [moment] * (len(block) if block.ndim == 4 else 1)
                taken.size = block.shape[-2], block.shape[-3]
            seconds = taken.lasted(start, probes.clock())
        if not arrivals:
            raise ClipError("no_output", f"{item.clip_id}: the stream gave no frame")
        timing.frames = len(arrivals)
        timing.seconds.append(seconds)
        timing.first_frame_s.append(arrivals[0])
        timing.start_delay_s.append(start_delay(arrivals))
        total += seconds
        probes.tick(f"{method.name} {item.clip_id}")
    taken.repeat_s.append(total)


def start_delay(arrivals: Sequence[float]) -> float:
    """The smallest wait (seconds after the request) at which playing at 25 fps never has to stop for a frame.

    Frame t is needed at wait + t / 25, so the wait is the largest arrival_t - t / 25.
    """
    return max(arrival - t / FPS for t, arrival in enumerate(arrivals))


def _note(method: Method, taken: _Taken, timing: ClipTiming, made: Generated, first: bool) -> None:
    """What a call left behind, read off the clock: frames (counted once), stages, evaluations, details."""
    if first:
        timing.frames, taken.size = counted_frames(made)
        said = dict.fromkeys([*taken.details.get("notes", ()), *made.details.get("notes", ())])
        taken.details = taken.details or plain(dict(made.details))
        taken.details |= {"notes": [*said]} if said else {}
        window = evaluations_a_window(made.details, method.record(), timing.frames)
        for name, count in {**made.details, "nfe_per_window": window}.items():
            if name in ("nfe", "network_rows", "nfe_per_window") and isinstance(count, int | float):
                taken.counts.setdefault(name, []).append(float(count))
    for stage, seconds in made.timing.items():
        timing.stages.setdefault(stage, []).append(float(seconds))


def counted_frames(made: Generated) -> tuple[int, tuple[int, int]]:
    """Frames that were really made, decoded and not declared, and their width and height.

    Raises:
        ClipError: there are none.
    """
    if made.media is not None:
        height, width = made.media.frames.shape[1:3]
        return made.media.n_frames, (width, height)
    if made.video is None:
        raise ClipError("no_output")
    from floatbench.media.frames import iterate

    count, size = 0, (0, 0)
    for stamped, _ in iterate(made.video):
        count, size = count + 1, (stamped.frame.width, stamped.frame.height)
    return count, size


def _summarise(row: SpeedRow, taken: _Taken) -> None:
    """Medians and spreads of what was collected."""
    frames = sum(timing.frames for timing in taken.clips)
    row.clips = taken.clips
    row.details = taken.details
    row.fps = spread([frames / seconds for seconds in taken.repeat_s])
    row.realtime_factor = median(taken.repeat_s) / (frames / FPS)
    calls = [seconds for timing in taken.clips for seconds in timing.seconds]
    if calls:
        row.clip_s = spread(calls)
        row.clip_p90_s = float(np.percentile(calls, 90))
    if first := [value for timing in taken.clips for value in timing.first_frame_s]:
        row.first_frame_s = spread(first)
        row.start_delay_s = spread([value for timing in taken.clips for value in timing.start_delay_s])
    names = dict.fromkeys(stage for timing in taken.clips for stage in timing.stages)
    row.stages = {
        name: sum(median(timing.stages[name]) for timing in taken.clips if name in timing.stages) / len(taken.clips)
        for name in names
    }
    counts = {name: median(values) for name, values in taken.counts.items()}
    row.nfe, row.network_rows = counts.get("nfe"), counts.get("network_rows")
    row.nfe_per_window = counts.get("nfe_per_window")
    row.width, row.height = taken.size
    if row.gpu is not None and row.gpu.energy_j is not None:
        row.joules_per_video_s = row.gpu.energy_j / (len(taken.repeat_s) * frames / FPS)
