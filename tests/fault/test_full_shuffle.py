"""Full shuffles that the server deals, in memory and to disk, under all that may happen to it.

The oracle is the same shuffle of the same rows by the other way: with a dictionary among the
columns no reader asks the server for an order, it picks row by row.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
from flightbridge import batches
from flightbridge.errors import FailedPreconditionError, FlightBridgeError, ResourceExhaustedError

from .server_node import Node

ROWS = 400_000
PARTITION = 90_000
SETTINGS = {"batch_size": 700, "shuffle": "full", "seed": 3}


def rows(*, codes: bool) -> pa.RecordBatchReader:
    """About 30 MB: numbers, some null, words and lists. With ``codes`` a dictionary, too."""

    def part(begin: int) -> pa.RecordBatch:
        ids = np.arange(begin, min(begin + 10_000, ROWS))
        columns = {
            "id": pa.array(ids),
            "half": pa.array(ids / 2, mask=ids % 5 == 0),
            "word": pa.array([f"word {i} {'x' * (i % 40)}" for i in ids]),
        }
        columns["list"] = pa.array([list(range(i, i + i % 4)) for i in ids.tolist()])
        if codes:
            columns["code"] = pa.DictionaryArray.from_arrays(ids % 2, ["even", "odd"])
        return pa.record_batch(columns)

    parts = [part(begin) for begin in range(0, ROWS, 10_000)]
    return pa.RecordBatchReader.from_batches(parts[0].schema, parts)


def check(batch) -> list[int]:
    """Its ids, where the other columns are of the same rows."""
    ids = batch["id"]
    assert np.array_equal(batch["half"], np.where(ids % 5 == 0, -1.0, ids / 2))
    assert all(batch["word"][i] == f"word {n} {'x' * (n % 40)}" for i, n in enumerate(ids[:9]))
    lists = batch["list"]
    assert np.array_equal(np.diff(lists.row_splits), ids % 4)
    within = np.arange(len(lists.values)) - np.repeat(lists.row_splits[:-1], ids % 4)
    assert np.array_equal(lists.values, np.repeat(ids, ids % 4) + within)
    return ids.tolist()


def read(uri, count=None, **settings):
    """The ids of the rows that come, and the position behind them."""
    settings = {
        "columns": ["id", "half", "word", "list"],
        "fill": {"half": -1.0},
        **SETTINGS,
        **settings,
    }
    with batches.read(uri, "f", **settings) as reader:
        found = [i for batch in itertools.islice(reader, count) for i in check(batch)]
        return found, reader.position()


@pytest.fixture(scope="module")
def picked():
    """The order of three epochs, out of picks."""
    with flightbridge.Server(memory_limit="512MiB") as server:
        with server.client() as client:
            client.write("f", rows(codes=True), partition_rows=PARTITION)
        settings = {"columns": ["id", "code"], "epochs": 3, **SETTINGS}
        with batches.read(server.uri, "f", **settings) as reader:
            found = [i for batch in reader for i in batch["id"].tolist()]
        assert server.status().dealt_bytes == 0
    return [found[i * ROWS : (i + 1) * ROWS] for i in range(3)]


@contextlib.contextmanager
def serving(place: str, tmp_path: Path, **settings):
    """A server with the feed, in memory or on a disk that is larger than its memory."""
    limit = {"memory": "256MiB", "disk": "8MiB"}[place]
    node = Node(tmp_path / "data", **{"memory_limit": limit, **settings})
    try:
        with flightbridge.connect(node.uri) as client:
            client.write("f", rows(codes=False), partition_rows=PARTITION)
        yield node
    finally:
        node.close()


@pytest.fixture(params=["memory", "disk"])
def node(request, tmp_path):
    with serving(request.param, tmp_path) as node:
        yield node


@pytest.mark.parametrize("transport", ["mapped", "channel", "flight"])
def test_the_order_is_that_of_picks(node, picked, transport):
    found, _ = read(node.uri, epochs=2, transport=transport)
    assert found == picked[0] + picked[1]
    with flightbridge.connect(node.uri) as client:
        assert client.status().dealt_bytes > ROWS * 16


def test_shards_share_one_order(node, picked):
    shares = [read(node.uri, epochs=1, shard=(i, 3))[0] for i in range(3)]
    assert list(itertools.chain.from_iterable(shares)) == picked[0]


def test_readers_go_on_at_the_exact_row(node, picked):
    chance = random.Random(1)
    for _ in range(3):
        at = chance.randrange(1, 2 * ROWS // 700)
        found, position = read(node.uri, at, epochs=3)
        rest, _ = read(node.uri, 40, epochs=3, position=position)
        whole = picked[0] + picked[1] + picked[2]
        # The last batch of an epoch is short.
        assert found == whole[: len(found)]
        assert rest == whole[len(found) : len(found) + len(rest)]


def test_a_killed_server_deals_anew_and_leaves_nothing(node, picked):
    with batches.read(
        node.uri, "f", columns=["id"], epochs=2, prefetch="1MiB", timeout_s=60, **SETTINGS
    ) as reader:
        found = [i for batch in itertools.islice(reader, 100) for i in batch["id"].tolist()]
        node.restart()
        found += [i for batch in reader for i in batch["id"].tolist()]
    assert found == picked[0] + picked[1]
    with flightbridge.connect(node.uri) as client:
        client.drop("f")
    node.restart()
    with flightbridge.connect(node.uri) as client:
        assert (client.status().dealt_bytes, client.status().disk_used_bytes) == (0, 0)
    left = [path.name for path in node.data_dir.rglob("*") if path.is_file()]
    assert not [name for name in left if "dealt" in name or name.endswith(".seg")], left


def test_a_feed_that_is_dropped_meanwhile_ends_its_readers(node):
    with batches.read(
        node.uri, "f", columns=["id"], epochs=50, prefetch="1MiB", **SETTINGS
    ) as reader:
        next(reader)
        with flightbridge.connect(node.uri) as client:
            client.drop("f")
        with pytest.raises(FlightBridgeError):
            for _ in reader:
                pass


def test_what_does_not_fit_the_disk_is_said(tmp_path):
    with (
        serving("disk", tmp_path, spill_limit="40MiB") as node,
        pytest.raises(ResourceExhaustedError, match="--spill-limit"),
    ):
        read(node.uri)


def test_columns_that_are_not_dealt_need_memory(tmp_path):
    with serving("disk", tmp_path) as node:
        with flightbridge.connect(node.uri) as client:
            client.write("f", rows(codes=True), mode="overwrite")
        with pytest.raises(FailedPreconditionError, match="column 'code'"):
            batches.read(node.uri, "f", **SETTINGS)
        found, _ = read(node.uri, 2)
        assert len(set(found)) == 1400
