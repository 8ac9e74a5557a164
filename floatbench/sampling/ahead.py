"""Overlap: work on the next items while the last ones are used, in the same order and with the same results."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
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


def to_host(batches: Iterable[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
    """The tensors on the CPU; on CUDA they are copied while the next batch is being made (not yet measured on CUDA)."""
    pending: tuple[tuple[Tensor, ...], torch.cuda.Event] | None = None
    for batch in batches:
        if not batch[0].is_cuda:
            yield batch
            continue
        host = tuple(pinned(part) for part in batch)
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


def pinned(like: Tensor) -> Tensor:
    """Memory of the host that a CUDA device can write to on its own."""
    return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
