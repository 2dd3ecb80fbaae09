"""Feeds read into Spark over a link that changes bits: found by the checksum, and read again."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

import flightbridge

from .proxy import DOWN, HOST, Proxy
from .server_node import Node, free_port

pytestmark = pytest.mark.spark

ROWS = 1 << 18
PARTITIONS = 2


@pytest.mark.parametrize("transport", ["channel", "flight"])
def test_a_flipped_bit_is_never_a_row(classic_session, tmp_path, transport):
    spark = classic_session
    rng = random.Random(7)
    table = pa.table({"x": np.random.default_rng(7).integers(-(2**62), 2**62, ROWS)})
    node = Node(tmp_path / "data", memory_limit="64MiB", data_port=free_port())
    try:
        with flightbridge.connect(node.uri) as client:
            client.write("f", table, partition_rows=ROWS // PARTITIONS)
        options = {"uri": node.uri, "feed": "f", "split_bytes": 1 << 20, "transport": transport}
        whole = spark.read.format("flightbridge").options(**options).load()
        expected = whole.selectExpr("count(x)", "sum(hash(x))", "bit_xor(x)").first()
        assert expected[0] == ROWS
        with Proxy([node.port, node.settings["data_port"]]) as proxy:
            options["uri"] = f"grpc://{HOST}:{node.port}"
            for number in range(6):
                proxy.reset_all()  # Flight's calls share a connection
                # Behind the head of the stream, of either task.
                proxy.flip(DOWN, rng.randrange(100_000, ROWS * 8 // PARTITIONS))
                df = spark.read.format("flightbridge").options(**options).load()
                assert df.selectExpr("count(x)", "sum(hash(x))", "bit_xor(x)").first() == expected
                assert proxy.flips == number + 1
    finally:
        node.close()


def test_tasks_read_over_the_connections_of_others(classic_session, tmp_path):
    table = pa.table({"x": range(ROWS)})
    node = Node(tmp_path / "data", memory_limit="64MiB", data_port=free_port())
    data_port = node.settings["data_port"]
    try:
        with flightbridge.connect(node.uri) as client:
            client.write("f", table, partition_rows=ROWS // PARTITIONS)
        with Proxy([node.port, data_port]) as proxy:
            options = {"uri": f"grpc://{HOST}:{node.port}", "feed": "f", "transport": "channel"}
            reader = classic_session.read.format("flightbridge").options(**options)
            df = reader.option("split_bytes", 50_000).load()
            tasks = df.rdd.getNumPartitions()
            assert tasks > 30
            assert df.selectExpr("count(x)", "sum(x)").first() == (ROWS, ROWS * (ROWS - 1) // 2)
            assert 0 < proxy.connections[data_port] < tasks
            proxy.reset_all()  # those that are idle now are of no use
            assert df.selectExpr("sum(x + 1)").first() == (ROWS * (ROWS + 1) // 2,)
            assert df.where("x % 2 = 0").count() == ROWS // 2
    finally:
        node.close()
