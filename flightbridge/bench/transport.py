"""What put and get have in common: our side and the stock side in turn, over TCP loopback."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from flightbridge.bench import data, processes
from flightbridge.bench.model import Result, Sample, summarize
from flightbridge.bench.options import BenchOptions
from flightbridge.bench.pairing import Run, measure
from flightbridge.bench.progress import Progress

if TYPE_CHECKING:
    import pyarrow as pa

FEED = "flightbridge-bench"
PEER = "stock Flight"


class Side(Protocol):
    """One side of a measurement: every call is one run."""

    def __call__(self) -> Sample:
        """One run."""

    def close(self) -> None:
        """Closes what the side holds."""


class OursSide(Protocol):
    """Makes our side, over connections to a running server."""

    def __call__(
        self,
        uri: str,
        batches: list[pa.RecordBatch],
        streams: int,
        *,
        server_pid: int,
        transport: str,
    ) -> Side:
        """Connects."""


class StockSide(Protocol):
    """Makes the stock side, with a server of its own."""

    def running(
        self, batches: list[pa.RecordBatch], streams: int
    ) -> contextlib.AbstractContextManager[Side]:
        """Starts the stock server and connects, until the block ends."""


def run(
    name: str, ours: OursSide, stock: StockSide, options: BenchOptions, progress: Progress
) -> Iterator[Result]:
    """Yields our result over TCP with its peer, the peer's own, and ours within one process."""
    batches = data.mixed_batches(options.bytes, options.batch_rows, options.columns)
    yield from _over_tcp(name, ours, stock, batches, options, progress)
    if options.uri is None:
        yield _same_process(f"{name} same process", ours, batches, options, progress)


def _over_tcp(
    name: str,
    ours: OursSide,
    stock: StockSide,
    batches: list[pa.RecordBatch],
    options: BenchOptions,
    progress: Progress,
) -> Iterator[Result]:
    streams = options.streams
    with contextlib.ExitStack() as stack:
        if options.uri is None:
            uri, pid = stack.enter_context(processes.serve(options.memory_limit))
        else:
            uri, pid = options.uri, os.getpid()
            progress.say("with --uri the server's processor time is not counted")
        sides: dict[str, Run] = {}
        for title, transport in _ways(name, local=options.uri is None):
            side = ours(uri, batches, streams, server_pid=pid, transport=transport)
            stack.callback(side.close)
            sides[title] = side
        stock_name = f"{name} {PEER}"
        if options.peer:
            sides[stock_name] = stack.enter_context(stock.running(batches, streams))
        note = progress.start(name, len(sides) * options.repeat)
        samples = measure(sides, options.repeat, warmup=options.warmup, note=note)
    peer = samples.pop(stock_name, [])
    for title, taken in samples.items():
        yield summarize(
            title,
            taken,
            streams=streams,
            peer_name=PEER if peer else None,
            peer_samples=peer,
        )
    if peer:
        yield summarize(stock_name, peer, streams=streams)


def _ways(name: str, *, local: bool) -> list[tuple[str, str]]:
    """What is measured: title and transport."""
    ways = [(name, "channel"), (f"{name} by Flight's calls", "flight")]
    return [*ways, (f"{name} same host", "mapped")] if local else ways


def _same_process(
    name: str,
    ours: OursSide,
    batches: list[pa.RecordBatch],
    options: BenchOptions,
    progress: Progress,
) -> Result:
    from flightbridge import Server

    with Server(memory_limit=options.memory_limit) as bridge:
        side = ours(bridge.uri, batches, options.streams, server_pid=os.getpid(), transport="auto")
        with contextlib.closing(side):
            note = progress.start(name, options.repeat)
            samples = measure({name: side}, options.repeat, warmup=options.warmup, note=note)
    return summarize(name, samples[name], streams=options.streams)
