"""What the module of a framework stands on: a feed, what of it is read, and into which structure.

`flightbridge.torch` and `flightbridge.jax` are this plus a function that makes a tensor of a native
column; docs/frameworks.md shows a whole one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flightbridge import column_tree, selection
from flightbridge.errors import InvalidArgumentError, UnsupportedTypeError
from flightbridge.reader_spec import make_spec

if TYPE_CHECKING:
    from flightbridge._native._batches import Batch, Column
    from flightbridge.batches import BatchReader
    from flightbridge.server import Server

Names = str | Iterable[str] | None


@dataclasses.dataclass(frozen=True)
class FeedSource:
    """A feed and how it is read.

    Connects to nothing before :meth:`open`, so it may be pickled and forked.

    Attributes:
        uri: The server.
        feed: The feed's name.
        columns: ``None``: all, as a dict; a tuple of names: a dict; one name: the bare tensor.
        label: Makes elements ``(features, label)``; one name, or a tuple of names for a dict.
        settings: The others of :func:`flightbridge.batches.read`.
    """

    uri: str
    feed: str
    columns: str | tuple[str, ...] | None
    label: str | tuple[str, ...] | None
    settings: Mapping[str, Any]

    def open(
        self,
        *,
        shard: tuple[int, int] | None = None,
        epoch: int = 0,
        position: bytes | None = None,
        fingerprint: int = 0,
    ) -> BatchReader:
        """A reader, from ``position`` or else from the beginning of ``epoch``.

        ``fingerprint`` is that of the feed as an earlier reader found it, 0 for the first.

        Raises:
            FailedPreconditionError: The feed was written again since.
            FeedNotFoundError: There is no such feed, or no such column.
            UnsupportedTypeError: A column has a type without a tensor form.
            PositionMismatchError: ``position`` is of another feed, shard or order.
            ServerUnavailableError: No server answers at ``uri``.
        """
        from flightbridge.batches import open_reader

        spec = make_spec(
            self.uri, self.feed, columns=self._read(), shard=shard, **dict(self.settings)
        )
        spec.first_epoch = epoch
        spec.fingerprint = spec.fingerprint or fingerprint
        return open_reader(spec, position)

    def element(self, batch: Batch, convert: Callable[[Column], Any]) -> Any:
        """The batch in the structure of ``columns`` and ``label``, each leaf converted.

        Structs and maps are dicts, masks lie beside their columns.
        """
        made = {
            column.name: (convert(column), None if column.mask is None else convert(column.mask))
            for column in batch.columns
        }
        tree = column_tree.tree_of(column.layout for column in batch.columns)
        structure = selection.structure(list(tree), self.columns, self.label)
        return column_tree.build(structure, tree, lambda layout: made[layout.name])

    def _read(self) -> list[str] | None:
        if self.columns is None:
            return None
        names = _listed(self.columns)
        return names + [name for name in _listed(self.label) if name not in names]


def make(
    uri: str | Server,
    feed: str,
    *,
    columns: Names,
    label: Names,
    shard: tuple[int, int] | None,
    settings: Mapping[str, Any],
) -> FeedSource:
    """A checked :class:`FeedSource`.

    Raises:
        InvalidArgumentError: A setting is not known, has a wrong type or is out of range.
    """
    source = FeedSource(
        uri if isinstance(uri, str) else uri.uri,
        feed,
        _frozen("columns", columns),
        _frozen("label", label),
        dict(settings),
    )
    read = source._read()
    selection.structure(read if read is not None else ["\0any"], source.columns, source.label)
    try:
        make_spec(source.uri, feed, columns=read, shard=shard, **dict(settings))
    except TypeError as error:
        # A setting that does not exist: the call above is the only one whose names are the user's.
        raise InvalidArgumentError(
            f"{error}: see flightbridge.batches.read for those there are"
        ) from None
    return source


def no_tensor(column: str, remedy: str) -> UnsupportedTypeError:
    """Of a column of strings or bytes, for a framework that has no tensors of them."""
    return UnsupportedTypeError(
        f"column {column!r} holds strings or bytes, of which there are no tensors here: "
        f"{remedy}; or encode it before writing, or leave it out with columns=[...]"
    )


def _frozen(setting: str, names: Names) -> str | tuple[str, ...] | None:
    if names is None or isinstance(names, str):
        return names
    try:
        return tuple(names)
    except TypeError:
        raise InvalidArgumentError(
            f"{setting}={names!r} is not a column: give a name or a list of names"
        ) from None


def _listed(names: str | tuple[str, ...] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())
