"""Limits hold and an honest client is served (row 35), with real connections."""

from __future__ import annotations

import contextlib
import socket
import threading

import grpc
import pyarrow as pa
import pytest

import flightbridge
from flightbridge import errors

from .server_process import serving
from .wire import SERVICE, ipc_messages, path_descriptor, with_descriptor

TABLE = pa.table({"x": pa.array(range(1000), pa.int64())})
CLIENTS = 200
MAX_STREAMS = 40
WAIT_S = 60


class HangingPut:
    """A put over a connection of its own that sends its schema and then nothing."""

    def __init__(self, port: int, number: int, ended: threading.Semaphore) -> None:
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self._release = threading.Event()
        descriptor = path_descriptor(f"flood-{number}".encode())
        first = with_descriptor(ipc_messages(TABLE.to_batches())[:1], descriptor)[0].encode()

        def messages():
            yield first
            self._release.wait(WAIT_S)

        stub = self._channel.stream_stream(
            SERVICE + "DoPut", request_serializer=None, response_deserializer=None
        )
        self.call = stub(messages(), timeout=WAIT_S)
        self.call.add_done_callback(lambda _: ended.release())

    def close(self) -> None:
        self._release.set()
        self.call.cancel()
        self._channel.close()


@pytest.mark.slow
def test_a_flood_of_puts_is_refused_beyond_the_limit_and_an_honest_client_is_served():
    ended = threading.Semaphore(0)
    with (
        serving(max_streams=MAX_STREAMS) as server,
        flightbridge.connect(server.uri, timeout_s=WAIT_S, transport="flight") as honest,
    ):
        with contextlib.ExitStack() as stack:
            flood = []
            for number in range(CLIENTS):
                flood.append(HangingPut(server.port, number, ended))
                stack.callback(flood[-1].close)
            for _ in range(CLIENTS - MAX_STREAMS):
                assert ended.acquire(timeout=WAIT_S)
            refused = [put.call for put in flood if not put.call.is_active()]
            assert len(refused) == CLIENTS - MAX_STREAMS
            for call in refused:
                assert "[RESOURCE_EXHAUSTED]" in call.details()
                assert "--max-streams" in call.details()
            # Served: whatever needs no stream. A stream is refused with the same words.
            assert honest.status().open_puts == MAX_STREAMS
            honest.begin_write("mine", "job", "overwrite", TABLE.schema)
            with pytest.raises(errors.ResourceExhaustedError, match="max_streams, 40"):
                honest.write("mine", TABLE)
            # One of the others goes: there is room for one.
            flood[next(i for i, put in enumerate(flood) if put.call.is_active())].close()
            until(lambda: honest.status().open_puts < MAX_STREAMS)
            honest.write("mine", TABLE)
            assert honest.read_table("mine") == TABLE
        until(lambda: honest.status().open_puts == 0)
        assert [info.feed for info in honest.feeds()] == ["mine"]  # nothing of the flood


def until(condition) -> None:
    deadline = threading.Event()
    timer = threading.Timer(WAIT_S, deadline.set)
    timer.start()
    try:
        while not condition():
            assert not deadline.is_set()
    finally:
        timer.cancel()


def test_idle_connections_keep_nobody_out():
    with serving() as server, contextlib.ExitStack() as stack:
        for number in range(CLIENTS):
            idle = stack.enter_context(
                socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S)
            )
            if number % 2:
                idle.sendall(b"GET / HTTP/1.1\r\n\r\n")  # half of them talk nonsense
        with flightbridge.connect(server.uri, timeout_s=WAIT_S, transport="flight") as honest:
            honest.write("f", TABLE)
            assert honest.read_table("f") == TABLE


def test_gets_count_as_streams():
    # Far more than buffers on the way hold, so that a get that nobody reads stays open.
    big = pa.table({"x": pa.array(range(4_000_000), pa.int64())})
    with (
        serving(max_streams=2) as server,
        flightbridge.connect(server.uri, timeout_s=WAIT_S, transport="flight") as client,
    ):
        client.write("f", big)
        first, second = client.read("f"), client.read("f")
        until(lambda: client.status().open_gets == 2)
        with pytest.raises(errors.ResourceExhaustedError, match="max_streams, 2"):
            client.read_table("f")
        rows = sum(batch.num_rows for batch in first)
        assert rows == big.num_rows
        until(lambda: client.status().open_gets < 2)
        assert client.read("f").read_next_batch().num_rows > 0
        second.close()


def test_feeds_beyond_the_limit_are_refused_and_a_drop_makes_room():
    with (
        flightbridge.Server(max_feeds=2) as bridge,
        bridge.client() as client,
    ):
        client.write("a", TABLE)
        client.begin_write("b", "job", "overwrite", TABLE.schema)  # open ones count
        with pytest.raises(errors.ResourceExhaustedError, match="more than max_feeds, 2"):
            client.write("c", TABLE)
        client.write("a", TABLE, mode="append")  # no further feed
        client.begin_write("b", "job2", "overwrite", TABLE.schema)
        client.drop("a")
        client.write("c", TABLE)


@pytest.mark.parametrize("name", ["max_streams", "max_feeds"])
@pytest.mark.parametrize("value", [0, -1, True, 1.5, "7"])
def test_a_limit_that_cannot_be_is_named(name, value):
    with pytest.raises(errors.InvalidArgumentError, match=f"{name}="):
        flightbridge.Server(**{name: value})
