"""``flightbridge.spark.write``: a DataFrame into a feed in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flightbridge.errors import FeedExistsError, FeedNotFoundError, InvalidArgumentError
from flightbridge.spark.environment import require_pyspark
from flightbridge.spark.options import FORMAT, WriteOptions, parse_mode, parse_options

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from flightbridge.client import FeedInfo
    from flightbridge.server import Server


def write(
    df: DataFrame,
    uri: str | Server,
    feed: str,
    mode: str = "errorifexists",
    *,
    token: str | None = None,
    partitions: int | None = None,
    **options: Any,
) -> FeedInfo:
    """Writes a DataFrame into a feed and returns the committed feed.

    The same as ``df.write.format("flightbridge")`` with these options, on classic and Connect
    sessions; the DataFrame's own session is used as it is. Blocks until the feed is committed.
    Each row is in the feed exactly once, however often Spark tries its tasks. The feed has one
    partition for every non-empty partition of the DataFrame.

    Args:
        df: Any DataFrame whose column types a feed can hold (all but intervals of years and
            months, CalendarInterval, Variant, void, spatial and user-defined types).
        uri: The bridge as ``grpc://HOST:PORT``, or a running :class:`flightbridge.Server`. This
            process, the driver and the executors must all reach it.
        feed: The feed's name.
        mode: ``"errorifexists"`` (or ``"error"``), ``"append"``, ``"overwrite"`` or ``"ignore"``
            (an existing feed is left alone and returned).
        token: Bearer token, where the bridge asks for one.
        partitions: Repartition to this many first (a shuffle); None keeps the DataFrame's.
        **options: More options of the format: ``timeout``, seconds for one call to the bridge;
            ``visible="partition"`` shows each partition once it is written; ``retention`` and
            ``ttl``, how long the feed keeps its rows (:meth:`flightbridge.Client.begin_write`);
            ``tls_ca``, ``tls_client_cert`` and ``tls_client_key``, PEM files that driver and
            executors find under the same path.

    Returns:
        The feed as committed: rows, bytes, partitions.

    Raises:
        InvalidArgumentError: An argument is malformed or unknown.
        UnsupportedTypeError: A column's type cannot cross; the message names it and what to do.
        FeedExistsError: Mode ``errorifexists`` and the feed exists.
        SchemaMismatchError: Mode ``append`` and the feed has another schema.
        ServerUnavailableError: Nothing answers at the uri.
        FailedPreconditionError: pyspark is missing, or Spark's workers cannot import flightbridge.
    """
    require_pyspark()
    from flightbridge.spark.types import arrow_schema

    chosen = parse_mode(mode)
    given = {"uri": _uri_of(uri), "feed": feed, "token": token, **options}
    checked = parse_options(given, chosen)
    if partitions is not None:
        df = df.repartition(_count(partitions))
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
        writer = df.write.format(FORMAT).mode(chosen)
        for name, value in _spark_options(checked).items():
            writer = writer.option(name, value)
        writer.save()
        return client.feed(feed)


def register(spark: SparkSession) -> None:
    """Makes the format known to a session by hand.

    Spark 4 finds it by itself wherever flightbridge is installed for the driver's Python. This is
    for sessions where it is only shipped along, as with ``spark.addArtifacts``.
    """
    require_pyspark()
    from flightbridge.spark.source import FlightBridgeDataSource

    spark.dataSource.register(FlightBridgeDataSource)


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
