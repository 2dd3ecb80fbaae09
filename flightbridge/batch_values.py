"""The values of a batch: numpy arrays, and what holds columns that are no arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flightbridge._native import _batches
from flightbridge.errors import InvalidArgumentError

Array = npt.NDArray[Any]


class BytesArray:
    """Strings or binary values, as they lie in a slab: one buffer and where each value begins.

    Attributes:
        data: All bytes, ``uint8`` of shape ``[offsets[-1]]``.
        offsets: ``int64`` of shape ``[len(self) + 1]``; value ``i`` is
            ``data[offsets[i]:offsets[i + 1]]``.
        is_text: The values are UTF-8, and ``self[i]`` is a ``str``; else ``bytes``.
        shape: ``(len(self),)``, or, for lists made dense, ``(rows, k)``; values are numbered row
            by row.
    """

    __slots__ = ("data", "is_text", "offsets", "shape")

    def __init__(
        self,
        data: Array,
        offsets: npt.NDArray[np.int64],
        *,
        is_text: bool,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        self.data = data
        self.offsets = offsets
        self.is_text = is_text
        self.shape = (len(offsets) - 1,) if shape is None else shape

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str | bytes: ...
    @overload
    def __getitem__(self, index: slice) -> BytesArray: ...
    def __getitem__(self, index: int | slice) -> str | bytes | BytesArray:
        """Value ``index``; or, without a copy, the values of a slice with step 1."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise ValueError(f"a slice of bytes has step 1, not {step}: use to_arrow().take()")
            offsets = self.offsets[start : max(start, stop) + 1]
            return BytesArray(self.data, offsets, is_text=self.is_text)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside of {len(self)} values")
        index %= len(self)
        value = self.data[self.offsets[index] : self.offsets[index + 1]].tobytes()
        return value.decode() if self.is_text else value

    def __iter__(self) -> Iterator[str | bytes]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        kind = "text" if self.is_text else "bytes"
        return f"BytesArray({len(self)} values of {kind})"

    def to_arrow(self) -> pa.Array:
        """The same memory as a ``large_string`` or ``large_binary`` array."""
        kind = pa.large_string() if self.is_text else pa.large_binary()
        buffers = [None, pa.py_buffer(self.offsets), pa.py_buffer(self.data)]
        return pa.Array.from_buffers(kind, len(self), buffers)

    def to_numpy(self) -> npt.NDArray[np.object_]:
        """A new ``object`` array of ``str`` or ``bytes``, of :attr:`shape`."""
        out = np.empty(len(self), dtype=object)
        out[:] = list(self)
        return out.reshape(self.shape)


class Ragged(NamedTuple):
    """A column of lists: row ``i`` is ``values[row_splits[i]:row_splits[i + 1]]``.

    Where lists hold lists, ``values`` is a ``Ragged`` of the inner ones.
    """

    values: Array | BytesArray | Ragged
    row_splits: npt.NDArray[np.int64]


class Sparse(NamedTuple):
    """A column of vectors: ``values[j]`` is at row and place ``indices[j]``, all else is 0."""

    indices: npt.NDArray[np.int64]
    values: Array
    dense_shape: tuple[int, int]


Value = Array | BytesArray | Ragged | Sparse


def to_numpy(column: _batches.Column) -> Value:
    """A native column, or its mask, as ``batches.read`` describes values. No copy."""
    layout, data = column.layout, np.asarray(column)
    if column.dtype == "bfloat16":
        data = data.view(bfloat16())
    if column.indices is not None:
        return Sparse(np.asarray(column.indices), data, (column.rows, layout.shape[0]))
    values: Array | BytesArray | Ragged = data
    if column.offsets is not None:
        offsets = np.asarray(column.offsets)
        entries = (len(offsets) - 1) // math.prod(layout.shape)
        values = BytesArray(data, offsets, is_text=layout.utf8, shape=(entries, *layout.shape))
    for splits in reversed(column.row_splits):
        values = Ragged(values, np.asarray(splits))
    return values


def bfloat16() -> Any:
    """The type that numpy has for it.

    Raises:
        InvalidArgumentError: numpy has none here.
    """
    try:
        import ml_dtypes
    except ImportError as error:
        raise InvalidArgumentError(
            "dtypes asks for bfloat16, which numpy has only with ml_dtypes: pip install ml_dtypes"
        ) from error
    return ml_dtypes.bfloat16
