"""The Java connector on a cluster whose tasks run twice and whose executors die.

The oracle of every case is the multiset of rows in the feed, and that no job and no put is left.
"""

from __future__ import annotations

import os
import signal

import pytest

import flightbridge
from flightbridge.descriptions import FeedState
from flightbridge.errors import FailedPreconditionError, FeedNotFoundError

from .server_node import Node
from .spark_cluster import DEADLINE_S, wait_for
from .spark_driver import Driver
from .spark_oracle import Tasks, assert_feed, assert_rows

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1800)]

ROWS = 8000
SPECULATING = {
    "spark.speculation": "true",
    "spark.speculation.quantile": "0.5",
    "spark.speculation.interval": "50ms",
}


@pytest.fixture(scope="module")
def driver(spark_cluster):
    with spark_cluster.driver("shared", **SPECULATING) as made:
        yield made


def order(bridge, tasks, **changed):
    """A write of ROWS rows in four partitions, some two seconds of it."""
    usual = {
        "uri": bridge.uri,
        "feed": "f",
        "mode": "errorifexists",
        "options": {},
        "faults": str(tasks.directory),
        "start": 0,
        "rows": ROWS,
        "partitions": 4,
        "shape": "plain",
        "pause_ms": 50,
        "executors": 2,
    }
    return usual | changed


TRANSPORTS = pytest.mark.parametrize("transport", ["mapped", "channel", "flight"])


@TRANSPORTS
@pytest.mark.parametrize("partition", [0, 3])
def test_speculated_task_counts_once(
    driver, executors, bridge, client, tasks, transport, partition
):
    """The first attempt at a partition hangs while its rows are on their way; a second one, at the
    same time, overtakes it. Both go on to their ends."""

    def attempts():
        return [one for one in tasks.started() if one.partition == partition]

    tasks.hold(partition)
    driver.start(**order(bridge, tasks, pause_ms=20, options={"transport": transport}))
    wait_for(lambda: len(attempts()) == 2, "a second attempt")
    wait_for(lambda: client.status().open_puts >= 1, "the put of the first attempt")
    assert len({one.pid for one in attempts()}) == 2  # each on an executor of its own
    assert driver.outcome() == "done"
    tasks.go_on(partition)
    assert_feed(client, range(ROWS))


@TRANSPORTS
def test_speculated_tasks_end_at_once(driver, executors, bridge, client, tasks, transport):
    """Two attempts at the same partition are let go at the same moment."""
    tasks.hold(3)
    driver.start(**order(bridge, tasks, pause_ms=20, options={"transport": transport}))
    wait_for(lambda: len(tasks.started()) == 5, "a second attempt")
    tasks.hold("all")
    tasks.go_on(3)
    tasks.go_on("all")
    assert driver.outcome() == "done"
    assert_feed(client, range(ROWS))


@TRANSPORTS
def test_killed_executor(driver, executors, bridge, client, tasks, transport):
    tasks.hold("all")
    driver.start(**order(bridge, tasks, options={"transport": transport}))
    wait_for(lambda: client.status().open_puts == 2, "two puts")
    executors()[0].kill()
    tasks.go_on("all")
    assert driver.outcome() == "done"
    assert len({one.task for one in tasks.started()}) > 4  # somebody had to write again
    assert_feed(client, range(ROWS))
    # What the dead one had sent is not kept, nor memory that it was lent.
    client.drop("f")
    wait_for(lambda: client.status().memory_used_bytes == 0, "the end of what was staged")


def test_every_executor_killed(driver, executors, bridge, client, tasks):
    tasks.hold("all")
    driver.start(**order(bridge, tasks))
    wait_for(lambda: client.status().open_puts == 2, "two puts")
    for executor in executors():
        executor.kill()
    tasks.go_on("all")
    assert driver.outcome() == "done"
    assert len({one.pid for one in tasks.started()}) > 2
    assert_feed(client, range(ROWS))


def test_append_twice_under_kills(driver, executors, bridge, client, tasks, tmp_path):
    for number in range(2):
        each = Tasks(tmp_path / f"tasks-{number}")
        each.hold("all")
        driver.start(**order(bridge, each, mode="append"))
        wait_for(lambda: client.status().open_puts >= 1, "a put")
        executors()[number].kill()
        each.go_on("all")
        assert driver.outcome() == "done"
        assert_feed(client, *[range(ROWS)] * (number + 1))
        wait_for(lambda: len(executors()) == 2, "two executors")


