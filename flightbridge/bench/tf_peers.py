"""What ``bench tf --peers`` measures beside the op: the same rows, each peer at its best.

Every one is a ``tf.data.Dataset`` without end of dicts of the op's dtypes and batch size.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flightbridge.bench import processes
from flightbridge.errors import FailedPreconditionError

if TYPE_CHECKING:
    import pyarrow as pa
    import tensorflow as tf

    from flightbridge.bench.options import BenchOptions

NAMES = {
    "tfrecord": "TFRecord + parse_example",
    "parquet": "Parquet by pyarrow",
    "service": "tf.data service",
    "arrowstream": "ArrowStreamDataset",
}
_RECORD_ROWS = 65_536  # of the file: making records takes longer than measuring


def make(
    key: str,
    batches: list[pa.RecordBatch],
    options: BenchOptions,
    *,
    uri: str,
    feed: str,
    folder: Path,
    stack: contextlib.ExitStack,
) -> tuple[tf.data.Dataset, set[int]]:
    """A peer, and the processes that work for it besides this one.

    Args:
        key: Of :data:`NAMES`.
        batches: The rows.
        options: Of the benchmark.
        uri: A server in a process of its own that has them as `feed`.
        feed: Name of the feed.
        folder: For files.
        stack: Ends what the peer started.
    """
    if key == "tfrecord":
        return _tfrecord(batches, options, folder / "rows.tfrecord"), set()
    if key == "parquet":
        return _parquet(batches, options, folder / "rows.parquet"), set()
    if key == "service":
        return _service(batches, options, stack)
    return _arrowstream(batches, options, uri, feed, stack)


def _tfrecord(batches: list[pa.RecordBatch], options: BenchOptions, path: Path) -> tf.data.Dataset:
    """One file in the page cache; a whole batch of records parsed in one call, on all cores."""
    import tensorflow as tf

    rows = max(options.batch_rows, 4096 if options.quick else _RECORD_ROWS)
    schema = batches[0].schema
    with tf.io.TFRecordWriter(str(path)) as writer:
        left = rows
        for batch in batches:
            for row in batch.slice(0, left).to_pylist():
                writer.write(_example(row))
            left -= min(left, batch.num_rows)
    wanted = {field.name: tf.as_dtype(field.type.to_pandas_dtype()) for field in schema}
    features = {
        name: tf.io.FixedLenFeature((), tf.float32 if dtype.is_floating else tf.int64)
        for name, dtype in wanted.items()
    }

    def parse(records: Any) -> Any:
        parsed = tf.io.parse_example(records, features)
        return {name: tf.cast(parsed[name], dtype) for name, dtype in wanted.items()}

    records = tf.data.TFRecordDataset(str(path), buffer_size=8 << 20).repeat()
    batched = records.batch(options.batch_rows, drop_remainder=True)
    return batched.map(parse, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _example(row: dict[str, Any]) -> bytes:
    import tensorflow as tf

    features = {
        name: tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        if isinstance(value, float)
        else tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        for name, value in row.items()
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString())


def _parquet(batches: list[pa.RecordBatch], options: BenchOptions, path: Path) -> tf.data.Dataset:
    """Uncompressed, in the page cache, decoded by Arrow's threads; batches are slices."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_batches(batches), path, compression="none", row_group_size=1 << 18)
    return parquet_dataset([path], options.batch_rows, repeat=True)


def parquet_dataset(paths: list[Path], size: int, *, repeat: bool = False) -> tf.data.Dataset:
    """Files with columns of numbers, read by pyarrow in pieces and sliced; once, or for ever.

    A piece's rows beyond its last whole batch make a smaller one, or none where it repeats.
    """
    import pyarrow.parquet as pq
    import tensorflow as tf

    def generate() -> Iterator[dict[str, Any]]:
        while True:
            for path in paths:
                file = pq.ParquetFile(path, memory_map=True)
                for batch in file.iter_batches(max(size, 65_536), use_threads=True):
                    arrays = {name: batch.column(name).to_numpy() for name in batch.schema.names}
                    rows = batch.num_rows - size + 1 if repeat else batch.num_rows
                    for begin in range(0, rows, size):
                        yield {name: array[begin : begin + size] for name, array in arrays.items()}
            if not repeat:
                return

    signature = {
        field.name: tf.TensorSpec((size if repeat else None,), field.type.to_pandas_dtype())
        for field in pq.read_schema(paths[0])
    }
    made = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return made.prefetch(tf.data.AUTOTUNE)


def _service(
    batches: list[pa.RecordBatch], options: BenchOptions, stack: contextlib.ExitStack
) -> tuple[tf.data.Dataset, set[int]]:
    """A worker on this machine that has its tensors ready; nothing is compressed."""
    import tensorflow as tf

    prefix = "serving "
    command = [sys.executable, "-m", "flightbridge.bench.tf_service"]
    worker = stack.enter_context(processes.spawned(command, prefix))
    first = batches[0].slice(0, options.batch_rows)
    tensors = {name: tf.constant(first.column(name).to_numpy()) for name in first.schema.names}
    made = tf.data.Dataset.from_tensors(tensors).repeat()
    service = tf.data.experimental.service.distribute(
        processing_mode=tf.data.experimental.service.ShardingPolicy.OFF,
        service=worker.line.removeprefix(prefix).strip(),
        compression=None,
    )
    return made.apply(service), {worker.pid}


def _arrowstream(
    batches: list[pa.RecordBatch],
    options: BenchOptions,
    uri: str,
    feed: str,
    stack: contextlib.ExitStack,
) -> tuple[tf.data.Dataset, set[int]]:
    """Our own stream endpoint in its process; each record batch is an element."""
    try:
        from tensorflow_io import arrow
    except Exception as error:  # NotImplementedError, for one, where it does not fit TensorFlow
        raise FailedPreconditionError(
            "--peers arrowstream needs a tensorflow_io that fits the installed TensorFlow "
            f"({type(error).__name__}): leave it out, or run it where make test-classic does"
        ) from error
    prefix = f"flightbridge: streaming {feed} on "
    command = [sys.executable, "-m", "flightbridge.cli", "stream", "--feed", feed]
    command += ["--server", uri, "--batch-rows", str(options.batch_rows)]
    endpoint = stack.enter_context(processes.spawned(command, prefix))
    schema = batches[0].schema
    address = endpoint.line.removeprefix(prefix).strip()
    made = arrow.ArrowStreamDataset.from_schema(address, schema, batch_mode="auto")
    names = schema.names
    return made.map(lambda *row: dict(zip(names, row, strict=True))).repeat(), {endpoint.pid}
