"""``bench spark``: a DataFrame out of Spark, and into it, by each way in turn, on one session."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flightbridge.bench import data, processes, tf_peers
from flightbridge.bench.cpu import descendants
from flightbridge.bench.model import Result, Sample, summarize
from flightbridge.bench.options import BenchOptions
from flightbridge.bench.pairing import Run, measure
from flightbridge.bench.progress import Progress
from flightbridge.bench.streams import timed
from flightbridge.errors import DataLossError, FailedPreconditionError

if TYPE_CHECKING:
    import tensorflow as tf
    from pyspark.sql import DataFrame, SparkSession

FEED = "flightbridge-bench-spark"
NOOP, PARQUET = "spark noop", "spark to Parquet"
BRIDGE, FLIGHT, PYTHON = "spark to bridge", "spark to bridge by Flight's calls", "Python writer"
CHANNEL = "spark to bridge over TCP"
BRIDGE_EPOCH, PARQUET_EPOCH = "bridge and an epoch", "Parquet and an epoch"
BRIDGE_READ, PARQUET_READ = "bridge to spark", "Parquet to spark"
BRIDGE_SOME, PARQUET_SOME = "bridge to spark, 1% of rows", "Parquet to spark, 1% of rows"
PEERS = {
    BRIDGE_EPOCH: PARQUET_EPOCH,
    BRIDGE_READ: PARQUET_READ,
    BRIDGE_SOME: PARQUET_SOME,
}

# Thirteen columns as a recommender's feature table has them. Random values, because columns that
# count up cost nothing to compute and, in Parquet, nothing to store.
COLUMNS = (
    "id",
    *("cast(rand(1) * 6040 as int) user", "cast(rand(2) * 3706 as int) movie"),
    *("cast(id % 24 as int) hour", "cast(rand(3) * 97 as int) zip"),
    *(f"cast(rand({seed}) as float) f{i}" for i, seed in enumerate((4, 5, 6, 7))),
    "xxhash64(id) session",
    "id + 1700000000 at",
    "round(rand(8) * 10) / 2 rating",
    "cast(id % 3 as int) device",
)


def run(options: BenchOptions, progress: Progress) -> Iterator[Result]:
    """Rows written, and written and then read by tf.data once; then rows that Spark reads back."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    with contextlib.ExitStack() as stack:
        progress.say("starting Spark and a server")
        temporary = tempfile.TemporaryDirectory(prefix="flightbridge-spark-")
        folder = Path(stack.enter_context(temporary))
        uri, server = stack.enter_context(processes.serve(options.memory_limit))
        cores, server_cores = _cores(options.own_core, stack)
        for thread in Path(f"/proc/{server}/task").iterdir():
            os.sched_setaffinity(int(thread.name), server_cores)
        spark = _session(folder, cores)
        stack.callback(spark.stop)
        sides = _sides(spark, uri, server, folder, options, stack)
        note = progress.start("spark", len(sides) * options.repeat)
        samples = measure(sides, options.repeat, warmup=options.warmup, note=note)
        progress.say("writing what is read")
        sides = _reads(spark, uri, server, folder, options)
        note = progress.start("spark reads", len(sides) * options.repeat)
        samples |= measure(sides, options.repeat, warmup=options.warmup, note=note)
    yield from _results(samples)


def _sides(
    spark: SparkSession,
    uri: str,
    server: int,
    folder: Path,
    options: BenchOptions,
    stack: contextlib.ExitStack,
) -> dict[str, Run]:
    import flightbridge.spark
    import flightbridge.tf
    from flightbridge import connect

    rows = _rows(options)
    df = _frame(spark, rows)
    path = folder / "rows"
    client = stack.enter_context(connect(uri))
    stack.callback(client.drop, FEED, if_exists=True)
    count = _counter()

    def write(writer: str, **given: Any) -> None:
        flightbridge.spark.write(df, uri, FEED, "overwrite", writer=writer, **given)

    def parquet() -> None:
        df.write.mode("overwrite").parquet(str(path))

    def epoch_of(dataset: tf.data.Dataset) -> None:
        if (found := int(count(dataset))) != rows:
            raise DataLossError(f"{found} of {rows} rows came back")

    def bridge_epoch() -> None:
        write("connector")
        epoch_of(flightbridge.tf.dataset(uri, FEED, batch_size=options.batch_rows))

    def parquet_epoch() -> None:
        parquet()
        files = sorted(path.glob("*.parquet"))
        epoch_of(tf_peers.parquet_dataset(files, options.batch_rows))

    ways: dict[str, Callable[[], None]] = {
        NOOP: df.write.format("noop").mode("overwrite").save,
        BRIDGE: lambda: write("connector"),
        CHANNEL: lambda: write("connector", transport="channel"),
        FLIGHT: lambda: write("connector", transport="flight"),
        BRIDGE_EPOCH: bridge_epoch,
    }
    if options.peer:
        ways |= {
            PARQUET: parquet,
            PYTHON: lambda: write("python"),
            PARQUET_EPOCH: parquet_epoch,
        }

    return {name: _timed_run(way, rows, server, options) for name, way in ways.items()}


