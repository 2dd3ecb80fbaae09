"""A plain Flight client: feeds are listed, described, put in every mode, and got."""

from __future__ import annotations

import threading

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flightbridge.v1 import commands_pb2 as pb

from .calls import OPTIONS, get, numbers, path, put


def test_list_shows_feeds_with_counts_and_filters_by_prefix(client):
    for feed in ("a.one", "a.two", "b"):
        put(client, numbers(5), feed)
    flights = {f.descriptor.path[0].decode(): f for f in client.list_flights(b"", OPTIONS)}
    assert set(flights) == {"a.one", "a.two", "b"}
    assert flights["b"].total_records == 5
    assert flights["b"].total_bytes > 0
    filtered = client.list_flights(b"a.", OPTIONS)
    assert {f.descriptor.path[0] for f in filtered} == {b"a.one", b"a.two"}


def test_info_names_one_endpoint_per_partition_in_order(client):
    put(client, numbers(5), "feed")
    put(client, numbers(3), "feed", "append")
    info = client.get_flight_info(path("feed"), OPTIONS)
    assert (info.total_records, info.ordered, len(info.endpoints)) == (8, True, 2)
    assert [list(e.locations) for e in info.endpoints] == [[], []]
    feed = pb.FeedInfo.FromString(info.app_metadata)
    parts = [pb.PartitionInfo.FromString(e.app_metadata) for e in info.endpoints]
    assert list(feed.partitions) == parts
    assert [(p.partition, p.rows) for p in parts] == [(0, 5), (1, 3)]
    assert feed.state == pb.FEED_STATE_COMMITTED


def test_modes_append_overwrite_ignore_error(client):
    put(client, numbers(2), "feed")
    put(client, numbers(3), "feed", "append")
    assert get(client, "feed")["id"].to_pylist() == [0, 1, 0, 1, 2]
    put(client, numbers(9), "feed", "ignore")
    assert get(client, "feed").num_rows == 5
    put(client, numbers(4), "feed", "OVERWRITE")
    assert get(client, "feed") == numbers(4)
    for mode in ([], ["error"], ["errorifexists"]):
        with pytest.raises(pa.ArrowException, match=r"\[ALREADY_EXISTS\].*feed"):
            put(client, numbers(1), "feed", *mode)
    assert get(client, "feed") == numbers(4)


def test_schema_only_and_empty_batches_make_an_empty_feed(client):
    put(client, numbers(0).schema.empty_table(), "schema-only")
    writer, _ = client.do_put(path("empty-batch"), numbers().schema, OPTIONS)
    with writer:
        writer.write_batch(pa.RecordBatch.from_pydict({"id": pa.array([], pa.int64())}))
    for feed in ("schema-only", "empty-batch"):
        assert client.get_flight_info(path(feed), OPTIONS).total_records == 0
        assert get(client, feed).num_rows == 0
        assert get(client, feed).schema == numbers().schema


def test_big_batches_and_many_batches(client, bridge):
    big = pa.table({"x": pa.array(range(4_000_000), pa.int64()), "s": pa.array(["ab"] * 4_000_000)})
    big = big.combine_chunks()
    put(client, big, "big")
    assert get(client, "big") == big
    many = numbers(3000)
    put(client, many, "many", rows=1)
    got = get(client, "many")
    assert got == many
    assert got["id"].num_chunks == 3000
    status = bridge.status()
    assert status.open_puts == 0
    assert status.feeds == 2
    assert status.bytes_put > big.nbytes
    assert status.bytes_got > big.nbytes


def test_parallel_puts_and_gets(bridge):
    table = pa.table({"x": pa.array(range(200_000), pa.int64())})
    failures: list[BaseException] = []

    def work(i: int) -> None:
        try:
            with fl.connect(bridge.uri) as client:
                for round_ in range(3):
                    put(client, table, f"feed{i}", "overwrite", rows=20_000)
                    assert get(client, f"feed{i}") == table, round_
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert bridge.status().feeds == 6
