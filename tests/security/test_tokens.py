"""Tokens: every method with no, a wrong, a removed, an out-of-scope and the right token.

Rows 30 and 31 of the fault matrix. The server is a process of its own, the calls are bytes on the
wire, so that nothing of our client stands between a token and the check.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import flightbridge
import flightbridge.batches
from flightbridge import errors
from flightbridge.v1 import commands_pb2 as pb
from flightbridge.v1 import coordinator_pb2, coordinator_pb2_grpc

from .server_process import serving
from .wire import (
    Wire,
    command_descriptor,
    field_bytes,
    ipc_messages,
    path_descriptor,
    with_descriptor,
)

FEED = "clicks.today"
BATCH = pa.record_batch({"x": pa.array(range(100), pa.int64())})
RELOAD_DEADLINE_S = 20


def token_of(name: str) -> str:
    return f"token-of-{name}-0123456789"


TOKENS = {
    "all": "read:*,write:*,admin:*,peer:*",
    "reader": "read:clicks.*",
    "writer": "write:clicks.*",
    "admin": "admin:clicks.*",
    "peer": "peer:clicks.*",
    # Everything that is not the scope asked for, and that scope on other feeds.
    "not-reader": "write:*,admin:*,peer:*,read:clicks,read:my-clicks.*",
    "not-writer": "read:*,admin:*,peer:*,write:clicks,write:my-clicks.*",
    "not-admin": "read:*,write:*,peer:*,admin:clicks,admin:my-clicks.*",
    "not-peer": "read:*,write:*,admin:*,peer:clicks,peer:my-clicks.*",
}
SCOPES = {"read": "reader", "write": "writer", "admin": "admin", "peer": "peer"}


def write_tokens(path: Path, tokens: dict[str, str]) -> None:
    lines = ["# tokens of a test"]
    for i, (name, grants) in enumerate(tokens.items()):
        token = token_of(name)
        if i % 2:  # half of them hashed
            token = "sha256:" + hashlib.sha256(token.encode()).hexdigest()
        lines.append(f"{token}  {grants}  {name}")
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text("\n".join(lines) + "\n")
    fresh.replace(path)


def action(name: str, body=None) -> list[bytes]:
    kind = field_bytes(1, f"flightbridge.v1.{name}".encode())
    return [kind if body is None else kind + field_bytes(2, body.SerializeToString())]


def put_by_command() -> list[bytes]:
    command = pb.PutCommand(feed=FEED, job_id="open", partition=0, attempt=1)
    descriptor = command_descriptor(command.SerializeToString())
    return [m.encode() for m in with_descriptor(ipc_messages([BATCH])[:1], descriptor)]


SCHEMA = BATCH.schema.serialize().to_pybytes()
BEGIN = pb.BeginWrite(feed=FEED, job_id="j", mode=pb.WRITE_MODE_OVERWRITE, schema=SCHEMA)

# Method, messages, the scope on FEED that it needs (None: any token will do), and how the call ends
# with the right token: None for OK, else a code that only comes from behind the check.
CALLS = {
    "ListFlights": ("ListFlights", [b""], None, None),
    "GetFlightInfo": ("GetFlightInfo", [path_descriptor(FEED.encode())], "read", None),
    "PollFlightInfo": ("PollFlightInfo", [path_descriptor(FEED.encode())], "read", None),
    "GetSchema": ("GetSchema", [path_descriptor(FEED.encode())], "read", None),
    "DoGet": (
        "DoGet",
        [field_bytes(1, pb.GetTicket(feed=FEED).SerializeToString())],
        "read",
        None,
    ),
    "DoPut PATH": (
        "DoPut",
        [
            m.encode()
            for m in with_descriptor(
                ipc_messages([BATCH]), path_descriptor(FEED.encode(), b"overwrite")
            )
        ],
        "write",
        None,
    ),
    # Nothing of that job is staged: the server says so only to those who may write.
    "DoPut CMD": ("DoPut", put_by_command(), "write", "FAILED_PRECONDITION"),
    "DoExchange": (
        "DoExchange",
        [m.encode() for m in with_descriptor(ipc_messages([BATCH]), path_descriptor(b"x"))],
        None,
        "INVALID_ARGUMENT",
    ),
    "ListActions": ("ListActions", [b""], None, None),
    "BeginWrite": ("DoAction", action("BeginWrite", BEGIN), "write", None),
    "CommitWrite": (
        "DoAction",
        action("CommitWrite", pb.CommitWrite(feed=FEED, job_id="never begun")),
        "write",
        "FAILED_PRECONDITION",
    ),
    "AbortWrite": (
        "DoAction",
        action("AbortWrite", pb.AbortWrite(feed=FEED, job_id="j")),
        "write",
        None,
    ),
    "EndFeed": (
        "DoAction",
        action("EndFeed", pb.EndFeed(feed=FEED)),
        "write",
        "FAILED_PRECONDITION",  # not of mode stream
    ),
    "DescribeFeed": ("DoAction", action("DescribeFeed", pb.DescribeFeed(feed=FEED)), "read", None),
    "WaitFeed": ("DoAction", action("WaitFeed", pb.WaitFeed(feed=FEED)), "read", None),
    "FeedStatistics": (
        "DoAction",
        action("FeedStatistics", pb.FeedStatistics(feed=FEED, columns=["x"])),
        "read",
        None,
    ),
    "AcquireSplits": (
        "DoAction",
        action("AcquireSplits", pb.AcquireSplits(feed=FEED)),
        "read",
        "INVALID_ARGUMENT",  # no group
    ),
    "RenewLease": (
        "DoAction",
        action("RenewLease", pb.RenewLease(feed=FEED, group="g")),
        "read",
        "FAILED_PRECONDITION",
    ),
    "ReleaseSplits": (
        "DoAction",
        action("ReleaseSplits", pb.ReleaseSplits(feed=FEED, group="g")),
        "read",
        "FAILED_PRECONDITION",
    ),
    "ConfirmPosition": (
        "DoAction",
        action("ConfirmPosition", pb.ConfirmPosition(position=pb.Position(feed=FEED))),
        "read",
        "POSITION_MISMATCH",  # of other rows
    ),
    "CommitStatus": ("DoAction", action("CommitStatus", pb.CommitStatus(feed=FEED)), "peer", None),
    "RetentionStatus": (
        "DoAction",
        action("RetentionStatus", pb.RetentionStatus(feed=FEED)),
        "peer",
        None,
    ),
    "ServerStatus": ("DoAction", action("ServerStatus"), None, None),
    "DropFeed": ("DoAction", action("DropFeed", pb.DropFeed(feed=FEED)), "admin", None),
}


@pytest.fixture(scope="module")
def token_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    write_tokens(path, {**TOKENS, "removed": "read:*,write:*,admin:*"})
    return path


def until_refused(uri: str, token: str) -> None:
    """New calls with a removed token are refused within the second that a reload may take."""
    deadline = time.monotonic() + RELOAD_DEADLINE_S
    while time.monotonic() < deadline:
        try:
            flightbridge.connect(uri, token=token, timeout_s=10, transport="flight").close()
        except errors.UnauthenticatedError:
            return
    raise AssertionError(f"still admitted after {RELOAD_DEADLINE_S} s")


@pytest.fixture(scope="module")
def server(token_file):
    with serving(token_file=token_file, control_port=0) as process:
        flightbridge.connect(process.uri, token=token_of("removed")).close()  # it was in force
        write_tokens(token_file, TOKENS)
        until_refused(process.uri, token_of("removed"))
        yield process


@pytest.fixture
def wire(server):
    with Wire(server.port) as connected:
        method, frames, _, _ = CALLS["DoPut PATH"]
        assert connected.call(method, frames, token_of("all")).error is None
        yield connected


def code_of(answer) -> str | None:
    """The code that leads the message; it must say the same as gRPC's own where that can."""
    if answer.error is None:
        return None
    details = answer.error.details()
    name = details.partition("[")[2].partition("]")[0]
    if name in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        assert answer.error.code().name == name
    for token in TOKENS:
        assert token_of(token) not in details
    return name


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("token", [None, "wrong-token-0123456789", token_of("removed"), ""])
def test_no_call_without_a_token_in_force(wire, call, token):
    method, frames, _, _ = CALLS[call]
    answer = wire.call(method, frames, token)
    assert code_of(answer) == "UNAUTHENTICATED"
    assert answer.messages == []


