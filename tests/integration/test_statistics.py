"""Client.statistics: tables of what the server says, against pyarrow's own."""

import datetime
import json
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import flightbridge
from flightbridge import batches, errors


@pytest.fixture
def bridge():
    with flightbridge.Server() as server:
        yield server


@pytest.fixture(params=["local", "flight"])
def client(bridge, request):
    with flightbridge.connect(bridge.uri, transport=request.param) as connected:
        yield connected


COLUMNS = {
    "bool": pa.array([True, None, False, True]),
    "i8": pa.array([1, None, -3, 7], pa.int8()),
    "u64": pa.array([2**64 - 1, None, 3, 7], pa.uint64()),
    "half": pa.array([1.5, None, -2, 7], pa.float16()),
    "float": pa.array([1.5, None, -2.25, 7], pa.float32()),
    "double": pa.array([1.5, None, -2.25, 7]),
    "day": pa.array([datetime.date(2024, 1, 2), None, datetime.date(1, 1, 1), None]),
    "ms": pa.array([86_400_000, None, -86_400_000, 0], pa.date64()),
    "time": pa.array([5, None, 3, 4], pa.time32("s")),
    "nanos": pa.array([5, None, 3, 4], pa.time64("ns")),
    "at": pa.array([5, None, -(2**62), 4], pa.timestamp("us", "UTC")),
    "ns": pa.array([5, None, -3, 4], pa.timestamp("ns")),
    "took": pa.array([5, None, -3, 4], pa.duration("ms")),
    "d128": pa.array([Decimal("1.25"), None, Decimal("-3.00"), Decimal(7)], pa.decimal128(22, 2)),
    "d256": pa.array([Decimal("1.25"), None, Decimal("-3.00"), Decimal(7)], pa.decimal256(60, 2)),
    "text": pa.array(["b", None, "", "ä€"]),
    "large": pa.array(["b", None, "", "ä€"], pa.large_string()),
    "bytes": pa.array([b"b", None, b"", b"\xff"]),
    "fixed": pa.array([b"bb", None, b"ab", b"zz"], pa.binary(2)),
}


def test_every_type_has_the_bounds_that_its_values_have(client):
    table = pa.table(COLUMNS)
    client.write("f", table, partition_rows=3)
    found = client.statistics("f")
    assert list(found) == table.column_names
    for name, column in COLUMNS.items():
        stats = found[name]
        parts = [column.slice(0, 3), column.slice(3)]
        assert stats["partition"].to_pylist() == [0, 1]
        assert stats["rows"].to_pylist() == [3, 1]
        assert stats["nulls"].to_pylist() == [part.null_count for part in parts]
        assert stats["nans"].to_pylist() == [0, 0]
        for side in ("min", "max"):
            values = stats[side].combine_chunks()
            expected = [sorted_values(part)[0 if side == "min" else -1] for part in parts]
            assert values.cast(column.type).equals(pa.array(expected, column.type)), name
            exact = [value is not None for value in expected]
            assert stats[f"{side}_exact"].to_pylist() == exact


def sorted_values(array):
    """As scalars that compare; None alone where there is no value."""
    array = array.drop_null()
    if len(array) == 0:
        return [None]
    order = sorted(range(len(array)), key=lambda i: key(array[i]))
    return [array[i] for i in order]


def key(scalar):
    if pa.types.is_temporal(scalar.type):
        return scalar.value
    return scalar.as_py()


def test_nans_and_nested_columns(client):
    nan = float("nan")
    table = pa.table(
        {
            "x": [nan, 3.0, None, nan],
            "all": [nan, nan, None, nan],
            "list": [[1], None, [], None],
            "code": pa.array(["a", None, "b", "a"]).dictionary_encode(),
        }
    )
    client.write("f", table)
    found = {name: stats.to_pylist()[0] for name, stats in client.statistics("f").items()}
    nothing = {"min": None, "max": None, "min_exact": False, "max_exact": False}
    counts = {"partition": 0, "rows": 4}
    exact = {"min": 3.0, "max": 3.0, "min_exact": True, "max_exact": True}
    assert found["x"] == {**counts, "nulls": 1, "nans": 2, **exact}
    assert found["all"] == {**counts, "nulls": 1, "nans": 3, **nothing}
    assert found["list"] == {**counts, "nulls": 2, "nans": 0, **nothing}
    assert found["code"] == {**counts, "nulls": 1, "nans": 0, **nothing}


