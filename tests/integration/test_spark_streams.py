"""Streaming queries into feeds: each micro-batch a generation, each row once."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from flightbridge.descriptions import FeedState
from flightbridge.errors import FlightBridgeError
from tests.integration.kafka import broker

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

DEADLINE_S = 200


def stream_to(df, bridge, checkpoint, feed="f", **options):
    writer = df.writeStream.format("flightbridge").option("uri", bridge.uri).option("feed", feed)
    return writer.option("checkpointLocation", str(checkpoint)).options(**options)


def run_to_end(writer):
    """Takes what there is, in as many micro-batches as the source makes of it."""
    query = writer.trigger(availableNow=True).start()
    assert query.awaitTermination(DEADLINE_S), "the query does not end"
    return query


def ids(client, feed="f"):
    return sorted(client.read_table(feed)["id"].to_pylist())


def files(folder, numbers):
    """One file for each number n, with the ids of [100 n, 100 n + 100)."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        rows = (json.dumps({"id": 100 * number + i, "file": number}) for i in range(100))
        # Spark takes files in the order of their times.
        path = folder / f"part-{number}.json"
        path.write_text("\n".join(rows))
        os.utime(path, (number, number))


def from_files(spark, folder, **options):
    reader = spark.readStream.schema("id bigint, file int").options(maxFilesPerTrigger=2, **options)
    return reader.json(str(folder))


def test_each_micro_batch_is_a_generation(spark, bridge, client, tmp_path):
    files(tmp_path / "in", range(6))
    df = from_files(spark, tmp_path / "in")
    query = run_to_end(stream_to(df, bridge, tmp_path / "check"))
    assert ids(client) == list(range(600))
    info = client.feed("f")
    assert info.state is FeedState.OPEN
    assert [generation.rows for generation in info.generations[1:]] == [200, 200, 200]
    assert dict(info.writers) == {query.id: 2}
    # The same query goes on where it was; its id stays with its checkpoint.
    files(tmp_path / "in", [6])
    assert run_to_end(stream_to(df, bridge, tmp_path / "check")).id == query.id
    assert ids(client) == list(range(700))
    assert len(client.feed("f").generations) == 1 + 4
    sealed = client.end_feed("f")
    assert (sealed.state, sealed.rows) == (FeedState.COMMITTED, 700)


def test_a_replayed_micro_batch_is_dropped(spark, bridge, client, tmp_path):
    files(tmp_path / "in", range(4))
    df = from_files(spark, tmp_path / "in")
    run_to_end(stream_to(df, bridge, tmp_path / "check"))
    before = client.feed("f")
    # As if the driver had died after the sink's commit and before Spark's own note of it.
    commits = tmp_path / "check" / "commits"
    last = max(int(path.name) for path in commits.iterdir() if path.name.isdigit())
    for path in (commits / str(last), commits / f".{last}.crc"):
        path.unlink(missing_ok=True)
    files(tmp_path / "in", [4])
    query = run_to_end(stream_to(df, bridge, tmp_path / "check"))
    replayed = [progress["batchId"] for progress in query.recentProgress]
    assert last in replayed, "the micro-batch was not run again"
    assert ids(client) == list(range(500))
    assert len(client.feed("f").generations) == len(before.generations) + 1
    assert client.feed("f").open_jobs == 0


def test_two_queries_write_one_feed(classic_session, bridge, client, tmp_path):
    for name, numbers in (("a", range(3)), ("b", range(3, 6))):
        files(tmp_path / name, numbers)
    queries = [
        stream_to(from_files(classic_session, tmp_path / name), bridge, tmp_path / f"check-{name}")
        .trigger(availableNow=True)
        .start()
        for name in ("a", "b")
    ]
    assert all(query.awaitTermination(DEADLINE_S) for query in queries)
    assert ids(client) == list(range(600))
    assert set(dict(client.feed("f").writers)) == {query.id for query in queries}


def test_micro_batches_without_rows_make_no_generation(spark, bridge, client, tmp_path):
    files(tmp_path / "in", range(4))
    df = from_files(spark, tmp_path / "in").where("file = 1")
    run_to_end(stream_to(df, bridge, tmp_path / "check"))
    assert ids(client) == list(range(100, 200))
    assert [generation.rows for generation in client.feed("f").generations[1:]] == [100]


def test_a_stateful_query_in_update_mode(spark, bridge, client, tmp_path):
    files(tmp_path / "in", range(4))
    df = from_files(spark, tmp_path / "in").groupBy("file").count()
    run_to_end(stream_to(df, bridge, tmp_path / "check").outputMode("update"))
    counts = client.read_table("f").group_by("file").aggregate([("count", "max")])
    assert dict(zip(*counts.to_pydict().values(), strict=True)) == dict.fromkeys(range(4), 100)


