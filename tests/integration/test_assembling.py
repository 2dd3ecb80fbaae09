"""Rows in memory become what a reader makes of the same rows of a feed."""

import gc
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from flightbridge import batches
from flightbridge.assembling import RowAssembler
from flightbridge.errors import (
    FeedNotFoundError,
    InvalidArgumentError,
    SchemaMismatchError,
    UnsupportedTypeError,
)

ROWS = 97
VECTOR = pa.struct(
    [
        pa.field("type", pa.int8()),
        pa.field("size", pa.int32()),
        pa.field("indices", pa.list_(pa.int32())),
        pa.field("values", pa.list_(pa.float64())),
    ]
)


def table() -> pa.Table:
    n = range(ROWS)
    text = [None if i % 5 == 0 else f"ü{i}" * (i % 4) for i in n]
    dense = {"type": 1, "size": None, "indices": None, "values": [1.0, 2.0, 3.0]}
    sparse = {"type": 0, "size": 3, "indices": [2], "values": [7.0]}
    return pa.table(
        {
            "int": pa.array(n, pa.int64()),
            "null_int": pa.array([None if i % 3 == 0 else i for i in n], pa.int32()),
            "bool": pa.array([i % 2 == 0 for i in n]),
            "half": pa.array(np.arange(ROWS, dtype=np.float16)),
            "text": pa.array(text),
            "bytes": pa.array([b"\0\xff" * (i % 3) for i in n]),
            "decimal": pa.array([Decimal(i) / 4 for i in n], pa.decimal128(10, 2)),
            "time": pa.array(n, pa.timestamp("us", "UTC")),
            "code": pa.array(["ab"[i % 2] for i in n]).dictionary_encode(),
            "short": pa.array([list(range(i % 4)) for i in n], pa.list_(pa.int16())),
            "nested": pa.array([[[i] * (i % 3), []] for i in n], pa.list_(pa.list_(pa.int64()))),
            "pair": pa.array([[i, -i] for i in n], pa.list_(pa.float32(), 2)),
            "struct": pa.array([{"a": i, "b": {"c": str(i)}} for i in n]),
            "map": pa.array([[(str(i), i)] for i in n], pa.map_(pa.string(), pa.int64())),
            "vector": pa.array([sparse if i % 2 else dense for i in n], VECTOR),
        }
    )


OPTIONS = {
    "dtypes": {"decimal": "float64", "time": "float64", "struct.a": "int16"},
    "fill": {"null_int": -1, "text": "none"},
    "mask": ["null_int", "short"],
    "pad_to": {"short": 2},
    "truncate": ["short"],
    "vectors": {"vector": 3},
    "codes": ["code"],
}


def plain(value):
    """With nothing in it but lists, numbers and text, and the dtypes."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, batches.Ragged):
        return [plain(value.values), value.row_splits.tolist()]
    if isinstance(value, batches.Sparse):
        return [value.indices.tolist(), plain(value.values), value.dense_shape]
    if isinstance(value, batches.BytesArray):
        return [list(value), value.shape, value.is_text]
    return [value.tolist(), str(value.dtype)]


@pytest.mark.parametrize("sparse", [[], ["vector"]], ids=["dense", "sparse"])
def test_rows_become_what_a_reader_makes_of_them(bridge, client, sparse):
    client.write("types", table(), partition_rows=40)
    settings = {**OPTIONS, "sparse": sparse}
    with batches.read(bridge.uri, "types", batch_size=ROWS, **settings) as reader:
        read = next(reader)
    pieces = table().to_batches(max_chunksize=23)
    assert len(pieces) > 3
    assert plain(RowAssembler(table().schema, **settings)(pieces)) == plain(read)


def test_columns_are_chosen_by_name():
    assembled = RowAssembler(table().schema, columns=["text", "int"], fill={"text": ""})
    assert list(assembled(table().to_batches())) == ["text", "int"]
    with pytest.raises(FeedNotFoundError, match="'nope'"):
        RowAssembler(table().schema, columns=["nope"])


def test_arrays_outlive_batches_and_assembler():
    piece = pa.record_batch({"x": pa.array(range(1000), pa.int64())})
    assembled = RowAssembler(piece.schema)
    array = assembled([piece])["x"]
    del piece, assembled
    gc.collect()
    assert array.tolist() == list(range(1000))


def test_a_null_is_an_error_that_names_column_and_row():
    piece = pa.record_batch({"x": pa.array([1, None, 3])})
    with pytest.raises(InvalidArgumentError, match=r"'x' has a null at row 4 of these batches"):
        RowAssembler(piece.schema)([piece.slice(2), piece.slice(0, 1), piece.slice(2), piece])


def test_what_does_not_fit_is_refused():
    with pytest.raises(UnsupportedTypeError, match=r"'d'.*dtypes"):
        RowAssembler(pa.schema([("d", pa.decimal128(5, 2))]))
    with pytest.raises(InvalidArgumentError, match="pad_to"):
        RowAssembler(pa.schema([("x", pa.int64())]), pad_to={"x": 3})
    assembled = RowAssembler(pa.schema([("x", pa.int64())]))
    with pytest.raises(SchemaMismatchError, match="'x'"):
        assembled([pa.record_batch({"x": pa.array([1.5])})])
    with pytest.raises(SchemaMismatchError, match="'x'"):
        assembled([pa.record_batch({"y": pa.array([1])})])
    with pytest.raises(AttributeError):
        assembled([object()])


def test_no_rows_are_a_batch():
    assembled = RowAssembler(pa.schema([("x", pa.int64()), ("l", pa.list_(pa.string()))]))
    element = assembled([])
    assert element["x"].shape == (0,)
    assert element["l"].row_splits.tolist() == [0]
