"""Reads by Spark whose server dies, whose feed goes, or that are not let in."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from pyspark import TaskContext

import flightbridge

from .secured import CLIENT_TOKEN, Authority, write_secret
from .server_node import Node, free_port
from .spark_cluster import wait_for

pytestmark = pytest.mark.spark

_SERVE = """
import sys, flightbridge
with flightbridge.Server(memory_limit="256MiB") as bridge:
    print(bridge.uri, flush=True)
    sys.stdin.read()
"""
NEVER_S = 100_000
# Far more than what connections hold of a stream that nobody reads.
ROWS, TEXT = 100_000, "x" * 500


def load(spark, uri, **options):
    return (
        spark.read.format("flightbridge")
        .options(uri=uri, feed="f", **{"timeout": 10, **options})
        .load()
    )


def wide():
    return pa.table({"id": range(ROWS), "text": [TEXT] * ROWS})


def scan(df, at_first_batch):
    """Counts rows in a Python worker, which does that when the first of them are there."""

    def count(batches):
        for batch in batches:
            at_first_batch()
            yield pa.RecordBatch.from_pydict({"rows": [batch.num_rows]})

    return sum(row.rows for row in df.coalesce(1).mapInArrow(count, "rows long").collect())


@contextlib.contextmanager
def doomed_server():
    """A server that nobody expects to end well: its process, and its URI."""
    command = [sys.executable, "-c", _SERVE]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_server_that_dies_in_the_middle_ends_the_query(classic_session):
    with doomed_server() as (process, uri):
        with flightbridge.connect(uri) as client:
            client.write("f", wide())
        df = load(classic_session, uri, timeout=3)
        assert scan(df, lambda: None) == ROWS
        pid = process.pid

        def kill():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        with pytest.raises(Exception, match=r"UNAVAILABLE\] reading feed 'f'"):
            scan(df, kill)
        assert process.wait(timeout=20) == -signal.SIGKILL


@pytest.mark.parametrize("transport", ["channel", "flight"])
def test_a_server_that_restarts_in_the_middle(classic_session, tmp_path, transport):
    """No task fails for it: the read goes on from the row where it was."""
    begun, goes_on = tmp_path / "begun", tmp_path / "goes on"
    with contextlib.closing(Node(tmp_path / "data")) as node:
        with flightbridge.connect(node.uri) as client:
            client.write("f", wide())
        df = load(classic_session, node.uri, transport=transport, split_bytes=1 << 30, timeout=60)
        assert df.rdd.getNumPartitions() == 1

        def ids(batches):  # in a Python worker, which knows nothing of this module
            assert TaskContext.get().attemptNumber() == 0, "a task failed"
            deadline = time.monotonic() + 60
            for batch in batches:
                begun.touch()
                while not goes_on.exists():
                    assert time.monotonic() < deadline, "the server was not restarted"
                    time.sleep(0.05)
                yield batch.select(["id"])

        def restart():
            wait_for(begun.exists, timeout_s=60)
            node.restart()
            goes_on.touch()

        with ThreadPoolExecutor(1) as pool:
            restarted = pool.submit(restart)
            found = df.mapInArrow(ids, "id long").collect()
            restarted.result()
        assert [row.id for row in found] == list(range(ROWS))


@pytest.fixture
def late(tmp_path):
    """A server with feed f, of ten numbers. It is away, and comes some time after it is called."""
    node = Node(tmp_path / "data")
    with flightbridge.connect(node.uri) as client:
        client.write("f", pa.table({"id": range(10)}))
    comes = []

    def comes_late():
        node.kill()
        comes.append(threading.Timer(2, node.start))
        comes[-1].start()
        return node.uri

    yield comes_late
    for timer in comes:
        timer.join(60)
    node.close()


def test_a_server_that_is_away_when_a_read_is_planned(classic_session, late):
    spark = classic_session
    uri = late()
    df = load(spark, uri, timeout=60)
    assert df.agg({"id": "sum"}).first() == (45,)
    late()
    assert df.where("id > 3").count() == 6
    spark.conf.set("spark.sql.catalog.late", "io.flightbridge.spark.FeedCatalog")
    spark.conf.set("spark.sql.catalog.late.uri", late())
    assert [row.tableName for row in spark.sql("SHOW TABLES IN late").collect()] == ["f"]
    late()
    assert spark.sql("SELECT max(id) FROM late.f").first() == (9,)


@pytest.mark.parametrize("mode", ["ignore", "errorifexists"])
def test_a_server_that_is_away_when_a_write_looks_for_its_feed(classic_session, late, mode):
    writer = classic_session.range(3).write.format("flightbridge").mode(mode)
    save = writer.options(feed="f", timeout=60, uri=late()).save
    if mode == "ignore":
        save()
    else:
        with pytest.raises(Exception, match=r"'f' exists"):
            save()


def test_a_server_that_stays_away_is_said(classic_session):
    with pytest.raises(Exception, match=r"UNAVAILABLE.*no server answers at grpc://127"):
        load(classic_session, f"grpc://127.0.0.1:{free_port()}", timeout=2)


def test_a_feed_that_is_dropped_in_the_middle(classic_session, bridge, client):
    client.write("f", wide())
    df = load(classic_session, bridge.uri, split_bytes=1 << 20)
    assert df.rdd.getNumPartitions() > 20
    rows = df.toLocalIterator()  # a job for each task's rows, when they are wanted
    assert next(rows).text == TEXT
    client.drop("f")
    with pytest.raises(Exception, match=r"NOT_FOUND.*'f'"):
        list(rows)


def test_tokens(classic_session, tmp_path):
    tokens = write_secret(tmp_path / "tokens", f"{CLIENT_TOKEN} read:f,write:f client\n")
    with flightbridge.Server(token_file=tokens) as bridge:
        with flightbridge.connect(bridge.uri, token=CLIENT_TOKEN) as client:
            client.write("f", pa.table({"id": range(10)}))
        df = load(classic_session, bridge.uri, token=CLIENT_TOKEN)
        assert df.where("id > 3").count() == 6
        wrong = CLIENT_TOKEN[::-1]
        for options in ({}, {"token": wrong}):
            with pytest.raises(Exception, match=r"UNAUTHENTICATED") as caught:
                load(classic_session, bridge.uri, **options)
            assert CLIENT_TOKEN not in str(caught.value)
            assert wrong not in str(caught.value)
        rows = df.rdd  # the plan is made here, and its tasks run when the token is gone
        write_secret(tokens, f"{wrong} read:f,write:f client\n")

        def read_on():
            for _ in range(100):  # the server looks at its file now and then
                rows.collect()
                time.sleep(0.2)

        with pytest.raises(Exception, match="UNAUTHENTICATED"):
            read_on()


def test_tls(classic_session, tmp_path):
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    pair = ours.issue("server")
    with flightbridge.Server(tls_cert=pair.cert, tls_key=pair.key) as bridge:
        assert bridge.uri.startswith("grpc+tls://")
        with flightbridge.connect(bridge.uri, tls_ca=ours.ca) as client:
            client.write("f", pa.table({"id": range(10)}))
        df = load(classic_session, bridge.uri, tls_ca=str(ours.ca))
        assert sorted(row.id for row in df.collect()) == list(range(10))
        # Said at once: nobody waits out such a timeout.
        with pytest.raises(Exception, match=r"UNAVAILABLE.*grpc\+tls://"):
            load(classic_session, bridge.uri, tls_ca=str(theirs.ca), timeout=NEVER_S)
        with pytest.raises(Exception, match=r"UNAVAILABLE.*grpc\+tls://"):
            load(classic_session, bridge.uri, timeout=NEVER_S)
    with flightbridge.Server() as plain:
        uri = plain.uri.replace("grpc://", "grpc+tls://")
        with pytest.raises(Exception, match=r"UNAVAILABLE.*tls_ca"):
            load(classic_session, uri, tls_ca=str(ours.ca), timeout=NEVER_S)
