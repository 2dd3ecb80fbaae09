"""``flightbridge.read``: whole feeds as Arrow, pandas and numpy."""

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
from flightbridge.errors import (
    FeedNotFoundError,
    InvalidArgumentError,
    ServerUnavailableError,
    UnsupportedTypeError,
)

BIG = 2**53 + 1  # no double is this


@pytest.fixture(scope="module")
def table():
    return pa.table(
        {
            "id": pa.array([1, 2, BIG, 4], pa.int64()),
            "seen": pa.array([None, 7, BIG, 0], pa.int64()),
            "odd": pa.array([True, None, False, True]),
            "small": pa.array([1, None, 3, 4], pa.uint8()),
            "price": pa.array([0.5, 1.5, float("inf"), 2.5]),
            "name": pa.array(["a", "", "ä", "d"]),
            "kind": pa.array(["x", "y", "x", "x"]).dictionary_encode(),
            "at": pa.array([datetime.datetime(2020, 1, 1, 0, 0, i) for i in range(4)]),
            "pair": pa.array([[1, 2], [3, 4], [5, 6], [7, 8]], pa.list_(pa.int16(), 2)),
            "tags": pa.array([[1], [], [2, 3], [4]], pa.list_(pa.int32())),
            "cost": pa.array([decimal.Decimal("1.10")] * 4, pa.decimal128(9, 2)),
        }
    )


@pytest.fixture(scope="module")
def bridge(table):
    with flightbridge.Server() as server:
        with server.client() as client:
            client.write("all", table, partition_rows=3)
        yield server


def test_arrow_is_what_was_written(bridge, table):
    assert flightbridge.read(bridge, "all").equals(table)
    some = flightbridge.read(bridge.uri, "all", columns=["name", "id"], partitions=[1])
    assert some.equals(table.select(["name", "id"]).slice(3))


def test_batches_come_one_by_one(bridge, table):
    batches = flightbridge.read(bridge, "all", as_="batches")
    assert next(batches).num_rows == 3
    assert [batch.num_rows for batch in batches] == [1]


def test_pandas_keeps_every_number(bridge, table):
    frame = flightbridge.read(bridge, "all", as_="pandas")
    assert list(frame.columns) == table.schema.names
    assert frame["id"].dtype == np.int64  # without nulls: numpy's own dtypes
    assert str(frame["seen"].dtype) == "Int64" and frame["seen"][2] == BIG
    assert str(frame["odd"].dtype) == "boolean" and str(frame["small"].dtype) == "UInt8"
    again = pa.Table.from_pandas(frame[["id", "seen", "odd", "small", "name"]])
    assert again.to_pydict() == table.select(again.schema.names).to_pydict()


def test_numpy_arrays(bridge, table):
    names = ["id", "name", "kind", "at", "pair"]
    arrays = flightbridge.read(bridge, "all", as_="numpy", columns=names)
    assert list(arrays) == names
    assert arrays["id"].tolist() == [1, 2, BIG, 4] and arrays["id"].dtype == np.int64
    assert arrays["name"].tolist() == ["a", "", "ä", "d"]
    assert arrays["kind"].tolist() == ["x", "y", "x", "x"]
    assert arrays["at"].dtype == "datetime64[us]"
    assert arrays["pair"].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert arrays["pair"].dtype == np.int16


def test_what_numpy_cannot_hold_is_refused_by_name(bridge):
    with pytest.raises(InvalidArgumentError, match="'seen' has 1 nulls"):
        flightbridge.read(bridge, "all", as_="numpy", columns=["id", "seen"])
    with pytest.raises(UnsupportedTypeError, match=r"'tags'.*list"):
        flightbridge.read(bridge, "all", as_="numpy", columns=["tags"])


def test_mistakes_are_named(bridge):
    with pytest.raises(InvalidArgumentError, match="as_='polars'"):
        flightbridge.read(bridge, "all", as_="polars")
    with pytest.raises(FeedNotFoundError, match="price2"):
        flightbridge.read(bridge, "all", columns=["price2"])
    with pytest.raises(ServerUnavailableError):
        flightbridge.read("grpc://127.0.0.1:1", "all", timeout_s=5)
