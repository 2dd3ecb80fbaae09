"""A loaded model bound to the columns of a schema: record batches in, predictions out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from flightbridge.assembling import RowAssembler
from flightbridge.batches import to_numpy
from flightbridge.errors import InvalidArgumentError, SchemaMismatchError
from flightbridge.scoring import outputs
from flightbridge.scoring.columns import columns_of, read_columns
from flightbridge.scoring.models import Model, first_line, import_tensorflow
from flightbridge.scoring.request import ScoreRequest
from flightbridge.tf._elements import Column, tensor_of


class Scorer:
    """Thread-safe.

    Attributes:
        schema: The columns that it reads; what :meth:`score` is given may have others.
        output_schema: Of what it returns.
        outputs: The column of each output.
        batch_size: Rows to give it at a time.
    """

    def __init__(self, model: Model, request: ScoreRequest, schema: pa.Schema) -> None:
        """Binds and traces; runs nothing.

        Args:
            model: From :func:`flightbridge.scoring.models.load`.
            request: What is wanted of it.
            schema: Of the record batches; columns that it does not read may have any type.

        Raises:
            SchemaMismatchError: An input has no column, or one that does not fit.
            UnsupportedTypeError: A column has no tensor form, or an output no column's type.
            InvalidArgumentError: An option does not fit its column, or an output is not there.
        """
        self._model = model
        self._tf = import_tensorflow()
        self.batch_size = request.batch_size
        wanted = columns_of(model, request, schema)
        names = [wanted] if isinstance(wanted, str) else list(wanted.values())
        reads = read_columns(names, schema, model.title)
        self.schema = pa.schema([schema.field(name) for name in reads])
        self._assembler = RowAssembler(self.schema, columns=reads, **request.options)
        specs = self._named(lambda leaf: Column.of(leaf).specs(None))
        for name in names:
            if name not in specs:
                raise SchemaMismatchError(
                    f"column {name!r} is not there: {', '.join(map(repr, sorted(specs)))} are (a "
                    "mask needs mask=[...], a part of a struct its name behind a dot)"
                )
        if not isinstance(wanted, str):
            model.check({name: (column, specs[column]) for name, column in wanted.items()})
        self._names = names
        self._call = self._trace(wanted, {name: specs[name] for name in names})
        self._outputs = self._choose(request)
        self.outputs = {name: column for name, column, _ in self._outputs}
        self.output_schema = pa.schema(
            [pa.field(column, kind) for _, column, kind in self._outputs]
        )

    def row_bytes(self) -> int:
        """Bytes of the dense parts of a row's tensors: what options alone can make large."""
        total = 0
        for leaf in self._assembler.layouts:
            values = 1
            for size in leaf.shape:
                values *= size
            total += values * (8 if leaf.levels == 0 else 1)
        return total

    def score(self, pieces: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
        """The predictions for all rows of ``pieces`` together, in their order.

        Args:
            pieces: Of :attr:`schema`, of at most :attr:`batch_size` rows.

        Raises:
            InvalidArgumentError: A null without ``fill`` or ``mask``, a value that an option does
                not allow, or the model failed; the message names column and row, or the model.
        """
        rows = sum(piece.num_rows for piece in pieces)
        leaves = {
            c.name: (
                tensor_of(to_numpy(c)),
                None if c.mask is None else tensor_of(to_numpy(c.mask)),
            )
            for c in self._assembler.native(pieces).columns
        }
        values = self._named(lambda leaf: leaves[leaf.name])
        try:
            made = self._call({name: values[name] for name in self._names})
        except self._tf.errors.OpError as error:
            raise InvalidArgumentError(
                f"{self._model.title} failed on a batch of {rows} rows: {first_line(error)}"
            ) from error
        arrays = [
            outputs.to_arrow(name, made[name], kind, rows, self._model.title)
            for name, _, kind in self._outputs
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.output_schema)

    def _named(self, get: Callable[[Any], tuple[Any, Any]]) -> dict[str, Any]:
        """Columns, masks and, behind dots, parts of structs, by name."""
        named = self._assembler.build(get)
        nested = [(name, value) for name, value in named.items() if isinstance(value, dict)]
        while nested:
            above, fields = nested.pop()
            for key, value in fields.items():
                named[f"{above}.{key}"] = value
                if isinstance(value, dict):
                    nested.append((f"{above}.{key}", value))
        return named

    def _trace(self, wanted: str | dict[str, str], specs: dict[str, Any]) -> Any:
        model = self._model

        def call(values: dict[str, Any]) -> dict[str, Any]:
            given = (
                values[wanted]
                if isinstance(wanted, str)
                else {name: values[column] for name, column in wanted.items()}
            )
            return outputs.flattened(model.call(given), model.output_names)

        function = self._tf.function(call, input_signature=[specs], autograph=False)
        try:
            self._specs = function.get_concrete_function().structured_outputs
        except Exception as error:
            shown = ", ".join(f"{name!r} {spec}" for name, spec in specs.items())
            raise SchemaMismatchError(
                f"{model.title} does not take the columns {shown}: {first_line(error)}; see "
                "columns=, dtypes=, vectors= and pad_to= for what a column becomes"
            ) from error
        return function

    def _choose(self, request: ScoreRequest) -> list[tuple[str, str, pa.DataType]]:
        """Output, column and type of each column that is made."""
        found, title = self._specs, self._model.title
        chosen = request.outputs or {name: name for name in found}
        for name in chosen:
            if name not in found:
                raise InvalidArgumentError(
                    f"outputs has {name!r}, which is no output of {title}: those are "
                    f"{', '.join(map(repr, found))}"
                )
        if request.schema is None:
            return [
                (name, column, outputs.type_of(name, found[name], title))
                for name, column in chosen.items()
            ]
        types = {field.name: field.type for field in request.schema}
        if request.outputs is None and len(chosen) == len(types) == 1:
            chosen = {next(iter(chosen)): next(iter(types))}
        by_column = {column: name for name, column in chosen.items()}
        for column in types:
            if column not in by_column:
                raise InvalidArgumentError(
                    f"schema has {column!r}, which is no output of {title}: those are "
                    f"{', '.join(map(repr, by_column))}; rename with outputs={{'output': 'column'}}"
                )
        return [(by_column[column], column, kind) for column, kind in types.items()]
