"""From a feed's Arrow schema to the elements of a dataset: which tensors a column becomes.

========================================  ==========================================
Arrow                                     TensorFlow, for batches of ``n`` rows
========================================  ==========================================
bool, (u)int8..64, half, float, double    the same dtype, ``[n]``
date32, time32                            int32 ``[n]`` (days; the type's unit)
date64, timestamp, time64, duration       int64 ``[n]`` (milliseconds; the type's unit)
string, binary (large, view, fixed size)  string ``[n]``
dictionary                                as its values
fixed_size_list<T, k>, T not a string     T ``[n, k]``
list<T>, large_list<T>                    ragged T ``[n, None]``
========================================  ==========================================

Anything else is refused, with what to cast it to. The core (native/src/batch/layout.cc) has the
same table; the op checks every batch against what was promised here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa

from flightbridge.errors import FeedNotFoundError, UnsupportedTypeError


@dataclasses.dataclass(frozen=True)
class Column:
    """How one column arrives: the names are those of the op's attributes."""

    name: str
    dtype: str  # of tf.dtypes, such as "float32"
    layout: str  # "dense" or "ragged"
    width: int = 0  # values of a row of a dense list; 0 where rows are single values

    @property
    def is_ragged(self) -> bool:
        """Two tensors, values and row splits, instead of one."""
        return self.layout == "ragged"


def columns_of(schema: pa.Schema, names: list[str], feed: str) -> list[Column]:
    """The columns of these names, in their order.

    Raises:
        FeedNotFoundError: The feed has no such column; the message lists those it has.
        UnsupportedTypeError: A column's type has no tensor; the message says what to cast it to.
    """
    known = set(schema.names)
    for name in names:
        if name not in known:
            raise FeedNotFoundError(
                f"feed {feed!r} has no column {name!r}; its columns are: {', '.join(schema.names)}"
            )
    return [_column(schema.field(name)) for name in names]


def _column(field: pa.Field) -> Column:
    kind = field.type
    if pa.types.is_fixed_size_list(kind):
        dtype = _value_dtype(field, kind.value_type)
        if dtype == "string" or kind.list_size == 0:
            raise _unsupported(field, "cast it to list")
        return Column(field.name, dtype, "dense", kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return Column(field.name, _value_dtype(field, kind.value_type), "ragged")
    return Column(field.name, _value_dtype(field, kind), "dense")


_SAME = {
    pa.bool_(): "bool",
    pa.int8(): "int8",
    pa.int16(): "int16",
    pa.int32(): "int32",
    pa.int64(): "int64",
    pa.uint8(): "uint8",
    pa.uint16(): "uint16",
    pa.uint32(): "uint32",
    pa.uint64(): "uint64",
    pa.float16(): "float16",
    pa.float32(): "float32",
    pa.float64(): "float64",
    pa.string(): "string",
    pa.binary(): "string",
    pa.large_string(): "string",
    pa.large_binary(): "string",
    pa.string_view(): "string",
    pa.binary_view(): "string",
    pa.date32(): "int32",
    pa.date64(): "int64",
}


def _value_dtype(field: pa.Field, kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if kind in _SAME:
        return _SAME[kind]
    if pa.types.is_fixed_size_binary(kind):
        return "string"
    if pa.types.is_time32(kind):
        return "int32"
    if pa.types.is_timestamp(kind) or pa.types.is_time64(kind) or pa.types.is_duration(kind):
        return "int64"
    raise _unsupported(field, _remedy(kind))


def _unsupported(field: pa.Field, remedy: str) -> UnsupportedTypeError:
    return UnsupportedTypeError(
        f"column {field.name!r} has type {field.type}, which has no tensor form: {remedy}, or "
        "leave it out with columns=[...]"
    )


def _remedy(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return "cast it to double (or to string, where every digit counts)"
    if pa.types.is_struct(kind):
        return "flatten it, one column per field"
    if pa.types.is_map(kind):
        return "split it into two list columns, keys and values"
    if pa.types.is_nested(kind):
        return "flatten it to a list of numbers or strings"
    if pa.types.is_null(kind):
        return "cast it to the type it is meant to have"
    return "cast it to a number or a string"


def element_specs(columns: list[Column], batch: int | None) -> tuple[list[Any], list[Any]]:
    """What the op puts out for these columns, and what the user gets.

    Args:
        columns: The columns, in the order of the op's outputs.
        batch: Rows of every batch, or None where they vary.

    Returns:
        Two lists, an entry per column: the op's (a ``tf.TensorSpec``, or a pair of values and row
        splits), and the dataset's (a ``tf.TensorSpec`` or a ``tf.RaggedTensorSpec``).
    """
    import tensorflow as tf

    raw: list[Any] = []
    final: list[Any] = []
    for column in columns:
        dtype = tf.dtypes.as_dtype(column.dtype)
        if column.is_ragged:
            splits = None if batch is None else batch + 1
            raw.append((tf.TensorSpec([None], dtype), tf.TensorSpec([splits], tf.int64)))
            final.append(tf.RaggedTensorSpec([batch, None], dtype, ragged_rank=1))
        else:
            shape = [batch, column.width] if column.width else [batch]
            raw.append(tf.TensorSpec(shape, dtype))
            final.append(raw[-1])
    return raw, final