def only_holder(mapped):
    """The process of an executor whose map output nobody else has: that of a map that was
    speculated may be another one's."""
    ran = {one.partition: set() for one in mapped}
    for one in mapped:
        ran[one.partition].add(one.pid)
    return next(min(pids) for pids in ran.values() if len(pids) == 1)


def test_stage_retried_behind_a_shuffle(driver, executors, bridge, client, tasks):
    """A map output dies with its executor while the write reads it: FetchFailed, and the stages
    before it run again."""
    tasks.hold("all")
    driver.start(**order(bridge, tasks, shape="grouped"))
    wait_for(lambda: client.status().open_puts == 2, "two puts")
    os.kill(only_holder(Tasks(tasks.directory / "maps").started()), signal.SIGKILL)
    tasks.go_on("all")
    assert driver.outcome() == "done"
    assert {one.stage_attempt for one in tasks.started()} > {0}
    assert_feed(client, range(ROWS))


def test_stage_retried_behind_the_connectors_shuffle(driver, executors, tasks, tmp_path):
    """The server stands still until the executor is dead, so that the write is not over before."""
    node = Node(tmp_path / "data", memory_limit="256MiB")
    try:
        with flightbridge.connect(node.uri, timeout_s=30) as client:
            options = {"shards": 4, "shuffle": "true", "seed": 7}
            driver.forget()
            driver.start(**order(node, tasks, options=options, rows=10 * ROWS, pause_ms=1))
            # Not that of the question for the connector's version.
            write = r"Submitting ResultStage (?!.*connector\.py)"
            wait_for(lambda: driver.says(write), "the write's stage")
            node.process.send_signal(signal.SIGSTOP)
            mapped = tasks.started()
            os.kill(only_holder(mapped), signal.SIGKILL)
            node.process.send_signal(signal.SIGCONT)
            assert driver.outcome() == "done"
            assert len(tasks.started()) > len(mapped)  # maps ran again
            assert_feed(client, range(10 * ROWS))
    finally:
        node.close()


def test_visible_partitions_are_whole(driver, executors, bridge, client, tasks):
    """Whoever reads meanwhile sees partitions that are whole, and that stay."""
    parts = 8
    options = {"visible": "partition"}
    kills = [2, 4]  # partitions that are visible
    driver.start(**order(bridge, tasks, options=options, partitions=parts, pause_ms=100))
    of = {part: range(part * ROWS // parts, (part + 1) * ROWS // parts) for part in range(parts)}
    before: set[int] = set()
    while not driver.is_done():
        try:
            visible = client.feed("f")
            table = client.read_table("f")
        except (FeedNotFoundError, FailedPreconditionError):
            continue  # not begun
        seen = {row // len(of[0]) for row in table["id"].to_pylist()}
        assert_rows(table, [of[part] for part in seen])
        assert before <= seen
        before = seen
        if kills and len(seen) >= kills[0] and visible.state == FeedState.OPEN:
            kills.pop(0)
            executors()[-1].kill()
            wait_for(lambda: len(executors()) == 2, "two executors")
    assert driver.outcome() == "done"
    assert not kills
    assert client.feed("f").state == FeedState.COMMITTED
    assert_feed(client, range(ROWS))


def test_killed_executor_of_a_local_cluster(bridge, client, tasks, tmp_path):
    """Spark's own cluster for tests, all of it but the executors in the driver's process."""
    given = {"SPARK_WORKER_DIR": str(tmp_path / "work"), "SPARK_LOCAL_IP": "127.0.0.1"}
    driver = Driver("local-cluster[2,1,768]", tmp_path, "local-cluster", {}, given)
    try:
        driver.wait_until_started(DEADLINE_S)
        tasks.hold("all")
        driver.start(**order(bridge, tasks))
        wait_for(lambda: client.status().open_puts == 2, "two puts")
        os.kill(tasks.started()[0].pid, signal.SIGKILL)
        tasks.go_on("all")
        assert driver.outcome() == "done"
        assert len({one.task for one in tasks.started()}) > 4
        assert_feed(client, range(ROWS))
    finally:
        driver.close()
