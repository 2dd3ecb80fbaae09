"""Readers that go on from positions: at the exact next row, as more or fewer, or not at all."""

import itertools
import random

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
from flightbridge import batches, errors

ROWS = 1_003
TABLE = pa.table({"id": np.arange(ROWS)})
SHUFFLES = {"plain": None, "window": 96, "full": True}


@pytest.fixture(scope="module")
def bridge():
    with flightbridge.Server() as server:
        with server.client() as client:
            client.write("f", TABLE, partition_rows=170)
            client.write("g", TABLE, partition_rows=170)
            client.write("kept_once", TABLE, partition_rows=170, retention="once")
        yield server


def ids(reader, count=None):
    return [int(i) for batch in itertools.islice(reader, count) for i in batch["id"]]


def open_shard(bridge, shard, count, position=None, *, feed="f", batch_size=10, **settings):
    return batches.read(
        bridge.uri, feed, batch_size=batch_size, shard=(shard, count), position=position, **settings
    )


def open_shards(bridge, count, positions=None, **settings):
    positions = positions or [None] * count
    return [open_shard(bridge, i, count, positions[i], **settings) for i in range(count)]


def read_some(readers, counts):
    """Reads that many batches of each; what came, and the positions behind it."""
    found, positions = [], []
    for reader, count in zip(readers, counts, strict=True):
        with reader:
            found += ids(reader, count)
            positions.append(reader.position())
    return found, positions


@pytest.mark.parametrize("policy", ["static", "static_partition"])
@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("shards", [(3, 5, 2), (4, 1, 3), (1, 6, 6)], ids=str)
def test_every_row_once_under_other_shards(bridge, policy, shuffle, shards):
    settings = {"policy": policy, "shuffle": SHUFFLES[shuffle], "seed": 8, "epochs": 2}
    chance = random.Random(str((policy, shuffle, shards)))
    found, positions = [], None
    for count, then in zip(shards, (*shards[1:], shards[0]), strict=True):
        readers = open_shards(bridge, count, positions, **settings)
        # Some get nowhere, some into the second epoch.
        some, positions = read_some(readers, [chance.randrange(0, 90 // count) for _ in readers])
        found += some
        positions = flightbridge.reshard(positions, count + 1)
        # Positions of positions, without a row read between.
        positions = flightbridge.reshard(positions, then)
    rest, _ = read_some(open_shards(bridge, shards[0], positions, **settings), [None] * shards[0])
    assert sorted(found + rest) == sorted(list(range(ROWS)) * 2)


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_a_resharded_reader_resumes_like_any_other(bridge, shuffle):
    settings = {"shuffle": SHUFFLES[shuffle], "seed": 8, "epochs": 2}
    _, positions = read_some(open_shards(bridge, 3, **settings), [9, 20, 0])
    positions = flightbridge.reshard(positions, 2)
    with open_shard(bridge, 1, 2, positions[1], **settings) as reader:
        whole = ids(reader)
        end = reader.position()
    for rows in (1, 7, 40, len(whole) - 502, len(whole) - 1):
        with open_shard(bridge, 1, 2, positions[1], batch_size=rows, **settings) as reader:
            before = ids(reader, 1)
            saved = reader.position()
        with open_shard(bridge, 1, 2, saved, batch_size=33, **settings) as reader:
            assert before + ids(reader) == whole, rows
            assert reader.position() == end


def test_resharded_shards_are_equal_where_steps_must_be(bridge):
    for uneven in ("pad", "drop"):
        settings = {"policy": "static_partition", "uneven": uneven}
        _, positions = read_some(open_shards(bridge, 3, **settings), [5, 5, 5])
        readers = open_shards(bridge, 4, flightbridge.reshard(positions, 4), **settings)
        sizes = set()
        for reader in readers:
            with reader:
                sizes.add(len(ids(reader)))
        assert len(sizes) == 1, uneven


def test_an_exhausted_read_stays_exhausted(bridge):
    _, positions = read_some(open_shards(bridge, 3), [None] * 3)
    rest, _ = read_some(open_shards(bridge, 5, flightbridge.reshard(positions, 5)), [None] * 5)
    assert rest == []
    # More epochs than before: they are read by the new shards.
    rest, _ = read_some(
        open_shards(bridge, 5, flightbridge.reshard(positions, 5), epochs=2), [None] * 5
    )
    assert sorted(rest) == list(range(ROWS))


def test_a_reader_knows_what_its_position_says(bridge):
    for settings in (
        {"shuffle": 64, "seed": 3, "shard": (1, 3), "uneven": "pad"},
        {"shard": (2, 4), "policy": "static_partition"},
        {"shuffle": True, "epochs": None},
    ):
        with batches.read(bridge.uri, "f", batch_size=10, **settings) as reader:
            ids(reader, 4)
            saved = reader.position()
            rest = ids(reader, 12)
        epochs = settings.get("epochs", 1)
        with batches.from_position(bridge.uri, saved, batch_size=10, epochs=epochs) as reader:
            assert ids(reader, 12) == rest
    with pytest.raises(errors.InvalidArgumentError, match="seed=4 is what the position says"):
        batches.from_position(bridge.uri, saved, batch_size=10, seed=4)
    with pytest.raises(errors.InvalidArgumentError, match="damaged"):
        batches.from_position(bridge.uri, b"\xff\xff", batch_size=10)


def test_a_leased_reader_goes_on_from_its_position(bridge):
    settings = {"policy": "dynamic", "group": "resume", "split_rows": 50}
    with batches.read(bridge.uri, "f", batch_size=10, **settings) as reader:
        before = ids(reader, 13)
        saved = reader.position()
    with batches.from_position(bridge.uri, saved, batch_size=10, group="resume") as reader:
        assert before + ids(reader) == list(range(ROWS))
    with pytest.raises(errors.InvalidArgumentError, match="policy='dynamic'"):
        flightbridge.reshard([saved], 2)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"feed": "missing"}, None),
        ({"feed": "kept_once"}, "feed=f"),
        ({"seed": 9}, "seed=8, this reader has seed=9"),
        ({"shard": (1, 3)}, "shard=0, this reader has shard=1"),
        ({"shard": (0, 2)}, "num_shards=3, this reader has num_shards=2.*flightbridge.reshard"),
        ({"shuffle": 97}, "shuffle_window=96"),
        ({"policy": "static_partition"}, "policy=static"),
        ({"uneven": "drop"}, "uneven=join"),
    ],
)
def test_restoring_elsewhere_is_refused_by_name(bridge, changed, word):
    settings = {"shuffle": 96, "seed": 8, "shard": (0, 3)}
    with batches.read(bridge.uri, "f", batch_size=10, **settings) as reader:
        ids(reader, 2)
        saved = reader.position()
    settings |= changed
    error = errors.PositionMismatchError if word else errors.FeedNotFoundError
    with pytest.raises(error, match=word):
        batches.read(
            bridge.uri, settings.pop("feed", "f"), batch_size=10, position=saved, **settings
        )


