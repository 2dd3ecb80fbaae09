"""Feeds in JAX: batches as pytrees of ``jax.Array`` over the reader's slabs.

    >>> with flightbridge.jax.batches(
    ...     uri, "ratings", batch_size=1024, label="rating", shuffle=True, epochs=5
    ... ) as train:
    ...     for features, label in train:
    ...         params = step(params, features, label)

On the CPU an array *is* the slab's memory, which is 64-byte aligned as JAX asks; the slab is used
again once no array over it is left. For an accelerator the next batches are copied while the step
runs. See "JAX" in docs/frameworks.md.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from flightbridge import source
from flightbridge.closing import Closing
from flightbridge.errors import InvalidArgumentError

if TYPE_CHECKING:
    from flightbridge._native._batches import Batch, Column
    from flightbridge.batches import BatchReader
    from flightbridge.server import Server

__all__ = ["BatchIterator", "Ragged", "batches"]


class Ragged(NamedTuple):
    """A column of lists: row ``i`` is ``values[offsets[i]:offsets[i + 1]]``. A pytree."""

    values: jax.Array
    offsets: jax.Array


def batches(
    uri: str | Server,
    feed: str,
    *,
    batch_size: int,
    columns: source.Names = None,
    label: source.Names = None,
    shard: tuple[int, int] | None = None,
    device: jax.Device | jax.sharding.Sharding | None = None,
    ahead: int = 2,
    first_epoch: int = 0,
    position: bytes | None = None,
    **settings: Any,
) -> BatchIterator:
    """Opens a committed feed for reading.

    Args:
        uri: The server, ``grpc://HOST:PORT``, or a ``flightbridge.Server`` of this process.
        feed: The feed's name.
        batch_size: Rows of a batch in this process.
        columns: None: all columns, as a dict. A list of names: a dict of these. One name: that
            array alone.
        label: Makes elements ``(features, label)``. One name: the label is an array. A list: a
            dict. Label columns are not among the features.
        shard: ``(i, n)``, part ``i`` of ``n``. None: this process's part where
            ``jax.distributed`` is initialised, else all rows.
        device: Where arrays go: a device, or a sharding whose first dimension is the rows. One
            that spans processes makes global arrays of what each process reads; it needs
            ``drop_remainder=True``, and ``uneven="drop"`` or ``"pad"`` so that all take equally
            many steps. None: JAX's default device.
        ahead: Batches on their way to the device before they are asked for; 0: none. Nothing is
            gained on the CPU, where there is no way to go.
        first_epoch: The epoch to begin with, which its shuffle depends on.
        position: What :meth:`BatchIterator.position` returned, to continue at the exact next row.
        **settings: ``shuffle``, ``seed``, ``epochs``, ``drop_remainder``, ``policy``, ``token`` and
            every other of :func:`flightbridge.batches.read`; and ``fingerprint``, that of an
            earlier iterator, for an error where the feed was written again since.

    Returns:
        An iterator of pytrees of ``[rows]`` (``[rows, k]`` for fixed-size lists), or
        :class:`Ragged` for lists. Without ``jax_enable_x64``, 64-bit integers become 32 bits, a
        value that does not fit being an error (JAX itself would cut it), and doubles are rounded.

    Raises:
        InvalidArgumentError: A setting is wrong. While reading: a 64-bit integer does not fit.
        UnsupportedTypeError: A column has no array form, such as one of strings.

        And those of :func:`flightbridge.batches.read`.
    """
    if isinstance(ahead, bool) or not isinstance(ahead, int) or not 0 <= ahead <= 64:
        raise InvalidArgumentError(f"ahead={ahead!r} is not a number of batches: give 0 to 64")
    settings["batch_size"] = batch_size
    made = source.make(uri, feed, columns=columns, label=label, shard=shard, settings=settings)
    leased = str(settings.get("policy")).lower() == "dynamic"
    if shard is None and not leased and jax.distributed.is_initialized():
        shard = jax.process_index(), jax.process_count()
    reader = made.open(shard=shard, epoch=first_epoch, position=position)
    try:
        for layout in reader._reader.layouts:
            if layout.dtype == "bytes":
                raise source.no_tensor(layout.name, "JAX has numbers only")
            if layout.sparse:
                raise InvalidArgumentError(
                    f"sparse names column {layout.name!r}, of which JAX gets dense arrays only: "
                    "leave it out of sparse"
                )
        return BatchIterator(made, reader, device, ahead)
    except BaseException:
        reader.close()
        raise


class BatchIterator(Iterator[Any], Closing):
    """Made by :func:`batches`. For one thread. Leaving the ``with`` block stops the reader."""

    def __init__(
        self,
        made: source.FeedSource,
        reader: BatchReader,
        device: jax.Device | jax.sharding.Sharding | None,
        ahead: int,
    ) -> None:
        """For :func:`batches`."""
        self._source = made
        self._reader = reader
        self._place = _Placement(device)
        self._ahead = ahead if self._place.is_copy else 0
        self._position = reader.position()
        # Elements on their way, each with the position behind it.
        self._coming: collections.deque[tuple[Any, bytes]] = collections.deque()

    def __iter__(self) -> BatchIterator:
        return self

    def __next__(self) -> Any:
        while len(self._coming) <= self._ahead:
            # What is there does not wait for what comes after it, which may take an hour.
            if self._coming and not self._reader._reader.ready():
                break
            batch = self._reader.next_native()
            if batch is None:
                break
            self._coming.append((self._element(batch), self._reader.position()))
        if not self._coming:
            self._position = self._reader.position()
            raise StopIteration
        element, self._position = self._coming.popleft()
        return element

    def position(self) -> bytes:
        """Where the row after the batch handed out last is, for ``batches(position=...)``."""
        return self._position

    @property
    def fingerprint(self) -> int:
        """Of the feed's content, for ``batches(fingerprint=...)`` in later epochs."""
        return self._reader.fingerprint

    def confirm(self, position: bytes | None = None) -> None:
        """As :meth:`flightbridge.batches.BatchReader.confirm`."""
        self._reader.confirm(self._position if position is None else position)

    def close(self) -> None:
        """Stops the reader; arrays handed out stay valid. Idempotent."""
        self._coming.clear()
        self._reader.close()

    def _leave(self) -> None:
        self.close()

    def _element(self, batch: Batch) -> Any:
        def convert(column: Column) -> Any:
            values = self._place(column.name, column)
            for splits in reversed(column.row_splits):
                values = Ragged(values, self._place(column.name, splits))
            return values

        return self._source.element(batch, convert)


