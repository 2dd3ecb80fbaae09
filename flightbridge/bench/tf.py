"""``bench tf``: batches out of the tf.data op, beside ``from_generator`` over the same data."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flightbridge.bench import data, processes
from flightbridge.bench.cpu import total_cpu_s
from flightbridge.bench.model import Result, Sample, summarize
from flightbridge.bench.options import BenchOptions
from flightbridge.bench.pairing import Run, measure
from flightbridge.bench.progress import Progress
from flightbridge.bench.transport import FEED

if TYPE_CHECKING:
    import pyarrow as pa
    import tensorflow as tf

PEER = "tf.data from_generator"
_WRITE_ROWS = 65_536  # rows of the batches in the feed; the op cuts its own
_LATENCIES = 200  # batches taken one by one for the percentiles


class Consumer:
    """Takes batches of a dataset inside a graph, as a training loop does.

    The dataset repeats without end; a run takes as many batches as take about `run_s` seconds.
    """

    def __init__(
        self, dataset: tf.data.Dataset, batch_bytes: int, *, pids: set[int], run_s: float
    ) -> None:
        import tensorflow as tf

        self._iterator = iter(dataset)
        self._batch_bytes = batch_bytes
        self._pids = pids

        def take(iterator: Any, count: Any) -> Any:
            for _ in tf.range(count):
                next(iterator)
            return count

        self._take = tf.function(take)
        self._take(self._iterator, tf.constant(1))  # traces the function, starts the source
        self._count = 16
        while (seconds := self._timed_take()) < run_s / 4:
            self._count *= 2
        self._count = max(1, int(self._count * run_s / seconds))

    def __call__(self) -> Sample:
        """One run: batches in the graph, timed as a whole, then some one by one, timed each."""
        cpu_before = total_cpu_s(self._pids)
        seconds = self._timed_take()
        cpu_s = total_cpu_s(self._pids) - cpu_before
        latencies = []
        for _ in range(min(_LATENCIES, self._count)):
            begin = time.perf_counter()
            next(self._iterator)
            latencies.append((time.perf_counter() - begin) * 1e3)
        return Sample(
            seconds, self._count * self._batch_bytes, self._count, cpu_s, tuple(latencies)
        )

    def _timed_take(self) -> float:
        import tensorflow as tf

        count = tf.constant(self._count)
        begin = time.perf_counter()
        self._take(self._iterator, count)
        return time.perf_counter() - begin


def run(options: BenchOptions, progress: Progress) -> Iterator[Result]:
    """The op on a feed of an embedded server, and of a server process, against the generator."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from flightbridge import Server, connect

    batches = data.mixed_batches(options.bytes, _WRITE_ROWS, options.columns)
    with contextlib.ExitStack() as stack:
        me = os.getpid()
        places = {}
        if options.uri is None:
            bridge = stack.enter_context(Server(memory_limit=options.memory_limit))
            places["tf op, same process"] = (bridge.uri, {me})
            uri, pid = stack.enter_context(processes.serve(options.memory_limit))
            places["tf op, server process"] = (uri, {me, pid})
        else:
            places["tf op, --uri"] = (options.uri, {me})
        sides: dict[str, Run] = {}
        for name, (uri, pids) in places.items():
            client = stack.enter_context(connect(uri))
            client.write(FEED, data.as_reader(batches), mode="overwrite")
            stack.callback(client.drop, FEED, if_exists=True)
            sides[name] = _consumer(_op(uri, batches, options), batches, options, pids)
        if options.peer:
            sides[PEER] = _consumer(_generator(batches, options), batches, options, {me})
        note = progress.start("tf", len(sides) * options.repeat)
        samples = measure(sides, options.repeat, warmup=options.warmup, note=note)
        sides.clear()  # iterators end before the servers they read from
    peer = samples.get(PEER, [])
    for name in samples:
        if name == PEER:
            yield summarize(name, peer, streams=1)
        else:
            yield summarize(
                name,
                samples[name],
                streams=1,
                peer_name=PEER if peer else None,
                peer_samples=peer,
            )


def _consumer(
    dataset: tf.data.Dataset, batches: list[pa.RecordBatch], options: BenchOptions, pids: set[int]
) -> Consumer:
    row_bytes = batches[0].nbytes / batches[0].num_rows
    return Consumer(
        dataset,
        int(row_bytes * options.batch_rows),
        pids=pids,
        run_s=0.2 if options.quick else 1.0,
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
            name: batch.column(name).to_numpy()[begin : begin + options.batch_rows]
            for name in batch.schema.names
        }
        for batch in batches[:4]
        for begin in range(0, batch.num_rows - options.batch_rows + 1, options.batch_rows)
    ]
    signature = {
        name: tf.TensorSpec((options.batch_rows,), values.dtype)
        for name, values in ready[0].items()
    }
    return tf.data.Dataset.from_generator(
        lambda: itertools.cycle(ready), output_signature=signature
    )
