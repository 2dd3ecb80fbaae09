"""What :meth:`flightbridge.Client.write` is given, as batches cut into partitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from flightbridge.errors import InvalidArgumentError


def batches_of(data: Any) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema and the batches of whatever :meth:`flightbridge.Client.write` takes.

    Raises:
        InvalidArgumentError: The data is of no known kind, or an iterable without a batch.
    """
    if isinstance(data, pa.Table):
        return data.schema, iter(data.to_batches())
    if isinstance(data, pa.RecordBatch):
        return data.schema, iter((data,))
    if isinstance(data, pa.RecordBatchReader):
        return data.schema, iter(data)
    if not isinstance(data, Iterable):
        raise InvalidArgumentError(
            f"data is a {type(data).__name__}: give a pyarrow Table, RecordBatch, "
            "RecordBatchReader or an iterable of RecordBatch"
        )
    batches = iter(data)
    first = next(batches, None)
    if first is None:
        raise InvalidArgumentError(
            "data holds no batch to take the schema from: give an empty pyarrow Table"
        )
    return _as_batch(first).schema, _chained(first, batches)


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[pa.RecordBatch]:
    yield first
    for batch in rest:
        yield _as_batch(batch)


def _as_batch(item: Any) -> pa.RecordBatch:
    if isinstance(item, pa.RecordBatch):
        return item
    raise InvalidArgumentError(
        f"data holds a {type(item).__name__} where a pyarrow.RecordBatch was expected"
    )


def partitions_of(
    batches: Iterator[pa.RecordBatch], partition_rows: int | None
) -> Iterator[Iterator[pa.RecordBatch]]:
    """Cuts the batches into runs of exactly ``partition_rows`` rows (the last may be shorter).

    Always gives at least one run, so that an empty feed has a partition. Each run must be used up
    before the next is asked for.
    """
    if partition_rows is None:
        yield batches
        return
    left: list[pa.RecordBatch] = []  # at most one batch, cut off behind the last run

    def run() -> Iterator[pa.RecordBatch]:
        wanted = partition_rows
        while wanted > 0:
            batch = left.pop() if left else next(batches, None)
            if batch is None:
                return
            if batch.num_rows > wanted:
                left.append(batch.slice(wanted))
                batch = batch.slice(0, wanted)
            wanted -= batch.num_rows
            yield batch

    yield run()
    while True:
        while not left:
            batch = next(batches, None)
            if batch is None:
                return
            if batch.num_rows > 0:
                left.append(batch)
        yield run()
