"""Whole epochs of a feed through the native reader, in order and fully shuffled."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from flightbridge.batch_values import Ragged, Value
from flightbridge.bench.model import Sample
from flightbridge.bench.streams import each_timed, timed
from flightbridge.errors import DataLossError


class Epochs:
    """Reads every row of a feed once per run; what the server does for the epoch is part of it."""

    def __init__(
        self, uri: str, feed: str, *, pids: set[int], moved_bytes: int, rows: int, batch_rows: int
    ) -> None:
        self._uri = uri
        self._feed = feed
        self._pids = pids
        self._bytes = moved_bytes
        self._rows = rows
        self._batch_rows = batch_rows
        self._seeds = itertools.count(1)

    def in_order(self) -> Sample:
        """One epoch as it was written."""
        return self._run(None, 0)

    def shuffled(self) -> Sample:
        """One epoch of a full shuffle that the server has not dealt yet."""
        return self._run("full", next(self._seeds))

    def _run(self, shuffle: str | None, seed: int) -> Sample:
        return timed(
            [lambda latencies: self._read(shuffle, seed, latencies)],
            pids=self._pids,
            moved_bytes=self._bytes,
            moved_batches=-(-self._rows // self._batch_rows),
        )

    def _read(self, shuffle: str | None, seed: int, latencies: list[float]) -> None:
        from flightbridge import batches

        with batches.read(
            self._uri, self._feed, batch_size=self._batch_rows, shuffle=shuffle, seed=seed
        ) as reader:
            rows = sum(_rows(batch) for batch in each_timed(reader, latencies))
        if rows != self._rows:
            raise DataLossError(f"bench: {rows} of {self._rows} rows of '{self._feed}' came")


def _rows(batch: Mapping[str, Value]) -> int:
    first = next(iter(batch.values()))
    return len(first.row_splits) - 1 if isinstance(first, Ragged) else len(first)
