"""What is asked of a model: which columns it is given, and which of its outputs are wanted.

Small, picklable, and JSON on the wire, so that any Flight client can write one:

    {"columns": {"x": "height"}, "fill": {"height": 0}, "batch_size": 256}
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from flightbridge.column_options import column_options
from flightbridge.errors import InvalidArgumentError

DEFAULT_BATCH_SIZE = 1024
MAX_BATCH_SIZE = 1 << 24
OPTIONS = ("dtypes", "fill", "mask", "pad_to", "truncate", "vectors", "sparse", "codes")
_KEYS = ("columns", "outputs", "batch_size", "schema", *OPTIONS)

Columns = str | Iterable[str] | Mapping[str, str] | None


@dataclass(frozen=True)
class ScoreRequest:
    """Checked by :func:`make_request`; the model has not been looked at.

    Attributes:
        columns: None: each input gets the column of its name. A name: the model's only input. Input
            to column, where names differ.
        outputs: Output to column name; None: all outputs under their own names.
        batch_size: Rows that the model is given at a time, at most.
        schema: Types of the columns that the outputs become; None: as inferred.
        options: The options of columns that are set, with names for dtypes.
    """

    columns: str | dict[str, str] | None = None
    outputs: dict[str, str] | None = None
    batch_size: int = DEFAULT_BATCH_SIZE
    schema: pa.Schema | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """As JSON; equal requests are equal bytes."""
        said: dict[str, Any] = {"batch_size": self.batch_size, **self.options}
        if self.columns is not None:
            said["columns"] = self.columns
        if self.outputs is not None:
            said["outputs"] = self.outputs
        if self.schema is not None:
            said["schema"] = base64.b64encode(self.schema.serialize().to_pybytes()).decode()
        return json.dumps(said, sort_keys=True, default=_bytes_as_json).encode()


def make_request(
    *,
    columns: Columns = None,
    outputs: Iterable[str] | Mapping[str, str] | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    schema: pa.Schema | None = None,
    **options: Any,
) -> ScoreRequest:
    """A checked request; ``options`` are those of columns, see docs/tensorflow.md.

    Raises:
        InvalidArgumentError: A setting is unknown, has a wrong type or is out of range.
    """
    for name in options:
        if name not in OPTIONS:
            raise InvalidArgumentError(
                f"{name}={options[name]!r} is not known: the options of columns are "
                f"{', '.join(OPTIONS)}"
            )
    if (
        isinstance(batch_size, bool)
        or not isinstance(batch_size, int)
        or not 1 <= batch_size <= MAX_BATCH_SIZE
    ):
        raise InvalidArgumentError(
            f"batch_size={batch_size!r} is out of range: give rows from 1 to {MAX_BATCH_SIZE}"
        )
    return ScoreRequest(
        columns=columns
        if columns is None or isinstance(columns, str)
        else _map("columns", columns),
        outputs=None if outputs is None else _map("outputs", outputs),
        batch_size=batch_size,
        schema=schema,
        options=_normal(options),
    )


def decode(body: bytes) -> ScoreRequest:
    """The request in a command; an empty command asks for everything as it is.

    Raises:
        InvalidArgumentError: It is no such JSON.
    """
    if not body:
        return ScoreRequest()
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(
            f"the command ({len(body)} bytes) is not JSON: send an object with any of the keys "
            f"{', '.join(_KEYS)}, or nothing"
        ) from error
    if not isinstance(said, dict) or (unknown := sorted(set(said) - set(_KEYS))):
        what = f"has the key {unknown[0][:40]!r}" if isinstance(said, dict) else "is no JSON object"
        raise InvalidArgumentError(f"the command {what}: it may have {', '.join(_KEYS)}")
    if "schema" in said:
        said["schema"] = _decode_schema(said["schema"])
    if isinstance(said.get("fill"), dict):
        said["fill"] = {name: _bytes_of_json(value) for name, value in said["fill"].items()}
    return make_request(**said)


def _map(setting: str, names: Iterable[str] | Mapping[str, str]) -> dict[str, str]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidArgumentError(
            f"{setting}={names!r} is no list of names: give a list, or a dict from the model's "
            "names to those of columns"
        )
    pairs = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
    if not pairs:
        raise InvalidArgumentError(f"{setting}={names!r} names nothing: leave it out for all")
    for name in (*pairs, *pairs.values()):
        if not isinstance(name, str) or not name:
            raise InvalidArgumentError(f"{setting} has {name!r}: give names as str")
    return pairs


def _normal(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are set, of plain types, as :func:`column_options` understands them."""
    checked = column_options(**options)
    said: dict[str, Any] = {}
    if options.get("dtypes"):
        said["dtypes"] = {option.path: option.dtype for option in checked if option.dtype}
    for name in ("fill", "pad_to", "vectors"):
        if options.get(name):
            said[name] = dict(options[name])
    for name in ("mask", "truncate", "sparse", "codes"):
        value = options.get(name)
        if value is True or value:
            said[name] = True if value is True else list(value)
    for name, value in said.get("fill", {}).items():
        said["fill"][name] = value.item() if hasattr(value, "item") else value  # numpy's numbers
    return said


def _bytes_as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    raise InvalidArgumentError(f"{value!r} cannot be sent to a model server: give a plain value")


def _bytes_of_json(value: Any) -> Any:
    if not isinstance(value, dict) or set(value) != {"base64"}:
        return value
    try:
        return base64.b64decode(value["base64"], validate=True)
    except (ValueError, TypeError) as error:
        raise InvalidArgumentError("fill has a value that is not base64") from error


def _decode_schema(text: Any) -> pa.Schema:
    try:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text, validate=True)))
    except (ValueError, TypeError, OSError, pa.ArrowException) as error:
        raise InvalidArgumentError(
            "the command's schema is not an Arrow schema: send its IPC message in base64"
        ) from error
