"""Record batches to measure with, the same for every side."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

SPARK_ROW_BYTES = 68
"""Of a row of ``bench spark``: thirteen columns, numbers all."""

# One in three columns of each kind; widths as feature tables have them.
_KINDS = (("int64", np.int64), ("float32", np.float32), ("int32", np.int32))


def mixed_batches(
    total_bytes: int, batch_rows: int, columns: int, *, values: str = "numbers", seed: int = 1
) -> list[pa.RecordBatch]:
    """Batches of columns of `total_bytes` in all, at least one batch.

    Args:
        total_bytes: Bytes of column data over all batches, rounded up to a whole batch.
        batch_rows: Rows of each batch.
        columns: Columns of each batch.
        values: One of :data:`flightbridge.bench.options.VALUES`. ``"numbers"``: int64, float32
            and int32 in turn; ``"strings"``: of 4 to 40 bytes; ``"lists"``: of 0 to 16 int32.
        seed: Of the values. A few distinct batches are made and used in turn: no side looks at
            values, and making gigabytes of random numbers would take longer than measuring.
    """
    random = np.random.default_rng(seed)
    make = {"numbers": _numbers, "strings": _strings, "lists": _lists}[values]
    distinct = [make(random, batch_rows, columns) for _ in range(4)]
    count = max(1, -(-total_bytes // distinct[0].nbytes))
    return [distinct[i % len(distinct)] for i in range(count)]


def _numbers(random: np.random.Generator, rows: int, columns: int) -> pa.RecordBatch:
    arrays = []
    names = []
    for i in range(columns):
        name, dtype = _KINDS[i % len(_KINDS)]
        if np.issubdtype(dtype, np.floating):
            values = random.standard_normal(rows).astype(dtype)
        else:
            values = random.integers(0, 1 << 30, rows).astype(dtype)
        arrays.append(pa.array(values))
        names.append(f"{name}_{i}")
    return pa.record_batch(arrays, names=names)


def _strings(random: np.random.Generator, rows: int, columns: int) -> pa.RecordBatch:
    arrays = []
    for _ in range(columns):
        ends = _ends(random.integers(4, 41, rows))
        letters = random.integers(ord("a"), ord("z") + 1, ends[-1]).astype(np.uint8)
        arrays.append(pa.StringArray.from_buffers(rows, pa.py_buffer(ends), pa.py_buffer(letters)))
    return pa.record_batch(arrays, names=[f"string_{i}" for i in range(columns)])


def _lists(random: np.random.Generator, rows: int, columns: int) -> pa.RecordBatch:
    arrays = []
    for _ in range(columns):
        ends = _ends(random.integers(0, 17, rows))
        values = random.integers(0, 1 << 30, ends[-1]).astype(np.int32)
        arrays.append(pa.ListArray.from_arrays(pa.array(ends), pa.array(values)))
    return pa.record_batch(arrays, names=[f"list_{i}" for i in range(columns)])


def _ends(lengths: np.ndarray) -> np.ndarray:
    """Offsets of values of these lengths, int32 [n + 1]."""
    return np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])


def bytes_per_row(shape: str, columns: int, values: str = "numbers") -> float:
    """Bytes of column data in a row of a benchmark's batches."""
    if shape == "spark":
        return SPARK_ROW_BYTES
    sample = (
        ratings_batches(4096, 4096)[0]
        if shape == "move"
        else mixed_batches(1, 4096, columns, values=values)[0]
    )
    return float(sample.nbytes / sample.num_rows)


def deal(batches: list[pa.RecordBatch], streams: int) -> list[list[pa.RecordBatch]]:
    """The batches dealt out to `streams` streams, the same number to each.

    Some are given out twice where the number does not divide.
    """
    each = -(-len(batches) // streams)
    return [[batches[(i * each + j) % len(batches)] for j in range(each)] for i in range(streams)]


def ratings_batches(rows: int, batch_rows: int, *, seed: int = 1) -> list[pa.RecordBatch]:
    """Rows of the shape that the MovieLens demo moves, in batches as Spark's writer makes them.

    Columns: user and movie indices, genres as a list of 1 to 4, year, time, rating.
    """
    random = np.random.default_rng(seed)
    batches = []
    for begin in range(0, rows, batch_rows):
        n = min(batch_rows, rows - begin)
        lengths = random.integers(1, 5, n)
        splits = np.zeros(n + 1, np.int32)
        np.cumsum(lengths, out=splits[1:])
        genres = pa.ListArray.from_arrays(
            pa.array(splits), pa.array(random.integers(0, 20, splits[-1]).astype(np.int32))
        )
        batches.append(
            pa.record_batch(
                {
                    "user": random.integers(0, 6_000, n).astype(np.int32),
                    "movie": random.integers(0, 4_000, n).astype(np.int32),
                    "genres": genres,
                    "year": random.integers(1930, 2024, n).astype(np.float32),
                    "time": random.random(n).astype(np.float32),
                    "rating": (random.integers(1, 11, n) / 2).astype(np.float32),
                }
            )
        )
    return batches


def as_reader(batches: list[pa.RecordBatch]) -> pa.RecordBatchReader:
    """The batches as one stream."""
    return pa.RecordBatchReader.from_batches(batches[0].schema, iter(batches))
