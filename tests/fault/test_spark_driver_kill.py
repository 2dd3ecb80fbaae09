"""Spark drivers and bridge servers that are killed while the Java connector writes.

A feed is as it was or whole, whoever reads it whenever; a job that is run again succeeds.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time

import pytest

import flightbridge
from flightbridge.errors import FailedPreconditionError

from .server_node import Node, until_it_answers
from .spark_cluster import wait_for
from .spark_oracle import Tasks, assert_feed, assert_rows, table_of

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1800)]

OLD, NEW = range(100_000, 103_000), range(8000)
COMMITTING = r"is committing"  # Spark's log of the driver that has all attempts
SETTINGS = {"spark.locality.wait": "0s"}


@pytest.fixture(scope="module")
def shared(spark_cluster):
    """A driver that nobody kills, while there is no other."""
    made = contextlib.ExitStack()
    drivers: list = []

    def get():
        if not drivers:
            drivers.append(made.enter_context(spark_cluster.driver("lasting", **SETTINGS)))
        return drivers[0]

    yield get
    made.close()


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path / "data", memory_limit="64MiB")
    yield made
    made.close()


@pytest.fixture
def client(node):
    with flightbridge.connect(node.uri, timeout_s=30) as connected:
        yield connected


@pytest.fixture
def tasks(tmp_path):
    return Tasks(tmp_path / "tasks")


def order(node, tasks, rows=NEW, mode="overwrite", **changed):
    usual = {
        "uri": node.uri,
        "feed": "f",
        "mode": mode,
        "options": {},
        "faults": str(tasks.directory),
        "start": rows.start,
        "rows": len(rows),
        "partitions": 4,
        "shape": "plain",
        "pause_ms": 20,
    }
    return usual | changed


def start_another(spark_cluster, name, node, tmp_path):
    """The job once more, in another driver."""
    with spark_cluster.driver(name, **SETTINGS) as driver:
        driver.write(**order(node, Tasks(tmp_path / "again"), pause_ms=0))


def test_driver_killed_before_the_commit(spark_cluster, node, client, tasks, tmp_path):
    with spark_cluster.driver("killed-early", **SETTINGS) as driver:
        driver.write(**order(node, Tasks(tmp_path / "before"), OLD, pause_ms=0))
        before = client.feed("f")
        tasks.hold("all")
        driver.start(**order(node, tasks))
        wait_for(lambda: client.status().open_puts == 2, "two puts")
        driver.kill()
        tasks.go_on("all")
        wait_for(lambda: not spark_cluster.executors(), "the end of the executors")
    wait_for(lambda: client.status().open_puts == 0, "the end of the puts")
    after = client.feed("f")
    assert (after.feed_id, after.fingerprint) == (before.feed_id, before.fingerprint)
    assert_rows(table_of(client), [OLD])
    assert after.open_jobs == 1  # until its hour without activity is over
    start_another(spark_cluster, "after-early", node, tmp_path)
    assert_rows(table_of(client), [NEW])
    assert client.feed("f").open_jobs == 1


@pytest.mark.parametrize("point", ["commit_before_journal", "commit_after_fsync"])
def test_driver_killed_during_the_commit(spark_cluster, node, client, tasks, tmp_path, point):
    with spark_cluster.driver("killed-" + point, **SETTINGS) as driver:
        driver.write(**order(node, Tasks(tmp_path / "before"), OLD, pause_ms=0))
        node.restart(**{point: "sleep:3000"})
        until_it_answers(client.status)
        driver.forget()
        driver.start(**order(node, tasks))
        wait_for(lambda: driver.says(COMMITTING), "the commit")
        time.sleep(1)  # the call is at the server, which takes three seconds for it
        driver.kill()
    # A call that came goes on without its caller.
    end = time.monotonic() + 10
    seen = [ids_of(client)]
    while client.feed("f").open_jobs and time.monotonic() < end:
        seen.append(ids_of(client))
    node.restart()
    open_jobs = until_it_answers(lambda: client.feed("f").open_jobs)
    seen.append(ids_of(client))
    assert all(each in (set(OLD), set(NEW)) for each in seen)
    assert seen[-1] == set(OLD if open_jobs else NEW)
    start_another(spark_cluster, "after-" + point, node, tmp_path)
    assert_rows(table_of(client), [NEW])


def ids_of(client):
    try:
        table = client.read_table("f")
    except FailedPreconditionError:  # overwritten meanwhile, and said so
        table = client.read_table("f")
    ids = set(table["id"].to_pylist())
    assert len(ids) == table.num_rows
    return ids


def test_driver_and_server_killed_during_the_commit(spark_cluster, node, client, tasks, tmp_path):
    with spark_cluster.driver("killed-with-server", **SETTINGS) as driver:
        driver.write(**order(node, Tasks(tmp_path / "before"), OLD, pause_ms=0))
        node.restart(commit_before_fsync="crash")
        driver.start(**order(node, tasks))
        node.wait_killed()
        driver.kill()
    node.start()
    seen = until_it_answers(lambda: ids_of(client))
    assert seen in (set(OLD), set(NEW))
    start_another(spark_cluster, "after-both", node, tmp_path)
    assert_rows(table_of(client), [NEW])


@pytest.mark.parametrize(
    "point", ["commit_before_journal", "commit_before_fsync", "commit_after_fsync"]
)
def test_server_killed_during_the_commit(shared, node, client, tasks, point):
    """The driver asks again when the server is back, and hears of what it had decided. Were it to
    give up, the same rows appended by the job's next run would be there twice."""
    driver = shared()
    node.restart(**{point: "crash"})
    driver.start(**order(node, tasks, mode="append"))
    node.wait_killed()
    time.sleep(1.5)  # longer than a single try
    node.start()
    assert driver.outcome() == "done"
    assert_feed(client, NEW)


