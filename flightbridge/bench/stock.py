"""The peer of put and get: pyarrow's FlightClient and a plain C++ Flight server.

The server, native/benchmarks/stock_sink.cc, checks, acknowledges and stores nothing on put and
serves batches that it keeps in memory on get: the least that a Flight server can do.
"""

from __future__ import annotations

import contextlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.flight as flight

from flightbridge.bench import data, processes
from flightbridge.bench.model import Sample
from flightbridge.bench.streams import each_timed, timed
from flightbridge.errors import DataLossError

_PROGRAM = "fb_stock_sink"
_READY = "listening "


class StockSide(ABC):
    """Connections to a running stock server, one per stream."""

    def __init__(
        self, port: int, server_pid: int, batches: list[pa.RecordBatch], streams: int
    ) -> None:
        self._dealt = data.deal(batches, streams)
        self._pids = {os.getpid(), server_pid}
        self._clients = [flight.FlightClient(f"grpc://127.0.0.1:{port}") for _ in self._dealt]

    @classmethod
    @contextlib.contextmanager
    def running(cls, batches: list[pa.RecordBatch], streams: int) -> Iterator[StockSide]:
        """Starts the stock server and connects, until the block ends."""
        command = [str(processes.native_program(_PROGRAM))]
        env = {**os.environ, "LD_LIBRARY_PATH": str(Path(pa.__file__).parent)}
        with processes.spawned(command, _READY, env=env) as server:
            port = int(server.line.removeprefix(_READY))
            with contextlib.closing(cls(port, server.pid, batches, streams)) as side:
                yield side

    def __call__(self) -> Sample:
        """One run."""
        return timed(
            [partial(self._stream, index) for index in range(len(self._dealt))],
            pids=self._pids,
            moved_bytes=sum(batch.nbytes for dealt in self._dealt for batch in dealt),
            moved_batches=sum(map(len, self._dealt)),
        )

    def close(self) -> None:
        """Closes the connections."""
        for client in self._clients:
            client.close()

    @abstractmethod
    def _stream(self, index: int, latencies: list[float]) -> None:
        """Moves the batches of one stream; adds a latency for each."""

    def _put(self, index: int, path: str, latencies: list[float]) -> None:
        batches = self._dealt[index]
        descriptor = flight.FlightDescriptor.for_path(path)
        writer, reader = self._clients[index].do_put(descriptor, batches[0].schema)
        for batch in batches:
            begin = time.perf_counter()
            writer.write_batch(batch)
            latencies.append((time.perf_counter() - begin) * 1e3)
        writer.done_writing()
        reader.read()  # None at the end of the call: the server has taken everything
        writer.close()


class StockPut(StockSide):
    """Puts into the server, which throws the batches away."""

    def _stream(self, index: int, latencies: list[float]) -> None:
        self._put(index, "sink", latencies)


class StockGet(StockSide):
    """Gets batches that the server keeps in memory; every stream gets as many."""

    def __init__(
        self, port: int, server_pid: int, batches: list[pa.RecordBatch], streams: int
    ) -> None:
        super().__init__(port, server_pid, batches, streams)
        self._put(0, "store", [])

    def _stream(self, index: int, latencies: list[float]) -> None:
        reader = self._clients[index].do_get(flight.Ticket(b"store"))
        rows = sum(chunk.data.num_rows for chunk in each_timed(reader, latencies))
        expected = sum(batch.num_rows for batch in self._dealt[index])
        if rows != expected:
            raise DataLossError(f"the stock server sent {rows} of {expected} rows")
