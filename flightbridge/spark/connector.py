"""The Java connector: its jar, and whether a session has it.

The connector is a DataSource V2 for the JVM (`spark_plugin/`). It needs no Python on the executors
and writes several times faster than the Python writer, which is there for sessions whose jars
cannot be chosen.
"""

from __future__ import annotations

import logging
import re
import time
import weakref
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from flightbridge.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
)

_JARS = Path(__file__).parent / "jars"
_CLASS = "io.flightbridge.Connector"
_CATALOG_CLASS = "io.flightbridge.spark.FeedCatalog"
_SETTING = "spark.jars"
_log = logging.getLogger("flightbridge.spark")

# Asking costs a query on a Connect session, and the answer cannot change to "no".
_versions: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
_said: set[str] = set()


def jar(spark: str | None = None) -> Path:
    """The connector's jar, for ``spark.jars``, ``--jars`` or ``spark-submit``.

    Args:
        spark: A version of Spark, such as ``"4.0"`` or ``"3.5"``: that of the cluster, where it is
            not the installed pyspark's.

    Raises:
        FailedPreconditionError: There is no jar for that Spark; the message says how to get it.
    """
    line = _line(spark if spark is not None else _installed())
    found = sorted(_JARS.glob(f"flightbridge-spark-{line}_*.jar"))
    if not found:
        target = "make jar" if line == "4" else f"make jar-{line}"
        raise FailedPreconditionError(
            f"this flightbridge comes without the connector for Spark {line} "
            f"({_JARS} has no flightbridge-spark-{line}_*.jar): build it with `{target}` in a "
            "checkout, which needs Java 17 and Maven"
        )
    return found[-1]


def configure(
    builder: Any,
    *,
    spark: str | None = None,
    catalog: str | None = None,
    uri: str | None = None,
    **options: Any,
) -> Any:
    """Puts the connector on the session that a builder makes, and a bridge's feeds, if you like.

    As in::

        spark = flightbridge.spark.configure(
            SparkSession.builder.appName("features"), catalog="bridge", uri="grpc://bridge:8815"
        ).getOrCreate()
        spark.sql("SELECT * FROM bridge.ratings")

    Jars that the builder has already been given stay. Where the session exists already, or is
    started by ``spark-submit`` with jars of its own, name the jar there: ``--jars`` with what
    ``flightbridge.spark.jar()`` says.

    Args:
        builder: A ``SparkSession.builder`` of a session that is still to be started.
        spark: As in :func:`jar`.
        catalog: A name for the catalog of the feeds of a bridge, for SQL and ``spark.table``.
        uri: Its bridge; left out, the servers that the plugin runs (see :func:`servers`).
        options: More options of the catalog, such as ``tls_ca`` and ``timeout``; docs/spark.md
            lists them. A ``token`` is better left to ``FLIGHTBRIDGE_TOKEN``.

    Returns:
        The builder.

    Raises:
        InvalidArgumentError: A builder of a Connect session: the jar belongs on its server. Or a
            catalog's name that SQL cannot use, or options without a catalog.
        FailedPreconditionError: There is no jar for that Spark.
    """
    settings = getattr(builder, "_options", None)
    if not hasattr(builder, "config") or not isinstance(settings, dict):
        raise InvalidArgumentError(
            f"builder={builder!r} is not a SparkSession.builder: give one before getOrCreate()"
        )
    if "spark.remote" in settings or type(builder).__module__.startswith("pyspark.sql.connect"):
        raise InvalidArgumentError(
            "builder makes a Spark Connect session, whose jars are its server's: start the server "
            f"with --jars {jar(spark)}"
        )
    wanted = str(jar(spark))
    given = [one for one in str(settings.get(_SETTING, "")).split(",") if one]
    if wanted not in given:
        builder.config(_SETTING, ",".join([*given, wanted]))
    for name, value in _catalog_settings(catalog, {"uri": uri, **options}).items():
        builder.config(name, value)
    return builder


