"""The ways that a DataFrame's rows take to the server: whichever it is, the feed is the same."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import flightbridge
import flightbridge.spark
from flightbridge.errors import ServerUnavailableError
from tests.fault.link import Link
from tests.fault.server_node import Node
from tests.fault.spark_cluster import wait_for

pytestmark = pytest.mark.spark

WAYS = ("mapped", "channel", "flight")
ROWS = 60_000
# Nulls, nested values, and strings of which a few are larger than a ring of a small batch.
COLUMNS = (
    "id",
    "cast(id * 1.5 as double) as d",
    "if(id % 3 = 0, null, cast(id as string)) as s",
    "array_repeat(cast(id as int), cast(id % 5 as int)) as a",
    "named_struct('x', cast(id % 100 as tinyint), 'y', id % 2 = 0) as n",
    "map(cast(id % 7 as string), id) as m",
    "if(id % 20011 = 20010, repeat('x', 900000), 'y') as wide",
)


@pytest.fixture
def spark(classic_session):
    return classic_session


@pytest.fixture
def frame(spark):
    return spark.range(0, ROWS, 1, 3).selectExpr(*COLUMNS)


@pytest.fixture
def mapped_bytes(spark):
    """Bytes that have gone through shared memory, of this session's JVM, since this was asked."""
    totals = spark._jvm.io.flightbridge.spark.WriteTotals
    before = totals.mappedBytes()
    return lambda: totals.mappedBytes() - before


def rings_of(process):
    """Rings that a process holds open."""
    found = []
    for fd in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if "flightbridge-ring" in str(fd.readlink()):
                found.append(fd)
    return found


@pytest.mark.parametrize("batch_bytes", [64 << 10, 2 << 20])
def test_every_way_brings_the_same_rows(frame, bridge, client, mapped_bytes, batch_bytes):
    tables = {}
    for way in WAYS:
        before = mapped_bytes()
        flightbridge.spark.write(frame, bridge, way, transport=way, batch_bytes=batch_bytes)
        assert (mapped_bytes() > before) == (way == "mapped")
        tables[way] = client.read_table(way)
    assert tables["mapped"]["id"].to_pylist() == list(range(ROWS))
    for way in WAYS:
        assert tables[way].equals(tables["mapped"]), way
        assert client.feed(way).fingerprint == client.feed("mapped").fingerprint
    # The server is in this process.
    wait_for(lambda: rings_of(os.getpid()) == [], "the end of the rings")


def test_by_default_it_is_shared_memory(frame, bridge, client, mapped_bytes):
    flightbridge.spark.write(frame, bridge, "f")
    assert mapped_bytes() > 0
    assert client.feed("f").rows == ROWS


def test_one_write_uses_the_memory_of_the_last(frame, bridge, client, mapped_bytes):
    """While it is fresh: what was lent is given back soon when nobody writes."""

    def rings():
        return {str(fd.readlink()) for fd in rings_of(os.getpid())}

    def write(batch_bytes=2 << 20):
        flightbridge.spark.write(
            frame, bridge, "f", mode="append", transport="mapped", batch_bytes=batch_bytes
        )

    def writes_twice():
        before = mapped_bytes()
        write()
        first = rings()
        write()
        assert mapped_bytes() > before
        return first & rings()

    wait_for(writes_twice, "a ring that is used again")
    small = mapped_bytes()
    write(64 << 10)  # in a ring that is larger than it has to be
    write(8 << 20)  # and in one that is not large enough
    assert mapped_bytes() > small
    found = client.read_table("f")["id"].to_pylist()
    writes = len(found) // ROWS
    assert sorted(found) == sorted(list(range(ROWS)) * writes)
    wait_for(lambda: rings_of(os.getpid()) == [], "the end of the rings")


@pytest.mark.parametrize("way", ["mapped", "channel"])
def test_a_server_that_restarts_between_two_writes(frame, tmp_path, way):
    node = Node(tmp_path / "data")
    try:
        for number in (1, 2, 3):
            flightbridge.spark.write(frame, node.uri, "f", mode="append", transport=way)
            with flightbridge.connect(node.uri) as client:
                assert client.feed("f").rows == number * ROWS
            node.restart()
    finally:
        node.close()


def test_tokens_are_asked_for_with_each_put(frame, tmp_path, mapped_bytes):
    """A server with tokens takes one request of a connection, so none is used again."""
    token = "token-of-a-writer-0123"
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{token} read:*,write:*\n")
    tokens.chmod(0o600)
    with flightbridge.Server(token_file=str(tokens)) as server:
        for number in (1, 2):
            flightbridge.spark.write(
                frame, server, "f", mode="append", transport="mapped", token=token
            )
            with flightbridge.connect(server.uri, token=token) as client:
                assert client.feed("f").rows == number * ROWS
        assert mapped_bytes() > 0


def test_a_put_that_fails_gives_its_memory_back(spark, bridge, client):
    frame = spark.range(0, ROWS, 1, 2).selectExpr(
        *COLUMNS, "if(id = 50000, raise_error('enough'), 1) as last"
    )
    with pytest.raises(Exception, match="enough"):
        flightbridge.spark.write(frame, bridge, "f", transport="mapped", batch_bytes=64 << 10)
    assert client.feeds() == []
    wait_for(lambda: client.status().memory_used_bytes == 0, "the end of what was staged")
    wait_for(lambda: rings_of(os.getpid()) == [], "the end of the rings")


class Contained:
    """A server whose processes have numbers of their own, as in a container."""

    def __init__(self):
        inside = ["unshare", "--pid", "--fork", "--kill-child"]
        if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode != 0:
            pytest.skip("making a namespace of processes is not allowed here")
        serve = (
            "import flightbridge, sys\n"
            "with flightbridge.Server() as server:\n"
            "    print(server.uri, flush=True)\n"
            "    sys.stdin.read()\n"
        )
        self.process = subprocess.Popen(
            [*inside, sys.executable, "-c", serve],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.uri = self.process.stdout.readline().strip()

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


@pytest.fixture
def contained():
    server = Contained()
    yield server
    server.close()


def test_a_server_whose_memory_cannot_be_seen_is_reached_over_tcp(frame, contained, mapped_bytes):
    flightbridge.spark.write(frame, contained.uri, "f")
    assert mapped_bytes() == 0
    with flightbridge.connect(contained.uri) as client:
        assert client.feed("f").rows == ROWS


def test_mapped_insists(frame, contained):
    with pytest.raises(ServerUnavailableError, match="transport='mapped' is not possible with"):
        flightbridge.spark.write(frame, contained.uri, "f", transport="mapped")
    with flightbridge.connect(contained.uri) as client:
        assert client.feeds() == []


@pytest.mark.slow
def test_another_machine_is_lent_nothing(frame, tmp_path):
    with Link() as link:
        node = Node(tmp_path / "data", inside=link.inside, host=link.far, insecure=True)
        try:
            with pytest.raises(ServerUnavailableError, match="as to a writer on another machine"):
                flightbridge.spark.write(frame, node.uri, "f", transport="mapped")
            flightbridge.spark.write(frame, node.uri, "f")
            with flightbridge.connect(node.uri) as client:
                assert client.feed("f").rows == ROWS
        finally:
            node.close()
