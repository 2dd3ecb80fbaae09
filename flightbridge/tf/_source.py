"""The op as a ``tf.data.Dataset``. Imports TensorFlow; only :mod:`._dataset` imports this."""

from __future__ import annotations

import secrets
from typing import Any

import tensorflow as tf

from flightbridge import column_tree
from flightbridge.tf import _op
from flightbridge.tf._elements import Column


class FlightBridgeDataset(tf.data.Dataset):  # type: ignore[misc]
    """A source without inputs: assembled batches of one reader, as the core hands them out."""

    def __init__(
        self,
        spec: bytes,
        element_spec: Any,
        columns: list[Column],
        *,
        cardinality: int,
        epochs_per_pass: int,
        start: bytes,
        first_pass: int,
    ) -> None:
        """Args.

        spec: An encoded ``flightbridge.v1.ReaderSpec``.
        element_spec: The op's outputs, as :meth:`Column.raw_specs` has them.
        columns: In the order of the outputs.
        cardinality: Elements of a pass, or ``tf.data.INFINITE_CARDINALITY``.
        epochs_per_pass: By how many epochs each further iterator starts later; 0 where all
            iterators read the same.
        start: An encoded ``flightbridge.v1.Position`` at which the first iterator begins, or empty.
        first_pass: Number of the pass that the first iterator makes.
        """
        self._element_spec = element_spec
        flat = tf.nest.flatten(element_spec)
        super().__init__(
            _op.load().flight_bridge_dataset(
                spec=spec,
                cardinality=cardinality,
                dataset_id=secrets.randbits(62),
                epochs_per_pass=epochs_per_pass,
                output_types=[spec.dtype for spec in flat],
                output_shapes=[spec.shape for spec in flat],
                layout=[column.layout for column in columns],
                start=start,
                first_pass=first_pass,
            )
        )

    def _inputs(self) -> list[Any]:
        return []

    @property
    def element_spec(self) -> Any:
        """Types and shapes of an element."""
        return self._element_spec


def make(
    spec: bytes,
    structure: Any,
    columns: list[Column],
    *,
    batch: int | None,
    cardinality: int,
    epochs_per_pass: int,
    already_sharded: bool,
    start: bytes,
    first_pass: int,
    grows: bool,
) -> tf.data.Dataset:
    """The dataset of this structure, in which ``structure`` has a name in place of each tensor.

    ``columns`` are those of the structure, as the op puts them out; ``batch`` is the number of
    rows of every batch, or None where it varies. One that ``grows`` may make its reader wait.
    """
    tree = column_tree.tree_of(columns)
    if all(column.components == 1 for column in columns):
        specs = {column.name: column.raw_specs(batch)[0] for column in columns}
        element_spec = column_tree.build(structure, tree, lambda leaf: (specs[leaf.name], None))
    else:
        column_tree.build(structure, tree, lambda leaf: leaf.specs(batch))  # for its checks
        element_spec = tuple(spec for column in columns for spec in column.raw_specs(batch))
    dataset: tf.data.Dataset = FlightBridgeDataset(
        spec,
        element_spec,
        columns,
        cardinality=cardinality,
        epochs_per_pass=epochs_per_pass,
        start=start,
        first_pass=first_pass,
    )
    if any(column.components > 1 for column in columns):
        dataset = dataset.map(_joiner(structure, tree, columns, batch))
    # tf.distribute would take another n-th of what is an n-th already; and there are no files to
    # share out, which it would look for first.
    policies = tf.data.experimental.AutoShardPolicy
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        policies.OFF if already_sharded else policies.DATA
    )
    if grows:
        # To save an iterator whole, tf.data waits for its threads that wait for an element.
        options.experimental_symbolic_checkpoint = True
        options.experimental_optimization.inject_prefetch = False  # the reader reads ahead itself
    return dataset.with_options(options)


def _joiner(structure: Any, tree: dict[str, Any], columns: list[Column], batch: int | None) -> Any:
    """A function from the op's outputs to the user's element."""

    def join(*outputs: Any) -> Any:
        parts = iter(outputs)
        joined = {
            c.name: c.join([next(parts) for _ in range(c.components)], batch) for c in columns
        }
        return column_tree.build(structure, tree, lambda leaf: joined[leaf.name])

    return join
