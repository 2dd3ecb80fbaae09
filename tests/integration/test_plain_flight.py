"""A plain pyarrow FlightClient, which knows nothing of FlightBridge, against the server."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import socket
import threading

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight as fl
import pytest

import flightbridge
from flightbridge import errors
from flightbridge.v1 import commands_pb2 as pb

OPTIONS = fl.FlightCallOptions(timeout=30)


@pytest.fixture
def bridge():
    with flightbridge.Server(memory_limit="512MiB") as server:
        yield server


@pytest.fixture
def client(bridge):
    with fl.connect(bridge.uri) as connection:
        yield connection


def path(*parts: str) -> fl.FlightDescriptor:
    return fl.FlightDescriptor.for_path(*parts)


def put(client: fl.FlightClient, table: pa.Table, *parts: str, rows: int | None = None) -> None:
    writer, _ = client.do_put(path(*parts), table.schema, OPTIONS)
    with writer:
        writer.write_table(table, rows)


def get(client: fl.FlightClient, feed: str) -> pa.Table:
    info = client.get_flight_info(path(feed), OPTIONS)
    parts = [client.do_get(endpoint.ticket, OPTIONS).read_all() for endpoint in info.endpoints]
    return pa.concat_tables(parts)


def ticket(**fields) -> fl.Ticket:
    return fl.Ticket(pb.GetTicket(**fields).SerializeToString())


def numbers(rows: int = 10) -> pa.Table:
    return pa.table({"id": pa.array(range(rows), pa.int64())})


COLUMNS = {
    "bool": pa.array([True, None, False]),
    "int8": pa.array([1, None, -3], pa.int8()),
    "uint16": pa.array([1, None, 65535], pa.uint16()),
    "int32": pa.array([1, None, -3], pa.int32()),
    "int64": pa.array([1, None, 2**62], pa.int64()),
    "uint64": pa.array([1, None, 2**64 - 1], pa.uint64()),
    "float16": pa.array([1.5, None, -2.0], pa.float16()),
    "float32": pa.array([1.5, None, float("inf")], pa.float32()),
    "float64": pa.array([1.5, None, -2.25]),
    "decimal": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("-9.99")]),
    "date": pa.array([dt.date(2020, 1, 1), None, dt.date(1970, 1, 1)]),
    "timestamp": pa.array([1, None, 3], pa.timestamp("us", tz="UTC")),
    "time": pa.array([1, None, 3], pa.time64("us")),
    "duration": pa.array([1, None, 3], pa.duration("ms")),
    "string": pa.array(["a", None, "äöü"]),
    "large_string": pa.array(["a", None, ""], pa.large_string()),
    "binary": pa.array([b"\x00", None, b""]),
    "fixed_binary": pa.array([b"abcd", None, b"efgh"], pa.binary(4)),
    "list": pa.array([[1, None], None, []], pa.list_(pa.int32())),
    "large_list": pa.array([["x"], None, []], pa.large_list(pa.string())),
    "fixed_list": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "z"}]),
    "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
    "nested_list": pa.array([[["a"], []], None, [[None]]], pa.list_(pa.list_(pa.string()))),
    "null": pa.nulls(3),
    "dictionary": pa.array(["a", None, "b"]).dictionary_encode(),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_every_type_comes_back_as_it_went(client, name):
    table = pa.table({name: COLUMNS[name], "row": [0, 1, 2]})
    put(client, table, "types")
    assert client.get_schema(path("types"), OPTIONS).schema == table.schema
    assert get(client, "types") == table


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_and_columns_of_every_type_can_be_cut_out(client, name):
    whole = pa.concat_tables([pa.table({"row": [0, 1, 2], name: COLUMNS[name]})] * 7)
    whole = whole.combine_chunks()
    put(client, whole, "cut", rows=9)
    for begin, end in ((0, 21), (1, 20), (3, 4), (8, 10), (9, 18), (20, 21), (5, 5)):
        got = client.do_get(
            ticket(
                feed="cut",
                columns=[name],
                ranges=[{"partition": 0, "row_begin": begin, "row_end": end}],
            ),
            OPTIONS,
        ).read_all()
        got.validate(full=True)
        assert got.to_pydict() == whole.select([name])[begin:end].to_pydict(), (begin, end)


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


def test_no_columns(client):
    table = pa.table({"id": [1, 2, 3]}).select([])
    put(client, table, "columnless")
    assert get(client, "columnless").num_columns == 0


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


def test_dictionaries_that_change_between_batches(client):
    batches = [
        pa.record_batch({"d": pa.array(values).dictionary_encode()})
        for values in (["a", "b"], ["a", "b"], ["c", "a"], ["a", "b"])
    ]
    writer, _ = client.do_put(path("feed"), batches[0].schema, OPTIONS)
    with writer:
        for batch in batches:
            writer.write_batch(batch)
    expected = [v for batch in batches for v in batch["d"].to_pylist()]
    assert get(client, "feed")["d"].to_pylist() == expected
    for begin in range(len(expected)):
        ranges = [{"partition": 0, "row_begin": begin}]
        cut = client.do_get(ticket(feed="feed", ranges=ranges), OPTIONS).read_all()
        assert cut["d"].to_pylist() == expected[begin:]


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


def test_metadata_is_echoed_per_batch(client):
    # As Arrow's integration scenarios do: a batch's metadata comes back before the next one goes.
    table = numbers(30)
    writer, reader = client.do_put(path("feed"), table.schema, OPTIONS)
    with writer:
        for i, batch in enumerate(table.to_batches(max_chunksize=10)):
            writer.write_with_metadata(batch, f"mark {i}".encode())
            assert reader.read().to_pybytes() == f"mark {i}".encode()
    assert get(client, "feed") == table


def test_metadata_nobody_reads_does_not_block_a_put(client):
    table = numbers(2500)
    writer, _ = client.do_put(path("feed"), table.schema, OPTIONS)
    with writer:
        for batch in table.to_batches(max_chunksize=1):
            writer.write_with_metadata(batch, b"m" * 5000)
    assert get(client, "feed") == table


def test_too_much_unread_metadata_is_an_error_not_a_standstill(client):
    batch = numbers(1).to_batches()[0]
    writer, _ = client.do_put(path("feed"), batch.schema, OPTIONS)
    for _ in range(400):
        writer.write_with_metadata(batch, b"m" * 100_000)
    with pytest.raises(pa.ArrowException, match=r"\[RESOURCE_EXHAUSTED\].*metadata stream"):
        writer.close()
    assert list(client.list_flights(b"", OPTIONS)) == []


def test_error_in_lockstep_with_echoes_arrives_at_once():
    with flightbridge.Server(max_batch_bytes="64KiB") as server, fl.connect(server.uri) as client:
        writer, reader = client.do_put(path("feed"), numbers().schema, OPTIONS)
        writer.write_with_metadata(numbers().to_batches()[0], b"small")
        assert reader.read().to_pybytes() == b"small"
        writer.write_with_metadata(numbers(100_000).to_batches()[0], b"large")
        # No echo where the message is refused before it is decoded: the stream just ends.
        assert reader.read() is None
        with pytest.raises(pa.ArrowException, match=r"\[RESOURCE_EXHAUSTED\].*max_batch_bytes"):
            writer.close()


def run(client: fl.FlightClient, name: str, message=None) -> list[bytes]:
    body = b"" if message is None else message.SerializeToString()
    results = client.do_action(fl.Action(f"flightbridge.v1.{name}", body), OPTIONS)
    return [result.body.to_pybytes() for result in results]


def test_actions(client):
    names = {a.type.removeprefix("flightbridge.v1.") for a in client.list_actions(OPTIONS)}
    assert names == {
        "BeginWrite", "CommitWrite", "CommitStatus", "AbortWrite", "DropFeed", "DescribeFeed",
        "ServerStatus", "AcquireSplits", "RenewLease", "ReleaseSplits",
        "OpenChannel", "WaitFeed",
    }  # fmt: skip
    put(client, numbers(5), "feed")
    info = pb.FeedInfo.FromString(run(client, "DescribeFeed", pb.DescribeFeed(feed="feed"))[0])
    assert (info.feed, info.rows) == ("feed", 5)
    status = pb.ServerStatus.FromString(run(client, "ServerStatus")[0])
    assert status.version == flightbridge.__version__
    assert status.feeds == 1
    assert 0 < status.memory_used_bytes <= status.memory_limit_bytes == 512 << 20
    assert run(client, "DropFeed", pb.DropFeed(feed="feed")) == []
    assert list(client.list_flights(b"", OPTIONS)) == []


def test_unknown_action_lists_the_known_ones(client):
    with pytest.raises(pa.ArrowInvalid, match=r"\[INVALID_ARGUMENT\].*'nope'.*v1\.DropFeed"):
        list(client.do_action(fl.Action("nope", b""), OPTIONS))


def test_action_bodies_are_checked(client):
    with pytest.raises(pa.ArrowInvalid, match=r"not an encoded flightbridge\.v1\.DropFeed"):
        list(client.do_action(fl.Action("flightbridge.v1.DropFeed", b"\xff\xff"), OPTIONS))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda c: c.get_flight_info(path("nope"), OPTIONS), r"\[NOT_FOUND\].*nope.*there"),
        (lambda c: c.get_schema(path("nope"), OPTIONS), r"\[NOT_FOUND\].*nope"),
        (lambda c: c.do_get(ticket(feed="nope"), OPTIONS).read_all(), r"\[NOT_FOUND\].*nope"),
        (
            lambda c: run(c, "DropFeed", pb.DropFeed(feed="nope")),
            r"\[NOT_FOUND\].*nope",
        ),
        (
            lambda c: c.do_get(ticket(feed="there", columns=["id", "x"]), OPTIONS).read_all(),
            r"\[NOT_FOUND\].*no column 'x'.*id",
        ),
        (
            lambda c: c.do_get(ticket(feed="there", ranges=[{"partition": 7}]), OPTIONS).read_all(),
            r"\[NOT_FOUND\].*7",
        ),
        (
            lambda c: c.do_get(
                ticket(feed="there", ranges=[{"row_begin": 5, "row_end": 11}]), OPTIONS
            ).read_all(),
            r"\[INVALID_ARGUMENT\].*\[5, 11\).*10 rows",
        ),
        (
            lambda c: c.do_get(
                ticket(feed="there", ranges=[{"row_begin": -1}]), OPTIONS
            ).read_all(),
            r"\[INVALID_ARGUMENT\]",
        ),
        (
            lambda c: c.do_get(fl.Ticket(b"\x01\x02"), OPTIONS).read_all(),
            r"\[INVALID_ARGUMENT\].*GetTicket",
        ),
        (lambda c: c.do_get(fl.Ticket(b""), OPTIONS).read_all(), r"\[INVALID_ARGUMENT\]"),
        (
            lambda c: c.get_flight_info(fl.FlightDescriptor.for_command(b"x"), OPTIONS),
            r"\[INVALID_ARGUMENT\].*PATH",
        ),
        (lambda c: c.get_flight_info(path("a", "b"), OPTIONS), r"\[INVALID_ARGUMENT\]"),
        (lambda c: put(c, numbers(), "../etc"), r"\[INVALID_ARGUMENT\]"),
        (lambda c: put(c, numbers(), "new", "sideways"), r"\[INVALID_ARGUMENT\].*sideways.*append"),
        (lambda c: put(c, numbers(), "a", "append", "b"), r"\[INVALID_ARGUMENT\]"),
        (
            lambda c: put(c, pa.table({"other": [1]}), "there", "append"),
            r"\[SCHEMA_MISMATCH\].*there",
        ),
    ],
)
def test_errors_name_code_object_and_remedy(client, bridge, call, match):
    put(client, numbers(10), "there")
    with pytest.raises(pa.ArrowException, match=match):
        call(client)
    assert get(client, "there") == numbers(10)
    assert bridge.status().open_gets == 0


def test_exchange_says_what_to_use_instead(client):
    writer, reader = client.do_exchange(path("feed"), OPTIONS)
    with pytest.raises(pa.ArrowException, match=r"DoPut.*DoGet"):
        reader.read_chunk()
    with pytest.raises(pa.ArrowException, match=r"DoPut.*DoGet"):
        writer.close()


def test_too_big_a_batch_is_refused_and_named():
    with flightbridge.Server(max_batch_bytes="64KiB") as server, fl.connect(server.uri) as client:
        with pytest.raises(pa.ArrowException, match=r"\[RESOURCE_EXHAUSTED\].*max_batch_bytes"):
            put(client, numbers(100_000), "feed")
        assert list(client.list_flights(b"", OPTIONS)) == []
        put(client, numbers(100_000), "feed", rows=1000)
        assert get(client, "feed") == numbers(100_000)


def test_memory_limit_is_kept_and_freed_by_drop():
    table = pa.table({"x": pa.array(range(1_000_000), pa.int64())})  # 8 MB
    with (
        flightbridge.Server(memory_limit="64MiB", put_wait_s=0) as server,
        fl.connect(server.uri) as client,
    ):
        names = (f"feed{i}" for i in range(20))
        with pytest.raises(pa.ArrowException, match=r"\[RESOURCE_EXHAUSTED\]"):
            [put(client, table, name, rows=100_000) for name in names]
        assert server.status().memory_used_bytes <= 64 << 20
        assert get(client, "feed0") == table
        fitted = [f.descriptor.path[0].decode() for f in client.list_flights(b"", OPTIONS)]
        assert 1 < len(fitted) < 10
        for name in fitted:
            run(client, "DropFeed", pb.DropFeed(feed=name))
        put(client, table, "again", rows=100_000)
        assert get(client, "again") == table


def test_port_in_use_is_refused_by_name(bridge):
    with pytest.raises(errors.FailedPreconditionError, match=rf"{bridge.port} is in use.*--port 0"):
        flightbridge.Server(port=bridge.port)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(errors.FailedPreconditionError, match=f"127.0.0.1:{port}"):
            flightbridge.Server(port=port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_are_let_in_only_with_insecure(host):
    with pytest.raises(errors.PermissionDeniedError, match="--insecure"):
        flightbridge.Server(host=host)
    with (
        flightbridge.Server(host=host, insecure=True) as server,
        fl.connect(f"grpc://127.0.0.1:{server.port}") as client,
    ):
        put(client, numbers(), "feed")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"host": ""}, "host=''"),
        ({"host": "no-such-host.invalid"}, r"no-such-host\.invalid.*127\.0\.0\.1"),
        ({"host": "192.0.2.7", "insecure": True}, r"192\.0\.2\.7.*not an address of this machine"),
        ({"port": 65536}, "port=65536"),
        ({"port": True}, "port=True"),
        ({"memory_limit": "lots"}, "memory_limit='lots'"),
        ({"max_batch_bytes": 0}, "max_batch_bytes=0"),
        ({"max_batch_bytes": "3GiB"}, "max_batch_bytes"),
        ({"control_port": -1}, "control_port=-1"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, match):
    with pytest.raises(errors.InvalidArgumentError, match=match):
        flightbridge.Server(**settings)


def test_stop_is_idempotent_cancels_streams_and_frees_the_port():
    server = flightbridge.Server()
    port = server.port
    client = fl.connect(server.uri)
    writer, _ = client.do_put(path("feed"), numbers().schema, OPTIONS)
    writer.write_table(numbers())  # and never closed
    stoppers = [threading.Thread(target=server.stop, args=(0.2,)) for _ in range(3)]
    for thread in stoppers:
        thread.start()
    for thread in stoppers:
        thread.join(20)
        assert not thread.is_alive()
    server.stop()
    with pytest.raises(pa.ArrowException):
        writer.close()
    client.close()
    assert server.status().open_puts == 0
    with flightbridge.Server(port=port) as again, fl.connect(again.uri) as client:
        assert list(client.list_flights(b"", OPTIONS)) == []


def test_feeds_outlive_the_server_in_a_data_dir(tmp_path):
    table = pa.Table.from_pydict(dict(COLUMNS))
    directory = tmp_path / "feeds"
    with flightbridge.Server(data_dir=directory) as server, fl.connect(server.uri) as client:
        put(client, table, "kept")
        writer, _ = client.do_put(path("never-closed"), table.schema, OPTIONS)
        writer.write_table(table)
        assert server.status().data_dir == str(directory)
        with pytest.raises(errors.FailedPreconditionError, match="feeds"):
            flightbridge.Server(data_dir=directory)
        server.stop(grace_s=0.1)
        with pytest.raises(pa.ArrowException):
            writer.close()
    with flightbridge.Server(data_dir=str(directory)) as server, fl.connect(server.uri) as client:
        names = [f.descriptor.path for f in client.list_flights(b"", OPTIONS)]
        assert names == [[b"kept"]]
        assert get(client, "kept") == table


def test_data_dir_that_cannot_be_one_is_refused_by_name(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for directory in (file, file / "below", "/proc/no-such"):
        with pytest.raises(errors.FlightBridgeError, match=re.escape(str(directory))) as caught:
            flightbridge.Server(data_dir=directory)
        assert caught.value.code_name != "INTERNAL"


def test_unclosed_server_warns_and_stops():
    server = flightbridge.Server()
    port = server.port
    with pytest.warns(ResourceWarning, match=r"unclosed <flightbridge\.Server"):
        del server
    flightbridge.Server(port=port).stop()


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
