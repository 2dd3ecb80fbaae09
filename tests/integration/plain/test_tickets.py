"""A plain Flight client: what a ticket asks for, and what comes back for it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from flightbridge.v1 import commands_pb2 as pb

from .calls import OPTIONS, numbers, path, put, ticket


def test_ticket_may_order_ranges_and_columns_freely(client):
    table = pa.table({"a": range(100), "b": [f"b{i}" for i in range(100)], "c": range(100)})
    put(client, table, "feed", rows=10)
    ranges = [(95, 100), (3, 27), (0, 0), (3, 4)]
    request = ticket(
        feed="feed",
        columns=["c", "b"],
        ranges=[{"row_begin": begin, "row_end": end} for begin, end in ranges],
    )
    expected = [*range(95, 100), *range(3, 27), *range(100), 3]  # row_end 0: to the end
    got = client.do_get(request, OPTIONS).read_all()
    assert got.column_names == ["c", "b"]
    assert got["c"].to_pylist() == expected
    assert got["b"].to_pylist() == [f"b{i}" for i in expected]


def test_batches_say_where_they_come_from(client):
    put(client, numbers(25), "feed", rows=10)
    request = ticket(feed="feed", ranges=[{"row_begin": 5, "row_end": 25}])
    reader = client.do_get(request, OPTIONS)
    marks = [pb.GetMetadata.FromString(chunk.app_metadata.to_pybytes()) for chunk in reader]
    assert [m.row_begin for m in marks] == [5, 10, 20]
    assert all(m.partition == 0 and m.crc32c for m in marks)


def test_a_slice_ships_no_more_than_itself(client, bridge):
    table = pa.table({"x": pa.array(range(1_000_000), pa.int64())}).combine_chunks()
    put(client, table, "feed")
    before = bridge.status().bytes_got
    request = ticket(feed="feed", ranges=[{"row_begin": 500_001, "row_end": 500_011}])
    assert client.do_get(request, OPTIONS).read_all()["x"].to_pylist() == [*range(500_001, 500_011)]
    assert bridge.status().bytes_got - before < 2000


def test_a_reader_keeps_what_it_opened_while_the_feed_is_replaced(client):
    table = pa.table({"x": pa.array(range(2_000_000), pa.int64())})
    put(client, table, "feed", rows=50_000)
    endpoint = client.get_flight_info(path("feed"), OPTIONS).endpoints[0]
    reader = client.do_get(endpoint.ticket, OPTIONS)
    first = reader.read_chunk().data
    put(client, numbers(1), "feed", "overwrite")
    rest = reader.read_all()
    assert first.num_rows + rest.num_rows == 2_000_000
    assert pc.sum(rest["x"]).as_py() + pc.sum(first["x"]).as_py() == pc.sum(table["x"]).as_py()
    with pytest.raises(pa.ArrowInvalid, match=r"\[FAILED_PRECONDITION\].*replaced"):
        client.do_get(endpoint.ticket, OPTIONS).read_all()
