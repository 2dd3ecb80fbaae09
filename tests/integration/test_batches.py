"""Feeds read through ``flightbridge.batches``, in this process and over Flight."""

import datetime
import decimal
import threading
from itertools import chain

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
from flightbridge import batches
from flightbridge.errors import (
    CancelledError,
    FailedPreconditionError,
    FeedNotFoundError,
    InvalidArgumentError,
    PositionMismatchError,
    ServerUnavailableError,
    UnsupportedTypeError,
)

ROWS = 1000


def make_table(rows=ROWS, first=0):
    ids = range(first, first + rows)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "small": pa.array([i % 100 for i in ids], pa.int8()),
            "half": pa.array(np.arange(rows, dtype=np.float16) % 7),
            "price": pa.array([i / 2 for i in ids], pa.float64()),
            "odd": pa.array([i % 2 == 1 for i in ids]),
            "day": pa.array([datetime.date(2020, 1, 1) + datetime.timedelta(i % 9) for i in ids]),
            "at": pa.array([i * 1000 for i in ids], pa.timestamp("us")),
            "name": pa.array([f"näme {i}" for i in ids]),
            "raw": pa.array([bytes([i % 256]) * (i % 4) for i in ids]),
            "kind": pa.array([f"k{i % 3}" for i in ids]).dictionary_encode(),
            "tags": pa.array([list(range(i % 4)) for i in ids], pa.list_(pa.int32())),
            "words": pa.array([[f"w{i}"] * (i % 3) for i in ids], pa.large_list(pa.string())),
            "pair": pa.array([[i, -i] for i in ids], pa.list_(pa.float32(), 2)),
        }
    )


@pytest.fixture(scope="module")
def bridge():
    with flightbridge.Server() as server:
        with flightbridge.connect(server.uri) as client:
            client.write("all", make_table(), partition_rows=130)
        yield server


@pytest.fixture(params=["local", "mapped", "channel", "flight"])
def transport(request):
    return request.param


def as_python(batch):
    def listed(value):
        if isinstance(value, batches.Ragged):
            values = listed(value.values)
            return [
                values[a:b] for a, b in zip(value.row_splits, value.row_splits[1:], strict=False)
            ]
        return list(value) if isinstance(value, batches.BytesArray) else value.tolist()

    return {name: listed(value) for name, value in batch.items()}


def expected_columns(table):
    days = table["day"].combine_chunks().cast(pa.int32())
    at = table["at"].combine_chunks().cast(pa.int64())
    plain = table.set_column(table.schema.get_field_index("day"), "day", days)
    plain = plain.set_column(table.schema.get_field_index("at"), "at", at)
    return plain.to_pydict()


def test_every_type_comes_back(bridge, transport):
    got = {}
    with batches.read(bridge.uri, "all", batch_size=64, transport=transport) as reader:
        for batch in reader:
            assert len(batch["id"]) <= 64
            for name, values in as_python(batch).items():
                got.setdefault(name, []).extend(values)
    assert got == expected_columns(make_table())


def test_shuffled_rows_stay_whole(bridge, transport):
    rows = {}
    with batches.read(
        bridge.uri, "all", batch_size=77, shuffle=256, seed=5, transport=transport
    ) as reader:
        for batch in map(as_python, reader):
            for values in zip(*batch.values(), strict=True):
                row = dict(zip(batch, values, strict=True))
                rows[row["id"]] = row
    want = expected_columns(make_table())
    assert len(rows) == ROWS
    assert all(rows[i] == {name: want[name][i] for name in want} for i in range(ROWS))
    assert list(rows) != sorted(rows)


def read_ids(bridge, **settings):
    with batches.read(bridge.uri, "all", columns=["id"], **settings) as reader:
        return [row for batch in reader for row in batch["id"].tolist()]


@pytest.mark.parametrize("shuffle", [None, 200, True])
def test_shards_share_the_rows(bridge, transport, shuffle):
    settings = {"batch_size": 50, "shuffle": shuffle, "transport": transport}
    parts = [read_ids(bridge, shard=(i, 3), **settings) for i in range(3)]
    assert sorted(chain.from_iterable(parts)) == list(range(ROWS))
    assert {len(part) for part in parts} <= {333, 334}


def test_the_order_is_the_same_whatever_the_way(bridge):
    settings = {"batch_size": 50, "shuffle": 300, "seed": 1, "epochs": 2}
    want = read_ids(bridge, **settings)
    for other in ({"transport": "flight"}, {"connections": 4, "transport": "flight", "slabs": 1}):
        assert read_ids(bridge, **settings, **other) == want


