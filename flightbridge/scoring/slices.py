"""Record batches cut and joined into what a model is given at a time, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa

from flightbridge.errors import SchemaMismatchError

Score = Callable[[Sequence[pa.RecordBatch]], pa.RecordBatch]


def groups(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[list[pa.RecordBatch]]:
    """Pieces of the batches, ``rows`` rows together; fewer in the last. No copy.

    Holds what is not handed out yet of one batch, and pieces of less than ``rows`` rows.
    """
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        begin = 0
        while begin < batch.num_rows:
            piece = batch.slice(begin, rows - count)
            held.append(piece)
            begin += piece.num_rows
            count += piece.num_rows
            if count == rows:
                yield held
                held, count = [], 0
    if held:
        yield held


def cut(batch: pa.RecordBatch, max_bytes: int) -> Iterator[pa.RecordBatch]:
    """Pieces of about ``max_bytes`` at most, of equal numbers of rows; a row is never cut."""
    parts = max(1, -(-batch.nbytes // max_bytes))
    rows = max(1, -(-batch.num_rows // parts))
    for begin in range(0, batch.num_rows, rows):
        yield batch.slice(begin, rows)


def conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of ``schema``, in its types; others are left out.

    Raises:
        SchemaMismatchError: A column is missing, or cannot be cast without loss.
    """
    columns = []
    for field in schema:
        index = batch.schema.get_field_index(field.name)
        if index < 0:
            raise SchemaMismatchError(
                f"column {field.name!r} is missing: there are "
                f"{', '.join(map(repr, batch.schema.names))}"
            )
        column = batch.column(index)
        try:
            columns.append(column if column.type == field.type else column.cast(field.type))
        except pa.ArrowException as error:
            raise SchemaMismatchError(
                f"column {field.name!r} came as {column.type}, which does not fit {field.type}: "
                f"{error}"
            ) from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def joined(kept: Sequence[pa.RecordBatch], predictions: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Each of ``kept``, which have the predictions' rows together, with its predictions behind."""
    begin = 0
    for batch in kept:
        part = predictions.slice(begin, batch.num_rows)
        begin += batch.num_rows
        yield pa.RecordBatch.from_arrays(
            [*batch.columns, *part.columns], schema=_both(batch.schema, part.schema)
        )


def _both(first: pa.Schema, second: pa.Schema) -> pa.Schema:
    return pa.schema([*first, *second])