@pytest.mark.parametrize("call", [call for call, (_, _, scope, _) in CALLS.items() if scope])
def test_out_of_scope_is_denied_naming_scope_and_feed(wire, call):
    method, frames, scope, _ = CALLS[call]
    name = f"not-{SCOPES[scope]}"
    if call == "DescribeFeed":  # what a writer may ask for, too
        name = "admin"
    answer = wire.call(method, frames, token_of(name))
    assert code_of(answer) == "PERMISSION_DENIED"
    assert f"{name} has no scope {scope}:{FEED}" in answer.error.details()
    assert answer.messages == []


@pytest.mark.parametrize("call", CALLS)
def test_the_right_scope_and_no_other_is_enough(wire, call):
    method, frames, scope, code = CALLS[call]
    answer = wire.call(method, frames, token_of(SCOPES[scope or "read"]))
    assert code_of(answer) == code, answer.error


def test_a_writer_may_describe_what_it_wrote(wire):
    method, frames, _, _ = CALLS["DescribeFeed"]
    answer = wire.call(method, frames, token_of("writer"))
    assert answer.error is None
    assert FEED.encode() in answer.messages[0]


def test_a_denied_put_leaves_the_feed_alone(server, wire):
    def rows() -> int:
        with flightbridge.connect(server.uri, token=token_of("all")) as client:
            return client.feed(FEED).feed_id

    before = rows()
    method, frames, _, _ = CALLS["DoPut PATH"]
    for token in (None, token_of("not-writer")):
        assert wire.call(method, frames, token).error is not None
    assert rows() == before


