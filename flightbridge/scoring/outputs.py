"""From a model's outputs to Arrow columns: the table of types, backwards.

| output | column |
| --- | --- |
| ``[n]`` or ``[n, 1]`` | a scalar |
| ``[n, k]``, ``[n, k, m]``, ragged | a list, a list of lists |
| bool, int8 to int64, float32, float64 | the same |
| uint8, uint16, uint32, uint64 | int16, int32, int64, decimal(20, 0): Spark has no unsigned types |
| float16, bfloat16 | float32 |
| string | string, which must be UTF-8; binary where a schema asks for it |
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flightbridge.errors import InvalidArgumentError, UnsupportedTypeError

_LEAVES = {
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.int16(),
    "uint16": pa.int32(),
    "uint32": pa.int64(),
    "uint64": pa.decimal128(20, 0),
    "float16": pa.float32(),
    "bfloat16": pa.float32(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
}


def list_of(value: pa.DataType) -> pa.DataType:
    """A list as Spark writes it."""
    return pa.list_(pa.field("element", value))


def flattened(outputs: Any, names: Any) -> dict[str, Any]:
    """Outputs by name. ``names`` gives those of a list of so many, or of a bare tensor.

    A dict in a dict gets the names joined by ``_``.
    """
    if isinstance(outputs, dict):
        flat: dict[str, Any] = {}
        for key, value in outputs.items():
            if isinstance(value, (dict, list, tuple)):
                flat.update({f"{key}_{k}": v for k, v in flattened(value, _numbers).items()})
            else:
                flat[str(key)] = value
        return flat
    if isinstance(outputs, (list, tuple)):
        return flattened(dict(zip(names(len(outputs)), outputs, strict=True)), names)
    return {names(1)[0]: outputs}


def _numbers(count: int) -> list[str]:
    return [str(i) for i in range(count)]


def type_of(name: str, spec: Any, title: str) -> pa.DataType:
    """The Arrow type of an output.

    Raises:
        UnsupportedTypeError: It has none; the message names the output and what to do.
    """
    kind = getattr(getattr(spec, "dtype", None), "name", type(spec).__name__)
    if kind not in _LEAVES or "Sparse" in type(spec).__name__:
        what = "a sparse tensor" if kind in _LEAVES else kind
        raise UnsupportedTypeError(
            f"output {name!r} of {title} is {what}, which no column can hold: make it dense, or "
            "of another dtype, in the model, or choose others with outputs=[...]"
        )
    rank = spec.shape.rank
    if rank is None or rank == 0:
        why = "has no shape" if rank is None else "is one value, not one for each row"
        remedy = "give schema=, such as 'prediction float'" if rank is None else "leave it out"
        raise UnsupportedTypeError(f"output {name!r} of {title} {why}: {remedy}")
    levels = 0 if rank == 2 and spec.shape[-1] == 1 and not is_ragged(spec) else rank - 1
    found = _LEAVES[kind]
    for _ in range(levels):
        found = list_of(found)
    return found


def is_ragged(value: Any) -> bool:
    """Whether it is a ragged tensor, or the spec of one."""
    return "Ragged" in type(value).__name__


def to_arrow(name: str, value: Any, kind: pa.DataType, rows: int, title: str) -> pa.Array:
    """An output as a column of ``kind``.

    Args:
        name: For messages.
        value: An eager tensor, dense or ragged.
        kind: The column's type: lists as deep as the output is, or one less where its last
            dimension is 1.
        rows: That the model was given.
        title: Of the model.

    Raises:
        InvalidArgumentError: Another number of rows, or values that do not fit ``kind``.
    """
    if is_ragged(value):
        flat, splits = value.flat_values.numpy(), [s.numpy() for s in value.nested_row_splits]
    else:
        flat, splits = np.asarray(value.numpy()), []
    found = int(value.shape[0] or 0) if value.shape.rank else -1
    if is_ragged(value):
        found = len(splits[0]) - 1
    if found != rows:
        raise InvalidArgumentError(
            f"output {name!r} of {title} has {'no' if found < 0 else found} rows for {rows} rows "
            "of input: a model that scores rows gives as many as it gets"
        )
    depth, leaf = 0, kind
    while pa.types.is_list(leaf) or pa.types.is_large_list(leaf):
        depth, leaf = depth + 1, leaf.value_type
    dims = list(flat.shape[1:])
    if len(splits) + len(dims) == depth + 1 and dims and dims[-1] == 1:
        dims.pop()
    if len(splits) + len(dims) != depth:
        raise InvalidArgumentError(
            f"output {name!r} of {title} has {1 + len(splits) + flat.ndim - 1} dimensions, which "
            f"do not fit type {kind}: give it one of {len(splits) + flat.ndim - 1} nested arrays"
        )
    try:
        array = _leaf(flat)
        for dim in reversed(dims):
            count = len(array) // dim if dim else int(np.prod(flat.shape[: flat.ndim - 1]))
            array = _lists(np.arange(count + 1, dtype=np.int64) * dim, array)
        for offsets in reversed(splits):
            array = _lists(offsets, array)
        return array if array.type == kind else array.cast(kind)
    except pa.ArrowException as error:
        remedy = (
            "give schema= with binary for it" if pa.types.is_string(leaf) else "choose a wider type"
        )
        raise InvalidArgumentError(
            f"output {name!r} of {title} does not fit type {kind} ({error}): {remedy}"
        ) from error


def _leaf(flat: npt.NDArray[Any]) -> pa.Array:
    values = np.ascontiguousarray(flat).reshape(-1)
    if values.dtype == object:
        return pa.array(values.tolist(), pa.binary())
    if values.dtype.name in ("float16", "bfloat16"):
        values = values.astype(np.float32)
    if values.dtype == np.uint64:
        # Arrow has no cast from uint64 to decimal that keeps the upper half.
        return pa.array([int(v) for v in values], pa.decimal128(20, 0))
    return pa.array(values)


def _lists(offsets: npt.NDArray[np.int64], values: pa.Array) -> pa.Array:
    if len(offsets) and offsets[-1] > np.iinfo(np.int32).max:
        raise pa.ArrowInvalid(f"{offsets[-1]} values in one batch: score with a smaller batch_size")
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)
