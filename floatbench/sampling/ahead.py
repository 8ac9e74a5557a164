"""Overlap: work on the next items while the last ones are used, in the same order and with the same results."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")


def ahead(items: Iterable[Item], depth: int) -> Generator[Item]:
    """Iterates `items` in a thread that is at most `depth` items ahead; its errors are raised here, in their place.

    When the consumer stops early, the thread ends after the item it is working on.
    """
    box: queue.Queue[tuple[str, object]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(kind: str, value: object) -> None:
        while not stop.is_set():
            try:
                return box.put((kind, value), timeout=0.05)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put("item", item)
                if stop.is_set():
                    return
            put("end", None)
        except BaseException as error:  # raised again in the consumer's thread
            put("error", error)

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = box.get()
            if kind == "error":
                assert isinstance(value, BaseException)
                raise value
            if kind == "end":
                return
            yield value  # pyright: ignore[reportReturnType]
    finally:
        stop.set()
        thread.join()


def in_turn(items: Generator[Item], turn: threading.Lock) -> Generator[Item]:
    """The items, each made while the lock is held: several threads share one device and its networks."""
    try:
        while True:
            with turn:
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item
    finally:
        with turn:
            items.close()


def to_host(batches: Iterable[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
    """The tensors on the CPU; on CUDA they are copied while the next batch is being made (not yet measured on CUDA)."""
    pending: tuple[tuple[Tensor, ...], torch.cuda.Event] | None = None
    for batch in batches:
        if not batch[0].is_cuda:
            yield batch
            continue
        host = tuple(pinned(part, part.device) for part in batch)
        for kept, part in zip(host, batch, strict=True):
            kept.copy_(part, non_blocking=True)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(batch[0].device))  # which need not be the current device
        if pending is not None:
            pending[1].synchronize()
            yield pending[0]
        pending = (host, done)
    if pending is not None:
        pending[1].synchronize()
        yield pending[0]


def on_device(value: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; on CUDA the copy takes its turn there and nobody waits for it."""
    if device.type != "cuda":
        return value.to(device)
    return pinned(value, device).copy_(value).to(device, non_blocking=True)


def later(flag: Tensor) -> Callable[[], bool]:
    """A flag's value; on CUDA it is copied beside the work that follows, and only asking for it waits for the copy."""
    if not flag.is_cuda:
        known = bool(flag)
        return lambda: known
    host = pinned(flag, flag.device)
    host.copy_(flag, non_blocking=True)
    done = torch.cuda.Event()
    done.record(torch.cuda.current_stream(flag.device))

    def value() -> bool:
        done.synchronize()
        return bool(host)

    return value


class Beside:
    """Makes tensors on a stream of their own, beside the work of the current stream (CUDA; else in its turn).

    One is shared by all that use the same networks: what is made on it comes in the order it was asked for.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._device = device

    def made(self, make: Callable[[], Item]) -> tuple[Item, Callable[[], None]]:
        """What `make` returns, and what makes the current stream wait until it is there."""
        if self._stream is None:
            return make(), lambda: None
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            item = make()
            done = self._stream.record_event()

        def ready() -> None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(done)
            if isinstance(item, Tensor):  # so that its memory is not given away while this stream reads it
                item.record_stream(current)

        return item, ready

    def each(self, items: Iterator[Tensor]) -> Iterator[Tensor]:
        """The items in order; on CUDA each is begun before the one ahead of it is used, but for the second: somebody
        waits for the first."""
        if self._stream is None:
            yield from items
            return
        following, first = None, True
        while True:
            item, ready = following or self.made(lambda: next(items, None))
            if item is None:
                return
            ready()
            following = None if first else self.made(lambda: next(items, None))
            first = False
            yield item


def pinned(like: Tensor, device: torch.device) -> Tensor:
    """Memory of the host that a CUDA device can write to on its own; no other device is touched for it."""
    with torch.cuda.device(device):
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