def test_listing_shows_only_what_the_token_may_read(server, wire):
    with flightbridge.connect(server.uri, token=token_of("all")) as client:
        client.write("secret", pa.table({"x": [1]}), mode="overwrite")
        assert {info.feed for info in client.feeds()} == {FEED, "secret"}
    with flightbridge.connect(server.uri, token=token_of("reader")) as client:
        assert [info.feed for info in client.feeds()] == [FEED]
    with flightbridge.connect(server.uri, token=token_of("writer")) as client:
        assert client.feeds() == []


def test_errors_do_not_name_feeds_of_others(token_file):
    room = {"token_file": token_file, "memory_limit": 4 << 20, "put_wait_s": 0}
    big = pa.table({"x": pa.array(range(300_000), pa.int64())})
    with (
        serving(**room) as small,
        flightbridge.connect(small.uri, token=token_of("all")) as client,
        flightbridge.connect(small.uri, token=token_of("reader")) as reader,
        flightbridge.connect(small.uri, token=token_of("writer")) as writer,
    ):
        client.write("secret", big)
        with pytest.raises(errors.FeedNotFoundError, match="does not exist") as missing:
            reader.feed("clicks.none")
        with pytest.raises(errors.ResourceExhaustedError, match="memory limit") as full:
            writer.write("clicks.big", big)
        for caught in (missing, full):
            assert "secret" not in str(caught.value)


def test_status_tells_details_only_to_an_admin_of_everything(server):
    with flightbridge.connect(server.uri, token=token_of("all")) as client:
        assert client.status().memory_limit_bytes > 0
    for name in ("reader", "admin"):  # admin of some feeds is not admin of the server
        with flightbridge.connect(server.uri, token=token_of(name)) as client:
            status = client.status()
            assert status.version == flightbridge.__version__
            assert (status.memory_limit_bytes, status.data_dir, status.open_gets) == (0, "", 0)


def test_the_control_port_follows_the_same_tokens(server, wire):
    with grpc.insecure_channel(server.control_uri.removeprefix("grpc://")) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING  # open
        stub = coordinator_pb2_grpc.CoordinatorStub(channel)
        request = coordinator_pb2.GetStatusRequest(include_feeds=True)
        for metadata in (None, [("authorization", "Bearer wrong-token-0123456789")]):
            with pytest.raises(grpc.RpcError) as caught:
                stub.GetStatus(request, timeout=10, metadata=metadata)
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        as_reader = [("authorization", f"Bearer {token_of('reader')}")]
        answer = stub.GetStatus(request, timeout=10, metadata=as_reader)
        assert answer.server.memory_limit_bytes == 0
        assert [feed.feed for feed in answer.feeds] == [FEED]
        as_all = [("authorization", f"Bearer {token_of('all')}")]
        assert stub.GetStatus(request, timeout=10, metadata=as_all).server.memory_limit_bytes > 0


def test_python_errors_are_typed(server, monkeypatch):
    monkeypatch.delenv("FLIGHTBRIDGE_TOKEN", raising=False)
    with pytest.raises(errors.UnauthenticatedError, match="wants a token"):
        flightbridge.connect(server.uri)
    with flightbridge.connect(server.uri, token=token_of("reader")) as client:
        with pytest.raises(errors.PermissionDeniedError, match=f"no scope write:{FEED}"):
            client.write(FEED, pa.table({"x": [1]}), mode="overwrite")
        with pytest.raises(errors.PermissionDeniedError, match="no scope admin:"):
            client.drop(FEED)
    monkeypatch.setenv("FLIGHTBRIDGE_TOKEN", token_of("reader"))
    flightbridge.connect(server.uri).close()


def test_readers_take_the_token_from_the_environment(server, wire, monkeypatch):
    monkeypatch.setenv("FLIGHTBRIDGE_TOKEN", token_of("reader"))
    with flightbridge.batches.read(server.uri, FEED, batch_size=50) as reader:
        assert sum(len(batch["x"]) for batch in reader) == BATCH.num_rows
    monkeypatch.delenv("FLIGHTBRIDGE_TOKEN")
    with pytest.raises(errors.UnauthenticatedError):
        flightbridge.batches.read(server.uri, FEED, batch_size=50)


