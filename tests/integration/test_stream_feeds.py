"""Feeds that readers see while they are written, through every transport."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.flight as fl
import pytest

import flightbridge
from flightbridge import errors
from flightbridge.descriptions import FeedState

SCHEMA = pa.schema([("x", pa.int64())])


def batch(begin: int, rows: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(range(begin, begin + rows), pa.int64())], schema=SCHEMA)


def put(client: flightbridge.Client, partition: int, attempt: int, begin: int, rows: int):
    with client.open_put("f", "j", partition, attempt, SCHEMA) as stream:
        stream.write(batch(begin, rows))
        return stream.finish()


@pytest.fixture(params=["local", "mapped", "channel", "flight"])
def client(request: pytest.FixtureRequest) -> Iterator[flightbridge.Client]:
    with (
        flightbridge.Server(memory_limit="64MiB") as bridge,
        flightbridge.connect(bridge.uri, transport=request.param) as client,
    ):
        yield client


def test_a_reader_follows_a_feed_to_its_end(client):
    client.begin_write("f", "j", "errorifexists", SCHEMA, visible="partition")
    first = put(client, 0, 1, 0, 10)
    info = client.feed("f")
    assert (info.state, info.rows, len(info.partitions)) == (FeedState.OPEN, 10, 1)
    assert client.read_table("f")["x"].to_pylist() == list(range(10))
    refs = [first]

    def write_the_rest() -> None:
        refs.append(put(client, 1, 2, 10, 5))
        client.commit_write("f", "j", refs)

    writer = threading.Thread(target=write_the_rest)
    writer.start()
    while info.state == FeedState.OPEN:
        info = client.wait_feed("f", info.generation, 30)
    writer.join(60)
    assert (info.state, info.rows) == (FeedState.COMMITTED, 15)
    assert sorted(client.read_table("f")["x"].to_pylist()) == list(range(15))


def test_an_aborted_feed_is_gone_by_name(client):
    client.begin_write("f", "j", "errorifexists", SCHEMA, visible="partition")
    put(client, 0, 1, 0, 10)
    client.abort_write("f", "j")
    with pytest.raises(errors.FailedPreconditionError, match=r"'f'.*'j'.*aborted"):
        client.read_table("f")
    with pytest.raises(errors.FailedPreconditionError, match=r"'j'.*aborted"):
        client.wait_feed("f", 0, 30)


def test_visible_is_checked(client):
    with pytest.raises(errors.InvalidArgumentError, match="visible='rows'"):
        client.begin_write("f", "j", "append", SCHEMA, visible="rows")
    with pytest.raises(errors.InvalidArgumentError, match="visible=partition with mode append"):
        client.begin_write("f", "j", "append", SCHEMA, visible="partition")


def test_a_plain_client_reads_what_is_there():
    with (
        flightbridge.Server(memory_limit="64MiB") as bridge,
        bridge.client() as client,
        fl.connect(bridge.uri) as plain,
    ):
        client.begin_write("f", "j", "errorifexists", SCHEMA, visible="partition")
        put(client, 3, 1, 0, 4)
        info = plain.get_flight_info(fl.FlightDescriptor.for_path("f"))
        assert len(info.endpoints) == 1
        assert plain.do_get(info.endpoints[0].ticket).read_all().num_rows == 4
