"""A streaming feed whose server is killed between, and in, its generations."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

import flightbridge
from flightbridge import batches
from flightbridge.descriptions import FeedState
from flightbridge.errors import FlightBridgeError

from .server_node import Node, until_it_answers

SCHEMA = pa.schema([("x", pa.int64())])


@pytest.fixture
def node(tmp_path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.close()


def add(client: flightbridge.Client, epoch: int, run: int) -> None:
    """As a driver does that begins anew: it does not know how far the one before it came."""
    job = f"run{run}-{epoch}"
    begun = client.begin_write("f", job, "stream", SCHEMA, writer="query", epoch=epoch)
    refs = []
    if not begun.already_committed:
        for partition in range(2):
            rows = pa.array(range(epoch * 10 + partition * 5, epoch * 10 + partition * 5 + 5))
            with client.open_put("f", job, partition, partition, SCHEMA) as put:
                put.write(pa.record_batch([rows], schema=SCHEMA))
                refs.append(put.finish())
    client.commit_write("f", job, refs, writer="query", epoch=epoch)


def test_every_epoch_is_there_once_however_often_the_server_is_killed(node):
    chain = []
    for epoch in range(6):
        with flightbridge.connect(node.uri) as client:
            add(client, epoch, run=0)
            chain = client.feed("f").generations
        node.restart()
        with flightbridge.connect(node.uri) as client:
            assert client.feed("f").generations == chain
            add(client, epoch, run=1)  # a replay
            assert client.feed("f").generations == chain
            assert client.read_table("f")["x"].to_pylist() == list(range(epoch * 10 + 10))
    with flightbridge.connect(node.uri) as client:
        client.end_feed("f")
    node.restart()
    with flightbridge.connect(node.uri) as client:
        assert client.feed("f").state == FeedState.COMMITTED
        assert client.feed("f").generations == chain


@pytest.mark.parametrize(
    ("failpoint", "committed"),
    [("commit_before_journal", False), ("commit_before_fsync", None), ("commit_after_fsync", True)],
)
def test_a_commit_that_crashes_the_server_is_whole_or_not_there(node, failpoint, committed):
    with flightbridge.connect(node.uri) as client:
        add(client, 0, run=0)
    node.restart(**{failpoint: "crash"})
    with flightbridge.connect(node.uri) as client, pytest.raises(FlightBridgeError):
        add(client, 1, run=0)
    node.wait_killed()
    node.start()
    with flightbridge.connect(node.uri) as client:
        rows = client.feed("f").rows
        assert rows in (10, 20)
        if committed is not None:
            assert rows == (20 if committed else 10)
        add(client, 1, run=1)
        assert client.read_table("f")["x"].to_pylist() == list(range(20))
        assert client.feed("f").writers == (("query", 1),)


def test_a_follower_outlasts_a_server_that_is_killed_while_it_waits(node):
    with flightbridge.connect(node.uri) as client:
        add(client, 0, run=0)
    reader = batches.read(node.uri, "f", batch_size=10, follow=True, follow_timeout_s=120)
    got: list[int] = []
    following = threading.Thread(target=lambda: got.extend(x for b in reader for x in b["x"]))
    with reader:
        following.start()
        for epoch in range(1, 4):
            node.restart()
            with flightbridge.connect(node.uri) as client:
                until_it_answers(lambda c=client, e=epoch: add(c, e, run=0))
        node.restart()
        with flightbridge.connect(node.uri) as client:
            client.end_feed("f")
        following.join(120)
        assert not following.is_alive()
    assert got == list(range(40))
