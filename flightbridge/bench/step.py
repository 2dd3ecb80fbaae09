"""``bench step``: a training step fed by FlightBridge, beside the same step fed by one constant."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flightbridge.bench import data
from flightbridge.bench.cpu import total_cpu_s
from flightbridge.bench.model import Result, Sample, summarize
from flightbridge.bench.options import BenchOptions
from flightbridge.bench.pairing import Run, measure
from flightbridge.bench.places import write_everywhere
from flightbridge.bench.progress import Progress
from flightbridge.bench.tf import ready
from flightbridge.bench.transport import FEED

if TYPE_CHECKING:
    import tensorflow as tf

STEP_MS = 6.0
"""What a step without input is made to take, in milliseconds."""
PEER = "constant tensor"
_WRITE_ROWS = 65_536
_STEPS = 100


class Trainer:
    """Steps of one size over a dataset: columns to a matrix, layers on it, a gradient applied."""

    def __init__(
        self, dataset: tf.data.Dataset, batch_bytes: int, width: int, pids: set[int]
    ) -> None:
        import tensorflow as tf

        self._batch_bytes = batch_bytes
        self._pids = pids
        self._iterator: Any = iter(dataset)
        self._steps = _STEPS
        columns = len(dataset.element_spec)
        first = tf.Variable(tf.random.stateless_normal([columns, width], seed=(1, 2)) * 1e-3)
        second = tf.Variable(tf.random.stateless_normal([width, width], seed=(3, 4)) * 1e-3)

        def train(iterator: Any, steps: Any) -> Any:
            for _ in tf.range(steps):
                batch = next(iterator)
                inputs = tf.stack(
                    [tf.cast(batch[name], tf.float32) * 1e-9 for name in sorted(batch)], axis=1
                )
                with tf.GradientTape() as tape:
                    hidden = tf.nn.relu(inputs @ first) @ second
                    loss = tf.reduce_mean(hidden * hidden)
                for variable, slope in zip(
                    (first, second), tape.gradient(loss, (first, second)), strict=True
                ):
                    variable.assign_sub(1e-3 * slope)
            return steps

        self._function = tf.function(train)
        self._take(3)

    def __call__(self) -> Sample:
        """One run of `_STEPS` steps."""
        cpu_before = total_cpu_s(self._pids)
        seconds = self._take(self._steps)
        cpu_s = total_cpu_s(self._pids) - cpu_before
        return Sample(seconds, self._steps * self._batch_bytes, self._steps, cpu_s)

    def step_ms(self) -> float:
        """What a step takes."""
        return self._take(10) / 10 * 1e3

    def close(self) -> None:
        """Ends the iterator, and with it the reader behind it."""
        self._iterator = None

    def _take(self, steps: int) -> float:
        import tensorflow as tf

        wanted = tf.constant(steps)
        begin = time.perf_counter()
        self._function(self._iterator, wanted)
        return time.perf_counter() - begin


def run(options: BenchOptions, progress: Progress) -> Iterator[Result]:
    """The step by itself, then fed in order and fully shuffled, in process and from another one."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import flightbridge.tf

    batches = data.mixed_batches(options.bytes, _WRITE_ROWS, options.columns)
    batch_bytes = batches[0].nbytes * options.batch_rows // batches[0].num_rows
    me = os.getpid()
    constant = ready(batches, options)
    width = _width_for(constant, batch_bytes)
    with contextlib.ExitStack() as stack:
        places = write_everywhere(batches, options, stack)
        sides: dict[str, Run] = {}
        for place, (uri, pids) in places.items():
            for name, shuffle in (("in order", None), ("full shuffle", "full")):
                dataset = flightbridge.tf.dataset(
                    uri,
                    FEED,
                    batch_size=options.batch_rows,
                    shuffle=shuffle,
                    epochs=-1,
                    drop_remainder=True,
                )
                side = Trainer(dataset, batch_bytes, width, pids)
                stack.callback(side.close)
                sides[f"step, {name}, {place}"] = side
        sides[PEER] = Trainer(constant, batch_bytes, width, {me})
        note = progress.start("step", len(sides) * options.repeat)
        samples = measure(sides, options.repeat, warmup=options.warmup, note=note)
    for name, runs in samples.items():
        peer = None if name == PEER else PEER
        yield summarize(
            name,
            runs,
            streams=1,
            peer_name=peer,
            peer_samples=samples[PEER] if peer else (),
        )


def _width_for(constant: tf.data.Dataset, batch_bytes: int) -> int:
    """The width of the layers at which a step takes ``STEP_MS`` here."""
    width = 32
    while width < 8192 and Trainer(constant, batch_bytes, width, {os.getpid()}).step_ms() < STEP_MS:
        width = width * 5 // 4
    return width
