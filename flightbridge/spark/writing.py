"""``flightbridge.spark.write``: a DataFrame into a feed in one call."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from flightbridge.errors import FeedExistsError, FeedNotFoundError, InvalidArgumentError
from flightbridge.spark import connector
from flightbridge.spark.environment import require_pyspark, require_python_writer
from flightbridge.spark.options import (
    CONNECTOR_ONLY,
    FORMAT,
    PYTHON_FORMAT,
    WriteOptions,
    parse_mode,
    parse_options,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from flightbridge.client import FeedInfo
    from flightbridge.server import Server

_knows_python_writer: weakref.WeakSet[Any] = weakref.WeakSet()


def write(
    df: DataFrame,
    uri: str | Server,
    feed: str,
    mode: str = "errorifexists",
    *,
    token: str | None = None,
    partitions: int | None = None,
    writer: str = "auto",
    **options: Any,
) -> FeedInfo:
    """Writes a DataFrame into a feed and returns the committed feed.

    The same as ``df.write.format("flightbridge")`` with these options, on classic and Connect
    sessions; the DataFrame's own session is used as it is. Blocks until the feed is committed.
    Each row is in the feed exactly once, however often Spark tries its tasks. The feed has one
    partition for every non-empty partition of the DataFrame.

    Rows travel from the JVM by the Java connector where the session has it
    (:func:`flightbridge.spark.configure`), else by the Python writer, several times slower.

    Args:
        df: Any DataFrame whose column types a feed can hold: all but CalendarInterval, spatial and
            user-defined types other than MLlib's vectors; the Python writer takes no intervals of
            months, no Variant and no void, either.
        uri: The bridge as ``grpc://HOST:PORT``, or a running :class:`flightbridge.Server`. This
            process, the driver and the executors must all reach it.
        feed: The feed's name.
        mode: ``"errorifexists"`` (or ``"error"``), ``"append"``, ``"overwrite"`` or ``"ignore"``
            (an existing feed is left alone and returned).
        token: Bearer token, where the bridge asks for one.
        partitions: Repartition to this many first (a shuffle); None keeps the DataFrame's.
        writer: ``"auto"``, ``"connector"`` (an error where the session has none) or ``"python"``.
        **options: More options of the format: ``timeout``, seconds for one call to the bridge;
            ``visible="partition"`` shows each partition once it is written; ``retention`` and
            ``ttl``, how long the feed keeps its rows (:meth:`flightbridge.Client.begin_write`);
            ``tls_ca``, ``tls_client_cert`` and ``tls_client_key``, PEM files that driver and
            executors find under the same path. Of the connector only: ``shards``, ``shuffle``,
            ``seed``, ``batch_bytes`` and ``transport`` (docs/spark.md).

    Returns:
        The feed as committed: rows, bytes, partitions.

    Raises:
        InvalidArgumentError: An argument is malformed or unknown.
        UnsupportedTypeError: A column's type cannot cross; the message names it and what to do.
        FeedExistsError: Mode ``errorifexists`` and the feed exists.
        SchemaMismatchError: Mode ``append`` and the feed has another schema.
        ServerUnavailableError: Nothing answers at the uri.
        FailedPreconditionError: pyspark is missing, the session has no connector and
            ``writer="connector"``, or Spark's Python workers cannot import flightbridge.
    """
    require_pyspark()
    chosen = parse_mode(mode)
    by_connector = _uses_connector(df.sparkSession, writer)
    given = {"uri": _uri_of(uri), "feed": feed, "token": token, **options}
    fast = {name: given.pop(name) for name in CONNECTOR_ONLY if by_connector and name in given}
    checked = parse_options(given, chosen)
    if partitions is not None:
        df = df.repartition(_count(partitions))
    if not by_connector:
        from flightbridge.spark.types import arrow_schema

        arrow_schema(df.schema)
    with checked.connect() as client:
        # Asked early because Spark runs every shuffle of the plan before the writer is asked;
        # what counts is the bridge's answer when the job is opened.
        if chosen in ("errorifexists", "ignore"):
            try:
                existing = client.feed(feed)
            except FeedNotFoundError:
                pass
            else:
                if chosen == "ignore":
                    return existing
                raise FeedExistsError(
                    f"feed {feed!r} exists: use mode='append', 'overwrite' or 'ignore', "
                    "or drop it first"
                )
        saving = df.write.format(PYTHON_FORMAT if writer == "python" else FORMAT).mode(chosen)
        for name, value in {**_spark_options(checked), **fast}.items():
            saving = saving.option(name, value)
        saving.save()
        return client.feed(feed)


def register(spark: SparkSession) -> None:
    """Makes the Python writer known to a session by hand, also as ``flightbridge_python``.

    Spark 4 finds it by itself wherever flightbridge is installed for the driver's Python. This is
    for sessions where it is only shipped along, as with ``spark.addArtifacts``.
    """
    require_pyspark()
    from flightbridge.spark.source import FlightBridgeDataSource, PythonWriterDataSource

    if connector.version_on(spark) is None:  # a session with two of one name refuses both
        spark.dataSource.register(FlightBridgeDataSource)
    spark.dataSource.register(PythonWriterDataSource)


def _uses_connector(spark: SparkSession, writer: str) -> bool:
    if writer == "python":
        require_python_writer()
        from flightbridge.spark.source import PythonWriterDataSource

        if spark not in _knows_python_writer:
            spark.dataSource.register(PythonWriterDataSource)
            _knows_python_writer.add(spark)
        return False
    if writer == "connector":
        connector.require_on(spark)
        return True
    if writer != "auto":
        raise InvalidArgumentError(f"writer={writer!r} is not one of auto, connector, python")
    return connector.version_on(spark) is not None


def _uri_of(uri: Any) -> str:
    found = uri if isinstance(uri, str) else getattr(uri, "uri", None)
    if not isinstance(found, str):
        raise InvalidArgumentError(
            f"uri={uri!r} is neither grpc://HOST:PORT nor a running flightbridge.Server"
        )
    return found


def _count(partitions: Any) -> int:
    if isinstance(partitions, bool) or not isinstance(partitions, int) or partitions < 1:
        raise InvalidArgumentError(
            f"partitions={partitions!r} must be a whole number above zero, or None to keep "
            "the DataFrame's own"
        )
    return partitions


def _spark_options(options: WriteOptions) -> dict[str, str]:
    found = {"uri": options.uri, "feed": options.feed, "timeout": repr(options.timeout_s)}
    if options.token is not None:
        found["token"] = options.token
    found["visible"] = options.visible
    if options.ttl_s is not None:
        found["ttl"] = repr(options.ttl_s)
    for name in ("retention", "tls_ca", "tls_client_cert", "tls_client_key"):
        if (text := getattr(options, name)) is not None:
            found[name] = text
    return found
