"""An embedded server: where it listens, what it refuses, how it stops, what it keeps."""

from __future__ import annotations

import re
import socket
import threading

import pyarrow as pa
import pyarrow.flight as fl
import pytest

import flightbridge
from flightbridge import errors

from .calls import COLUMNS, OPTIONS, get, numbers, path, put


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
