"""A writer that is killed in the middle of its stream never makes anything visible."""

from __future__ import annotations

import random
import signal
import struct
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.flight as fl
import pytest

import flightbridge
from flightbridge.v1 import commands_pb2 as pb

OPTIONS = fl.FlightCallOptions(timeout=30)
SCHEMA = pa.schema([("id", pa.int64())])

# Streams batches until it is killed, telling the test of each one that it has handed to Flight.
WRITER = """
import itertools, sys
import pyarrow as pa, pyarrow.flight as fl
from flightbridge.v1 import commands_pb2 as pb
uri, kind, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
batch = pa.record_batch({"id": pa.array(range(rows), pa.int64())})
if kind == "path":
    descriptor = fl.FlightDescriptor.for_path("feed", "overwrite")
else:
    command = pb.PutCommand(feed="feed", job_id="job", attempt=int(sys.argv[4]))
    descriptor = fl.FlightDescriptor.for_command(command.SerializeToString())
writer, _ = fl.connect(uri).do_put(descriptor, batch.schema)
print("open", flush=True)
for i in itertools.count():
    if kind == "path":
        writer.write_batch(batch)
    else:
        mark = pb.PutMetadata(batch=pb.BatchMark(sequence=i, crc32c=CRC))
        writer.write_with_metadata(batch, mark.SerializeToString())
    print(i, flush=True)
"""


def wait_until(condition, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def bridge():
    with flightbridge.Server(memory_limit="512MiB") as server:
        yield server


@pytest.fixture
def client(bridge):
    with fl.connect(bridge.uri) as connection:
        yield connection


def act(client: fl.FlightClient, name: str, message) -> list[bytes]:
    call = fl.Action(f"flightbridge.v1.{name}", message.SerializeToString())
    return [result.body.to_pybytes() for result in client.do_action(call, OPTIONS)]


def kill_writer(bridge, kind: str, rows: int, after: int, crc: int = 0, attempt: int = 0) -> None:
    """Start a writer, kill it `after` batches, and wait until the server has noticed."""
    script = WRITER.replace("CRC", str(crc))
    command = [sys.executable, "-c", script, bridge.uri, kind, str(rows), str(attempt)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        for _ in range(after + 1):
            assert writer.stdout.readline()
        wait_until(lambda: bridge.status().open_puts == 1)
        writer.send_signal(signal.SIGKILL)
        assert writer.wait(timeout=20) == -signal.SIGKILL
    wait_until(lambda: bridge.status().open_puts == 0)


@pytest.mark.slow
def test_plain_put(bridge, client):
    rng = random.Random(7)
    for round_ in range(10):
        kill_writer(bridge, "path", rows=rng.choice((1, 1000, 500_000)), after=rng.randrange(6))
        assert list(client.list_flights(b"", OPTIONS)) == [], f"round {round_}"
    # No job is left behind that would keep its bytes.
    wait_until(lambda: bridge.status().memory_used_bytes <= 64 << 20)
    writer, _ = client.do_put(fl.FlightDescriptor.for_path("feed"), SCHEMA, OPTIONS)
    writer.close()
    info = client.get_flight_info(fl.FlightDescriptor.for_path("feed"), OPTIONS)
    assert info.total_records == 0
    # A feed that is there stays as it was, though the killed put was to overwrite it.
    kill_writer(bridge, "path", rows=1000, after=3)
    assert client.get_flight_info(fl.FlightDescriptor.for_path("feed"), OPTIONS).total_records == 0
    act(client, "DropFeed", pb.DropFeed(feed="feed"))


@pytest.mark.slow
def test_put_of_a_job(bridge, client):
    rng = random.Random(8)
    begin = pb.BeginWrite(
        feed="feed",
        job_id="job",
        mode=pb.WRITE_MODE_OVERWRITE,
        schema=SCHEMA.serialize().to_pybytes(),
    )
    act(client, "BeginWrite", begin)
    crc = checksum_of_zero()
    for attempt in range(10):
        kill_writer(bridge, "command", rows=1, after=rng.randrange(20), crc=crc, attempt=attempt)
        assert list(client.list_flights(b"", OPTIONS)) == []
        ref = pb.AttemptRef(partition=0, attempt=attempt, rows=1, batches=1, crc32c=crc)
        commit = pb.CommitWrite(feed="feed", job_id="job", attempts=[ref])
        with pytest.raises(pa.ArrowException, match=r"\[FAILED_PRECONDITION\]"):
            act(client, "CommitWrite", commit)
    act(client, "AbortWrite", pb.AbortWrite(feed="feed", job_id="job"))
    wait_until(lambda: bridge.status().memory_used_bytes <= 64 << 20)


def checksum_of_zero() -> int:
    """The batch checksum of one row of int64 0, bit by bit (docs/protocol.md)."""
    crc = 0xFFFFFFFF
    for byte in struct.pack("<qqqqqq", 1, 1, 0, 0, 8, 0):
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
