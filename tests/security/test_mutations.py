"""1,000 random changes of valid Flight messages: the server answers and goes on serving."""

from __future__ import annotations

import random
import struct
from collections import Counter
from dataclasses import replace

import grpc
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flightbridge.v1 import commands_pb2 as pb

from .server_process import serving
from .wire import (
    FlightData,
    Wire,
    command_descriptor,
    field_bytes,
    ipc_messages,
    path_descriptor,
    with_descriptor,
)

ROUNDS = 1000
SEED = 20240229
OPTIONS = fl.FlightCallOptions(timeout=20)


def rich_batches() -> list[pa.RecordBatch]:
    return [
        pa.record_batch(
            {
                "id": pa.array(range(i, i + 50)),
                "text": pa.array([f"row {i}" if i % 7 else None for i in range(50)]),
                "flag": pa.array([i % 3 == 0 for i in range(50)]),
                "tags": pa.array([["a", "b"][: i % 3] for i in range(50)]),
                "kind": pa.array(["x", "y", f"z{i}", "x", "y"] * 10).dictionary_encode(),
                "pair": pa.array([{"l": i, "r": str(i)} for i in range(50)]),
            }
        )
        for i in range(3)
    ]


def crc32c(data: bytes, crc: int = 0) -> int:
    """RFC 3720, appendix B.4; bit by bit."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def command_put(job_id: str) -> list[FlightData]:
    """A put of 2 batches of one int64 column as our own writers send it (docs/protocol.md)."""
    batches = [pa.record_batch({"id": pa.array(range(20), pa.int64())})] * 2
    command = pb.PutCommand(feed="jobs", job_id=job_id, partition=0, attempt=1)
    messages = with_descriptor(
        ipc_messages(batches), command_descriptor(command.SerializeToString())
    )
    values = batches[0]["id"].buffers()[1].to_pybytes()[: 20 * 8]
    mark = crc32c(struct.pack("<qqqqq", 20, 20, 0, 0, len(values)) + values)
    for i in (1, 2):
        metadata = pb.PutMetadata(batch=pb.BatchMark(sequence=i - 1, crc32c=mark))
        messages[i] = replace(messages[i], app_metadata=metadata.SerializeToString())
    end = pb.PutEnd(batches=2, rows=40, crc32c=crc32c(struct.pack("<II", mark, mark)))
    metadata = pb.PutMetadata(end=end)
    return [*messages, FlightData(app_metadata=metadata.SerializeToString())]


def action(name: str, body) -> bytes:
    kind = f"flightbridge.v1.{name}".encode()
    return field_bytes(1, kind) + field_bytes(2, body.SerializeToString())


def begin_write(job_id: str, mode: int = pb.WRITE_MODE_OVERWRITE) -> bytes:
    schema = pa.schema([("id", pa.int64())]).serialize().to_pybytes()
    return action("BeginWrite", pb.BeginWrite(feed="jobs", job_id=job_id, mode=mode, schema=schema))


def calls() -> dict[str, tuple[str, list]]:
    """Valid calls: method and messages, as bytes or as FlightData, whose parts change too."""
    rich = ipc_messages(rich_batches())
    packed = ipc_messages(rich_batches(), pa.ipc.IpcWriteOptions(compression="zstd"))
    get = pb.GetTicket(
        feed="rich", columns=["id", "kind"], ranges=[{"row_begin": 3, "row_end": 99}]
    )
    attempt = pb.AttemptRef(partition=0, attempt=1, rows=40, batches=2, crc32c=7)
    commit = pb.CommitWrite(feed="jobs", job_id="fixed", attempts=[attempt])
    return {
        "put-path": ("DoPut", with_descriptor(rich, path_descriptor(b"target", b"overwrite"))),
        "put-packed": ("DoPut", with_descriptor(packed, path_descriptor(b"target", b"overwrite"))),
        "put-command": ("DoPut", command_put("fixed")),
        "get": ("DoGet", [field_bytes(1, get.SerializeToString())]),
        "info": ("GetFlightInfo", [path_descriptor(b"rich")]),
        "schema": ("GetSchema", [path_descriptor(b"rich")]),
        "list": ("ListFlights", [field_bytes(1, b"ri")]),
        "begin": ("DoAction", [begin_write("fixed")]),
        "commit": ("DoAction", [action("CommitWrite", commit)]),
        "abort": ("DoAction", [action("AbortWrite", pb.AbortWrite(feed="jobs", job_id="other"))]),
        "describe": ("DoAction", [action("DescribeFeed", pb.DescribeFeed(feed="rich"))]),
    }


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        at = rng.randrange(len(out)) if out else 0
        kind = rng.randrange(7)
        if kind == 0 and out:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            out[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif kind == 3:
            del out[at : at + rng.randrange(1, 9)]
        elif kind == 4:
            del out[at:]
        elif kind == 5 and len(out) >= 8:
            # A length or an offset that says something extreme.
            at = min(at, len(out) - 8) & ~3
            value = rng.choice((0, -1, 1 << 31, (1 << 63) - 1, -(1 << 63), 1 << 40, 7))
            out[at : at + 8] = value.to_bytes(8, "little", signed=True)
        elif kind == 6:
            length = rng.randrange(1, 33)
            out[at : at + length] = out[: min(length, len(out))]
    return bytes(out)


def mutate_message(rng: random.Random, message: FlightData) -> bytes:
    """Change one part and frame it correctly again, so that the change reaches the decoder."""
    parts = {"header": message.header, "body": message.body, "app_metadata": message.app_metadata}
    present = [name for name, value in parts.items() if value]
    if message.descriptor is not None and rng.random() < 0.1:
        present = ["descriptor"]
    kind = rng.random()
    if kind < 0.15 or not present:
        return mutate_bytes(rng, message.encode())
    name = rng.choice(present)
    if kind < 0.25:
        return replace(message, **{name: None}).encode()
    return replace(message, **{name: mutate_bytes(rng, getattr(message, name))}).encode()


def mutate(rng: random.Random, messages: list) -> list[bytes]:
    messages = list(messages)
    if len(messages) > 1 and rng.random() < 0.3:
        at, other = rng.randrange(len(messages)), rng.randrange(len(messages))
        kind = rng.randrange(4)
        if kind == 0:
            del messages[at]
        elif kind == 1:
            messages.insert(at, messages[other])
        elif kind == 2:
            messages[at], messages[other] = messages[other], messages[at]
        else:
            messages.insert(at, FlightData(app_metadata=rng.choice((None, b"", b"stray"))))
    at = rng.randrange(len(messages))
    frames = [m.encode() if isinstance(m, FlightData) else m for m in messages]
    if isinstance(messages[at], FlightData):
        frames[at] = mutate_message(rng, messages[at])
    else:
        frames[at] = mutate_bytes(rng, frames[at])
    return frames


def check_feed(client: fl.FlightClient, feed: str) -> None:
    """Whatever was committed must be readable and valid."""
    info = client.get_flight_info(fl.FlightDescriptor.for_path(feed), OPTIONS)
    assert pb.FeedInfo.FromString(info.app_metadata).rows == info.total_records
    rows = 0
    for endpoint in info.endpoints:
        table = client.do_get(endpoint.ticket, OPTIONS).read_all()
        table.validate(full=True)
        rows += table.num_rows
    assert rows == info.total_records


@pytest.mark.slow
def test_server_survives_mutations_and_serves_others():
    rng = random.Random(SEED)
    table = pa.Table.from_batches(rich_batches())
    outcomes: Counter[str] = Counter()
    with (
        serving() as server,
        Wire(server.port) as wire,
        fl.connect(server.uri) as client,
    ):
        writer, _ = client.do_put(fl.FlightDescriptor.for_path("rich"), table.schema, OPTIONS)
        with writer:
            writer.write_table(table)
        corpus = calls()
        # What is going to be mutated has to be valid to begin with (commit needs another crc).
        for name, (method, messages) in sorted(corpus.items()):
            frames = [m.encode() if isinstance(m, FlightData) else m for m in messages]
            answer = wire.call(method, frames)
            assert (answer.error is None) == (name != "commit"), (name, answer.error)
        for i in range(ROUNDS):
            name = rng.choice(sorted(corpus))
            method, messages = corpus[name]
            if name == "put-command" and rng.random() < 0.5:
                wire.call("DoAction", [begin_write(f"job{i}")])
                messages = command_put(f"job{i}")
            answer = wire.call(method, mutate(rng, messages))
            what = f"mutation {i} of {name}"
            server.assert_alive(what)
            if answer.error is None:
                outcomes["accepted"] += 1
                if name in ("put-path", "put-packed"):
                    check_feed(client, "target")
            else:
                code = answer.error.code()
                assert code != grpc.StatusCode.DEADLINE_EXCEEDED, what
                details = answer.error.details()
                # The transport's own UNAVAILABLE means that the server went away.
                if code == grpc.StatusCode.UNAVAILABLE:
                    assert "[RESOURCE_EXHAUSTED]" in details, (what, details)
                outcomes[code.name] += 1
            if i % 20 == 0:
                check_feed(client, "rich")
        check_feed(client, "rich")
        got = client.do_get(
            client.get_flight_info(fl.FlightDescriptor.for_path("rich"), OPTIONS)
            .endpoints[0]
            .ticket
        ).read_all()
        assert got == table
        status = pb.ServerStatus.FromString(
            next(
                iter(client.do_action(fl.Action("flightbridge.v1.ServerStatus", b"")))
            ).body.to_pybytes()
        )
        assert (status.open_puts, status.open_gets) == (0, 0)
    assert sum(outcomes.values()) == ROUNDS
    assert outcomes["accepted"] > 20, outcomes  # mutations that change nothing that matters
    assert outcomes["INVALID_ARGUMENT"] > ROUNDS // 4, outcomes


STRAYS = {
    "empty": FlightData(),
    "metadata only": FlightData(app_metadata=b"stray"),
    "body only": FlightData(body=b"12345678"),
}


@pytest.mark.parametrize("stray", STRAYS)
def test_stray_message_at_every_place_of_a_put(stray):
    """One of these between a dictionary and its batch crashes a plain Flight server."""
    messages = with_descriptor(ipc_messages(rich_batches()), path_descriptor(b"f", b"overwrite"))
    assert len(messages) >= 7  # schema, dictionaries that change, batches
    with serving() as server, Wire(server.port) as wire, fl.connect(server.uri) as client:
        for at in range(1, len(messages) + 1):
            frames = [m.encode() for m in messages]
            frames.insert(at, STRAYS[stray].encode())
            answer = wire.call("DoPut", frames)
            server.assert_alive(f"a stray message at {at}")
            if answer.error is None:
                check_feed(client, "f")
            else:
                assert answer.error.code() == grpc.StatusCode.INVALID_ARGUMENT, answer.error


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_decompression_bomb_is_refused_before_it_is_unpacked(compression):
    packed = pa.ipc.IpcWriteOptions(compression=compression)
    bomb = pa.record_batch({"zeros": pa.repeat(pa.scalar(0, pa.int64()), 16 << 20)})
    messages = with_descriptor(ipc_messages([bomb], packed), path_descriptor(b"bomb"))
    assert len(messages[1].body) < 1 << 20
    with serving() as server, Wire(server.port) as wire, fl.connect(server.uri) as client:
        before = server.memory_bytes()
        answer = wire.call("DoPut", [m.encode() for m in messages])
        assert answer.error is not None
        assert "[RESOURCE_EXHAUSTED]" in answer.error.details()
        assert "max_batch_bytes" in answer.error.details()
        assert server.memory_bytes() - before < 64 << 20  # it would be 128 MiB
        assert list(client.list_flights(b"", OPTIONS)) == []


def test_compressed_batches_of_an_honest_client_are_taken():
    table = pa.Table.from_batches(rich_batches())
    options = fl.FlightCallOptions(
        timeout=20, write_options=pa.ipc.IpcWriteOptions(compression="zstd")
    )
    with serving() as server, fl.connect(server.uri) as client:
        writer, _ = client.do_put(fl.FlightDescriptor.for_path("packed"), table.schema, options)
        with writer:
            writer.write_table(table)
        check_feed(client, "packed")


def test_oversized_message_is_refused():
    rows = 3 << 20
    batch = pa.record_batch({"x": pa.array(range(rows), pa.int64())})
    messages = with_descriptor(ipc_messages([batch]), path_descriptor(b"big"))
    with serving() as server, Wire(server.port) as wire:
        answer = wire.call("DoPut", [m.encode() for m in messages])
        assert answer.error is not None
        assert "max_batch_bytes" in answer.error.details()
        server.assert_alive("an oversized message")


def test_ticket_and_action_sizes_are_limited():
    with serving() as server, Wire(server.port) as wire:
        huge = pb.GetTicket(feed="f", columns=["c" * (5 << 20)]).SerializeToString()
        answer = wire.call("DoGet", [field_bytes(1, huge)])
        assert "at most" in answer.error.details()
        answer = wire.call("DoAction", [action("DropFeed", pb.DropFeed(feed="f" * (17 << 20)))])
        assert "at most" in answer.error.details()


def test_names_that_are_no_utf8_are_refused_and_quoted_safely():
    messages = with_descriptor(ipc_messages(rich_batches()), path_descriptor(b"f"))
    bad = replace(messages[0], header=messages[0].header.replace(b"text", b"t\xffxt"))
    assert bad != messages[0]
    with serving() as server, Wire(server.port) as wire:
        answer = wire.call("DoPut", [m.encode() for m in [bad, *messages[1:]]])
        assert "not valid UTF-8" in answer.error.details()
        assert wire.call("DoPut", [m.encode() for m in messages]).error is None
        column = field_bytes(1, b"f") + field_bytes(3, b"\xffcolumn")
        answer = wire.call("DoGet", [field_bytes(1, column)])
        assert "no column '?column'" in answer.error.details()
