"""Record batches in memory as the batches that a reader makes of a feed.

For rows that come from elsewhere, such as a DataFrame that is scored: their columns become exactly
the arrays that training read, by the same native code and the same options.

    >>> assembler = RowAssembler(batch.schema, fill={"age": -1}, pad_to={"pages": 32})
    >>> assembler([batch])["pages"].shape
    (1024, 32)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flightbridge import column_tree
from flightbridge._native import _batches
from flightbridge.batches import Element, to_numpy
from flightbridge.column_options import Fill, column_options
from flightbridge.errors import FlightBridgeError
from flightbridge.v1 import commands_pb2

if TYPE_CHECKING:
    from flightbridge.column_tree import Get


class RowAssembler:
    """Makes one batch of some record batches. Thread-safe.

    Attributes:
        schema: Of the record batches.
        layouts: The leaf columns that they become.
        tree: These by column: a leaf, or a dict of fields where the column is a struct or a map.
    """

    def __init__(
        self,
        schema: pa.Schema,
        *,
        columns: Iterable[str] | None = None,
        dtypes: Mapping[str, Any] | None = None,
        fill: Mapping[str, Fill] | None = None,
        mask: bool | Iterable[str] = False,
        pad_to: Mapping[str, int] | None = None,
        truncate: Iterable[str] = (),
        vectors: Mapping[str, int] | None = None,
        sparse: Iterable[str] = (),
        codes: Iterable[str] = (),
    ) -> None:
        """Args are those of :func:`flightbridge.batches.read`.

        Raises:
            InvalidArgumentError: An option is wrong or does not fit its column.
            FeedNotFoundError: There is no such column.
            UnsupportedTypeError: A column has a type without a tensor form.
        """
        options = column_options(
            dtypes=dtypes,
            fill=fill,
            mask=mask,
            pad_to=pad_to,
            truncate=truncate,
            vectors=vectors,
            sparse=sparse,
            codes=codes,
        )
        spec = commands_pb2.ReaderSpec(columns=columns, options=options)
        self.schema = schema
        self._native = _batches.Assembler(schema.serialize().to_pybytes(), spec.SerializeToString())
        self.layouts = self._native.layouts
        self.tree = column_tree.tree_of(self.layouts)
        # A mask that has another column's name is refused here, not at the first batch.
        self.build(lambda leaf: (leaf, leaf if leaf.mask else None))

    def build(self, get: Get) -> dict[str, Any]:
        """An element: columns by name, masks beside them; ``get`` is called for each layout."""
        names = {name: name for name in self.tree}
        element: dict[str, Any] = column_tree.build(names, self.tree, get)
        return element

    def native(self, batches: Sequence[pa.RecordBatch]) -> _batches.Batch:
        """All rows of ``batches`` as native leaf columns.

        Raises:
            InvalidArgumentError: A null, or a value that an option does not allow; the message
                names the column and the row, counted from 0 across the batches.
            SchemaMismatchError: A column is missing or has another type.
        """
        try:
            return self._native.assemble(batches)
        except FlightBridgeError as error:  # the core knows of rows in feeds only
            raise type(error)(str(error).replace("of the feed", "of these batches")) from None

    def __call__(self, batches: Sequence[pa.RecordBatch]) -> Element:
        """All rows of ``batches``, as :func:`flightbridge.batches.read` describes values."""
        leaves = {
            c.name: (to_numpy(c), None if c.mask is None else to_numpy(c.mask))
            for c in self.native(batches).columns
        }
        return self.build(lambda leaf: leaves[leaf.name])