@pytest.mark.parametrize("transport", ["mapped", "channel", "flight"])
@pytest.mark.parametrize("seed", [1, 2])
def test_server_killed_during_the_tasks(shared, node, client, tasks, seed, transport):
    """Away for longer than Spark takes for all the tries of a task."""
    rng = random.Random(seed)
    driver = shared()
    pause_ms = 60
    options = {"transport": transport}
    driver.start(**order(node, tasks, mode="append", options=options, pause_ms=pause_ms))
    wait_for(tasks.started, "a task")
    for _ in range(2):
        time.sleep(rng.uniform(0, 1))
        node.kill()
        time.sleep(rng.uniform(0.5, 3))
        node.start()
    assert driver.outcome() == "done"
    assert_feed(client, NEW)


def kill_before_the_write_begins(driver, node, tasks, **options):
    """In the tasks before a shuffle, behind which Spark opens the write."""
    tasks.hold("all")
    options = {"shards": 3, **options}
    driver.start(**order(node, tasks, mode="append", options=options, pause_ms=0))
    wait_for(tasks.started, "a task")
    node.kill()
    tasks.go_on("all")


def test_server_away_when_the_write_begins(shared, node, client, tasks):
    driver = shared()
    kill_before_the_write_begins(driver, node, tasks)
    time.sleep(6)  # longer than a single try
    node.start()
    assert driver.outcome() == "done"
    assert_feed(client, NEW)


def test_server_that_stays_away_ends_the_write(shared, node, tasks):
    driver = shared()
    kill_before_the_write_begins(driver, node, tasks, timeout=3)
    outcome = driver.outcome()
    assert outcome.startswith("ServerUnavailableError: beginning a write of feed 'f': no server")
    node.start()


def test_server_killed_during_a_put_that_is_held(shared, node, client, tasks):
    """What was sent is lost with the server: the writer sends what it still holds once more, and
    where that is not all of it, Spark writes the partition again."""
    driver = shared()
    tasks.hold("all")
    driver.start(**order(node, tasks))
    wait_for(lambda: client.status().open_puts == 2, "two puts")
    node.kill()
    starter = threading.Timer(2, node.start)
    starter.start()
    tasks.go_on("all")
    outcome = driver.outcome()
    starter.join(60)
    assert outcome == "done"
    assert_feed(client, NEW)
