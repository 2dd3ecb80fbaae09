"""A Spark driver in a process of its own, which writes what it is told and can be killed.

Started as a program it is that driver; :class:`Driver` holds the other end of its pipes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PAYLOAD_DIGITS = 120  # of a row: 64 KiB, the smallest batch, are some five hundred of them
_PAYLOAD = f"lpad(cast(id as string), {PAYLOAD_DIGITS}, '0') as payload"
_FAULTS = "io.flightbridge.testing.TaskFaults"


class Driver:
    """One write at a time: :meth:`start` it, disturb it, and ask for its :meth:`outcome`."""

    def __init__(
        self,
        master: str,
        root: Path,
        name: str,
        settings: dict[str, str],
        environment: dict[str, str] | None = None,
    ) -> None:
        self.log = root / f"driver-{name}.log"
        jars = [str(faults_jar(root))]
        given = json.dumps([master, str(root), jars, settings])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.fault.spark_driver", given],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | (environment or {}),
                start_new_session=True,  # its JVM is in its process group
            )
        self._received = b""
        self._busy = True

    def wait_until_started(self, timeout_s: float) -> None:
        assert self._answer(timeout_s) == "started", self.log.read_text(errors="replace")[-4000:]

    def start(self, **order: Any) -> None:
        """Begins a write: the arguments of :func:`save`."""
        self._busy = True
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def outcome(self, timeout_s: float = 400) -> str:
        """What became of the write: ``done``, or Spark's error."""
        return self._answer(timeout_s)

    def is_done(self) -> bool:
        return bool(self._received or select.select([self.process.stdout], [], [], 0)[0])

    def write(self, **order: Any) -> None:
        self.start(**order)
        assert (outcome := self.outcome()) == "done", outcome

    def says(self, pattern: str) -> bool:
        """Whether Spark has logged it since the last :meth:`forget`."""
        return re.search(pattern, self.log.read_text(errors="replace")) is not None

    def forget(self) -> None:
        """What was logged until now."""
        self.log.write_bytes(b"")

    def kill(self) -> None:
        """SIGKILL to the driver and its JVM."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=60)

    def close(self) -> None:
        self.process.stdin.close()
        if not self._busy:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=60)
        self.kill()
        self.process.stdout.close()

    def _answer(self, timeout_s: float) -> str:
        end = time.monotonic() + timeout_s
        while b"\n" not in self._received:
            left = max(end - time.monotonic(), 0)
            ready = select.select([self.process.stdout], [], [], left)[0]
            assert ready, (
                f"the driver says nothing for {timeout_s:.0f} s; it logged\n{self._tail()}"
            )
            more = os.read(self.process.stdout.fileno(), 1 << 16)
            assert more, f"the driver has ended; it logged\n{self._tail()}"
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        self._busy = False
        return json.loads(line)

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


@functools.cache
def faults_jar(root: Path) -> Path:
    """What SQL calls in the tasks, compiled."""
    import pyspark

    source = Path(__file__).parent / "java/TaskFaults.java"
    classes = Path(tempfile.mkdtemp(prefix="faults-", dir=root))
    spark = f"{Path(pyspark.__file__).parent}/jars/*"
    compiler = ["javac", "--release", "17", "-cp", spark, "-d", str(classes), str(source)]
    subprocess.run(compiler, check=True, timeout=120)
    made = classes / "faults.jar"
    pack = ["jar", "--create", "--file", str(made), "-C", str(classes), "io"]
    subprocess.run(pack, check=True, timeout=120)
    return made


def session(master: str, root: str, jars: list[str], settings: dict[str, str]) -> Any:
    from pyspark.sql import SparkSession

    import flightbridge.spark

    quick = {
        "spark.jars": ",".join(jars),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "512m",
        "spark.executor.memory": "512m",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={root} "
        f"-Dlog4j2.configurationFile={Path(__file__).parent / 'java/driver-log4j2.properties'}",
        "spark.local.dir": f"{root}/local",
        "spark.sql.warehouse.dir": f"{root}/warehouse",
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.adaptive.coalescePartitions.enabled": "false",
        # Tests kill more often than a cluster does.
        "spark.task.maxFailures": "30",
        "spark.stage.maxConsecutiveAttempts": "30",
        # Whoever fetches from an executor that is dead finds out in a moment.
        "spark.shuffle.io.maxRetries": "1",
        "spark.shuffle.io.retryWait": "100ms",
        **settings,
    }
    builder = SparkSession.builder.master(master).appName("faults").config(map=quick)
    return flightbridge.spark.configure(builder).getOrCreate()


def frame(
    spark: Any, faults: str, start: int, rows: int, partitions: int, shape: str, pause_ms: int
) -> Any:
    """Rows ``[start, start + rows)`` in a shape: ``plain``, ``mapped``, whose tasks TaskFaults
    disturbs before a shuffle of the connector's own, or ``grouped``, disturbed behind one (the
    tasks before that leave their marks in ``maps``)."""
    ids = spark.range(start, start + rows, 1, partitions)
    if shape == "grouped":
        maps = Path(faults, "maps")
        maps.mkdir(exist_ok=True)
        ids = ids.filter(_disturbed(str(maps), 0))
        counted = ids.union(ids).groupBy("id").count()
        ids = counted.selectExpr("id + count - 2 as id")
    return ids.filter(_disturbed(faults, pause_ms)).selectExpr("id", _PAYLOAD)


def scored(
    spark: Any,
    model: str,
    faults: str,
    start: int,
    rows: int,
    partitions: int,
    pause_ms: int,
    shape: str,
) -> Any:
    """Rows of the shape ``plain`` with predictions. TaskFaults disturbs the tasks behind the model,
    so that a row that it has seen is one that was scored."""
    import flightbridge.spark

    assert shape == "plain", shape
    ids = spark.range(start, start + rows, 1, partitions)
    inputs = ("cast(id as float) as x", "cast(id % 7 as float) as y")
    predicted = flightbridge.spark.predict(
        ids.selectExpr("id", _PAYLOAD, *inputs),
        model,
        columns=["x", "y"],
        modules=["fb_own_layers"],
        keep=["id", "payload"],
        batch_size=128,
    )
    return predicted.filter(_disturbed(faults, pause_ms))


def _disturbed(faults: str, pause_ms: int) -> str:
    return f"java_method('{_FAULTS}', 'row', '{faults}', {pause_ms}L) = ''"


def save(
    spark: Any,
    uri: str,
    feed: str,
    mode: str,
    options: dict[str, Any],
    executors: int = 0,
    model: str | None = None,
    **rows: Any,
) -> None:
    """Writes :func:`frame`, or :func:`scored` where there is a model, into a feed by the Java
    connector, once so many executors are there."""
    import flightbridge.spark

    end = time.monotonic() + 120
    tracker = spark.sparkContext._jsc.sc().statusTracker()
    while len(tracker.getExecutorInfos()) < 1 + executors:  # the driver counts as one
        if time.monotonic() > end:
            raise TimeoutError(f"there are not {executors} executors")
        time.sleep(0.05)
    df = frame(spark, **rows) if model is None else scored(spark, model, **rows)
    given = {"batch_bytes": 64 << 10, **options}
    flightbridge.spark.write(df, uri, feed, mode, writer="connector", **given)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever Spark prints is no answer

    def answer(text: str) -> None:
        answers.write(json.dumps(text) + "\n")
        answers.flush()

    spark = session(*json.loads(sys.argv[1]))
    # An executor is slow the first time; the tests want all of them, warm.
    spark.range(0, 1000, 1, 8).selectExpr("java_method('java.lang.Thread', 'sleep', 5L)").collect()
    answer("started")
    for line in sys.stdin:
        try:
            save(spark, **json.loads(line))
        except Exception as error:
            answer(f"{type(error).__name__}: {error}")
        else:
            answer("done")
    spark.stop()


if __name__ == "__main__":
    main()
