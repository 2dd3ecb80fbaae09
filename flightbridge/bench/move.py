"""``bench move``: the demo's rows through a bridge, beside Parquet, in processor time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flightbridge.bench import data
from flightbridge.bench.model import Result, Sample, summarize
from flightbridge.bench.options import BenchOptions
from flightbridge.bench.pairing import Run, measure
from flightbridge.bench.progress import Progress
from flightbridge.bench.streams import timed
from flightbridge.errors import DataLossError

if TYPE_CHECKING:
    import pyarrow as pa
    import tensorflow as tf

FEED = "flightbridge-bench-move"
PEER = "Parquet + from_generator"
BATCH_SIZE = 1024  # rows of a training batch


class Mover(ABC):
    """Moves all rows to a tf.data pipeline and counts them there; one call is one run."""

    def __init__(self, batches: list[pa.RecordBatch]) -> None:
        self._batches = batches
        self._rows = sum(batch.num_rows for batch in batches)
        self._count = _counter()

    def __call__(self) -> Sample:
        """One run: write, then read all of it."""
        return timed(
            [self._move],
            pids=[os.getpid()],
            moved_bytes=sum(batch.nbytes for batch in self._batches),
            moved_batches=-(-self._rows // BATCH_SIZE),
        )

    @abstractmethod
    def write(self) -> None:
        """Puts the rows where :meth:`dataset` finds them."""

    @abstractmethod
    def dataset(self) -> tf.data.Dataset:
        """The rows as batches of :data:`BATCH_SIZE`."""

    def _move(self, latencies: list[float]) -> None:
        self.write()
        rows = int(self._count(self.dataset()))
        if rows != self._rows:
            raise DataLossError(f"{type(self).__name__}: {rows} of {self._rows} rows came back")


class BridgeMover(Mover):
    """Put over TCP, as Spark's executors do it, then the native op beside the embedded server."""

    def __init__(self, batches: list[pa.RecordBatch], uri: str) -> None:
        from flightbridge import connect

        super().__init__(batches)
        self._uri = uri
        self._client = connect(uri, transport="channel")

    def write(self) -> None:
        """Replaces the feed."""
        self._client.write(FEED, data.as_reader(self._batches), mode="overwrite")

    def dataset(self) -> tf.data.Dataset:
        """The feed."""
        import flightbridge.tf

        return flightbridge.tf.dataset(self._uri, FEED, batch_size=BATCH_SIZE)

    def close(self) -> None:
        """Drops the feed."""
        self._client.drop(FEED, if_exists=True)
        self._client.close()


class ParquetMover(Mover):
    """Parquet with pyarrow's defaults, then batches through ``from_generator``."""

    def __init__(self, batches: list[pa.RecordBatch], path: Path) -> None:
        super().__init__(batches)
        self._path = path

    def write(self) -> None:
        """Replaces the file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_batches(self._batches), self._path)

    def dataset(self) -> tf.data.Dataset:
        """The file."""
        import tensorflow as tf

        signature: dict[str, Any] = {
            field.name: tf.RaggedTensorSpec((None, None), tf.int32, row_splits_dtype=tf.int64)
            if field.name == "genres"
            else tf.TensorSpec((None,), field.type.to_pandas_dtype())
            for field in self._batches[0].schema
        }
        return tf.data.Dataset.from_generator(self._generate, output_signature=signature)

    def _generate(self) -> Iterator[dict[str, Any]]:
        import pyarrow.parquet as pq
        import tensorflow as tf

        for batch in pq.ParquetFile(self._path).iter_batches(BATCH_SIZE):
            features = {name: batch.column(name) for name in batch.schema.names}
            genres = features.pop("genres")
            offsets = genres.offsets.to_numpy()
            yield {
                **{name: column.to_numpy() for name, column in features.items()},
                "genres": tf.RaggedTensor.from_row_splits(
                    genres.flatten().to_numpy(), (offsets - offsets[0]).astype("int64")
                ),
            }


def run(options: BenchOptions, progress: Progress) -> Iterator[Result]:
    """Both ways in turn; processor time of this process, which does all of the work."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from flightbridge import Server

    rows = max(1, round(options.bytes / data.bytes_per_row("move", 6)))
    batches = data.ratings_batches(rows, options.batch_rows)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flightbridge-move-")))
        bridge = stack.enter_context(Server(memory_limit=options.memory_limit))
        ours = BridgeMover(batches, bridge.uri)
        stack.callback(ours.close)
        sides: dict[str, Run] = {"move": ours}
        if options.peer:
            sides[PEER] = ParquetMover(batches, folder / "rows.parquet")
        note = progress.start("move", len(sides) * options.repeat)
        samples = measure(sides, options.repeat, warmup=options.warmup, note=note)
    peer = samples.get(PEER, [])
    yield summarize(
        "move",
        samples["move"],
        streams=1,
        peer_name=PEER if peer else None,
        peer_samples=peer,
    )
    if peer:
        yield summarize(f"move {PEER}", peer, streams=1)


def _counter() -> Any:
    import tensorflow as tf

    def count(total: Any, batch: dict[str, Any]) -> Any:
        return total + tf.shape(batch["rating"], out_type=tf.int64)[0]

    return lambda dataset: dataset.reduce(tf.constant(0, tf.int64), count)
