"""Three servers that a feed spans, and a write job over them."""

from __future__ import annotations

import collections
import contextlib
import uuid

import pyarrow as pa

import flightbridge
from flightbridge.errors import FeedNotFoundError

from .server_node import Node, free_port, until_it_answers

PARTITIONS = 12
ROWS = 500


class Cluster:
    """``settings`` are those of each server, ``credentials`` those of clients."""

    def __init__(self, root, *, credentials: dict[str, str] | None = None, **settings) -> None:
        self.credentials = credentials or {}
        ports = [free_port() for _ in range(3)]
        if "peer_token_file" in settings:
            scheme = "grpc+tls" if "tls_cert" in settings else "grpc"
            settings["peers"] = [f"{scheme}://127.0.0.1:{port}" for port in ports]
        self.nodes = [Node(root / str(i), port=port, **settings) for i, port in enumerate(ports)]
        self.uris = [node.uri for node in self.nodes]

    def connect(self, uri: str | list[str] | None = None, **options) -> flightbridge.Client:
        """To all servers, or to that one."""
        wanted = {"timeout_s": 30, **self.credentials, **options}
        return flightbridge.connect(uri or self.uris, **wanted)

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def wait_for(self, client: flightbridge.Client) -> None:
        """Until the client, and every server, reaches every server again.

        A connection that was lost is tried again within a second, and calls fail until then.
        """
        self.wait_until_up(client)
        for node in self.nodes:
            with self.connect(node.uri) as one:
                for feed in ("before", "feed"):
                    until_it_answers(lambda one=one, feed=feed: described(one, feed))

    def wait_until_up(self, client: flightbridge.Client) -> None:
        """Until the client reaches every server again."""
        until_it_answers(client.status)

    def home_of(self, feed: str) -> Node:
        """The only one that lists the feed."""
        found = []
        for node in self.nodes:
            with self.connect(node.uri) as client:
                found += [node for info in client.feeds() if info.feed == feed]
        assert len(found) == 1
        return found[0]

    def holder(self, info: flightbridge.client.FeedInfo, home: Node) -> Node:
        """One that holds partitions of the feed and is not its home."""
        held = {part.server for part in info.partitions} - {home.uri}
        return next(node for node in self.nodes if node.uri in held)


def described(client, feed: str):
    with contextlib.suppress(FeedNotFoundError):
        return client.feed(feed)


def rows_of(partition: int, start: int = 0) -> pa.RecordBatch:
    first = start + partition * ROWS
    return pa.record_batch({"id": pa.array(range(first, first + ROWS), pa.int64())})


SCHEMA = rows_of(0).schema


class Job:
    """A write job of PARTITIONS partitions, step by step."""

    def __init__(
        self, client, feed: str, mode: str = "errorifexists", start: int = 0, **settings
    ) -> None:
        self.client, self.feed, self.start = client, feed, start
        self.job_id = uuid.uuid4().hex
        self.refs: dict[int, flightbridge.client.AttemptRef] = {}
        client.begin_write(feed, self.job_id, mode, SCHEMA, **settings)

    def open(self, partition: int, attempt: int):
        return self.client.open_put(self.feed, self.job_id, partition, attempt, SCHEMA)

    def put(self, partition: int, attempt: int = 0) -> None:
        with self.open(partition, attempt) as put:
            put.write(rows_of(partition, self.start))
            self.refs[partition] = put.finish()

    def put_all(self) -> Job:
        for partition in range(PARTITIONS):
            self.put(partition)
        return self

    def commit(self):
        return self.client.commit_write(self.feed, self.job_id, self.refs.values())


def check(client, feed: str, count: int = PARTITIONS * ROWS) -> None:
    seen = collections.Counter(client.read_table(feed)["id"].to_pylist())
    assert seen == collections.Counter(range(count))


def check_spread(info: flightbridge.client.FeedInfo, cluster: Cluster) -> None:
    """Of twelve partitions one server in forty runs gets none: where ports are is chance."""
    held = {part.server for part in info.partitions}
    assert held <= set(cluster.uris)
    assert len(held) > 1
