"""``bench put``: record batches into a server, beside stock Flight into a sink."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from flightbridge.bench import data, transport
from flightbridge.bench.model import Result, Sample
from flightbridge.bench.options import BenchOptions
from flightbridge.bench.progress import Progress
from flightbridge.bench.stock import StockPut
from flightbridge.bench.streams import timed
from flightbridge.bench.transport import FEED

if TYPE_CHECKING:
    import pyarrow as pa

    from flightbridge.client import AttemptRef, Client


class OursPut:
    """One whole write job per run: begin, one attempt per stream, commit; then the feed is dropped.

    The drop is not part of the time, everything else is.
    """

    def __init__(
        self,
        uri: str,
        batches: list[pa.RecordBatch],
        streams: int,
        *,
        server_pid: int,
        transport: str,
    ) -> None:
        from flightbridge import connect

        self._dealt = data.deal(batches, streams)
        self._pids = {os.getpid(), server_pid}
        self._clients: list[Client] = [connect(uri, transport=transport) for _ in self._dealt]
        self._job = ""
        self._refs: list[AttemptRef] = []

    def __call__(self) -> Sample:
        """One run."""
        self._job = uuid.uuid4().hex
        self._refs = []
        sample = timed(
            [partial(self._stream, index) for index in range(len(self._dealt))],
            pids=self._pids,
            moved_bytes=sum(batch.nbytes for dealt in self._dealt for batch in dealt),
            moved_batches=sum(map(len, self._dealt)),
            before=self._begin,
            after=self._commit,
        )
        self._clients[0].drop(FEED)
        return sample

    def close(self) -> None:
        """Closes the connections."""
        for client in self._clients:
            client.close()

    def _begin(self) -> None:
        self._clients[0].begin_write(FEED, self._job, "overwrite", self._dealt[0][0].schema)

    def _stream(self, index: int, latencies: list[float]) -> None:
        batches = self._dealt[index]
        with self._clients[index].open_put(FEED, self._job, index, 1, batches[0].schema) as put:
            for batch in batches:
                begin = time.perf_counter()
                put.write(batch)
                latencies.append((time.perf_counter() - begin) * 1e3)
            self._refs.append(put.finish())

    def _commit(self) -> None:
        self._clients[0].commit_write(FEED, self._job, self._refs)


def run(options: BenchOptions, progress: Progress) -> Iterator[Result]:
    """TCP loopback against the stock peer, then the same-process path for information."""
    return transport.run("put", OursPut, StockPut, options, progress)
