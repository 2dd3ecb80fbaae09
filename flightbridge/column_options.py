"""What becomes of single columns: the settings of a read that are given by column name.

A key is a column, ``"column.field"`` for a part of a struct, or ``"column.keys"`` and
``"column.values"`` for those of a map; what is said of a column holds for all that is in it.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from flightbridge.errors import InvalidArgumentError
from flightbridge.v1 import commands_pb2

Fill = bool | int | float | str | bytes
"""What stands in for a null."""


def column_options(
    *,
    dtypes: Mapping[str, Any] | None = None,
    fill: Mapping[str, Fill] | None = None,
    mask: bool | Iterable[str] = False,
    pad_to: Mapping[str, int] | None = None,
    truncate: Iterable[str] = (),
    vectors: Mapping[str, int] | None = None,
    sparse: Iterable[str] = (),
    codes: Iterable[str] = (),
) -> list[commands_pb2.ColumnOptions]:
    """The options of every column that has any. Whether they fit it, the core says.

    The one place where they are described; readers, ``flightbridge.spark.predict`` and model
    servers take the same. Shapes are in "Types" of docs/tensorflow.md.

    Args:
        dtypes: Column to dtype (``"float32"``, ``tf.bfloat16``): values are converted as they are
            gathered. Says what a decimal becomes, and ``"float64"`` makes seconds of times.
        fill: Column to value: what stands in for nulls, and pads lists. Without it or ``mask``, a
            null is an error.
        mask: Columns, or True for all, that get bools beside them: ``x_mask`` for ``x``, of its
            shape, False where a null or padding is.
        pad_to: Column to number of values: lists become dense, ``[n, k]``. A longer one is an
            error, unless ``truncate`` names the column.
        truncate: Columns whose lists lose what is beyond ``pad_to``.
        vectors: Column to size of its MLlib vectors, where the feed does not say.
        sparse: Columns of MLlib vectors that become sparse tensors: ``tf.SparseTensor`` in
            TensorFlow, :class:`flightbridge.batches.Sparse` elsewhere.
        codes: Dictionary columns to be read as codes. All batches must have one dictionary.

    Raises:
        InvalidArgumentError: A setting has a wrong type or is out of range.
    """
    options: dict[str, commands_pb2.ColumnOptions] = {}

    def of(path: str) -> commands_pb2.ColumnOptions:
        return options.setdefault(path, commands_pb2.ColumnOptions(path=path))

    for path, dtype in _items("dtypes", dtypes):
        of(path).dtype = _dtype_name(path, dtype)
    for path, value in _items("fill", fill):
        _set_fill(of(path), path, value)
    for path, size in _items("pad_to", pad_to):
        of(path).pad_to = _size("pad_to", path, size)
    for path, size in _items("vectors", vectors):
        of(path).vector_size = _size("vectors", path, size)
    if mask is True:
        of("").mask = True
    elif mask is not False:
        for path in _names("mask", mask):
            of(path).mask = True
    for path in _names("truncate", truncate):
        of(path).truncate = True
    for path in _names("sparse", sparse):
        of(path).sparse = True
    for path in _names("codes", codes):
        of(path).codes = True
    return list(options.values())


def _items(setting: str, value: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(
            f"{setting}={value!r} is not a mapping: give a dict with column names as keys"
        )
    _names(setting, value)
    return list(value.items())


def _names(setting: str, value: Iterable[str]) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidArgumentError(f"{setting}={value!r} is not a list of column names")
    names = list(value)
    for name in names:
        if not isinstance(name, str) or not name:
            raise InvalidArgumentError(f"{setting} has {name!r}: give column names as str")
    return names


def _dtype_name(path: str, dtype: Any) -> str:
    # Names, and what has one: numpy's types, numpy.dtype and tf.DType.
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None)
    if name is None:
        name = getattr(dtype, "__name__", None)
    if not isinstance(name, str) or not name:
        raise InvalidArgumentError(
            f"dtypes has {dtype!r} for {path!r}: give a name such as 'float32'"
        )
    return name


def _size(setting: str, path: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InvalidArgumentError(
            f"{setting}={{{path!r}: {value!r}}} is not a whole number: give a number of values"
        )
    if not 1 <= int(value) <= 2**31 - 1:
        raise InvalidArgumentError(
            f"{setting}={{{path!r}: {value}}} is out of range: give a number of values from 1 to "
            f"{2**31 - 1}"
        )
    return int(value)


def _set_fill(option: commands_pb2.ColumnOptions, path: str, value: Any) -> None:
    option.has_fill = True
    if isinstance(value, str):
        option.fill_bytes = value.encode()
    elif isinstance(value, bytes):
        option.fill_bytes = value
    elif isinstance(value, numbers.Integral):  # bool as well
        if not -(2**63) <= int(value) < 2**63:
            raise InvalidArgumentError(
                f"fill={{{path!r}: {value}}} is out of range: give a 64-bit number"
            )
        option.fill_int = int(value)
        option.fill_float = float(value)
    elif isinstance(value, numbers.Real):
        option.fill_float = float(value)
    else:
        raise InvalidArgumentError(
            f"fill={{{path!r}: {value!r}}} is no value: give a number, a bool, a str or bytes"
        )
