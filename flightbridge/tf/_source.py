"""The op as a ``tf.data.Dataset``. Imports TensorFlow; only :mod:`._dataset` imports this."""

from __future__ import annotations

import secrets
from typing import Any

import tensorflow as tf

from flightbridge.tf import _op
from flightbridge.tf._elements import Column, element_specs


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
    ) -> None:
        """Args.

        spec: An encoded ``flightbridge.v1.ReaderSpec``.
        element_spec: The op's outputs; ragged columns are pairs (values, row splits).
        columns: In the order of the outputs.
        cardinality: Elements of a pass, or ``tf.data.INFINITE_CARDINALITY``.
        epochs_per_pass: By how many epochs each further iterator starts later; 0 where all
            iterators read the same.
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
) -> tf.data.Dataset:
    """The dataset of this structure, in which ``structure`` has a name in place of each tensor.

    ``columns`` are in the order of ``tf.nest.flatten(structure)``; ``batch`` is the number of
    rows of every batch, or None where it varies.
    """
    raw_specs, _ = element_specs(columns, batch)
    raw = dict(zip((column.name for column in columns), raw_specs, strict=True))
    dataset: tf.data.Dataset = FlightBridgeDataset(
        spec,
        tf.nest.map_structure(raw.__getitem__, structure),
        columns,
        cardinality=cardinality,
        epochs_per_pass=epochs_per_pass,
    )
    if any(column.is_ragged for column in columns):
        dataset = dataset.map(_joiner(structure, {c.name for c in columns if c.is_ragged}))
    if already_sharded:
        # tf.distribute would take another n-th of what is an n-th already.
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        dataset = dataset.with_options(options)
    return dataset


def _joiner(structure: Any, ragged: set[str]) -> Any:
    """A function from the op's element to the user's: pairs become ``tf.RaggedTensor``."""

    def join(names: Any, part: Any) -> Any:
        if isinstance(names, tuple):
            return tuple(join(name, item) for name, item in zip(names, part, strict=True))
        if isinstance(names, dict):
            return {key: join(name, part[key]) for key, name in names.items()}
        if names in ragged:
            # The reader made these splits; checking them again would cost a pass per batch.
            return tf.RaggedTensor.from_row_splits(*part, validate=False)
        return part

    if isinstance(structure, tuple):
        return lambda *element: join(structure, element)
    if isinstance(structure, dict):
        return lambda element: join(structure, element)
    return lambda *element: join(structure, element)  # a bare ragged column is a pair itself
