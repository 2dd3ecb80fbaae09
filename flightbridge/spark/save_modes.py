"""All four save modes for ``df.write.format("flightbridge")``.

``DataFrameWriter.save`` is wrapped, on classic and on Connect sessions. For our formats, and for no
other, the wrapper raises the FlightBridge error that caused a Spark error, from that Spark error.
Where the session has the Java connector, that is all it does.

Where it has none, the format is the Python writer's. Spark refuses ``errorifexists`` (its default)
and ``ignore`` for every Python data source, before the data source is asked:
UNSUPPORTED_DATA_SOURCE_SAVE_MODE. So the wrapper then also

* checks the column types, so that the error names the column;
* asks Spark for ``append`` (or ``overwrite``) and hands the real mode to the data source in the
  option ``mode``, where the bridge decides about it atomically.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from flightbridge.errors import InvalidArgumentError
from flightbridge.spark import connector
from flightbridge.spark.failures import original_errors
from flightbridge.spark.options import FORMAT, PYTHON_FORMAT, parse_mode

_MODULES = ("pyspark.sql.readwriter", "pyspark.sql.connect.readwriter")
_DONE = "_flightbridge_save_modes"


def install() -> None:
    """Wraps the writers that are imported, and the others when they are. Imports no pyspark."""
    for name in _MODULES:
        writer = getattr(sys.modules.get(name), "DataFrameWriter", None)
        if writer is not None:
            _wrap(writer)
    if not any(isinstance(finder, _WrapOnImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WrapOnImport())


class _WrapOnImport(MetaPathFinder):
    """Wraps a writer class as soon as pyspark's module with it has been executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _MODULES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        spec.loader = _WrappingLoader(spec.loader)
        return spec


class _WrappingLoader(Loader):
    """Stands in for a module's loader once; that loader may be shared, as a zip file's is."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _wrap(module.DataFrameWriter)


def _wrap(writer: Any) -> None:
    if hasattr(writer, _DONE):
        return
    spark_format, spark_mode, spark_save = writer.format, writer.mode, writer.save

    # The classic writer keeps format and mode inside the JVM, so they are noted on the way.
    @functools.wraps(spark_format)
    def format_(self: Any, source: str) -> Any:
        self._flightbridge_format = source
        return spark_format(self, source)

    @functools.wraps(spark_mode)
    def mode_(self: Any, saveMode: str | None) -> Any:  # noqa: N803 - Spark's spelling
        if saveMode is not None:
            self._flightbridge_mode = saveMode
        return spark_mode(self, saveMode)

    @functools.wraps(spark_save)
    def save_(
        self: Any,
        path: str | None = None,
        format: str | None = None,
        mode: str | None = None,
        partitionBy: Any = None,  # noqa: N803 - Spark's spelling
        **options: Any,
    ) -> None:
        source = format if format is not None else getattr(self, "_flightbridge_format", None)
        if not isinstance(source, str) or source.lower() not in (FORMAT, PYTHON_FORMAT):
            spark_save(self, path, format, mode, partitionBy, **options)
            return
        chosen = mode if mode is not None else getattr(self, "_flightbridge_mode", "errorifexists")
        _save(self, spark_save, path, source.lower(), parse_mode(chosen), partitionBy, options)

    writer.format, writer.mode, writer.save = format_, mode_, save_
    setattr(writer, _DONE, True)


def _save(
    writer: Any,
    spark_save: Any,
    path: str | None,
    source: str,
    mode: str,
    partition_by: Any,
    options: dict[str, Any],
) -> None:
    if path is not None:
        raise InvalidArgumentError(
            f"save({path!r}): a feed has a name, not a path: call save() without one and use "
            '.option("feed", "NAME")'
        )
    if partition_by:
        raise InvalidArgumentError(
            f"partitionBy={partition_by!r} is not supported: a feed's partitions are the "
            "DataFrame's; use df.repartition() before writing"
        )
    if source == FORMAT and connector.version_on(writer._spark) is not None:
        # The writer may have been used before, for the Python writer: the option is the mode's.
        writer.option("mode", mode)
        with original_errors():
            # Connect knows "errorifexists" by this name only.
            spark_mode = "error" if mode == "errorifexists" else mode
            spark_save(writer, None, source, spark_mode, None, **options)
        return
    from flightbridge.spark.types import arrow_schema

    if source == FORMAT:
        connector.say_that_it_is_missing()
    arrow_schema(_schema_of(writer))
    writer.option("mode", mode)
    with original_errors():
        spark_save(
            writer, None, source, "overwrite" if mode == "overwrite" else "append", None, **options
        )


def _schema_of(writer: Any) -> Any:
    frame = writer._df
    if hasattr(frame, "schema"):  # classic: a DataFrame, already analysed
        return frame.schema
    client = writer._spark.client  # Connect: a plan, analysed by the server
    return client.schema(frame.to_proto(client))
