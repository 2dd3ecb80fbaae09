"""``bench tf``: batches out of the tf.data op, beside ``from_generator`` over the same data."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flightbridge.bench import data, tf_peers
from flightbridge.bench.cpu import total_cpu_s
from flightbridge.bench.model import Result, Sample, summarize
from flightbridge.bench.options import BenchOptions
from flightbridge.bench.pairing import Run, measure
from flightbridge.bench.places import write_everywhere
from flightbridge.bench.progress import Progress
from flightbridge.bench.transport import FEED

if TYPE_CHECKING:
    import pyarrow as pa
    import tensorflow as tf

PEER = "tf.data from_generator"
_WRITE_ROWS = 65_536  # rows of the batches in the feed; the op cuts its own
_LATENCIES = 200  # batches taken one by one for the percentiles


class Consumer(ABC):
    """Takes batches of a dataset that never ends; a run takes about `run_s` seconds.

    With `epoch_batches` it takes whole epochs, at least one: what a server does once per epoch
    counts in full, and no more often than that.
    """

    def __init__(
        self,
        dataset: tf.data.Dataset,
        batch_bytes: int,
        *,
        pids: set[int],
        run_s: float,
        epoch_batches: int | None = None,
    ) -> None:
        self._dataset = dataset
        self._batch_bytes = batch_bytes
        self._pids = pids
        self._iterator: Any = None
        self._take(1)
        self._count = 16
        while (seconds := self._take(self._count)) < run_s / 4:
            self._count *= 2
        self._count = max(1, int(self._count * run_s / seconds))
        if epoch_batches is not None:
            self._count = max(1, round(self._count / epoch_batches)) * epoch_batches

    def __call__(self) -> Sample:
        """One run: batches timed as a whole, then some one by one, timed each."""
        cpu_before = total_cpu_s(self._pids)
        seconds = self._take(self._count)
        cpu_s = total_cpu_s(self._pids) - cpu_before
        latencies = []
        for _ in range(min(_LATENCIES, self._count)):
            begin = time.perf_counter()
            next(self._iterator)
            latencies.append((time.perf_counter() - begin) * 1e3)
        return Sample(
            seconds, self._count * self._batch_bytes, self._count, cpu_s, tuple(latencies)
        )

    def close(self) -> None:
        """Ends the iterator, and with it the reader behind it."""
        self._iterator = None

    @abstractmethod
    def _take(self, count: int) -> float:
        """Takes `count` batches; the seconds that took."""


class SourceConsumer(Consumer):
    """Takes them in ``skip``, as TensorFlow's own benchmarks of datasets do.

    ``skip`` asks the source for every batch and lets it go, within one call: what is measured is
    the source alone, and nothing of the loop that takes batches from it.
    """

    def _take(self, count: int) -> float:
        # Behind take(): skip() alone would tell our source to leave batches out, unread.
        self._iterator = iter(self._dataset.take(count + _LATENCIES).skip(count - 1))
        begin = time.perf_counter()
        next(self._iterator)
        return time.perf_counter() - begin


class LoopConsumer(Consumer):
    """Takes them in a loop in a ``tf.function``, as a training step does."""

    _function: Any = None

    def _take(self, count: int) -> float:
        import tensorflow as tf

        def take(iterator: Any, count: Any) -> Any:
            for _ in tf.range(count):
                next(iterator)
            return count

        if self._function is None:
            self._function = tf.function(take)
            self._iterator = iter(self._dataset)
        wanted = tf.constant(count)
        begin = time.perf_counter()
        self._function(self._iterator, wanted)
        return time.perf_counter() - begin


def run(options: BenchOptions, progress: Progress) -> Iterator[Result]:
    """The source alone against the generator, then both in a training step's loop."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    batches = data.mixed_batches(options.bytes, _WRITE_ROWS, options.columns, values=options.values)
    me = os.getpid()
    with contextlib.ExitStack() as stack:
        places = write_everywhere(batches, options, stack)
        *_, (uri, _) = places.values()
        generator = _generator(batches, options)
        sources = {
            f"tf op, {place}": (_op(at, batches, options), pids)
            for place, (at, pids) in places.items()
        }
        if options.peer:
            sources[PEER] = (generator, {me})
        peers = _peers(batches, options, uri, stack)
        measured = _measure(SourceConsumer, {**sources, **peers}, batches, options, progress)
        yield from measured

        first = next(iter(sources))
        in_loop = {f"{first}, in a loop": sources[first]}
        if options.peer:
            in_loop[f"{PEER}, in a loop"] = (generator, {me})
        in_loop["ready tensors, in a loop"] = (ready(batches, options), {me})
        yield from _measure(LoopConsumer, in_loop, batches, options, progress)


