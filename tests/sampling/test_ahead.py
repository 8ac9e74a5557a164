"""Work done ahead in a thread: the same items in the same order, errors in their place, and an end to the thread."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from floatbench.animate.pipeline import FLOAT
from floatbench.animate.writing import write_stream
from floatbench.media import read_video
from floatbench.sampling.ahead import ahead, pinned, to_host
from floatbench.sampling.colour import to_yuv420
from floatbench.sampling.loading import Origin
from floatbench.sampling.options import SamplingOptions

FAST = SamplingOptions(nfe=2, a_cfg=1.0)
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
PCM = np.random.default_rng(1).normal(0, 3000, 55 * 640).astype(np.int16)


def _workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_items_come_in_order_and_the_thread_ends():
    assert list(ahead(iter(range(100)), 3)) == list(range(100))
    assert not _workers()


def test_an_error_is_raised_after_the_items_before_it():
    def failing():
        yield 1
        raise ZeroDivisionError("here")

    seen = []
    with pytest.raises(ZeroDivisionError, match="here"):
        for item in ahead(failing(), 3):
            seen.append(item)
    assert seen == [1] and not _workers()


def test_the_thread_is_never_further_ahead_than_asked_and_ends_with_its_consumer():
    made = []

    def items():
        for i in range(1000):
            made.append(i)
            yield i

    worker = ahead(items(), 4)
    assert [next(worker) for _ in range(3)] == [0, 1, 2]
    worker.close()
    assert not _workers() and len(made) <= 3 + 4 + 1


def test_tensors_on_the_cpu_pass_unchanged():
    batches = [(torch.ones(2), torch.zeros(1)), (torch.ones(3), torch.zeros(1))]
    assert all(a is b for a, b in zip(to_host(batches), batches, strict=True))


def test_copies_wait_for_the_stream_of_their_own_device(monkeypatch):
    """Frames of cuda:1 while cuda:0 is the current device, played by a stand-in."""
    recorded = []

    class OnSecondDevice(torch.Tensor):
        is_cuda = property(lambda _: True)
        device = property(lambda _: torch.device("cuda:1"))

    class Event:
        def record(self, stream: object = "of the current device") -> None:
            recorded.append(stream)

        def synchronize(self) -> None:
            recorded.append("waited")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: f"stream of {device}")
    monkeypatch.setattr("floatbench.sampling.ahead.pinned", lambda like, _: torch.empty(like.shape, dtype=like.dtype))
    batches = [(torch.full((2,), float(i)).as_subclass(OnSecondDevice),) for i in range(3)]
    made = [part.tolist() for (part,) in to_host(batches)]
    assert made == [[0, 0], [1, 1], [2, 2]]
    stream = "stream of cuda:1"
    assert recorded == [stream, stream, "waited", stream, "waited", "waited"]


def test_memory_for_copies_is_asked_for_on_the_device_that_writes_to_it(monkeypatch):
    current, asked = ["cuda:0"], []

    @contextmanager
    def on(device: torch.device):
        current.append(str(device))
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device", on)
    monkeypatch.setattr(torch, "empty", lambda *_, **how: asked.append((current[-1], how["pin_memory"])))
    pinned(torch.zeros(2), torch.device("cuda:1"))
    assert asked == [("cuda:1", True)] and current == ["cuda:0"]


def test_overlapped_pictures_equal_the_serial_ones_and_count_as_one_stage(network, tmp_path):
    model = FLOAT(network, Origin("float-test", {}))
    made = {}
    for overlap in (False, True):
        for suffix in ("mkv", "mp4"):
            stream = model.stream(PICTURE, PCM, options=FAST, seed=3)
            file = tmp_path / f"{overlap}.{suffix}"
            write_stream(stream, file, PCM, overlap=overlap)
            made[overlap, suffix] = read_video(file)[0]
            stages = (
                {"encode", "overlapped"}
                if overlap
                else {"encode", "speech", "emotion", "solve", "decode", "convert", "mux"}
            )
            assert set(stream.clock.seconds) == stages and stream.evaluations == 4
    for suffix in ("mkv", "mp4"):
        assert len(made[True, suffix]) == 55 and np.array_equal(made[True, suffix], made[False, suffix])


def test_a_failing_network_leaves_no_file_and_no_thread(network, tmp_path, monkeypatch):
    model = FLOAT(network, Origin("float-test", {}))
    stream = model.stream(PICTURE, PCM, options=FAST, seed=3)

    def broken(*_: object):
        raise RuntimeError("device lost")

    monkeypatch.setattr(model, "pictures", broken)
    with pytest.raises(RuntimeError, match="device lost"):
        write_stream(stream, tmp_path / "out.mkv", overlap=True)
    assert list(tmp_path.iterdir()) == [] and not _workers()


def test_planes_of_a_stream_are_the_planes_of_its_frames(network):
    model = FLOAT(network, Origin("float-test", {}))
    rgb, yuv = (
        np.stack(list(model.stream(PICTURE, PCM[:1280], options=FAST, seed=3).frames(colour)))
        for colour in ("rgb", "yuv420")
    )
    assert np.array_equal(to_yuv420(torch.from_numpy(rgb)).numpy(), yuv)