def test_another_schema_or_other_rows_are_refused_by_name(bridge):
    with bridge.client() as client:
        client.write("h", TABLE, mode="overwrite")
        with batches.read(bridge.uri, "h", batch_size=10) as reader:
            ids(reader, 2)
            saved = reader.position()
        for table, word in (
            (pa.table({"id": np.arange(ROWS)[::-1]}), "fingerprint"),
            (pa.table({"id": np.arange(ROWS), "x": np.arange(ROWS)}), "schema_hash"),
        ):
            client.write("h", table, mode="overwrite")
            with pytest.raises(errors.PositionMismatchError, match=word):
                batches.from_position(bridge.uri, saved, batch_size=10)
        client.write("h", TABLE, mode="overwrite")
        with batches.from_position(bridge.uri, saved, batch_size=10) as reader:
            assert ids(reader) == list(range(20, ROWS))


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_rows_are_released_across_a_change_of_shards(bridge, shuffle):
    with bridge.client() as client:
        client.write("kept", TABLE, partition_rows=170, retention="once")
        settings = {"feed": "kept", "shuffle": SHUFFLES[shuffle], "seed": 8}
        found, positions = read_some(open_shards(bridge, 3, **settings), [9, 12, 5])
        for position in positions:
            confirmed = client.confirm_position(position).confirmed_rows
        assert shuffle != "plain" or confirmed == 260
        positions = flightbridge.reshard(positions, 2)
        for reader in open_shards(bridge, 2, positions, **settings):
            with reader:
                found += ids(reader, 11)
                reader.confirm()
                found += ids(reader)  # all that is left is there
                reader.confirm()
        assert sorted(found) == list(range(ROWS))
        info = client.feed("kept")
        if shuffle != "window":
            assert info.confirmed_rows == ROWS
        else:
            # All but the windows that were cut: three by the change, one between the new readers.
            assert ROWS - 4 * 2 * 96 <= info.confirmed_rows < ROWS
        client.drop("kept")
