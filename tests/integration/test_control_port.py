"""The control port: health and status over ordinary gRPC, and how a server ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import grpc
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import flightbridge
from flightbridge import errors
from flightbridge.v1 import coordinator_pb2, coordinator_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def bridge():
    with flightbridge.Server(control_port=0) as server:
        yield server


@pytest.fixture
def channel(bridge):
    with grpc.insecure_channel(bridge.control_uri.removeprefix("grpc://")) as open_channel:
        yield open_channel


def check(channel: grpc.Channel, service: str):
    stub = health_pb2_grpc.HealthStub(channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status


def put_one_row(uri: str, feed: str) -> None:
    table = pa.table({"x": [1]})
    with fl.connect(uri) as client:
        writer, _ = client.do_put(fl.FlightDescriptor.for_path(feed), table.schema)
        with writer:
            writer.write_table(table)


@pytest.mark.parametrize("service", ["", "flightbridge"])
def test_health_of_each_service(channel, service):
    assert check(channel, service) == SERVING


def test_health_of_an_unknown_service_is_not_found(channel):
    with pytest.raises(grpc.RpcError) as caught:
        check(channel, "nope")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_status_with_and_without_feeds(bridge, channel):
    put_one_row(bridge.uri, "one")
    stub = coordinator_pb2_grpc.CoordinatorStub(channel)
    short = stub.GetStatus(coordinator_pb2.GetStatusRequest(), timeout=10)
    assert (short.server.version, short.server.feeds) == (flightbridge.__version__, 1)
    assert len(short.feeds) == 0
    request = coordinator_pb2.GetStatusRequest(include_feeds=True)
    full = stub.GetStatus(request, timeout=10)
    assert [(feed.feed, feed.rows) for feed in full.feeds] == [("one", 1)]


def test_health_turns_to_not_serving_while_running_calls_end(bridge, channel):
    stub = health_pb2_grpc.HealthStub(channel)
    states = stub.Watch(health_pb2.HealthCheckRequest(service="flightbridge"), timeout=20)
    assert next(states).status == SERVING
    client = fl.connect(bridge.uri)
    descriptor = fl.FlightDescriptor.for_path("feed")
    writer, _ = client.do_put(descriptor, pa.schema([("x", pa.int64())]))
    writer.write_batch(pa.record_batch({"x": [1]}))
    stopping = threading.Thread(target=bridge.stop, args=(2.0,))
    stopping.start()
    assert next(states).status == NOT_SERVING
    writer.close()  # the running put still ends well
    stopping.join(20)
    assert not stopping.is_alive()
    client.close()
    with pytest.raises(grpc.RpcError):
        check(channel, "")


def test_no_control_port_unless_asked():
    with flightbridge.Server() as server:
        assert server.control_uri is None


def test_control_port_in_use_is_refused_and_leaves_no_server(bridge):
    port = int(bridge.control_uri.rpartition(":")[2])
    with flightbridge.Server() as probe:
        free = probe.port
    with pytest.raises(errors.FailedPreconditionError, match=r"--control-port 0"):
        flightbridge.Server(port=free, control_port=port)
    flightbridge.Server(port=free).stop()


def run_script(script: str, *, timeout_s: float = 30) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", script],
        capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip


def test_interpreter_exit_stops_a_server_that_nobody_closed():
    done = run_script("import flightbridge; keep = flightbridge.Server(control_port=0)")
    assert done.returncode == 0, done.stderr
    assert "ResourceWarning: unclosed <flightbridge.Server" in done.stderr


def test_forked_child_neither_stops_nor_waits_for_the_server():
    done = run_script(
        """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads, on purpose
import flightbridge, pyarrow.flight as fl
with flightbridge.Server() as bridge:
    child = os.fork()
    if child == 0:
        bridge.stop()
        del bridge
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    with fl.connect(bridge.uri) as client:
        assert list(client.list_flights()) == []
"""
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_stop_from_a_signal_handler(name):
    script = f"""
import signal, sys, time, flightbridge
bridge = flightbridge.Server(control_port=0)
def stop(*_):
    bridge.stop(grace_s=1)
    print("stopped", flush=True)
    sys.exit(7)
signal.signal(signal.{name}, stop)
print("ready", flush=True)
while True:
    time.sleep(0.1)  # a signal just before pause() would not end it
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "ready\n"
        os.kill(child.pid, getattr(signal, name))
        assert child.stdout.readline() == "stopped\n"
        assert child.wait(20) == 7


def test_signals_keep_pythons_own_handlers():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with flightbridge.Server():
        done = run_script(
            """
import os, signal, flightbridge
with flightbridge.Server():
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
"""
        )
        assert done.returncode == -signal.SIGTERM  # the default action, not a handler of Arrow's
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
