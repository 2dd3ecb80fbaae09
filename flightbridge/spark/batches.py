"""Spark's Arrow batches made ready for the wire: the feed's schema, 1 to 9 MiB each.

Spark cuts batches by rows (10,000 unless the session says otherwise), which for narrow rows is far
below the size at which a Flight stream is fast, and for wide rows far above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from flightbridge.errors import SchemaMismatchError

MIN_BATCH_BYTES = 1 << 20
MAX_BATCH_BYTES = 8 << 20


def rebatched(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The same rows in the same order, in batches of ``schema``.

    A batch is cut when it is above ``MAX_BATCH_BYTES`` and joined with the next while it is below
    ``MIN_BATCH_BYTES``, so less than that is ever held back. The last batch may be smaller, and a
    row above ``MAX_BATCH_BYTES`` is never cut. Empty batches vanish.

    Raises:
        SchemaMismatchError: A batch cannot be cast to ``schema`` without loss.
    """
    held: list[pa.RecordBatch] = []
    held_bytes = 0
    for batch in batches:
        if batch.num_rows == 0:
            continue
        for piece in _cut(_conformed(batch, schema)):
            held.append(piece)
            held_bytes += piece.nbytes
            if held_bytes >= MIN_BATCH_BYTES:
                yield _joined(held)
                held, held_bytes = [], 0
    if held:
        yield _joined(held)


def _conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if batch.schema.names != schema.names:
        raise SchemaMismatchError(
            f"Spark sent columns {batch.schema.names} where {schema.names} were announced"
        )
    columns = []
    for column, field in zip(batch.columns, schema, strict=True):
        try:
            columns.append(column if column.type == field.type else column.cast(field.type))
        except pa.ArrowException as error:
            raise SchemaMismatchError(
                f"column {field.name!r}: Spark's Arrow type {column.type} does not fit the "
                f"feed's {field.type}: {error}"
            ) from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cut(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    parts = -(-batch.nbytes // MAX_BATCH_BYTES)
    rows = max(1, -(-batch.num_rows // max(1, parts)))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _joined(pieces: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)
