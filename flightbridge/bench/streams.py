"""Running one or several streams at once and timing them as one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from flightbridge.bench.cpu import cpu_of_each
from flightbridge.bench.model import Sample

T = TypeVar("T")

# A stream moves its batches and appends the milliseconds of each to the list it is given.
Stream = Callable[[list[float]], None]


def timed(
    streams: Sequence[Stream],
    *,
    pids: Iterable[int] | Callable[[], Iterable[int]],
    moved_bytes: int,
    moved_batches: int,
    before: Callable[[], object] | None = None,
    after: Callable[[], object] | None = None,
) -> Sample:
    """Runs the streams, each in its own thread where there are several, and times the whole.

    Args:
        streams: What to run.
        pids: Every process taking part, this one included; asked for before and after, where
            processes come while it runs. What ended meanwhile does not count.
        moved_bytes: Bytes that all streams move together.
        moved_batches: Batches that all streams move together.
        before: Runs first, inside the time (opening a write job).
        after: Runs last, inside the time (committing it).
    """
    taking_part = pids if callable(pids) else list(pids).copy
    latencies: list[list[float]] = [[] for _ in streams]
    cpu_before = cpu_of_each(taking_part())
    begin = time.perf_counter()
    if before is not None:
        before()
    if len(streams) == 1:
        streams[0](latencies[0])
    else:
        _run_threads(streams, latencies)
    if after is not None:
        after()
    seconds = time.perf_counter() - begin
    return Sample(
        seconds=seconds,
        bytes=moved_bytes,
        batches=moved_batches,
        cpu_s=sum(s - cpu_before.get(pid, 0.0) for pid, s in cpu_of_each(taking_part()).items()),
        latencies_ms=tuple(value for stream in latencies for value in stream),
    )


def each_timed(items: Iterable[T], latencies: list[float]) -> Iterator[T]:
    """The items, with the milliseconds that each took to arrive appended to `latencies`."""
    iterator = iter(items)
    while True:
        begin = time.perf_counter()
        try:
            item = next(iterator)
        except StopIteration:
            return
        latencies.append((time.perf_counter() - begin) * 1e3)
        yield item


def _run_threads(streams: Sequence[Stream], latencies: list[list[float]]) -> None:
    errors: list[BaseException] = []

    def guarded(stream: Stream, own: list[float]) -> None:
        try:
            stream(own)
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=guarded, args=pair, name=f"fb-bench-{i}", daemon=True)
        for i, pair in enumerate(zip(streams, latencies, strict=True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