def _reads(
    spark: SparkSession, uri: str, server: int, folder: Path, options: BenchOptions
) -> dict[str, Run]:
    """All rows into Spark's noop sink, and those of a filter on a column that follows partitions.

    Parquet has statistics of this column, too; its files are in the system's cache.
    """
    import flightbridge.spark

    rows = _rows(options)
    some = max(1, rows // 100)
    df = _frame(spark, rows)
    flightbridge.spark.write(df, uri, FEED, "overwrite", writer="connector")
    path = str(folder / "read")
    if options.peer:
        df.write.parquet(path)

    def bridge() -> DataFrame:
        return spark.read.format("flightbridge").options(uri=uri, feed=FEED).load()

    def parquet() -> DataFrame:
        return spark.read.parquet(path)

    def all_of(load: Callable[[], DataFrame]) -> Run:
        return _timed_run(lambda: _drop(load()), rows, server, options)

    def some_of(load: Callable[[], DataFrame]) -> Run:
        condition = f"id >= {rows // 2} and id < {rows // 2 + some}"
        return _timed_run(lambda: _drop(load().where(condition)), some, server, options)

    ways = {BRIDGE_READ: all_of(bridge), BRIDGE_SOME: some_of(bridge)}
    if options.peer:
        ways |= {PARQUET_READ: all_of(parquet), PARQUET_SOME: some_of(parquet)}
    return ways


def _drop(df: DataFrame) -> None:
    df.write.format("noop").mode("overwrite").save()


def _rows(options: BenchOptions) -> int:
    return max(1, options.bytes // data.SPARK_ROW_BYTES)


def _frame(spark: SparkSession, rows: int) -> DataFrame:
    tasks = spark.sparkContext.defaultParallelism * 4
    return spark.range(0, rows, 1, tasks).selectExpr(*COLUMNS)


def _timed_run(way: Callable[[], None], rows: int, server: int, options: BenchOptions) -> Run:
    def one() -> Sample:
        return timed(
            [lambda latencies: way()],
            pids=lambda: {*descendants(os.getpid()), server},
            moved_bytes=rows * data.SPARK_ROW_BYTES,
            moved_batches=-(-rows // options.batch_rows),
        )

    return one


def _results(samples: dict[str, list[Sample]]) -> Iterator[Result]:
    """Writes beside the noop sink, which takes rows and does nothing; the others beside Parquet."""
    alone = {NOOP, PARQUET_READ, PARQUET_SOME}
    for name in samples:
        peer = PEERS.get(name, NOOP)
        if name in alone or peer not in samples:
            yield summarize(name, samples[name], streams=1)
        else:
            yield _beside(name, peer, samples)
    for peer in (CHANNEL, PARQUET, PYTHON):
        if peer in samples:
            yield _beside(BRIDGE, peer, samples, f"{BRIDGE}, beside {peer}")


def _beside(ours: str, theirs: str, samples: dict[str, list[Sample]], name: str = "") -> Result:
    return summarize(
        name or ours,
        samples[ours],
        streams=1,
        peer_name=theirs,
        peer_samples=samples[theirs],
    )


def _session(folder: Path, cores: int) -> SparkSession:
    from pyspark.sql import SparkSession

    import flightbridge.spark

    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "2g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder}",
        "spark.local.dir": str(folder / "local"),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
    }
    builder = SparkSession.builder.master(f"local[{cores}]").appName("flightbridge-bench")
    session = flightbridge.spark.configure(builder.config(map=settings)).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def _cores(own_core: bool, stack: contextlib.ExitStack) -> tuple[int, set[int]]:
    """How many cores Spark gets, and the server's; this process and its JVM keep to the former."""
    every = os.sched_getaffinity(0)
    if not own_core:
        return len(every), every
    if len(every) < 2:
        raise FailedPreconditionError("--own-core needs two cores, and this process may use one")
    last = max(every)
    os.sched_setaffinity(0, every - {last})
    stack.callback(os.sched_setaffinity, 0, every)
    return len(every) - 1, {last}


def _counter() -> Any:
    import tensorflow as tf

    def add(total: Any, batch: dict[str, Any]) -> Any:
        return total + tf.shape(batch["id"], out_type=tf.int64)[0]

    return lambda dataset: dataset.reduce(tf.constant(0, tf.int64), add)
