"""The slow way, where no op can be built: ``Dataset.from_generator`` over flightbridge.batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flightbridge import column_tree
from flightbridge.tf._elements import Column

if TYPE_CHECKING:
    import tensorflow as tf

    from flightbridge.v1 import commands_pb2


def make(
    spec: commands_pb2.ReaderSpec,
    structure: Any,
    columns: list[Column],
    *,
    batch: int | None,
    cardinality: int,
    epochs_per_pass: int,
    start: bytes,
    first_pass: int,
) -> tf.data.Dataset:
    """The same elements as the op's, many times slower; its iterators cannot be saved.

    The arguments are those of :func:`flightbridge.tf._source.make`.
    """
    import tensorflow as tf

    tree = column_tree.tree_of(columns)
    passes = itertools.count(first_pass)

    def generate() -> Iterator[Any]:
        from flightbridge import batches
        from flightbridge._native import _batches
        from flightbridge.tf._elements import tensor_of

        mine = type(spec)()
        mine.CopyFrom(spec)
        number = next(passes)
        mine.first_epoch = number * epochs_per_pass
        with batches.BatchReader(_batches.Reader(mine.SerializeToString())) as reader:
            if start and number == first_pass:
                reader._reader.seek(start)
            while (values := reader.next_leaves()) is not None:
                tensors = {name: tuple(map(tensor_of, pair)) for name, pair in values.items()}
                yield _element(structure, tree, tensors)

    dataset = tf.data.Dataset.from_generator(
        generate,
        output_signature=column_tree.build(structure, tree, lambda leaf: leaf.specs(batch)),
    )
    return dataset.apply(tf.data.experimental.assert_cardinality(cardinality))


def _element(structure: Any, tree: dict[str, Any], tensors: dict[str, Any]) -> Any:
    return column_tree.build(structure, tree, lambda leaf: tensors[leaf.name])
