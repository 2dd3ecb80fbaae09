"""``bench shuffle``: shuffled batches out of the tf.data op, beside numpy gathering such rows."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from flightbridge.bench import data
from flightbridge.bench.cpu import total_cpu_s
from flightbridge.bench.model import Result, Sample, summarize
from flightbridge.bench.options import BenchOptions
from flightbridge.bench.pairing import Run, measure
from flightbridge.bench.places import write_everywhere
from flightbridge.bench.progress import Progress
from flightbridge.bench.tf import SourceConsumer
from flightbridge.bench.transport import FEED

if TYPE_CHECKING:
    import tensorflow as tf
    from numpy.typing import NDArray

WINDOW = 65_536
"""Rows of the window, for both sides."""
_WRITE_ROWS = 65_536  # rows of the batches in the feed


class NumpyGather:
    """Batches of rows in a permuted order, column by column with ``take``, on one thread."""

    def __init__(
        self,
        columns: list[NDArray[Any]],
        order: Callable[[], NDArray[np.int64]],
        batch_rows: int,
        *,
        run_s: float,
    ) -> None:
        self._columns = columns
        self._order = order
        self._batch_rows = batch_rows
        self._batch_bytes = sum(column.itemsize for column in columns) * batch_rows
        self._indices = self._endless()
        self._count = 4
        while (seconds := self._take(self._count)) < run_s / 4:
            self._count *= 2
        self._count = max(1, int(self._count * run_s / seconds))

    def __call__(self) -> Sample:
        """One run. The order is drawn in it where an epoch ends, as it is by the other side."""
        me = {os.getpid()}
        cpu_before = total_cpu_s(me)
        seconds = self._take(self._count)
        cpu_s = total_cpu_s(me) - cpu_before
        return Sample(seconds, self._count * self._batch_bytes, self._count, cpu_s)

    def _take(self, count: int) -> float:
        begin = time.perf_counter()
        for rows in itertools.islice(self._indices, count):
            for column in self._columns:
                column.take(rows)
        return time.perf_counter() - begin

    def _endless(self) -> Iterator[NDArray[np.int64]]:
        while True:
            order = self._order()
            for begin in range(0, len(order) - self._batch_rows + 1, self._batch_rows):
                yield order[begin : begin + self._batch_rows]


def run(options: BenchOptions, progress: Progress) -> Iterator[Result]:
    """Unshuffled, by window and fully shuffled, each beside numpy where that gathers."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    write_rows = min(_WRITE_ROWS, max(options.batch_rows, options.bytes // 256))
    batches = data.mixed_batches(options.bytes, write_rows, options.columns)
    rows = len(batches) * batches[0].num_rows
    run_s = 0.2 if options.quick else 1.0
    with contextlib.ExitStack() as stack:
        # A full shuffle wants room for two epochs beside the feed.
        limit = options.memory_limit + 2 * options.bytes
        places = write_everywhere(batches, options, stack, limit)
        sides: dict[str, Run] = {}
        peers: dict[str, str] = {}
        batch_bytes = batches[0].nbytes * options.batch_rows // batches[0].num_rows
        for place, (uri, pids) in places.items():
            orders: tuple[tuple[str, int | str | None], ...] = (
                ("unshuffled", None),
                ("window", WINDOW),
                ("full", "full"),
            )
            for name, shuffle in orders:
                side = SourceConsumer(
                    _op(uri, shuffle, options),
                    batch_bytes,
                    pids=pids,
                    run_s=run_s,
                    epoch_batches=max(1, rows // options.batch_rows) if name == "full" else None,
                )
                stack.callback(side.close)
                sides[f"tf op, {name}, {place}"] = side
                if shuffle is not None and options.peer:
                    peers[f"tf op, {name}, {place}"] = f"numpy, {name}"
        if options.peer:
            columns = [
                np.concatenate([batch.column(name).to_numpy() for batch in batches])
                for name in batches[0].schema.names
            ]
            random = np.random.default_rng(1)
            sides["numpy, window"] = NumpyGather(
                columns, lambda: _blocks(random, rows), options.batch_rows, run_s=run_s
            )
            sides["numpy, full"] = NumpyGather(
                columns, lambda: random.permutation(rows), options.batch_rows, run_s=run_s
            )
        note = progress.start("shuffle", len(sides) * options.repeat)
        samples = measure(sides, options.repeat, warmup=options.warmup, note=note)
    for name, runs in samples.items():
        peer = peers.get(name)
        yield summarize(
            name,
            runs,
            streams=1,
            peer_name=peer,
            peer_samples=samples[peer] if peer is not None else (),
        )


def _blocks(random: np.random.Generator, rows: int) -> NDArray[np.int64]:
    """All rows, permuted within blocks of ``WINDOW``: what a window costs at its best."""
    order = np.arange(rows)
    for begin in range(0, rows, WINDOW):
        random.shuffle(order[begin : begin + WINDOW])
    return order


def _op(uri: str, shuffle: int | str | None, options: BenchOptions) -> tf.data.Dataset:
    import flightbridge.tf

    return flightbridge.tf.dataset(
        uri,
        FEED,
        batch_size=options.batch_rows,
        shuffle=shuffle,
        seed=1,
        epochs=-1,
        drop_remainder=True,
    )