def _catalog_settings(catalog: str | None, options: dict[str, Any]) -> dict[str, str]:
    given = {name: str(value) for name, value in options.items() if value is not None}
    if catalog is None:
        if given:
            raise InvalidArgumentError(
                f"{', '.join(given)} are options of a catalog: name it, as in "
                'configure(builder, catalog="bridge", uri="grpc://bridge:8815")'
            )
        return {}
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", catalog) or catalog == "spark_catalog":
        raise InvalidArgumentError(
            f"catalog={catalog!r} is no name for a catalog: use letters, digits and _, and not "
            "spark_catalog, which is Spark's own"
        )
    key = f"spark.sql.catalog.{catalog}"
    return {key: _CATALOG_CLASS, **{f"{key}.{name}": value for name, value in given.items()}}


def version_on(session: Any) -> str | None:
    """The version of the connector that a session has, classic or Connect; None if it has none."""
    found = _versions.get(session)
    if found is None:
        try:
            found = session.sql(f"SELECT java_method('{_CLASS}', 'version')").collect()[0][0]
        except Exception:  # whatever Spark raises for a class that is not there
            return None
        _versions[session] = str(found)
        _say_if_other(str(found))
    return found


def servers(session: Any, *, count: int = 1, timeout_s: float = 60.0) -> str:
    """The bridge servers that the plugin ``io.flightbridge.FlightBridgePlugin`` runs for a session.

    Args:
        session: One whose application has ``spark.plugins`` set to it and
            ``spark.flightbridge.server`` to ``driver`` or ``executors``.
        count: How many to wait for: executors come one by one.
        timeout_s: Longest wait, in seconds.

    Returns:
        Their uris, separated by commas, as every ``uri`` of this package takes them.

    Raises:
        FailedPreconditionError: The session has no connector.
        DeadlineExceededError: There are fewer within the time.
    """
    require_on(session)
    end = time.monotonic() + timeout_s
    while True:
        found = session.sql(f"SELECT java_method('{_CLASS}', 'servers')").collect()[0][0]
        running = len(found.split(",")) if found else 0
        if running >= count:
            return str(found)
        if time.monotonic() >= end:
            raise DeadlineExceededError(
                f"{running} of {count} bridge servers of this application run after "
                f"{timeout_s:g} s: set spark.plugins=io.flightbridge.FlightBridgePlugin and "
                "spark.flightbridge.server=driver or executors before the session starts, and see "
                "the executors' logs"
            )
        time.sleep(0.5)  # each question is a job of its own


def require_on(session: Any) -> None:
    """Raises where a session has no connector.

    Raises:
        FailedPreconditionError: It has none; the message says how it gets one.
    """
    if version_on(session) is None:
        raise FailedPreconditionError(f"this Spark session has no connector: {_remedy()}")


def say_that_it_is_missing() -> None:
    """Tells once per process that writes go through Python, and what to do about it."""
    _say_once(
        f"this Spark session has no FlightBridge connector, so rows are written by Python, several "
        f"times slower: {_remedy()}"
    )


def _remedy() -> str:
    return (
        "start the session with flightbridge.spark.configure(SparkSession.builder), or Spark or "
        "the Connect server with --jars and the jar that flightbridge.spark.jar() names"
    )


def _say_if_other(found: str) -> None:
    try:
        own = version("flightbridge")
    except PackageNotFoundError:
        return
    if own.split(".")[:2] != found.split(".")[:2]:
        _say_once(
            f"the session's FlightBridge connector is {found} and this package is {own}: use the "
            "jar that flightbridge.spark.jar() names"
        )


def _say_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        _log.warning(text)


def _installed() -> str:
    try:
        return version("pyspark")
    except PackageNotFoundError:
        return "4"  # the connector's own; asked for where only the jar is wanted


def _line(spark: str) -> str:
    found = re.match(r"(\d+)(?:\.(\d+))?", str(spark))
    if found and int(found[1]) >= 4:
        return "4"
    if found and found[0] == "3.5":
        return "3.5"
    raise InvalidArgumentError(
        f"spark={spark!r} has no connector: use Spark 4.x, or 3.5, and say which as "
        'spark="4.0" or spark="3.5"'
    )