@pytest.mark.parametrize("shuffle", [None, 200, True])
@pytest.mark.parametrize("stop_after", [0, 1, 9, 24, 40])
def test_a_position_continues_at_the_exact_next_row(bridge, transport, shuffle, stop_after):
    settings = {
        "batch_size": 50,
        "columns": ["id"],
        "shuffle": shuffle,
        "epochs": 2,
        "transport": transport,
    }
    want = read_ids(bridge, **{k: v for k, v in settings.items() if k != "columns"})
    got = []
    with batches.read(bridge.uri, "all", **settings) as reader:
        for _ in range(stop_after):
            got += next(reader)["id"].tolist()
        saved = reader.position()
    assert len(saved) < 200
    with batches.read(bridge.uri, "all", **settings, position=saved) as reader:
        for batch in reader:
            got += batch["id"].tolist()
    assert got == want


def test_a_position_of_another_order_is_refused(bridge):
    with batches.read(bridge.uri, "all", batch_size=10, shuffle=True, seed=1) as reader:
        next(reader)
        saved = reader.position()
    with pytest.raises(PositionMismatchError, match="seed=1, this reader has seed=2"):
        batches.read(bridge.uri, "all", batch_size=10, shuffle=True, seed=2, position=saved)
    with pytest.raises(InvalidArgumentError, match="position"):
        batches.read(bridge.uri, "all", batch_size=10, position=b"\xff\xff")


def test_arrays_outlive_the_reader(bridge):
    before = batches.slab_stats()["slabs"]
    with batches.read(bridge.uri, "all", batch_size=100) as reader:
        first = next(reader)
        for _ in reader:
            pass
    assert first["id"].tolist() == list(range(100))
    assert first["name"].to_arrow().to_pylist() == [f"näme {i}" for i in range(100)]
    assert first["name"].to_numpy()[3] == "näme 3"
    assert first["name"][-1] == "näme 99"
    assert list(first["name"][2:4]) == ["näme 2", "näme 3"]
    del first, _
    assert batches.slab_stats()["slabs"] == before


def test_columns_share_memory_with_the_slab(bridge):
    with batches.read(bridge.uri, "all", batch_size=100, columns=["price", "pair"]) as reader:
        batch = reader.next_native()
    price, pair = batch.columns
    array = np.from_dlpack(price)
    assert np.shares_memory(array, np.asarray(price))
    assert array.tolist() == [i / 2 for i in range(100)]
    assert np.from_dlpack(pair).shape == (100, 2)
    assert memoryview(pair).shape == (100, 2)
    assert price.__dlpack_device__() == (1, 0)
    slabs = batches.slab_stats()["slabs"]
    with pytest.raises(BufferError, match="stream"):
        price.__dlpack__(stream=1)
    for version in (None, (1, 0), (0, 8)):
        capsule = price.__dlpack__(max_version=version)
        assert ("versioned" in repr(capsule)) == (version == (1, 0))
    # A capsule that nobody consumed keeps the batch, and gives it back.
    del batch, price, pair, array
    assert batches.slab_stats()["slabs"] == slabs
    del capsule, reader
    assert batches.slab_stats()["slabs"] < slabs


def test_nulls_name_their_column_and_row(bridge, transport):
    table = pa.table({"x": pa.array([1, 2, None, 4])})
    with flightbridge.connect(bridge.uri) as client:
        client.write("nulls", table, mode="overwrite")
    with batches.read(bridge.uri, "nulls", batch_size=1, transport=transport) as reader:
        assert [next(reader)["x"].tolist() for _ in range(2)] == [[1], [2]]
        with pytest.raises(InvalidArgumentError, match=r"column 'x' has a null at row 2.*fillna"):
            next(reader)


def test_what_cannot_be_read_is_refused_at_once(bridge):
    with flightbridge.connect(bridge.uri) as client:
        client.write("money", pa.table({"x": pa.array([decimal.Decimal("1.5")])}), mode="overwrite")
    with pytest.raises(UnsupportedTypeError, match=r"column 'x'.*decimal128.*dtypes=.*float64"):
        batches.read(bridge.uri, "money", batch_size=1)
    with pytest.raises(FeedNotFoundError, match="no column 'nope' in the feed; it has: id, small"):
        batches.read(bridge.uri, "all", batch_size=1, columns=["nope"])
    with pytest.raises(FeedNotFoundError, match="absent"):
        batches.read(bridge.uri, "absent", batch_size=1)
    with pytest.raises(ServerUnavailableError):
        batches.read("grpc://127.0.0.1:1", "all", batch_size=1, timeout_s=2)


