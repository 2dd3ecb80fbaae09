"""Spark tasks that die mid-write: each row is in the feed once, or the feed is not there.

The oracle of every case is the multiset of (partition, row id) and the server's own account of
what it still holds.
"""

import os
import signal
import sys
import threading
import time
from collections import Counter

import pytest

import flightbridge
import flightbridge.spark
from flightbridge.errors import FeedNotFoundError, FlightBridgeError

from .server_node import Node
from .test_killed_server import brought_back

pytestmark = pytest.mark.spark

ROWS = 40_000
PARTITIONS = 4
VICTIM = 1  # the partition whose task dies
DEADLINE_S = 30.0
RECORDS = "spark.sql.execution.arrow.maxRecordsPerBatch"


def numbered(spark):
    """ROWS rows of 1 kB: 2,000 of them are above the size at which the writer sends a batch."""
    return spark.range(0, ROWS, 1, PARTITIONS).selectExpr(
        "id", "spark_partition_id() as part", "repeat(cast(id % 10 as string), 1000) as filler"
    )


def assert_each_row_once(client, feed, copies=1):
    table = client.read_table(feed, columns=["part", "id"])
    parts, ids = (table.column(name).to_pylist() for name in ("part", "id"))
    found = Counter(zip(parts, ids, strict=True))
    per_partition = ROWS // PARTITIONS
    assert found == {(i // per_partition, i): copies for i in range(ROWS)}


def wait_until_idle(client, memory_bytes):
    """Late tasks may still be on their way when Spark has given a job up."""

    def idle():
        status = client.status()
        return status.open_puts == 0 and status.memory_used_bytes == memory_bytes

    wait_for(idle)


def wait_for(condition):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def die_once(marker):
    """SIGKILLs this process the first time it is called with this marker."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def die_always(marker):
    with marker.open("a") as file:
        file.write("died\n")
    os.kill(os.getpid(), signal.SIGKILL)


def killing_format(die, marker, phase):
    """The real data source, whose writer's own process dies in partition VICTIM at a phase.

    ``streaming``: a batch of the attempt has arrived at the server and more are to come.
    ``staged``: the attempt is complete on the server, the driver has not heard of it.
    """
    from flightbridge.spark.source import FeedWriter, FlightBridgeDataSource

    class DyingWriter(FeedWriter):
        def write(self, iterator):
            from pyspark import TaskContext

            victim = TaskContext.get().partitionId() == VICTIM
            if phase == "streaming":
                # The others wait, so that what has arrived at the server is the victim's.
                iterator = self.dying(iterator) if victim else self.late(iterator)
            message = super().write(iterator)
            if victim and phase == "staged":
                die(marker)
            return message

        def dying(self, iterator):
            yield next(iterator)
            yield next(iterator)  # asked for when the first has been handed to the stream
            with self._client() as client:
                wait_for(lambda: client.status().bytes_put > self.bytes_put_before)
            die(marker)
            yield from iterator

        def late(self, iterator):
            wait_for(marker.exists)
            yield from iterator

    class DyingSource(FlightBridgeDataSource):
        @classmethod
        def name(cls):
            return "flightbridge_dying"

        def writer(self, schema, overwrite):
            written = super().writer(schema, overwrite)
            written.__class__ = DyingWriter
            with written._client() as client:
                written.bytes_put_before = client.status().bytes_put
            return written

    return DyingSource


@pytest.fixture
def small_batches(classic_session):
    """So that every partition is many Arrow batches."""
    classic_session.conf.set(RECORDS, "2000")
    yield
    classic_session.conf.unset(RECORDS)


def save_dying(session, bridge, feed, mode, die, marker, phase):
    from pyspark import cloudpickle

    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)  # workers cannot import a test
    try:
        session.dataSource.register(killing_format(die, marker, phase))
        writer = numbered(session).write.format("flightbridge_dying").mode(mode)
        writer.option("uri", bridge.uri).option("feed", feed).save()
    finally:
        cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.parametrize("phase", ["streaming", "staged"])
def test_killed_writer_leaves_each_row_once(
    classic_session, small_batches, bridge, client, tmp_path, phase
):
    marker = tmp_path / "died"
    save_dying(classic_session, bridge, "f", "append", die_once, marker, phase)
    assert marker.exists()
    assert_each_row_once(client, "f")
    assert client.feed("f").open_jobs == 0
    held = client.status().memory_used_bytes
    client.drop("f")
    wait_until_idle(client, 0)
    assert held > 0


def test_killed_writer_during_append_leaves_old_and_new_rows_once(
    classic_session, small_batches, bridge, client, tmp_path
):
    flightbridge.spark.write(numbered(classic_session), bridge, "f")
    save_dying(classic_session, bridge, "f", "append", die_once, tmp_path / "died", "streaming")
    assert (tmp_path / "died").exists()
    assert_each_row_once(client, "f", copies=2)


@pytest.mark.parametrize("phase", ["streaming", "staged"])
def test_writer_killed_every_time_leaves_nothing(
    classic_session, small_batches, bridge, client, tmp_path, phase
):
    marker = tmp_path / "died"
    with pytest.raises(Exception, match=r"worker|Worker"):
        save_dying(classic_session, bridge, "f", "append", die_always, marker, phase)
    assert marker.read_text().count("died") == 3  # as often as local[2,3] tries
    with pytest.raises(FeedNotFoundError):
        client.read_table("f")
    assert client.feeds() == []
    wait_until_idle(client, 0)


def test_writer_killed_every_time_leaves_the_old_content(
    classic_session, small_batches, bridge, client, tmp_path
):
    before = flightbridge.spark.write(numbered(classic_session), bridge, "f")
    held = client.status().memory_used_bytes
    with pytest.raises(Exception, match=r"worker|Worker"):
        save_dying(
            classic_session, bridge, "f", "overwrite", die_always, tmp_path / "died", "streaming"
        )
    wait_until_idle(client, held)
    assert client.feed("f") == before
    assert_each_row_once(client, "f")


def killed_upstream(spark, marker, forever):
    """The same rows through a function that kills its own worker in partition VICTIM."""
    path, victim = str(marker), VICTIM

    def relay(batches):
        import os
        import pathlib
        import signal

        from pyspark import TaskContext

        died = pathlib.Path(path)
        for number, batch in enumerate(batches):
            if number == 1 and TaskContext.get().partitionId() == victim:
                first = not died.exists()
                died.touch()
                if first or forever:
                    os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    df = numbered(spark)
    return df.mapInArrow(relay, df.schema)


@pytest.mark.parametrize("forever", [False, True], ids=["once", "every time"])
def test_killed_upstream_worker(spark, bridge, client, tmp_path, forever):
    marker = tmp_path / "died"
    spark.conf.set(RECORDS, "2000")
    try:
        df = killed_upstream(spark, marker, forever)
        if forever:
            with pytest.raises(Exception, match=r"worker|Worker") as caught:
                flightbridge.spark.write(df, bridge, "f")
            assert not isinstance(caught.value, FlightBridgeError)
        else:
            flightbridge.spark.write(df, bridge, "f")
    finally:
        spark.conf.unset(RECORDS)
    assert marker.exists()
    if forever:
        assert client.feeds() == []
        wait_until_idle(client, 0)
    else:
        assert_each_row_once(client, "f")


@pytest.mark.slow
@pytest.mark.parametrize("writer", ["connector", "python"])
def test_commit_outlasts_a_server_that_restarts(classic_session, tmp_path, writer):
    """It had decided before it died. A job that failed now would be appended once more."""
    node = Node(tmp_path / "data", memory_limit="256MiB")
    try:
        node.restart(commit_after_fsync="crash")
        with brought_back(node):
            flightbridge.spark.write(
                numbered(classic_session), node.uri, "f", "append", writer=writer
            )
        with flightbridge.connect(node.uri) as client:
            assert_each_row_once(client, "f")
            assert client.feed("f").open_jobs == 0
    finally:
        node.close()


def test_server_that_stops_mid_write_fails_the_job_and_says_so(
    classic_session, small_batches, tmp_path
):
    started, stopped = tmp_path / "started", tmp_path / "stopped"
    paths = str(started), str(stopped)

    def waiting(batches):
        import pathlib
        import time

        started, stopped = (pathlib.Path(path) for path in paths)
        for batch in batches:
            yield batch
            started.touch()
            end = time.monotonic() + 20
            while not stopped.exists() and time.monotonic() < end:
                time.sleep(0.01)

    df = numbered(classic_session).coalesce(1)
    df = df.mapInArrow(waiting, df.schema)
    bridge = flightbridge.Server(memory_limit="256MiB")

    def stop():
        wait_for(started.exists)
        bridge.stop(grace_s=0)
        stopped.touch()

    stopper = threading.Thread(target=stop)
    stopper.start()
    try:
        with pytest.raises(FlightBridgeError):
            flightbridge.spark.write(df, bridge.uri, "f", timeout=5)
    finally:
        stopper.join(timeout=60)
        bridge.stop()
