"""``bench get``: record batches out of a server, beside stock Flight out of a stock server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from flightbridge.bench import data, transport
from flightbridge.bench.model import Result, Sample
from flightbridge.bench.options import BenchOptions
from flightbridge.bench.progress import Progress
from flightbridge.bench.stock import StockGet
from flightbridge.bench.streams import each_timed, timed
from flightbridge.bench.transport import FEED
from flightbridge.errors import DataLossError

if TYPE_CHECKING:
    import pyarrow as pa

    from flightbridge.client import Client


class OursGet:
    """Reads a committed feed of one partition per stream, each over its own connection."""

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
        self._write()

    def __call__(self) -> Sample:
        """One run."""
        return timed(
            [partial(self._stream, index) for index in range(len(self._dealt))],
            pids=self._pids,
            moved_bytes=sum(batch.nbytes for dealt in self._dealt for batch in dealt),
            moved_batches=sum(map(len, self._dealt)),
        )

    def close(self) -> None:
        """Drops the feed and closes the connections."""
        self._clients[0].drop(FEED, if_exists=True)
        for client in self._clients:
            client.close()

    def _write(self) -> None:
        job = uuid.uuid4().hex
        schema = self._dealt[0][0].schema
        first = self._clients[0]
        first.begin_write(FEED, job, "overwrite", schema)
        refs = []
        for partition, batches in enumerate(self._dealt):
            with first.open_put(FEED, job, partition, 1, schema) as put:
                for batch in batches:
                    put.write(batch)
                refs.append(put.finish())
        first.commit_write(FEED, job, refs)

    def _stream(self, index: int, latencies: list[float]) -> None:
        reader = self._clients[index].read(FEED, partitions=[index])
        rows = sum(batch.num_rows for batch in each_timed(reader, latencies))
        expected = sum(batch.num_rows for batch in self._dealt[index])
        if rows != expected:
            raise DataLossError(f"partition {index} of {FEED}: {rows} of {expected} rows came back")


def run(options: BenchOptions, progress: Progress) -> Iterator[Result]:
    """TCP loopback against the stock peer, then the same-process path for information."""
    return transport.run("get", OursGet, StockGet, options, progress)