def test_a_feed_replaced_while_it_is_read_is_never_mixed(bridge, transport):
    with flightbridge.connect(bridge.uri) as client:
        client.write("moving", make_table(500), mode="overwrite", partition_rows=50)
        reader = batches.read(
            bridge.uri,
            "moving",
            batch_size=10,
            columns=["id"],
            prefetch=1,
            slabs=1,
            transport=transport,
        )
        got = next(reader)["id"].tolist()
        client.write("moving", make_table(500, first=10_000), mode="overwrite")
    try:
        for batch in reader:
            got += batch["id"].tolist()
    except (FailedPreconditionError, FeedNotFoundError):
        pass
    assert got == list(range(len(got)))


def test_cancel_from_another_thread(bridge, transport):
    reader = batches.read(bridge.uri, "all", batch_size=10, epochs=None, transport=transport)
    next(reader)
    threading.Timer(0.1, reader.cancel).start()
    with pytest.raises(CancelledError):
        for _ in reader:
            pass
    reader.close()
    reader.close()
    with pytest.raises(FailedPreconditionError, match="closed"):
        next(reader)


def shards_of(bridge, n, **settings):
    ids, stats = [], []
    for i in range(n):
        with batches.read(bridge.uri, "all", batch_size=64, shard=(i, n), **settings) as reader:
            ids.append([row for batch in reader for row in batch["id"].tolist()])
            stats.append(reader.stats())
    return ids, stats


@pytest.mark.parametrize("policy", ["static", "static_partition"])
@pytest.mark.parametrize("shuffle", [None, 100])
def test_policies_share_the_feed_and_say_what_they_repeat_or_drop(
    bridge, transport, policy, shuffle
):
    settings = {"policy": policy, "shuffle": shuffle, "transport": transport}
    joined, _ = shards_of(bridge, 3, **settings)
    everything = sorted(row for part in joined for row in part)
    assert everything == sorted(read_ids(bridge, batch_size=100))
    sizes = sorted(len(part) for part in joined)
    padded, stats = shards_of(bridge, 3, **settings, uneven="pad")
    assert {len(part) for part in padded} == {sizes[-1]}
    assert [s["padded_rows"] for s in stats] == [sizes[-1] - len(part) for part in joined]
    assert {row for part in padded for row in part} == set(everything)
    dropped, stats = shards_of(bridge, 3, **settings, uneven="drop")
    assert {len(part) for part in dropped} == {sizes[0]}
    assert [s["dropped_rows"] for s in stats] == [len(part) - sizes[0] for part in joined]


def test_off_reads_everything_in_every_reader(bridge):
    everything = read_ids(bridge, batch_size=100)
    ids, stats = shards_of(bridge, 2, policy="off")
    assert ids == [everything, everything]
    assert [s["own_rows"] for s in stats] == [len(everything)] * 2


def test_a_position_of_another_policy_is_refused(bridge):
    with batches.read(bridge.uri, "all", batch_size=10, shard=(0, 3)) as reader:
        next(reader)
        saved = reader.position()
    for change, words in (
        ({"policy": "static_partition"}, "policy=static, this reader has policy=static_partition"),
        ({"uneven": "pad"}, "uneven=join, this reader has uneven=pad"),
    ):
        with pytest.raises(PositionMismatchError, match=words):
            batches.read(bridge.uri, "all", batch_size=10, shard=(0, 3), position=saved, **change)


@pytest.mark.parametrize("uneven", ["join", "pad", "drop"])
def test_more_shards_than_partitions_end_all_the_same(bridge, uneven):
    with flightbridge.connect(bridge.uri) as client:
        client.write("two", pa.table({"id": [1, 2, 3]}), mode="overwrite", partition_rows=2)
    sizes = []
    for i in range(5):
        with batches.read(
            bridge.uri, "two", batch_size=2, shard=(i, 5), policy="static_partition", uneven=uneven
        ) as reader:
            sizes.append(sum(len(batch["id"]) for batch in reader))
    assert sizes == {"join": [2, 1, 0, 0, 0], "pad": [2] * 5, "drop": [0] * 5}[uneven]
