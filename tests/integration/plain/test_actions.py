"""A plain Flight client: actions, and errors that name what is wrong."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.flight as fl
import pytest

import flightbridge
from flightbridge.v1 import commands_pb2 as pb

from .calls import OPTIONS, get, numbers, path, put, run, ticket


def test_actions(client):
    names = {a.type.removeprefix("flightbridge.v1.") for a in client.list_actions(OPTIONS)}
    assert names == {
        "BeginWrite", "CommitWrite", "CommitStatus", "RetentionStatus", "AbortWrite", "DropFeed",
        "DescribeFeed",
        "ServerStatus", "AcquireSplits", "RenewLease", "ReleaseSplits",
        "OpenChannel", "WaitFeed", "EndFeed", "ConfirmPosition", "FeedStatistics",
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
