"""Training on what Spark still writes."""

import threading
import time

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
import flightbridge.spark
import flightbridge.tf
from flightbridge.errors import FailedPreconditionError, FeedNotFoundError

pytestmark = [pytest.mark.spark, pytest.mark.tf]

PARTITIONS = 40
ROWS = 100  # of each
DEADLINE_S = 120


def until_there(make):
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            return make()
        except (FeedNotFoundError, FailedPreconditionError):
            assert time.monotonic() < end, "nothing is visible"
            time.sleep(0.02)


def test_the_first_batch_comes_before_a_quarter_of_the_job(classic_session, bridge):
    spark = classic_session
    with bridge.client() as client:  # TensorFlow's own start is not the job's
        client.write("warm", pa.table({"id": range(100)}))
    assert len(list(flightbridge.tf.dataset(bridge.uri, "warm", batch_size=64))) == 2
    slow = "java_method('java.lang.Thread', 'sleep', 5L) is null as slept"
    df = spark.range(0, PARTITIONS * ROWS, 1, PARTITIONS).selectExpr("id", slow)
    failures = []

    def write():
        try:
            flightbridge.spark.write(df, bridge, "early", visible="partition", writer="connector")
        except Exception as error:  # shown below
            failures.append(error)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        dataset = until_there(
            lambda: flightbridge.tf.dataset(
                bridge.uri, "early", batch_size=64, columns=["id"], follow=True
            )
        )
        batches = iter(dataset)
        found = [next(batches)["id"].numpy()]
        tracker = spark.sparkContext.statusTracker()
        (stage,) = tracker.getActiveStageIds()
        done = tracker.getStageInfo(stage).numCompletedTasks
        assert done < PARTITIONS / 4
        found += [batch["id"].numpy() for batch in batches]
    finally:
        writing.join(DEADLINE_S)
    assert not failures
    assert sorted(np.concatenate(found).tolist()) == list(range(PARTITIONS * ROWS))


def test_a_streaming_query_is_followed(classic_session, bridge, tmp_path):
    """Micro-batches arrive while a dataset follows; the feed is ended, and so is the dataset."""
    source = classic_session.readStream.format("rate-micro-batch").option("rowsPerBatch", 200)
    writer = source.load().selectExpr("value as id").writeStream.format("flightbridge")
    writer = writer.options(
        uri=bridge.uri, feed="clicks", checkpointLocation=str(tmp_path / "check")
    )
    query = writer.start()
    try:
        dataset = until_there(
            lambda: flightbridge.tf.dataset(
                bridge.uri, "clicks", batch_size=64, follow=True, shuffle="full", seed=1
            )
        )
        batches = iter(dataset)
        found = []
        while sum(map(len, found)) < 1_000:
            found.append(next(batches)["id"].numpy())
    finally:
        query.stop()
    assert query.exception() is None
    with bridge.client() as client:
        rows = client.end_feed("clicks").rows
    found += [batch["id"].numpy() for batch in batches]
    ids = np.concatenate(found).tolist()
    assert sorted(ids) == list(range(rows))
    assert ids != sorted(ids), "each generation is shuffled"
    back = classic_session.read.format("flightbridge").options(uri=bridge.uri, feed="clicks").load()
    assert back.count() == rows