def test_long_texts_are_cut(client):
    client.write("f", pa.table({"t": ["a" * 100, "b" * 64], "y": [b"\xff" * 100, b"\x01"]}))
    found = client.statistics("f")
    text, data = found["t"].to_pylist()[0], found["y"].to_pylist()[0]
    assert (text["min"], text["min_exact"]) == ("a" * 64, False)
    assert (text["max"], text["max_exact"]) == ("b" * 64, True)
    assert (data["min"], data["min_exact"]) == (b"\x01", True)
    assert (data["max"], data["max_exact"]) == (None, False), "no short bytes are above it"


def test_random_columns_in_many_batches(client):
    rng = np.random.default_rng(3)
    values = rng.integers(-(2**40), 2**40, 50_000)
    table = pa.table({"x": pa.array(values, mask=rng.random(50_000) < 0.2)})
    batches = table.to_batches(max_chunksize=777)
    client.write("f", pa.Table.from_batches(batches), partition_rows=12_345)
    stats = client.statistics("f", ["x"])["x"]
    for row, begin in zip(stats.to_pylist(), range(0, 50_000, 12_345), strict=True):
        part = table["x"].slice(begin, 12_345)
        assert row["nulls"] == part.null_count
        assert {"min": row["min"], "max": row["max"]} == pc.min_max(part).as_py()


def test_empty_partitions_and_feeds(client):
    client.write("f", pa.table({"x": pa.array([], pa.int32())}))
    assert client.statistics("f")["x"].to_pylist() in (
        [],
        [
            {
                "partition": 0, "rows": 0, "nulls": 0, "nans": 0, "min": None, "max": None,
                "min_exact": False, "max_exact": False,
            }
        ],
    )  # fmt: skip


def test_what_is_not_there_is_named(client):
    client.write("f", pa.table({"x": [1]}))
    with pytest.raises(errors.FeedNotFoundError, match="'g'"):
        client.statistics("g")
    with pytest.raises(errors.FeedNotFoundError, match="no column 'y'"):
        client.statistics("f", ["y"])
    with pytest.raises(errors.InvalidArgumentError, match="columns="):
        client.statistics("f", [])
    with pytest.raises(errors.InvalidArgumentError, match="more than once"):
        client.statistics("f", ["x", "x"])


def test_servers_answer_for_their_parts(bridge):
    with (
        flightbridge.Server() as second,
        flightbridge.connect([bridge.uri, second.uri]) as client,
    ):
        client.write("f", pa.table({"x": range(2_000)}), partition_rows=100)
        assert len({part.server for part in client.feed("f").partitions}) == 2
        stats = client.statistics("f")["x"]
        assert stats["partition"].to_pylist() == list(range(20))
        assert stats["min"].to_pylist() == list(range(0, 2_000, 100))
        client.drop("f")


def test_the_command_shows_them(bridge):
    table = pa.table({**COLUMNS, "long": ["x" * 70, None, None, None], "odd": [[1], None, [], []]})
    with flightbridge.connect(bridge.uri) as client:
        client.write("f", table)

    def stats(*args):
        command = [sys.executable, "-m", "flightbridge.cli", "feeds", "stats", "f", *args]
        done = subprocess.run(
            [*command, "--server", bridge.uri], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    rows = {row["column"]: row for row in json.loads(stats("--json"))}
    assert list(rows) == table.column_names
    assert (rows["i8"]["nulls"], rows["i8"]["min"], rows["i8"]["max"]) == (1, -3, 7)
    assert rows["day"]["min"] == "0001-01-01"
    assert rows["bytes"]["max"] == "ff"
    shown = stats("--column", "i8", "--column", "long", "--column", "odd").splitlines()
    assert shown[1].split() == ["i8", "0", "4", "1", "0", "-3", "7"]
    assert shown[2].split() == ["long", "0", "4", "3", "0", "x" * 64 + "...", "x" * 63 + "y..."]
    assert shown[3].split() == ["odd", "0", "4", "1", "0", "-", "-"]


def test_released_partitions_are_left_out(bridge):
    with flightbridge.connect(bridge.uri) as client:
        client.write("f", pa.table({"x": range(10)}), partition_rows=5, retention="once")
        with batches.read(bridge.uri, "f", batch_size=5, epochs=1) as reader:
            next(iter(reader))
            client.confirm_position(reader.position())
        assert client.statistics("f")["x"]["partition"].to_pylist() == [1]