def cli(*args: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "flightbridge.cli", *args],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **env},
    )  # fmt: skip


def test_the_command_line_sends_a_token_from_a_file(server, wire, tmp_path):
    held = tmp_path / "token"
    held.write_text(token_of("reader") + "\n")
    done = cli("feeds", "ls", "--server", server.uri, "--token-file", str(held))
    assert done.returncode == 0 and FEED in done.stdout, done.stderr
    assert cli("feeds", "ls", "--server", server.uri, FLIGHTBRIDGE_TOKEN="").returncode == 1
    held.write_text("two words")
    done = cli("feeds", "ls", "--server", server.uri, "--token-file", str(held))
    assert done.returncode == 2 and "nothing else" in done.stderr
    done = cli("feeds", "ls", "--server", server.uri, FLIGHTBRIDGE_TOKEN=token_of("reader"))
    assert done.returncode == 0, done.stderr


# ---- rotation (row 31) ----------------------------------------------------------------------


@pytest.fixture
def rotating(tmp_path):
    path = tmp_path / "tokens"
    write_tokens(path, {"old": "read:*,write:*", "all": "read:*,write:*,admin:*"})
    with serving(token_file=path) as process:

        def rotate() -> None:
            write_tokens(path, {"new": "read:*,write:*", "all": "read:*,write:*,admin:*"})
            until_refused(process.uri, token_of("old"))

        yield process, rotate, path


def test_a_put_that_was_admitted_goes_on_and_its_commit_needs_the_new_token(rotating):
    server, rotate, _ = rotating
    with flightbridge.connect(server.uri, token=token_of("old")) as client:
        client.begin_write("f", "job", "errorifexists", BATCH.schema)
        put = client.open_put("f", "job", 0, 1, BATCH.schema)
        put.write(BATCH)
        rotate()
        put.write(BATCH)
        attempt = put.finish()  # to its end
        with pytest.raises(errors.UnauthenticatedError):
            client.commit_write("f", "job", [attempt])
        with pytest.raises(errors.UnauthenticatedError):
            client.feed("f")
    with flightbridge.connect(server.uri, token=token_of("new")) as client:
        assert client.commit_write("f", "job", [attempt]).rows == 2 * BATCH.num_rows


@pytest.mark.parametrize("transport", ["channel", "flight"])
def test_a_get_that_was_admitted_goes_on_and_the_next_is_refused(rotating, transport):
    server, rotate, _ = rotating
    rows = 4_000_000  # far more than buffers on the way hold
    table = pa.table({"x": pa.array(range(rows), pa.int64())})
    with flightbridge.connect(server.uri, token=token_of("all")) as writer:
        writer.write("f", table)
        with flightbridge.connect(server.uri, token=token_of("old"), transport=transport) as client:
            reader = client.read("f")
            first = reader.read_next_batch()
            assert writer.status().open_gets == 1
            rotate()
            assert writer.status().open_gets == 1  # the server is still sending
            assert first.num_rows + sum(batch.num_rows for batch in reader) == rows
            with pytest.raises(errors.UnauthenticatedError):
                client.read("f")


def test_a_bad_new_file_changes_nothing_and_is_reported(rotating):
    server, _, path = rotating
    with flightbridge.connect(server.uri, token=token_of("all")) as client:
        assert client.status().token_file_error == ""
        path.write_text("nonsense\n")
        deadline = time.monotonic() + RELOAD_DEADLINE_S
        while not client.status().token_file_error:
            assert time.monotonic() < deadline
        assert "line 1" in client.status().token_file_error
        flightbridge.connect(server.uri, token=token_of("old")).close()  # still in force


# ---- the server's own side ------------------------------------------------------------------


def test_a_token_file_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "tokens"
    write_tokens(path, TOKENS)
    path.chmod(0o644)
    with pytest.raises(errors.InvalidArgumentError, match=r"mode 644.*chmod 600"):
        flightbridge.Server(token_file=path)


def test_the_servers_own_process_needs_no_token(token_file):
    with (
        flightbridge.Server(token_file=token_file, memory_limit="64MiB") as bridge,
        bridge.client() as client,
    ):
        client.write("f", pa.table({"x": [1]}))
        assert client.status().feeds == 1
        assert client.read_table("f").num_rows == 1
        with pytest.raises(errors.UnauthenticatedError):
            flightbridge.connect(bridge.uri, transport="flight")
        with pytest.raises(fl.FlightUnauthenticatedError), fl.connect(bridge.uri) as plain:
            list(plain.list_flights())
