"""Readers of feeds that grow: followed to their end, or read as far as they are."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from itertools import chain, islice

import pyarrow as pa
import pytest

import flightbridge
from flightbridge import batches, errors

SCHEMA = pa.schema([("x", pa.int64())])


@pytest.fixture
def bridge() -> Iterator[flightbridge.Server]:
    with flightbridge.Server(memory_limit="128MiB") as server:
        yield server


@pytest.fixture
def client(bridge) -> Iterator[flightbridge.Client]:
    with flightbridge.connect(bridge.uri) as client:
        yield client


def add(client, rows: range, parts: int = 1, feed: str = "f", **settings) -> None:
    """One generation with these rows in so many partitions."""
    job = f"{feed}-{rows.start}-{rows.stop}-{random.random()}"
    client.begin_write(feed, job, "stream", SCHEMA, **settings)
    refs = []
    for p in range(parts):
        part = rows[len(rows) * p // parts : len(rows) * (p + 1) // parts]
        with client.open_put(feed, job, p, 0, SCHEMA) as put:
            put.write(pa.record_batch([pa.array(part, pa.int64())], schema=SCHEMA))
            refs.append(put.finish())
    client.commit_write(feed, job, refs)


def follow(bridge, position: bytes | None = None, **settings):
    settings = {"batch_size": 7, "transport": "flight", "follow_timeout_s": 60} | settings
    return batches.read(bridge.uri, "f", follow=True, position=position, **settings)


def test_a_follower_reads_every_generation_and_ends_with_the_feed(bridge, client):
    client.begin_write("f", "first", "stream", SCHEMA)  # the feed is there, and empty

    def write() -> None:
        for g in range(5):
            add(client, range(g * 10, g * 10 + 10), parts=2)
            time.sleep(0.05)
        client.end_feed("f")

    writer = threading.Thread(target=write)
    with follow(bridge) as reader:
        writer.start()
        got = [batch["x"].tolist() for batch in reader]
    writer.join(60)
    assert [len(batch) for batch in got] == [7, 3] * 5, "no batch crosses a generation"
    assert list(chain.from_iterable(got)) == list(range(50))


@pytest.mark.parametrize("shuffle", [None, 8, "full"])
@pytest.mark.parametrize("policy", ["static", "static_partition"])
def test_restored_anywhere_every_row_comes_once(bridge, client, shuffle, policy):
    rng = random.Random(f"{shuffle}{policy}")
    begin = 0
    for _ in range(6):
        rows = rng.choice([0, 1, 5, 40, 100])
        add(client, range(begin, begin + rows), parts=rng.randint(1, 3))
        begin += rows
    client.end_feed("f")
    settings = {"shuffle": shuffle, "seed": 3, "policy": policy}
    whole = {}
    for shard in range(3):
        with follow(bridge, shard=(shard, 3), **settings) as reader:
            whole[shard] = [batch["x"].tolist() for batch in reader]
    everything = sorted(x for shard in whole.values() for batch in shard for x in batch)
    assert everything == list(range(begin))
    for shard, expected in whole.items():
        got: list[list[int]] = []
        position = None
        while True:  # a reader that is killed behind every few batches
            with follow(bridge, position, shard=(shard, 3), **settings) as reader:
                for _ in range(rng.randint(0, 4)):
                    batch = next(reader, None)
                    if batch is None:
                        break
                    got.append(batch["x"].tolist())
                else:
                    position = reader.position()
                    continue
                position = reader.position()
            break
        assert got == expected
        with follow(bridge, position, shard=(shard, 3), **settings) as reader:
            assert list(reader) == [], "the end is a position, too"


def test_a_position_holds_whatever_came_after_it(bridge, client):
    add(client, range(10))
    with follow(bridge) as reader:
        assert next(reader)["x"].tolist() == list(range(7))
        middle = reader.position()
        next(reader)
        end = reader.position()
    add(client, range(10, 20))
    client.end_feed("f")
    for position, expected in ((middle, range(7, 20)), (end, range(10, 20))):
        with follow(bridge, position) as reader:
            assert [x for b in reader for x in b["x"].tolist()] == list(expected)


def test_orders_of_generations_differ_and_are_those_of_their_numbers(bridge, client):
    for _ in range(2):
        add(client, range(100))
    client.end_feed("f")
    with follow(bridge, batch_size=100, shuffle="full", seed=5) as reader:
        first, second = (batch["x"].tolist() for batch in reader)
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert first != list(range(100))


def test_without_follow_the_generations_that_are_there_are_read(bridge, client):
    add(client, range(10))
    add(client, range(10, 30))
    with batches.read(bridge.uri, "f", batch_size=100) as reader:
        add(client, range(30, 40))
        assert next(reader)["x"].tolist() == list(range(30))
        position = reader.position()
        assert next(reader, None) is None
    with batches.read(bridge.uri, "f", batch_size=100, generation=1, epochs=2) as reader:
        assert [b["x"].tolist() for b in reader] == [list(range(10))] * 2
    with pytest.raises(errors.PositionMismatchError, match="generation=2"):
        batches.read(bridge.uri, "f", batch_size=100, position=position)
    with batches.read(bridge.uri, "f", batch_size=1, position=position, generation=2) as reader:
        assert next(reader, None) is None
    with pytest.raises(errors.FailedPreconditionError, match="no generation 9"):
        batches.read(bridge.uri, "f", batch_size=100, generation=9)


def test_waiting_ends_at_its_deadline_and_says_why(bridge, client):
    add(client, range(3))
    with follow(bridge, follow_timeout_s=0.3) as reader:
        next(reader)
        with pytest.raises(errors.DeadlineExceededError, match=r"behind 1.*follow_timeout_s=0.3"):
            next(reader)


def test_a_feed_that_was_written_again_is_refused(bridge, client):
    add(client, range(3))
    with follow(bridge) as reader:
        next(reader)
        position = reader.position()
        client.drop("f")
        add(client, range(5, 9))
        with pytest.raises(errors.FailedPreconditionError, match="written again"):
            next(reader)
    with pytest.raises(errors.PositionMismatchError):
        follow(bridge, position)


def test_a_reader_that_is_closed_while_it_waits_ends(bridge, client):
    add(client, range(3))
    reader = follow(bridge)
    next(reader)
    failed = []

    def wait() -> None:
        try:
            next(reader)
        except errors.FlightBridgeError as error:
            failed.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.2)
    reader.cancel()
    waiting.join(60)
    assert not waiting.is_alive()
    assert len(failed) == 1


@pytest.mark.parametrize("shuffle", [None, "full"])
def test_confirmed_generations_are_released(bridge, client, shuffle):
    for g in range(3):
        add(client, range(g * 10, g * 10 + 10), parts=2, retention="once" if g == 0 else None)
    readers = [follow(bridge, shard=(i, 2), batch_size=5, shuffle=shuffle) for i in range(2)]
    try:
        for reader in readers:
            next(reader)
            next(reader)  # all of two generations
            reader.confirm()
        released = [p.partition for p in client.feed("f").partitions if p.released]
        assert released == [0, 1, 2, 3]
    finally:
        for reader in readers:
            reader.close()


@pytest.mark.parametrize("shuffle", [None, "full"])
def test_what_is_confirmed_of_an_open_write_is_released_with_its_commit(bridge, client, shuffle):
    client.begin_write("f", "j", "errorifexists", SCHEMA, visible="partition", retention="once")
    refs = []

    def put(rows: range) -> None:
        with client.open_put("f", "j", len(refs), 0, SCHEMA) as put:
            put.write(pa.record_batch([pa.array(rows, pa.int64())], schema=SCHEMA))
            refs.append(put.finish())

    put(range(10))
    put(range(10, 30))
    with follow(bridge, batch_size=5, shuffle=shuffle) as reader:
        seen = [x for batch in islice(reader, 3) for x in batch["x"].tolist()]
        reader.confirm()
        saved = reader.position()
        info = client.feed("f")
        assert (info.state.name, info.confirmed_rows) == ("OPEN", 15)
        assert not any(p.released for p in info.partitions), "the job may still be aborted"
    put(range(30, 36))
    client.commit_write("f", "j", refs)
    assert [p.partition for p in client.feed("f").partitions if p.released] == [0]
    with follow(bridge, saved, batch_size=5, shuffle=shuffle) as reader:
        seen += [x for batch in reader for x in batch["x"].tolist()]
        reader.confirm()
    assert sorted(seen) == list(range(36))
    assert all(p.released for p in client.feed("f").partitions)


def test_a_full_shuffle_needs_each_generation_in_memory_and_no_more(tmp_path):
    small, large = range(500_000), range(3_000_000)  # 4 and 24 MB
    with (
        flightbridge.Server(memory_limit="16MiB", data_dir=str(tmp_path)) as bridge,
        flightbridge.connect(bridge.uri) as client,
    ):
        for _ in range(6):  # together more than fits
            add(client, small)
        add(client, large, parts=8)
        with follow(bridge, shuffle="full", batch_size=500_000) as reader:
            for _ in range(6):
                assert sorted(next(reader)["x"].tolist()) == list(small)
            with pytest.raises(errors.FailedPreconditionError, match="memory-limit"):
                next(reader)
        with follow(bridge, shuffle=100_000, batch_size=500_000) as reader:
            assert sum(len(batch["x"]) for batch in islice(reader, 12)) == 6_000_000


def test_settings_that_make_no_sense_are_refused_by_name(bridge, client):
    client.write("plain", pa.table([pa.array([1])], schema=SCHEMA))
    with pytest.raises(errors.FailedPreconditionError, match="nothing to follow"):
        batches.read(bridge.uri, "plain", batch_size=1, follow=True)
    for settings, word in (
        ({"epochs": 2}, "epochs=2"),
        ({"generation": 1}, "generation=1"),
        ({"policy": "dynamic", "group": "g"}, "dynamic"),
        ({"follow_timeout_s": -1}, "follow_timeout_s"),
    ):
        with pytest.raises(errors.InvalidArgumentError, match=word):
            batches.read(bridge.uri, "plain", batch_size=1, follow=True, **settings)
    with pytest.raises(errors.InvalidArgumentError, match="follow=True"):
        batches.read(bridge.uri, "plain", batch_size=1, follow_timeout_s=3)
