"""Feeds of mode stream: a generation by every commit, through every transport."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

import flightbridge
from flightbridge import errors
from flightbridge.descriptions import FeedState

SCHEMA = pa.schema([("x", pa.int64())])


def batch(begin: int, rows: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(range(begin, begin + rows), pa.int64())], schema=SCHEMA)


def put(client: flightbridge.Client, job: str, partition: int, begin: int, rows: int):
    with client.open_put("f", job, partition, 0, SCHEMA) as stream:
        stream.write(batch(begin, rows))
        return stream.finish()


def add(client: flightbridge.Client, epoch: int, begin: int, rows: int, run: str = "run"):
    job = f"{run}-{epoch}"
    begun = client.begin_write("f", job, "stream", SCHEMA, writer="query", epoch=epoch)
    assert not begun.already_committed
    refs = [put(client, job, 0, begin, rows - 1), put(client, job, 1, begin + rows - 1, 1)]
    return client.commit_write("f", job, refs, writer="query", epoch=epoch)


@pytest.fixture(params=["local", "mapped", "channel", "flight"])
def client(request: pytest.FixtureRequest) -> Iterator[flightbridge.Client]:
    with (
        flightbridge.Server(memory_limit="64MiB") as bridge,
        flightbridge.connect(bridge.uri, transport=request.param) as client,
    ):
        yield client


def test_generations_come_one_by_one_until_the_feed_is_ended(client):
    first = add(client, 0, 0, 10)
    assert [(g.generation, g.rows) for g in first.generations] == [(0, 0), (1, 10)]
    second = add(client, 1, 10, 5)
    assert [(g.generation, g.rows) for g in second.generations] == [(1, 10), (2, 5)]
    assert [(p.partition, p.generation) for p in second.partitions] == [(2, 2), (3, 2)]
    info = client.feed("f")
    assert (info.state, info.rows, info.writers) == (FeedState.OPEN, 15, (("query", 1),))
    assert client.read_table("f")["x"].to_pylist() == list(range(15))
    ended = client.end_feed("f")
    assert ended.state == FeedState.COMMITTED
    assert ended.generations[2] == second.generations[1]
    assert client.end_feed("f") == ended
    with pytest.raises(errors.FailedPreconditionError, match="ended after generation 2"):
        client.begin_write("f", "more", "stream", SCHEMA, writer="query", epoch=2)


def test_a_replayed_epoch_changes_nothing(client):
    add(client, 0, 0, 10)
    add(client, 1, 10, 5)
    before = client.feed("f")
    for epoch in (0, 1):
        begun = client.begin_write(
            "f", f"new-{epoch}", "stream", SCHEMA, writer="query", epoch=epoch
        )
        assert begun.already_committed
        client.commit_write("f", f"new-{epoch}", [], writer="query", epoch=epoch)
    assert client.feed("f") == before


def test_whole_writes_add_generations_too(client):
    for i in range(3):
        client.write("f", pa.table([pa.array([i])], schema=SCHEMA), mode="stream")
    assert [g.rows for g in client.feed("f").generations] == [0, 1, 1, 1]


def test_a_reader_that_waits_hears_of_each_generation(client):
    client.begin_write("f", "open", "stream", SCHEMA)
    info = client.feed("f")
    seen = [info.rows]

    def write() -> None:
        for epoch in range(3):
            add(client, epoch, epoch * 10, 10)
        client.end_feed("f")

    writer = threading.Thread(target=write)
    writer.start()
    while info.state == FeedState.OPEN:
        info = client.wait_feed("f", info.generation, 30)
        seen.append(info.rows)
    writer.join(60)
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == 30


def test_settings_that_make_no_sense_are_refused_by_name(client):
    with pytest.raises(errors.InvalidArgumentError, match="one needs the other"):
        client.begin_write("f", "j", "stream", SCHEMA, writer="query")
    with pytest.raises(errors.InvalidArgumentError, match="epoch=-1"):
        client.begin_write("f", "j", "stream", SCHEMA, writer="query", epoch=-1)
    with pytest.raises(errors.InvalidArgumentError, match="takes no epoch"):
        client.begin_write("f", "j", "append", SCHEMA, writer="query", epoch=1)
    with pytest.raises(errors.InvalidArgumentError, match="visible=partition"):
        client.begin_write("f", "j", "stream", SCHEMA, visible="partition")
    client.write("f", pa.table([pa.array([1])], schema=SCHEMA))
    with pytest.raises(errors.FeedExistsError, match="not written with mode stream"):
        client.begin_write("f", "j", "stream", SCHEMA)
    with pytest.raises(errors.FailedPreconditionError, match="mode stream"):
        client.end_feed("f")
    with pytest.raises(errors.FeedNotFoundError):
        client.end_feed("none")


def test_feeds_of_several_servers_have_no_generations():
    with (
        flightbridge.Server() as one,
        flightbridge.Server() as two,
        flightbridge.connect([one.uri, two.uri]) as client,
        pytest.raises(errors.InvalidArgumentError, match="on one server"),
    ):
        client.begin_write("f", "j", "stream", SCHEMA)