def test_the_rate_source_each_value_once(spark, bridge, client, tmp_path):
    source = spark.readStream.format("rate-micro-batch").options(rowsPerBatch=500, numPartitions=2)
    df = source.load().selectExpr("value as id", "timestamp")
    query = stream_to(df, bridge, tmp_path / "check").start()
    try:
        end = time.monotonic() + DEADLINE_S
        while query.isActive and len(client_generations(client)) < 6:
            assert time.monotonic() < end, query.lastProgress
            time.sleep(0.05)
    finally:
        query.stop()
    assert query.exception() is None
    found = ids(client)
    assert len(found) >= 2_500
    assert found == list(range(len(found)))


def client_generations(client):
    try:
        return client.feed("f").generations
    except FlightBridgeError:  # no micro-batch has begun
        return ()


@pytest.mark.parametrize(
    ("options", "mode", "text"),
    [
        ({}, "complete", r"outputMode.*append"),
        ({"mode": "overwrite"}, "append", r"leave the option mode out"),
        ({"shards": "2"}, "append", r"shards and shuffle are not for streaming"),
        ({"visible": "partition"}, "append", r"visible='partition' is not for streaming"),
        ({"batch_size": "2"}, "append", r"batch_size='2' is not known"),
    ],
)
def test_what_streams_cannot_do_is_refused(
    classic_session, bridge, client, tmp_path, options, mode, text
):
    files(tmp_path / "in", [0])
    df = from_files(classic_session, tmp_path / "in").groupBy("file").count()
    if mode == "append":
        df = from_files(classic_session, tmp_path / "in")
    writer = stream_to(df, bridge, tmp_path / "check", **options).outputMode(mode)
    with pytest.raises(Exception, match=text):
        writer.trigger(availableNow=True).start().awaitTermination(DEADLINE_S)
    assert client.feeds() == []


def test_another_schema_fails_the_query_and_changes_nothing(
    classic_session, bridge, client, tmp_path
):
    client.write("f", pa.table({"id": [1]}))
    files(tmp_path / "in", [0])
    df = from_files(classic_session, tmp_path / "in")
    with pytest.raises(Exception, match=r"FAILED_PRECONDITION|ALREADY_EXISTS|SCHEMA_MISMATCH"):
        run_to_end(stream_to(df, bridge, tmp_path / "check"))
    assert ids(client) == [1]


@pytest.mark.slow
@pytest.mark.skipif(not broker.sparks_jars(), reason="build/kafka is empty: run `make kafka`")
def test_kafka_to_feed(classic_session, bridge, client, tmp_path):
    """A topic that grows while it is read; the query is stopped and started again on the way."""
    home = tmp_path / "kafka"
    home.mkdir()
    with broker.running(home) as at:

        def produce(begin, end):
            rows = classic_session.range(begin, end, 1, 2)
            rows = rows.selectExpr("cast(id as string) as key", "to_json(struct(id)) as value")
            writer = rows.write.format("kafka").option("kafka.bootstrap.servers", at)
            writer.option("topic", "clicks").save()

        source = classic_session.readStream.format("kafka").option("kafka.bootstrap.servers", at)
        source = source.options(
            subscribe="clicks", startingOffsets="earliest", maxOffsetsPerTrigger=700
        )
        df = source.load().selectExpr(
            "from_json(cast(value as string), 'id bigint').id as id", "partition", "offset"
        )
        produce(0, 1_000)
        for begin in range(1_000, 4_000, 1_000):
            query = stream_to(df, bridge, tmp_path / "check").start()
            try:
                produce(begin, begin + 1_000)
                query.processAllAvailable()
            finally:
                query.stop()
    table = client.read_table("f")
    assert sorted(table["id"].to_pylist()) == list(range(4_000))
    places = Counter(zip(table["partition"].to_pylist(), table["offset"].to_pylist(), strict=True))
    assert max(places.values()) == 1
    assert len(client.feed("f").generations) >= 1 + 4


@pytest.mark.slow
def test_a_driver_that_is_killed_again_and_again(bridge, client, tmp_path):
    """kill -9 at random moments; ROUNDS of them, each from a seed that it shows."""
    rounds = int(os.environ.get("FLIGHTBRIDGE_STREAM_KILLS", "3"))
    seed = int(os.environ.get("FLIGHTBRIDGE_STREAM_SEED", time.time_ns() % 1_000_000))
    print(f"FLIGHTBRIDGE_STREAM_SEED={seed}")
    moments = random.Random(seed)
    script = Path(__file__).with_name("spark_stream_app.py")
    command = [sys.executable, str(script), bridge.uri, str(tmp_path)]
    for _ in range(rounds):
        before = len(client_generations(client))
        with (tmp_path / "app.log").open("w") as log:
            app = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
            )
            try:
                end = time.monotonic() + DEADLINE_S
                while len(client_generations(client)) < before + 2:
                    assert app.poll() is None, (tmp_path / "app.log").read_text()[-4000:]
                    assert time.monotonic() < end, (tmp_path / "app.log").read_text()[-4000:]
                    time.sleep(0.05)
                time.sleep(moments.random())
            finally:
                os.killpg(app.pid, signal.SIGKILL)
                app.wait(DEADLINE_S)
    found = ids(client)
    assert found == list(range(len(found)))
    assert len(found) >= rounds * 400
