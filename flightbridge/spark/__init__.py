"""From Spark into a feed.

Two ways, one meaning, on classic and Connect sessions::

    import flightbridge.spark

    spark = flightbridge.spark.configure(SparkSession.builder).getOrCreate()
    flightbridge.spark.write(df, uri, "ratings", mode="overwrite")

    (df.write.format("flightbridge")
       .option("uri", uri).option("feed", "ratings")
       .mode("overwrite").save())

Rows travel as Arrow record batches straight from the executors to the bridge. The driver commits
the feed when all tasks are done: it appears whole or not at all, each row once, whatever Spark
retries on the way.

:func:`configure` puts the Java connector on a session: rows then go from the JVM, and executors
need no Python. On sessions without it a writer in Python does the same, several times slower; then
flightbridge has to be importable for the Python of the driver and of the executors
(``PYSPARK_PYTHON``); :func:`diagnose` checks that.

Importing this module wraps ``DataFrameWriter.save`` for the format ``flightbridge`` only
(:mod:`flightbridge.spark.save_modes`). The options are listed in docs/spark.md and
:mod:`flightbridge.spark.options`. pyspark is imported only when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flightbridge.spark import save_modes
from flightbridge.spark.connector import configure, jar, servers
from flightbridge.spark.environment import diagnose, find_java
from flightbridge.spark.writing import register, write

if TYPE_CHECKING:
    from flightbridge.spark.predicting import predict
    from flightbridge.spark.source import FlightBridgeDataSource

__all__ = [
    "FlightBridgeDataSource",
    "configure",
    "diagnose",
    "find_java",
    "jar",
    "predict",
    "register",
    "servers",
    "write",
]

save_modes.install()


def __getattr__(name: str) -> Any:
    if name == "predict":  # it stands on pyarrow, which importing this must not
        from flightbridge.spark.predicting import predict

        return predict
    if name == "FlightBridgeDataSource":  # its base class is pyspark's
        from flightbridge.spark.environment import require_pyspark

        require_pyspark()
        from flightbridge.spark.source import FlightBridgeDataSource

        return FlightBridgeDataSource
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
