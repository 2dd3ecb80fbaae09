"""A feed as a plain Arrow stream over a socket."""

import os
import socket
import stat
import subprocess
import sys
import threading

import pyarrow as pa
import pytest

import flightbridge
from flightbridge.errors import (
    FailedPreconditionError,
    FeedNotFoundError,
    InvalidArgumentError,
    PermissionDeniedError,
)
from flightbridge.streaming import StreamEndpoint

ROWS = 1000


@pytest.fixture(scope="module")
def table():
    return pa.table(
        {
            "id": pa.array(range(ROWS)),
            "name": pa.array([f"n{i}" for i in range(ROWS)]),
            "kind": pa.array([f"k{i % 3}" for i in range(ROWS)]).dictionary_encode(),
            "tags": pa.array([list(range(i % 3)) for i in range(ROWS)], pa.list_(pa.int8())),
        }
    )


@pytest.fixture
def bridge(table):
    with flightbridge.Server(memory_limit="64MiB") as server:
        with server.client() as client:
            client.write("all", table, partition_rows=300)
        yield server


def connected(address):
    if address.startswith("unix://"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(address.removeprefix("unix://"))
    else:
        host, _, port = address.rpartition(":")
        connection = socket.create_connection((host.strip("[]"), int(port)))
    connection.settimeout(60)
    return connection


def received(address):
    with connected(address) as connection, connection.makefile("rb") as file:
        table = pa.ipc.open_stream(file).read_all()
        assert file.read() == b""
        return table


def plain(table):
    at = table.schema.get_field_index("kind")
    return table.set_column(at, "kind", table["kind"].cast(pa.string()))


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_each_connection_gets_the_whole_feed(bridge, table, tmp_path, kind):
    listen = "127.0.0.1:0" if kind == "tcp" else f"unix://{tmp_path}/feed"
    with StreamEndpoint(bridge, "all", listen=listen) as endpoint:
        assert endpoint.schema.equals(plain(table).schema)
        assert received(endpoint.address).equals(plain(table))
        assert received(endpoint.address).equals(plain(table))


def test_batches_are_as_large_as_asked(bridge, table):
    with StreamEndpoint(bridge, "all", columns=["tags", "id"], batch_rows=128) as endpoint:
        got = received(endpoint.address)
    assert got.equals(table.select(["tags", "id"]))
    assert max(len(chunk) for chunk in got["id"].chunks) == 128


def test_connections_beyond_the_limit_wait(bridge, table):
    with StreamEndpoint(bridge, "all", max_streams=1) as endpoint:
        results = []
        threads = [
            threading.Thread(target=lambda: results.append(received(endpoint.address)))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert len(results) == 6 and all(result.equals(plain(table)) for result in results)


def test_a_stream_that_fails_is_not_a_short_feed(bridge):
    with bridge.client() as client, StreamEndpoint(bridge, "all") as endpoint:
        client.drop("all")
        with pytest.raises((pa.ArrowInvalid, OSError)):
            received(endpoint.address)


def test_a_stream_cut_by_close_is_not_a_short_feed(bridge):
    rows = pa.table({"x": pa.array(range(4 << 20))})  # more than sockets hold
    with bridge.client() as client:
        client.write("large", rows, partition_rows=1 << 19)
    endpoint = StreamEndpoint(bridge, "large", batch_rows=1 << 16)
    with connected(endpoint.address) as connection, connection.makefile("rb") as file:
        stream = pa.ipc.open_stream(file)
        stream.read_next_batch()
        endpoint.close()
        with pytest.raises((pa.ArrowInvalid, OSError)):
            stream.read_all()
    endpoint.close()


def test_another_schema_is_refused(bridge, table):
    with bridge.client() as client, StreamEndpoint(bridge, "all") as endpoint:
        client.write("all", table.select(["id"]), mode="overwrite")
        with pytest.raises((pa.ArrowInvalid, OSError)):
            received(endpoint.address)


def test_a_unix_socket_is_its_users_alone_and_goes_with_the_endpoint(bridge, tmp_path):
    path = tmp_path / "feed"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()  # as a process that was killed leaves it
    with StreamEndpoint(bridge, "all", listen=f"unix://{path}"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(FailedPreconditionError, match="in use"):
            StreamEndpoint(bridge, "all", listen=f"unix://{path}")
    assert not path.exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_other_machines_are_kept_out(bridge, host):
    with pytest.raises(PermissionDeniedError, match=r"insecure=True"):
        StreamEndpoint(bridge, "all", listen=f"{host}:0")


def test_insecure_lets_them_in(bridge, table):
    with StreamEndpoint(bridge, "all", listen="0.0.0.0:0", insecure=True) as endpoint:
        port = endpoint.address.rpartition(":")[2]
        assert received(f"127.0.0.1:{port}").num_rows == ROWS


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"listen": "8899"}, "listen='8899'"),
        ({"listen": "127.0.0.1:99999"}, "99999"),
        ({"listen": "unix://feed"}, "absolute"),
        ({"batch_rows": 0}, "batch_rows=0"),
        ({"max_streams": 0}, "max_streams=0"),
    ],
)
def test_bad_arguments(bridge, settings, words):
    with pytest.raises(InvalidArgumentError, match=words):
        StreamEndpoint(bridge, "all", **settings)


def test_missing_feeds_and_taken_ports_are_named(bridge):
    with pytest.raises(FeedNotFoundError, match="nothing"):
        StreamEndpoint(bridge, "nothing")
    with (
        StreamEndpoint(bridge, "all") as endpoint,
        pytest.raises(FailedPreconditionError, match="in use"),
    ):
        StreamEndpoint(bridge, "all", listen=endpoint.address)


def test_command(bridge, table, tmp_path):
    command = [sys.executable, "-m", "flightbridge.cli", "stream", "--feed", "all"]
    command += ["--server", bridge.uri, "--columns", "id,name", "--batch-rows", "100"]
    refused = subprocess.run(
        [*command, "--listen", "0.0.0.0:0"], capture_output=True, text=True, timeout=120
    )
    assert refused.returncode == 2 and "--insecure" in refused.stderr
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        line = process.stdout.readline()
        assert line.startswith("flightbridge: streaming all on 127.0.0.1:")
        assert received(line.split()[-1]).equals(table.select(["id", "name"]))
        process.terminate()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
