"""``flightbridge.spark.predict`` on a cluster whose executors and Python workers die, whose tasks
fail, and run twice.

What it makes goes into a feed: every row is there once, with the predictions of a run that nothing
disturbed, and no Python worker has loaded the model twice.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from tests.integration.scoring.doubler import save_doubler

from .spark_cluster import wait_for
from .spark_oracle import assert_feed

pytestmark = [pytest.mark.spark, pytest.mark.tf, pytest.mark.slow, pytest.mark.timeout(1800)]

ROWS, PARTITIONS = 16_000, 4
MANY_ROWS = 320_000  # of which no partition fits into the buffers between a worker and its task


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A directory with the model, its class, and a file that every load of it adds a line to."""
    home = tmp_path_factory.mktemp("model")
    save_doubler(home, home / "model.keras", home / "loads")
    return home


@pytest.fixture(scope="module")
def driver(spark_cluster, model):
    settings = {
        "spark.speculation": "true",
        "spark.speculation.quantile": "0.5",
        "spark.speculation.interval": "50ms",
        "spark.executorEnv.PYTHONPATH": str(model),
        # Many messages, so that a worker is in the middle when a task is held.
        "spark.sql.execution.arrow.maxRecordsPerBatch": "100",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", str(model))
        patch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        with spark_cluster.driver("predicting", **settings) as made:
            yield made


def undisturbed(rows):
    """The predictions, by the arithmetic that the model does in its precision."""
    x = np.arange(rows, dtype=np.float32)
    y = (np.arange(rows) % 7).astype(np.float32)
    return pa.table({"id": np.arange(rows), "double": x * 2, "sum": x + y})


def loads(model):
    """The processes that have loaded the model, each as often as it did."""
    return Counter(map(int, (model / "loads").read_text().split()))


def order(bridge, tasks, model, **changed):
    usual = {
        "uri": bridge.uri,
        "feed": "f",
        "mode": "errorifexists",
        "options": {},
        "faults": str(tasks.directory),
        "start": 0,
        "rows": ROWS,
        "partitions": PARTITIONS,
        "shape": "plain",
        "pause_ms": 20,
        "executors": 2,
        "model": str(model / "model.keras"),
    }
    return usual | changed


def assert_predictions(client, model, rows=ROWS):
    assert_feed(client, range(rows))
    found = client.read_table("f").select(["id", "double", "sum"]).sort_by("id")
    assert found.equals(undisturbed(rows).cast(found.schema))
    twice = {pid: times for pid, times in loads(model).items() if times > 1}
    assert not twice, "processes that have loaded the model more than once"


def test_nothing_disturbs(driver, executors, bridge, client, tasks, model):
    driver.write(**order(bridge, tasks, model))
    assert len(tasks.started()) >= PARTITIONS
    assert_predictions(client, model)


def test_killed_executor(driver, executors, bridge, client, tasks, model):
    tasks.hold("all")
    driver.start(**order(bridge, tasks, model))
    wait_for(lambda: client.status().open_puts == 2, "predictions on their way from both")
    executors()[0].kill()
    tasks.go_on("all")
    assert driver.outcome() == "done"
    assert len({one.task for one in tasks.started()}) > PARTITIONS  # somebody scored again
    assert_predictions(client, model)


def test_killed_python_workers(driver, executors, bridge, client, tasks, model):
    """All those that have the model, in the middle of their tasks."""
    tasks.hold("all")
    driver.start(**order(bridge, tasks, model, rows=MANY_ROWS, pause_ms=1))
    wait_for(lambda: client.status().open_puts == 2, "predictions on their way from both")
    workers = [pid for pid in loads(model) if is_worker(pid)]
    assert len(workers) >= 2
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    tasks.go_on("all")
    assert driver.outcome() == "done"
    assert len({one.task for one in tasks.started()}) > PARTITIONS
    assert_predictions(client, model, MANY_ROWS)
    assert set(loads(model)) > set(workers), "others have loaded the model since"


def is_worker(pid):
    """Whether it is a Python worker of Spark's that is alive, and not the driver."""
    try:
        with open(f"/proc/{pid}/cmdline") as command:  # noqa: PTH123
            return "pyspark.daemon" in command.read()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("partition", [0, 3])
def test_speculated_task(driver, executors, bridge, client, tasks, model, partition):
    """The first attempt hangs in the middle; a second one overtakes it."""

    def attempts():
        return [one for one in tasks.started() if one.partition == partition]

    tasks.hold(partition)
    driver.start(**order(bridge, tasks, model))
    wait_for(lambda: len(attempts()) == 2, "a second attempt")
    assert driver.outcome() == "done"
    tasks.go_on(partition)
    assert_predictions(client, model)


def test_task_that_fails_once(driver, executors, bridge, client, tasks, model):
    tasks.fail(1)
    driver.start(**order(bridge, tasks, model))
    assert driver.outcome() == "done"
    assert max(one.attempt for one in tasks.started() if one.partition == 1) >= 1
    assert_predictions(client, model)
