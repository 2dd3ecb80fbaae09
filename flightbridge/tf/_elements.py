"""From the core's leaf columns to the elements of a dataset: which tensors a column becomes.

The table of types is in docs/tensorflow.md; the core (native/src/batch/layout.cc) decides, and the
op checks every batch against what is promised here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flightbridge._native import _batches
from flightbridge.errors import FeedNotFoundError

if TYPE_CHECKING:
    from flightbridge.v1 import commands_pb2


@dataclasses.dataclass(frozen=True)
class Column:
    """How one leaf column arrives."""

    name: str
    keys: list[str]
    dtype: str  # of tf.dtypes, such as "float32"
    shape: tuple[int, ...]  # behind the rows, or behind the values of the innermost list
    levels: int  # of row splits
    mask: bool
    sparse: bool

    @classmethod
    def of(cls, leaf: _batches.ColumnLayout) -> Column:
        """The column that the core's leaf becomes."""
        return cls(
            name=leaf.name,
            keys=leaf.keys,
            dtype="string" if leaf.dtype == "bytes" else leaf.dtype,
            shape=leaf.shape,
            levels=leaf.levels,
            mask=leaf.mask,
            sparse=leaf.sparse,
        )

    @property
    def layout(self) -> str:
        """As the op's attribute of that name has it."""
        kind = "sparse" if self.sparse else f"ragged{self.levels}" if self.levels else "dense"
        return kind + ("+mask" if self.mask else "")

    @property
    def components(self) -> int:
        """Tensors that the op puts out for it."""
        return 1 + self.levels + 2 * self.sparse + self.mask

    def raw_specs(self, batch: int | None) -> list[Any]:
        """Of the op's outputs: values; row splits, or indices and shape; the mask."""
        import tensorflow as tf

        dtype = tf.dtypes.as_dtype(self.dtype)
        if self.sparse:
            return [
                tf.TensorSpec([None], dtype),
                tf.TensorSpec([None, 2], tf.int64),
                tf.TensorSpec([2], tf.int64),
            ]
        rows = None if self.levels else batch
        specs = [tf.TensorSpec([rows, *self.shape], dtype)]
        splits = [None if batch is None else batch + 1] + [None] * (self.levels - 1)
        specs += [tf.TensorSpec([n], tf.int64) for n in splits[: self.levels]]
        if self.mask:
            specs.append(tf.TensorSpec([rows, *self.shape], tf.bool))
        return specs

    def specs(self, batch: int | None) -> tuple[Any, Any]:
        """What the user gets: the column's spec and that of its mask, or None."""
        import tensorflow as tf

        def of(dtype: Any) -> Any:
            if self.sparse:
                return tf.SparseTensorSpec([batch, *self.shape], dtype)
            if self.levels:
                shape = [batch] + [None] * self.levels + list(self.shape)
                return tf.RaggedTensorSpec(shape, dtype, self.levels, tf.int64)
            return tf.TensorSpec([batch, *self.shape], dtype)

        return of(tf.dtypes.as_dtype(self.dtype)), of(tf.bool) if self.mask else None

    def join(self, parts: Sequence[Any], batch: int | None) -> tuple[Any, Any]:
        """From the op's outputs to the user's tensor and mask."""
        import tensorflow as tf

        values, *rest = parts
        mask = rest.pop() if self.mask else None
        if self.sparse:
            indices, shape = rest
            # tf.data looks for what is constant in the shape.
            rows = shape[0] if batch is None else tf.constant(batch, tf.int64)
            shape = tf.stack([rows, tf.constant(self.shape[0], tf.int64)])
            return tf.SparseTensor(indices, values, shape), None
        if not self.levels:
            return values, mask

        # The reader made these splits; checking them again would cost a pass per batch.
        def ragged(flat: Any) -> Any:
            return tf.RaggedTensor.from_nested_row_splits(flat, rest, validate=False)

        return ragged(values), None if mask is None else ragged(mask)


def columns_of(schema: pa.Schema, spec: commands_pb2.ReaderSpec) -> list[Column]:
    """The leaves of ``spec.columns``, in the order in which the op puts them out.

    Raises:
        FeedNotFoundError: The feed has no such column; the message lists those it has.
        UnsupportedTypeError: A column's type has no tensor; the message says what to do.
        InvalidArgumentError: An option does not fit its column.
    """
    known = set(schema.names)
    for name in spec.columns:
        if name not in known:
            raise FeedNotFoundError(
                f"feed {spec.feed!r} has no column {name!r}; its columns are: "
                f"{', '.join(schema.names)}"
            )
    return [
        Column.of(leaf)
        for leaf in _batches.layouts(schema.serialize().to_pybytes(), spec.SerializeToString())
    ]


def tensor_of(value: Any) -> Any:
    """A value or mask of :mod:`flightbridge.batches` as a tensor; None stays None. Copies."""
    import tensorflow as tf

    from flightbridge import batches

    if value is None:
        return None
    if isinstance(value, batches.Sparse):
        values = tensor_of(value.values)
        return tf.SparseTensor(tf.constant(value.indices), values, value.dense_shape)
    if isinstance(value, batches.Ragged):
        return tf.RaggedTensor.from_row_splits(
            tensor_of(value.values), tf.constant(value.row_splits), validate=False
        )
    if isinstance(value, batches.BytesArray):
        return tf.constant(value.to_numpy(), tf.string)
    return tf.constant(value)  # a copy: the slab may go back before TensorFlow is done