def _peers(
    batches: list[pa.RecordBatch],
    options: BenchOptions,
    uri: str,
    stack: contextlib.ExitStack,
) -> dict[str, tuple[tf.data.Dataset, set[int]]]:
    if not options.peers:
        return {}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flightbridge-bench-")))
    made = {}
    for key in options.peers:
        dataset, pids = tf_peers.make(
            key, batches, options, uri=uri, feed=FEED, folder=folder, stack=stack
        )
        made[tf_peers.NAMES[key]] = (dataset, {os.getpid(), *pids})
    return made


def _measure(
    consumer: type[Consumer],
    sources: dict[str, tuple[tf.data.Dataset, set[int]]],
    batches: list[pa.RecordBatch],
    options: BenchOptions,
    progress: Progress,
) -> Iterator[Result]:
    batch_bytes = batches[0].nbytes * options.batch_rows // batches[0].num_rows
    sides: dict[str, Run] = {}
    with contextlib.ExitStack() as stack:  # iterators end before the servers they read from
        for name, (dataset, pids) in sources.items():
            side = consumer(dataset, batch_bytes, pids=pids, run_s=0.2 if options.quick else 1.0)
            stack.callback(side.close)
            sides[name] = side
        note = progress.start("tf", len(sides) * options.repeat)
        samples = measure(sides, options.repeat, warmup=options.warmup, note=note)
    peer_name = next((name for name in samples if name.startswith(PEER)), None)
    for name in samples:
        for key, peer in tf_peers.NAMES.items():
            if peer in samples and name.startswith("tf op"):
                yield summarize(
                    f"{name}, beside {key}",
                    samples[name],
                    streams=1,
                    peer_name=peer,
                    peer_samples=samples[peer],
                )
        has_peer = peer_name is not None and name.startswith("tf op")
        yield summarize(
            name,
            samples[name],
            streams=1,
            peer_name=peer_name if has_peer else None,
            peer_samples=samples[peer_name] if has_peer and peer_name else (),
        )


def _op(uri: str, batches: list[pa.RecordBatch], options: BenchOptions) -> tf.data.Dataset:
    import flightbridge.tf

    return flightbridge.tf.dataset(
        uri,
        FEED,
        batch_size=options.batch_rows,
        columns=batches[0].schema.names,
        epochs=-1,
        drop_remainder=True,
    )


def _generator(batches: list[pa.RecordBatch], options: BenchOptions) -> tf.data.Dataset:
    """``from_generator`` at its best: the arrays are ready, the generator only hands them out."""
    import tensorflow as tf

    ready = [
        {
            name: _values(batch.column(name).slice(begin, options.batch_rows))
            for name in batch.schema.names
        }
        for batch in batches[:4]
        for begin in range(0, batch.num_rows - options.batch_rows + 1, options.batch_rows)
    ]
    signature = {name: _spec(values, options.batch_rows) for name, values in ready[0].items()}
    return tf.data.Dataset.from_generator(
        lambda: itertools.cycle(ready), output_signature=signature
    )


def ready(batches: list[pa.RecordBatch], options: BenchOptions) -> tf.data.Dataset:
    """One batch of ready tensors over and over: what the loop itself costs, the ceiling there."""
    import tensorflow as tf

    first = batches[0].slice(0, options.batch_rows)
    tensors = {name: _values(first.column(name)) for name in first.schema.names}
    return tf.data.Dataset.from_tensors(tensors).repeat()


def _values(column: pa.Array) -> Any:
    """What ``from_generator`` takes for the column: an array, or a ragged tensor of its lists."""
    import pyarrow as pa
    import tensorflow as tf

    if not pa.types.is_list(column.type):
        return column.to_numpy(zero_copy_only=False)
    splits = column.offsets.to_numpy().astype("int64")  # as the op has them
    return tf.RaggedTensor.from_row_splits(column.flatten().to_numpy(), splits - splits[0])


def _spec(values: Any, rows: int) -> Any:
    import tensorflow as tf

    if isinstance(values, tf.RaggedTensor):
        return tf.RaggedTensorSpec((rows, None), values.dtype, row_splits_dtype=tf.int64)
    return tf.TensorSpec((rows,), tf.string if values.dtype == object else values.dtype)