class _Placement:
    """Makes an array of a native column, where it is wanted."""

    def __init__(self, device: jax.Device | jax.sharding.Sharding | None) -> None:
        self._device = device
        self._cpu = jax.local_devices(backend="cpu")[0]
        default = jax.config.jax_default_device or jax.local_devices()[0]
        target = default if device is None else device
        self._is_global = isinstance(target, jax.sharding.Sharding) and (
            not target.is_fully_addressable
        )
        if device is None and default != self._cpu:
            self._device = default
        elif device is None or device == self._cpu:
            self._device = None  # the slab is there already
        self.is_copy = self._device is not None

    def __call__(self, name: str, column: Column) -> jax.Array:
        if jax.config.jax_enable_x64 or column.dtype not in ("int64", "uint64", "float64"):
            array = jax.dlpack.from_dlpack(column)
        else:
            array = jax.dlpack.from_dlpack(_narrow(name, np.asarray(column)))
        if self._is_global:
            return jax.make_array_from_process_local_data(self._device, np.asarray(array))
        return array if self._device is None else jax.device_put(array, self._device)


def _narrow(name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Half as wide. Integers that do not fit are refused, which JAX would not do."""
    if values.dtype == np.float64:
        return values.astype(np.float32)
    narrow = np.int32 if values.dtype == np.int64 else np.uint32
    limits = np.iinfo(narrow)
    if values.size and (values.min() < limits.min or values.max() > limits.max):
        worst = values.max() if values.max() > limits.max else values.min()
        raise InvalidArgumentError(
            f"column {name!r} has {worst}, which is not a {np.dtype(narrow)}: set "
            "jax.config.update('jax_enable_x64', True), or write smaller numbers"
        )
    return values.astype(narrow)
