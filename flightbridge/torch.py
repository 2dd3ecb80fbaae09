"""Feeds in PyTorch: an ``IterableDataset`` of batches whose tensors lie in the reader's slabs.

    >>> train = flightbridge.torch.dataset(
    ...     uri, "ratings", batch_size=1024, label="rating", shuffle=True, seed=7
    ... )
    >>> for epoch in range(5):
    ...     train.set_epoch(epoch)
    ...     for features, label in train:
    ...         step(features, label.to("cuda", non_blocking=True))

Nothing is copied on the way from the slab to the tensor, and a slab that CUDA knows is pinned
already. The reader's threads read ahead without the GIL, so ``DataLoader`` workers are not needed;
where they are wanted (``batch_size=None``), each reads its own part of the rank's shard.
See "PyTorch" in docs/frameworks.md.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.utils.data

from flightbridge import batches, source
from flightbridge.errors import FailedPreconditionError, InvalidArgumentError

if TYPE_CHECKING:
    from flightbridge._native._batches import Column
    from flightbridge.server import Server

__all__ = ["FeedDataset", "FeedIterator", "Ragged", "dataset"]

_RAGGED = ("offsets", "nested")
_STRINGS = ("list", "error")
_STATE_FORMAT = 1


class Ragged(NamedTuple):
    """A column of lists: row ``i`` is ``values[offsets[i]:offsets[i + 1]]``.

    What ``torch.nn.functional.embedding_bag(..., include_last_offset=True)`` takes.
    """

    values: torch.Tensor | list[Any]
    offsets: torch.Tensor


def dataset(
    uri: str | Server,
    feed: str,
    *,
    batch_size: int,
    columns: source.Names = None,
    label: source.Names = None,
    shard: tuple[int, int] | None = None,
    ragged: str = "offsets",
    strings: str = "list",
    **settings: Any,
) -> FeedDataset:
    """An ``IterableDataset`` of whole batches of a committed feed.

    Checks its arguments and connects to nothing: a ``DataLoader`` may fork it, and each process
    connects for itself when it iterates. (A process that has connected or serves cannot fork
    workers that do: give ``DataLoader`` ``multiprocessing_context="spawn"`` there.)

    Args:
        uri: The server, ``grpc://HOST:PORT``, or a ``flightbridge.Server`` of this process.
        feed: The feed's name.
        batch_size: Rows of a batch. Give ``DataLoader`` ``batch_size=None``: batches are made.
        columns: None: all columns, as a dict. A list of names: a dict of these. One name: that
            tensor alone.
        label: Makes elements ``(features, label)``. One name: the label is a tensor. A list: a
            dict. Label columns are not among the features.
        shard: ``(i, n)``, part ``i`` of ``n``. None: this rank's part of ``torch.distributed``
            where that is initialised, else all rows. ``DataLoader`` workers share it out.
        ragged: What a column of lists becomes: ``"offsets"``, a :class:`Ragged` pair of tensors,
            or ``"nested"``, a ``torch.nested`` tensor of layout ``torch.jagged``.
        strings: What a column of strings or bytes becomes: ``"list"``, a list of ``str`` or
            ``bytes`` per batch, copied; or ``"error"``, to be told of a column that was forgotten.
        **settings: ``shuffle``, ``seed``, ``epochs``, ``drop_remainder``, ``policy``, ``token`` and
            every other of :func:`flightbridge.batches.read`.

    Returns:
        A dataset of elements of tensors ``[rows]`` (``[rows, k]`` for fixed-size lists) of the
        dtypes of :func:`flightbridge.batches.read`.

    Raises:
        InvalidArgumentError: An argument has a wrong type or is out of range.

        While iterating: ``FailedPreconditionError`` where the feed was written again since the
        dataset's first iterator; those of :func:`flightbridge.batches.read`;
        ``UnsupportedTypeError`` for a column of strings with ``strings="error"``.
    """
    for name, value, choices in (("ragged", ragged, _RAGGED), ("strings", strings, _STRINGS)):
        if value not in choices:
            raise InvalidArgumentError(f"{name}={value!r} is not one of {', '.join(choices)}")
    settings["batch_size"] = batch_size
    made = source.make(uri, feed, columns=columns, label=label, shard=shard, settings=settings)
    return FeedDataset(made, shard, ragged, strings)


class FeedDataset(torch.utils.data.IterableDataset):  # type: ignore[misc]
    """Made by :func:`dataset`. Every ``iter()`` is a reader of its own."""

    def __init__(
        self, made: source.FeedSource, shard: tuple[int, int] | None, ragged: str, strings: str
    ) -> None:
        """For :func:`dataset`."""
        self._source = made
        self._shard = shard
        self._ragged = ragged
        self._strings = strings
        # Shared with the workers of a DataLoader, those that persist included.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        # Of the feed as the first iterator found it: later ones read that or nothing. 0: none yet.
        self._fingerprint = torch.zeros((), dtype=torch.int64).share_memory_()
        self._start: dict[str, Any] | None = None
        self._last: FeedIterator | None = None

    def set_epoch(self, epoch: int) -> None:
        """The epoch with which iterators begin from now on, as of ``DistributedSampler``.

        Without it every iterator shuffles alike. With ``epochs=n`` an iterator goes on through
        ``n`` of them by itself.
        """
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise InvalidArgumentError(f"epoch={epoch!r} is not an epoch: give an int of 0 or more")
        self._epoch.fill_(epoch)

    def __iter__(self) -> FeedIterator:
        start, self._start = self._start, None
        iterator = FeedIterator(
            self._source,
            self._part(),
            int(self._epoch),
            lambda reader: _Converter(reader, self._ragged, self._strings),
            self._fingerprint,
        )
        if start is not None:
            iterator.load_state_dict(start)
        self._last = iterator
        return iterator

    def from_position(self, position: bytes) -> FeedDataset:
        """The same dataset, whose first iterator begins at :meth:`FeedIterator.position`."""
        other = copy.copy(self)
        other._last = None
        other._start = {"format": _STATE_FORMAT, "epoch": int(self._epoch), "position": position}
        return other

    def state_dict(self) -> dict[str, Any]:
        """That of the iterator made last in this process; where there is none, of the start."""
        if self._last is not None:
            return self._last.state_dict()
        return self._start or {
            "format": _STATE_FORMAT,
            "epoch": int(self._epoch),
            "position": None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next ``iter()`` continues there; those after it are as ever."""
        self._start = _checked(state)
        self._last = None

    def __getstate__(self) -> dict[str, Any]:
        # The process that is given this may be a worker, in which torch.distributed is not set up.
        return {**self.__dict__, "_last": None, "_shard": self._rank()}

    def _rank(self) -> tuple[int, int] | None:
        leased = str(self._source.settings.get("policy")).lower() == "dynamic"
        if self._shard is not None or leased:
            return self._shard
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return None

    def _part(self) -> tuple[int, int] | None:
        """The shard of this process: a worker's part of the rank's part."""
        shard = self._rank()
        worker = torch.utils.data.get_worker_info()
        policy = str(self._source.settings.get("policy")).lower()
        if worker is None or worker.num_workers == 1 or policy == "dynamic":
            return shard
        if policy == "off":
            raise InvalidArgumentError(
                f"policy='off' with num_workers={worker.num_workers}: each worker would give all "
                "rows; use num_workers=0, or policy='static'"
            )
        index, count = shard or (0, 1)
        return index * worker.num_workers + worker.id, count * worker.num_workers


