"""A plain Flight client: limits of a batch and of memory."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.flight as fl
import pytest

import flightbridge
from flightbridge.v1 import commands_pb2 as pb

from .calls import OPTIONS, get, numbers, put, run


def test_too_big_a_batch_is_refused_and_named():
    with flightbridge.Server(max_batch_bytes="64KiB") as server, fl.connect(server.uri) as client:
        with pytest.raises(pa.ArrowException, match=r"\[RESOURCE_EXHAUSTED\].*max_batch_bytes"):
            put(client, numbers(100_000), "feed")
        assert list(client.list_flights(b"", OPTIONS)) == []
        put(client, numbers(100_000), "feed", rows=1000)
        assert get(client, "feed") == numbers(100_000)


def test_memory_limit_is_kept_and_freed_by_drop():
    table = pa.table({"x": pa.array(range(1_000_000), pa.int64())})  # 8 MB
    with (
        flightbridge.Server(memory_limit="64MiB", put_wait_s=0) as server,
        fl.connect(server.uri) as client,
    ):
        names = (f"feed{i}" for i in range(20))
        with pytest.raises(pa.ArrowException, match=r"\[RESOURCE_EXHAUSTED\]"):
            [put(client, table, name, rows=100_000) for name in names]
        assert server.status().memory_used_bytes <= 64 << 20
        assert get(client, "feed0") == table
        fitted = [f.descriptor.path[0].decode() for f in client.list_flights(b"", OPTIONS)]
        assert 1 < len(fitted) < 10
        for name in fitted:
            run(client, "DropFeed", pb.DropFeed(feed=name))
        put(client, table, "again", rows=100_000)
        assert get(client, "again") == table
