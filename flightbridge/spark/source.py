"""The Python data source ``flightbridge``: what runs inside Spark.

The life of a write, as Spark 4 runs it:

1. On the driver, once per execution and just before the tasks start, Spark calls
   :meth:`FlightBridgeDataSource.writer` and pickles the writer it gets. The job id is made there
   and the job is opened on the bridge, so a refusal (feed exists, schema differs, no server) costs
   no task.
2. In every task :meth:`FeedWriter.write` streams the partition as one attempt, keyed by
   ``taskAttemptId``, which never repeats within an application (attempt numbers do).
3. On the driver :meth:`FeedWriter.commit` names the attempts that won, or :meth:`FeedWriter.abort`
   drops them all. Tasks that are still running after an abort are refused by the bridge.

This module is imported by Spark's workers: it imports nothing heavy before a writer needs it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pyspark.sql.datasource import DataSource, DataSourceArrowWriter, WriterCommitMessage

from flightbridge.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    ServerUnavailableError,
)
from flightbridge.spark.options import (
    FORMAT,
    PYTHON_FORMAT,
    WriteOptions,
    mode_of,
    parse_options,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql.types import StructType

    from flightbridge.client import AttemptRef, Client

T = TypeVar("T")
_PAUSE_S = 0.2


@dataclass
class AttemptMessage(WriterCommitMessage):  # type: ignore[misc]
    """What a finished task tells the driver: its attempt, or None if it had no rows to send."""

    attempt: AttemptRef | None


class FeedWriter(DataSourceArrowWriter):  # type: ignore[misc]
    """Writes one DataFrame into one feed. Picklable: it travels to every task."""

    def __init__(self, options: WriteOptions, schema: pa.Schema) -> None:
        self.options = options
        self.schema = schema
        self.job_id = uuid.uuid4().hex
        with self._client() as client:
            begun = client.begin_write(
                options.feed,
                self.job_id,
                options.mode,
                schema,
                visible=options.visible,
                retention=options.retention,
                ttl_s=options.ttl_s,
            )
        self.skip: bool = begun.skip

    def write(self, iterator: Iterator[pa.RecordBatch]) -> AttemptMessage:
        """Streams one partition. An empty partition opens no attempt at all."""
        from pyspark import TaskContext

        from flightbridge.spark.batches import rebatched

        task = TaskContext.get()
        if task is None:
            raise FailedPreconditionError(
                "FeedWriter.write runs inside a Spark task only: use flightbridge.spark.write"
            )
        if self.skip:
            return AttemptMessage(None)
        batches = rebatched(iterator, self.schema)
        first = next(batches, None)
        if first is None:
            return AttemptMessage(None)
        # The client is made here, in the task's own process: gRPC does not survive a fork.
        with self._client() as client:
            put = self._until_answered(
                lambda: client.open_put(
                    self.options.feed,
                    self.job_id,
                    task.partitionId(),
                    task.taskAttemptId(),
                    self.schema,
                )
            )
            with put:
                put.write(first)
                for batch in batches:
                    put.write(batch)
                return AttemptMessage(put.finish())

    def commit(self, messages: list[AttemptMessage | None]) -> None:
        """Makes exactly the named attempts visible. Safe to repeat.

        A skipped job is committed with none: that closes it, and the bridge checks once more that
        the feed it was skipped for is still there.
        """
        attempts = [message.attempt for message in messages if message and message.attempt]
        with self._client() as client:
            self._until_answered(
                lambda: client.commit_write(self.options.feed, self.job_id, attempts)
            )

    def abort(self, messages: list[AttemptMessage | None]) -> None:
        """Drops everything the job has sent. Safe to repeat."""
        with self._client() as client:
            client.abort_write(self.options.feed, self.job_id)

    def _client(self) -> Client:
        return self.options.connect()

    def _until_answered(self, call: Callable[[], T]) -> T:
        """Repeats a call while no server answers: it may be about to come back.

        A task would use up Spark's tries meanwhile, and a commit may have been decided before the
        server went: were the job to fail, the rows would be written once more.
        """
        deadline = time.monotonic() + self.options.timeout_s
        while True:
            try:
                return call()
            except ServerUnavailableError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_PAUSE_S)


class FlightBridgeDataSource(DataSource):  # type: ignore[misc]
    """``df.write.format("flightbridge")``. Options: :mod:`flightbridge.spark.options`."""

    @classmethod
    def name(cls) -> str:
        """The format's name."""
        return FORMAT

    def schema(self) -> StructType:
        """Refuses to read: that is for the connector, Flight, or ``flightbridge.tf.dataset``."""
        raise InvalidArgumentError(
            f"the {FORMAT} format only writes where the session has no connector: start it with "
            "flightbridge.spark.configure(builder), or read a feed with "
            "flightbridge.connect(uri).read_table(feed) or flightbridge.tf.dataset"
        )

    def writer(self, schema: StructType, overwrite: bool) -> FeedWriter:
        """Opens the write job on the bridge and returns the writer. Runs on the driver.

        Raises:
            InvalidArgumentError: An option is missing, unknown or malformed.
            UnsupportedTypeError: A column's type cannot cross.
            FeedExistsError: Mode ``errorifexists`` and the feed exists.
            SchemaMismatchError: Mode ``append`` and the feed has another schema.
            ServerUnavailableError: Nothing answers at the uri.
        """
        from flightbridge.spark.types import arrow_schema

        options = parse_options(self.options, mode_of(self.options, overwrite))
        return FeedWriter(options, arrow_schema(schema))


class PythonWriterDataSource(FlightBridgeDataSource):
    """The same writer as ``format("flightbridge_python")``, where ``flightbridge`` is the jar's."""

    @classmethod
    def name(cls) -> str:
        """The format's name."""
        return PYTHON_FORMAT
