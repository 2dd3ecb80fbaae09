"""Which columns a model is given."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from flightbridge.column_tree import MASK_SUFFIX
from flightbridge.errors import InvalidArgumentError, SchemaMismatchError
from flightbridge.scoring.models import Model
from flightbridge.scoring.request import ScoreRequest


def read_columns(names: Sequence[str], schema: pa.Schema, title: str) -> list[str]:
    """The columns that hold ``names``, which may be masks or parts of structs; each once.

    Raises:
        SchemaMismatchError: There is no such column.
    """
    known, found = set(schema.names), []
    for name in names:
        base = name if name in known else name.split(".", 1)[0]
        if base not in known:
            base = base.removesuffix(MASK_SUFFIX)
        if base not in known:
            raise SchemaMismatchError(
                f"column {name!r}, for {title}, is not among the columns "
                f"{', '.join(map(repr, schema.names))}: name another, columns={{'input': 'column'}}"
            )
        if base not in found:
            found.append(base)
    return found


def columns_of(model: Model, request: ScoreRequest, schema: pa.Schema) -> str | dict[str, str]:
    """Input to column; or, for a model without named inputs, one column alone.

    Raises:
        InvalidArgumentError: ``columns`` does not fit the model's inputs.
    """
    columns, inputs = request.columns, model.inputs
    if inputs is None:
        if columns is None:
            raise InvalidArgumentError(
                f"{model.title} does not say what it takes: name its columns, columns=[...] for a "
                "dict of tensors or columns='name' for one"
            )
        return columns
    if isinstance(columns, str):
        if len(inputs) != 1:
            raise InvalidArgumentError(
                f"columns={columns!r} is one column, and {model.title} has the inputs "
                f"{', '.join(map(repr, inputs))}: give a dict, columns={{'input': 'column'}}"
            )
        return {inputs[0]: columns}
    if columns is not None:
        if unknown := [name for name in columns if name not in inputs]:
            raise InvalidArgumentError(
                f"columns has {unknown[0]!r}, which is no input of {model.title}: those are "
                f"{', '.join(map(repr, inputs))}"
            )
        return columns
    # What is missing may be a part of a ragged tensor: the model knows.
    there = set(schema.names)
    return {
        name: name
        for name in inputs
        if name in there or name.removesuffix(MASK_SUFFIX) in there or name.split(".")[0] in there
    }