class FeedIterator(Iterator[Any]):
    """Elements of a :class:`FeedDataset`. Connects at the first ``next()``. For one thread."""

    def __init__(
        self,
        made: source.FeedSource,
        shard: tuple[int, int] | None,
        epoch: int,
        converter: Callable[[batches.BatchReader], Callable[[Column], Any]],
        fingerprint: torch.Tensor,
    ) -> None:
        """For :class:`FeedDataset`."""
        self._source = made
        self._shard = shard
        self._epoch = epoch
        self._converter = converter
        self._fingerprint = fingerprint
        self._convert: Callable[[Column], Any] | None = None
        self._reader: batches.BatchReader | None = None
        self._position: bytes | None = None  # where to begin; once closed, where it ended
        self._ended = False

    def __iter__(self) -> FeedIterator:
        return self

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        reader = self._opened()
        assert self._convert is not None
        batch = reader.next_native()
        if batch is None:
            self.close()
            raise StopIteration
        return self._source.element(batch, self._convert)

    def position(self) -> bytes:
        """Where the next row is, for :meth:`FeedDataset.from_position`, here or elsewhere."""
        if self._ended and self._position is not None:
            return self._position
        return self._opened().position()

    def confirm(self, position: bytes | None = None) -> None:
        """As :meth:`flightbridge.batches.BatchReader.confirm`."""
        self._opened().confirm(position)

    def state_dict(self) -> dict[str, Any]:
        """A position as PyTorch's stateful loaders keep it. Makes no call to the server."""
        position = self._position if self._reader is None else self._reader.position()
        return {"format": _STATE_FORMAT, "epoch": self._epoch, "position": position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues at the exact next row of a :meth:`state_dict`.

        Raises:
            InvalidArgumentError: It is no state of this class.
            FailedPreconditionError: This iterator has begun.

            At the first ``next()``: ``PositionMismatchError``, naming what differs, where it is of
            another feed, shard or order.
        """
        if self._reader is not None or self._ended:
            raise FailedPreconditionError(
                "the iterator has begun: load the state before its first batch, or into the dataset"
            )
        self._epoch, self._position = _checked(state)["epoch"], state["position"]

    def close(self) -> None:
        """Stops the reader; tensors handed out stay valid. Idempotent."""
        self._ended = True
        reader, self._reader = self._reader, None
        if reader is not None:
            self._position = reader.position()
            self._know(reader)
            reader.close()

    def _opened(self) -> batches.BatchReader:
        if self._reader is None:
            if self._ended:
                raise FailedPreconditionError("the iterator is closed: make another")
            self._reader = self._source.open(
                shard=self._shard,
                epoch=self._epoch,
                position=self._position,
                fingerprint=int(self._fingerprint) % 2**64,
            )
            self._know(self._reader)
            self._convert = self._converter(self._reader)
        return self._reader

    def _know(self, reader: batches.BatchReader) -> None:
        """The feed that later iterators are to find; of one that grows, as far as it was read."""
        found = reader.fingerprint
        self._fingerprint.fill_(found - 2**64 if found >= 2**63 else found)


class _Converter:
    """From a native column to what the user asked for."""

    def __init__(self, reader: batches.BatchReader, ragged: str, strings: str) -> None:
        self._reader = reader
        self._nested = ragged == "nested"
        self._refuse_strings = strings == "error"

    def __call__(self, column: Column) -> Any:
        if column.dtype == "bytes":
            return self._strings(column)
        values = torch.from_dlpack(column)
        if column.indices is not None:
            places = torch.from_dlpack(column.indices).T
            size = (column.rows, *column.layout.shape)
            return torch.sparse_coo_tensor(places, values, size)
        if self._nested and len(column.row_splits) == 1:
            offsets = torch.from_dlpack(column.row_splits[0])
            return torch.nested.nested_tensor_from_jagged(values, offsets)
        for splits in reversed(column.row_splits):
            values = Ragged(values, torch.from_dlpack(splits))
        return values

    def _strings(self, column: Column) -> Any:
        if self._refuse_strings or (self._nested and column.row_splits):
            raise source.no_tensor(
                column.name, 'strings="list" and ragged="offsets" give lists of it'
            )
        found = batches.to_numpy(column)
        levels = []
        while isinstance(found, batches.Ragged):
            levels.append(torch.from_numpy(found.row_splits))
            found = found.values
        assert isinstance(found, batches.BytesArray)
        made: Any = found.to_arrow().to_pylist()
        if len(found.shape) > 1:
            made = found.to_numpy().tolist()
        for splits in reversed(levels):
            made = Ragged(made, splits)
        return made


def _checked(state: dict[str, Any]) -> dict[str, Any]:
    known = isinstance(state, dict) and state.get("format") == _STATE_FORMAT
    if not known or not {"epoch", "position"} <= set(state):
        raise InvalidArgumentError(
            f"{state!r} is not the state of a flightbridge.torch dataset, format {_STATE_FORMAT}"
        )
    return state
