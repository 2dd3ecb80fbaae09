"""``flightbridge serve`` as its own process: ready line, signals, health, restarts, errors."""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pyarrow as pa
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import flightbridge
from flightbridge.errors import FeedNotFoundError, FlightBridgeError, ServerUnavailableError

START_S = 60
STOP_S = 30
TABLE = pa.table({"user": pa.array(range(5000), pa.int64()), "name": ["n"] * 5000})


class Serve:
    """A running ``flightbridge serve``."""

    def __init__(self, *args, ready=True, stdin=None):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flightbridge.cli", "serve", *map(str, args)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = []
        self._logged = threading.Thread(
            target=lambda: self.log.extend(self.process.stderr), daemon=True
        )
        self._logged.start()
        self.line = self._read_line() if ready else ""
        self.uri = self.line.removeprefix("flightbridge: serving ").strip()

    def _read_line(self):
        readable, _, _ = select.select([self.process.stdout], [], [], START_S)
        assert readable, "no ready line"
        line = self.process.stdout.readline()
        assert line, f"it ended: {self.log}"
        return line

    def end(self, number):
        """Sends the signal; the exit code, and what came on stdout behind the ready line."""
        self.process.send_signal(number)
        code = self.process.wait(STOP_S)
        self._logged.join(STOP_S)
        return code, self.process.stdout.read()

    def wait_logged(self, pattern):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            match = re.search(pattern, "".join(self.log))
            if match:
                return match
            self._logged.join(0.02)
        raise AssertionError(f"nothing like {pattern!r} in the log: {self.log}")

    def control_address(self):
        return self.wait_logged(r"control port (?:grpc://)?(\S+:\d+)").group(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._logged.join(STOP_S)
        self.process.stdout.close()
        self.process.stderr.close()


def fails(*args):
    """Runs a serve that must not start; its exit code and the one line it said."""
    done = subprocess.run(
        [sys.executable, "-m", "flightbridge.cli", "serve", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("flightbridge: error: ")]
    assert len(said) == 1, done.stderr
    return done.returncode, said[0]


def health(address, timeout_s=20):
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        return stub.Check(request, timeout=timeout_s, wait_for_ready=True).status


def feeds(*args, check=0):
    done = subprocess.run(
        [sys.executable, "-m", "flightbridge.cli", "feeds", *args],
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == check, done.stderr
    return done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_ready_line_ready_file_and_a_clean_stop(tmp_path, number):
    ready = tmp_path / "ready"
    ready.write_text("grpc://127.0.0.1:1\n")  # left behind by a server that was killed
    with Serve("--port", 0, "--ready-file", ready) as server:
        assert re.fullmatch(r"flightbridge: serving grpc://127\.0\.0\.1:\d+\n", server.line)
        assert ready.read_text() == f"{server.uri}\n"
        with flightbridge.connect(server.uri) as client:
            client.write("ratings", TABLE)
            assert client.read_table("ratings").equals(TABLE)
        assert server.end(number) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("transport", ["channel", "flight"])
def test_it_stops_while_a_reader_stands_still(transport):
    big = pa.record_batch({"x": pa.nulls(1_000_000).cast(pa.int64())})
    with (
        Serve("--port", 0, "--grace", "0.2") as server,
        flightbridge.connect(server.uri, timeout_s=5, transport=transport) as client,
    ):
        client.write("big", [big] * 12)
        reader = client.read("big")
        reader.read_next_batch()  # and no further: the server is held back
        assert server.end(signal.SIGTERM) == (0, "")
        with pytest.raises(FlightBridgeError):
            reader.read_all()


def test_a_second_signal_does_not_wait():
    with (
        Serve("--port", 0, "--grace", "600") as server,
        flightbridge.connect(server.uri) as client,
    ):
        client.begin_write("held", "job", "overwrite", TABLE.schema)
        with client.open_put("held", "job", 0, 1, TABLE.schema) as put:
            put.write(TABLE.to_batches()[0])
            deadline = time.monotonic() + START_S
            while client.status().open_puts == 0:  # the call has not arrived yet
                assert time.monotonic() < deadline
            server.process.send_signal(signal.SIGTERM)
            server.wait_logged("stopping")
            assert server.process.poll() is None  # it waits for the put
            server._logged.join(1.0)  # sooner it would be taken for the first one, sent twice
            assert server.end(signal.SIGTERM)[0] == 128 + signal.SIGTERM


def test_the_end_of_standard_input_ends_it_when_asked_to():
    for option, ends in ((), False), (("--end-with-stdin",), True):
        reading, writing = os.pipe()
        with Serve("--port", 0, *option, stdin=reading) as serve:
            os.close(reading)
            os.write(writing, b"what comes here does not matter\n")
            assert flightbridge.connect(serve.uri).feeds() == []
            os.close(writing)
            if ends:
                assert serve.process.wait(STOP_S) == 0
                serve.wait_logged("got SIGTERM")
            else:
                assert flightbridge.connect(serve.uri).feeds() == []
                assert serve.end(signal.SIGTERM)[0] == 0


def test_the_same_signal_sent_twice_is_one():
    with Serve("--port", 0) as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.end(signal.SIGTERM) == (0, "")


def test_health_is_served_on_the_control_port():
    with Serve("--port", 0) as server:
        assert health(server.control_address()) == health_pb2.HealthCheckResponse.SERVING
        assert server.end(signal.SIGTERM)[0] == 0


def test_a_given_control_port_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Serve("--port", 0, "--control-port", port):
        assert health(f"127.0.0.1:{port}") == health_pb2.HealthCheckResponse.SERVING


def test_no_control_port():
    with Serve("--port", 0, "--control-port", "none") as server:
        assert server.end(signal.SIGTERM)[0] == 0
    assert "control port off" in "".join(server.log)


def test_settings_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("FLIGHTBRIDGE_SERVE_PORT", "0")
    monkeypatch.setenv("FLIGHTBRIDGE_SERVE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FLIGHTBRIDGE_SERVE_MEMORY_LIMIT", "64MiB")
    with Serve() as server, flightbridge.connect(server.uri) as client:
        status = client.status()
        assert status.memory_limit_bytes == 64 << 20
        assert Path(status.data_dir) == tmp_path / "data"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_keeps_committed_feeds_and_only_those(tmp_path, number):
    with Serve("--port", 0, "--data-dir", tmp_path / "data") as server:
        with flightbridge.connect(server.uri) as client:
            before = client.write("kept", TABLE)
            client.begin_write("lost", "job", "overwrite", TABLE.schema)
            with client.open_put("lost", "job", 0, 1, TABLE.schema) as put:
                put.write(TABLE.to_batches()[0])
                put.finish()
        assert server.end(number)[0] in (0, -signal.SIGKILL)
    with (
        Serve("--port", 0, "--data-dir", tmp_path / "data") as server,
        flightbridge.connect(server.uri) as client,
    ):
        assert [info.feed for info in client.feeds()] == ["kept"]
        assert client.feed("kept").fingerprint == before.fingerprint
        assert client.read_table("kept").equals(TABLE)
        with pytest.raises(FeedNotFoundError):
            client.schema("lost")


def test_without_a_data_dir_a_restart_starts_empty():
    with Serve("--port", 0) as server, flightbridge.connect(server.uri) as client:
        client.write("x", TABLE)
    with Serve("--port", 0) as server, flightbridge.connect(server.uri) as client:
        assert client.feeds() == []


def test_a_killed_servers_clients_get_a_typed_error():
    with Serve("--port", 0) as server, flightbridge.connect(server.uri, timeout_s=10) as client:
        server.end(signal.SIGKILL)
        with pytest.raises(ServerUnavailableError):
            client.feeds()


def test_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = fails("--port", port)
    assert code == 1
    assert str(port) in said


def test_control_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = fails("--port", 0, "--control-port", port)
    assert code == 1
    assert str(port) in said


def test_unwritable_data_dir(tmp_path):
    # The tests may run as root, which may write anywhere but below a file.
    file = tmp_path / "file"
    file.write_text("")
    code, said = fails("--port", 0, "--data-dir", file / "data")
    assert code == 1
    assert str(file / "data") in said


def test_unwritable_ready_file(tmp_path):
    code, said = fails("--port", 0, "--ready-file", tmp_path / "no" / "such" / "ready")
    assert code == 1
    assert "--ready-file" in said


def test_bad_memory_limit():
    code, said = fails("--memory-limit", "plenty")
    assert code == 2
    assert "plenty" in said
    assert "512MiB" in said


def test_beyond_loopback_only_with_insecure():
    code, said = fails("--host", "0.0.0.0", "--port", 0)
    assert code == 2
    assert "0.0.0.0" in said
    assert "insecure" in said
    with Serve("--host", "0.0.0.0", "--port", 0, "--insecure") as server:
        port = server.uri.rpartition(":")[2]
        with flightbridge.connect(f"grpc://127.0.0.1:{port}") as client:
            assert client.feeds() == []
        assert server.end(signal.SIGTERM)[0] == 0


def test_a_host_that_is_not_ours():
    code, said = fails("--host", "192.0.2.1", "--port", 0, "--insecure")
    assert code == 2
    assert "192.0.2.1" in said


def test_one_server_per_data_dir(tmp_path):
    with Serve("--port", 0, "--data-dir", tmp_path / "data"):
        code, said = fails("--port", 0, "--data-dir", tmp_path / "data")
    assert code == 1
    assert str(tmp_path / "data") in said


def test_a_closed_stdout_does_not_end_it(tmp_path):
    ready = tmp_path / "ready"
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "flightbridge.cli",
            "serve",
            "--port",
            "0",
            "--ready-file",
            str(ready),
        ],
        stdout=writer,
        stderr=subprocess.DEVNULL,
    )
    os.close(writer)
    try:
        deadline = time.monotonic() + START_S
        while not ready.exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        with flightbridge.connect(ready.read_text().strip()) as client:
            assert client.feeds() == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0
    finally:
        process.kill()
        process.wait()


def test_feeds_ls_show_rm():
    with Serve("--port", 0) as server, flightbridge.connect(server.uri) as client:
        info = client.write("ratings", TABLE, partition_rows=2000)
        client.write("movies", TABLE)
        table = feeds("ls", "--server", server.uri).stdout
        assert [line.split()[0] for line in table.splitlines()] == ["feed", "movies", "ratings"]
        assert "5,000" in table
        shown = feeds("show", "ratings", "--server", server.uri).stdout
        assert f"{info.fingerprint:016x}" in shown
        assert "int64" in shown
        missing = feeds("show", "nothing", "--server", server.uri, check=1)
        assert missing.stderr.startswith("flightbridge: error: ")
        assert "nothing" in missing.stderr
        feeds("rm", "ratings", "movies", "--yes", "--server", server.uri)
        assert client.feeds() == []


def test_feeds_of_a_server_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = feeds("ls", "--server", f"grpc://127.0.0.1:{port}", "--timeout", "5", check=1)
    assert done.stderr.startswith("flightbridge: error: ")
    assert done.stderr.count("\n") == 1
    assert str(port) in done.stderr
