"""The client: write feeds into a FlightBridge server and read them back.

::

    client = flightbridge.connect("grpc://127.0.0.1:8815")
    client.write("ratings", table, mode="overwrite")
    table = client.read_table("ratings", columns=["user", "rating"])

A client whose server runs in the same process does not use a socket (unless ``transport`` says
otherwise).
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flightbridge.closing import Closing
from flightbridge.config import parse_servers
from flightbridge.credentials import resolve
from flightbridge.descriptions import (
    AttemptRef,
    BeginWriteResult,
    ConfirmResult,
    FeedInfo,
    FeedState,
    GenerationInfo,
    PartitionInfo,
    ServerStatus,
)
from flightbridge.errors import (
    FailedPreconditionError,
    FlightBridgeError,
    InvalidArgumentError,
)
from flightbridge.retention import parse_retention
from flightbridge.statistics import gather_statistics
from flightbridge.write_input import batches_of, partitions_of

if TYPE_CHECKING:
    from flightbridge._native._client import NativeClient, NativePut
    from flightbridge.v1 import commands_pb2

__all__ = [
    "AttemptRef",
    "BeginWriteResult",
    "Client",
    "ConfirmResult",
    "FeedInfo",
    "FeedState",
    "GenerationInfo",
    "PartitionInfo",
    "PutStream",
    "ServerStatus",
    "connect",
]

VISIBLE = ("job", "partition")
_MODES = {
    "errorifexists": 1,
    "error": 1,
    "append": 2,
    "overwrite": 3,
    "ignore": 4,
    "stream": 5,
}


class PutStream(Closing):
    """One attempt at writing one partition; use it as a context manager.

    Leaving the ``with`` block without :meth:`finish` aborts the attempt. Thread-safe, one call at
    a time.
    """

    def __init__(self, native: NativePut, partition: int, attempt: int) -> None:
        self._native = native
        self._lock = threading.Lock()
        self._partition = partition
        self._attempt = attempt
        self._over = False

    def write(self, batch: pa.RecordBatch) -> None:
        """Sends a batch; large ones in several messages. Blocks while the server holds it back.

        Raises:
            SchemaMismatchError: The batch's schema is not that of the stream.
            DeadlineExceededError: The server took nothing for the client's ``timeout_s``.
            ResourceExhaustedError: The server has no room.
        """
        with self._lock:
            self._native.write(batch)

    def finish(self) -> AttemptRef:
        """Ends the attempt and waits until the server has staged it.

        Raises:
            DataLossError: What the server received is not what was sent.
        """
        from flightbridge.v1 import commands_pb2

        with self._lock:
            result = commands_pb2.PutResult.FromString(self._native.finish())
            self._over = True
        return AttemptRef(
            self._partition,
            self._attempt,
            result.rows,
            result.batches,
            result.crc32c,
            result.bytes,
        )

    def abort(self) -> None:
        """Cancels the attempt: it never becomes visible. Harmless after :meth:`finish`."""
        with self._lock:
            if not self._over:
                self._native.abort()
                self._over = True

    def _leave(self) -> None:
        self.abort()


class Client(Closing):
    """A connection to one server; made by :func:`connect`. Thread-safe.

    Not fork-safe: connect after the fork. Every call has the deadline ``timeout_s``; in a stream
    every single wait has it.

    Every method raises :class:`~flightbridge.errors.ServerUnavailableError` when the server cannot
    be reached and :class:`~flightbridge.errors.DeadlineExceededError` when it does not answer.
    """

    def __init__(
        self,
        uri: str | Sequence[str],
        *,
        token: str | None = None,
        tls_ca: str | os.PathLike[str] | None = None,
        tls_client_cert: str | os.PathLike[str] | None = None,
        tls_client_key: str | os.PathLike[str] | None = None,
        tls_override_hostname: str | None = None,
        timeout_s: float = 60.0,
        transport: str = "auto",
    ) -> None:
        from flightbridge._native._client import NativeClient

        uri = uri if isinstance(uri, str) else parse_servers(uri)
        self.uri = uri
        self._timeout_s = timeout_s
        credentials = resolve(
            uri,
            token=token,
            tls_ca=tls_ca,
            tls_client_cert=tls_client_cert,
            tls_client_key=tls_client_key,
            tls_override_hostname=tls_override_hostname,
        )
        self._native: NativeClient = NativeClient(uri, credentials, timeout_s, transport)

    # ---- feeds ----------------------------------------------------------------------------

    def feeds(self) -> list[FeedInfo]:
        """Every committed feed."""
        from flightbridge.v1 import commands_pb2

        return [
            FeedInfo.from_proto(commands_pb2.FeedInfo.FromString(encoded))
            for encoded in self._native.feeds()
        ]

    def feed(self, name: str) -> FeedInfo:
        """Describes one feed.

        Raises:
            FeedNotFoundError: There is no such feed.
        """
        return self._feed_info(self._native.feed(name))

    def schema(self, name: str) -> pa.Schema:
        """The schema of a committed feed.

        Raises:
            FeedNotFoundError: There is no such feed, or it is not committed.
        """
        return self._native.schema(name)

    @property
    def transport(self) -> str:
        """How this client's record batches travel, found out when it is first needed.

        ``"local"``, ``"mapped"``, ``"channel"`` or ``"flight"``; see :func:`connect`.
        """
        return self._native.transport()

    def status(self) -> ServerStatus:
        """What the server holds and does now."""
        from flightbridge.v1 import commands_pb2

        return ServerStatus.from_proto(commands_pb2.ServerStatus.FromString(self._native.status()))

    def statistics(self, feed: str, columns: Sequence[str] | None = None) -> dict[str, pa.Table]:
        """Nulls, least and greatest values of columns of a feed, partition by partition.

        The server reads the rows of these columns when it is first asked for them, and keeps what
        it found as long as it has room.

        Args:
            feed: Name of a feed.
            columns: Names; None for all.

        Returns:
            A table for each column, in the order of ``columns``, with a row for each partition:

            - ``partition``, ``rows``, ``nulls`` and ``nans`` (int64);
            - ``min`` and ``max``, of the column's type (an extension's: of its storage's; strings
              and binary: without offsets of 64 bits or views). They are of what is neither null nor
              NaN, and null where there is none; always of nested columns and of dictionaries. A
              zero has no sign;
            - ``min_exact`` and ``max_exact`` (bool): false where a string or binary is longer than
              64 bytes, and cut. ``min`` then is not above it, and ``max``, which may be null, not
              below.

            Partitions that are released are left out.

        Raises:
            FeedNotFoundError: There is no such feed or column.
            DataLossError: Rows are damaged.
            DeadlineExceededError: For the client's ``timeout_s`` no partition was finished.
        """
        return gather_statistics(
            self._native.statistics, self.schema(feed), feed, columns, self._timeout_s
        )

    def drop(self, feed: str, *, if_exists: bool = False) -> None:
        """Removes a feed. Readers that have begun keep their rows.

        Raises:
            FeedNotFoundError: There is no such feed and ``if_exists`` is false.
        """
        self._native.drop(feed, if_exists)

    # ---- whole feeds ----------------------------------------------------------------------

    def write(
        self,
        feed: str,
        data: pa.Table | pa.RecordBatch | pa.RecordBatchReader | Iterable[pa.RecordBatch],
        *,
        mode: str = "errorifexists",
        partition_rows: int | None = None,
        retention: str | None = None,
        ttl_s: float | None = None,
    ) -> FeedInfo:
        """Writes data as a feed and commits it, all or nothing.

        Args:
            feed: Name: 1 to 200 of ``A-Z a-z 0-9 _ . -``, not starting with a dot.
            data: A table, a batch, a reader, or at least one batch from any iterable.
            mode: ``errorifexists`` (or ``error``), ``append``, ``overwrite`` or ``ignore``.
            partition_rows: Rows per partition; None makes one partition.
            retention: How long it keeps its rows, as in :meth:`begin_write`.
            ttl_s: Seconds without use after which it is dropped, as in :meth:`begin_write`.

        Returns:
            The feed as committed; with ``ignore``, the feed as it was.

        Raises:
            FeedExistsError: The mode is ``errorifexists`` and the feed exists.
            SchemaMismatchError: The mode is ``append`` and the schema is not the feed's.
            UnsupportedTypeError: A column's type cannot be stored.
        """
        if partition_rows is not None and partition_rows < 1:
            raise InvalidArgumentError(
                f"partition_rows={partition_rows!r}: give 1 or more, or None for one partition"
            )
        schema, batches = batches_of(data)
        job_id = f"client-{uuid.uuid4().hex}"
        begun = self.begin_write(feed, job_id, mode, schema, retention=retention, ttl_s=ttl_s)
        if begun.skip:
            self.abort_write(feed, job_id)  # nothing was opened that could be committed
            return self.feed(feed)
        try:
            refs = []
            for partition, part in enumerate(partitions_of(batches, partition_rows)):
                with self.open_put(feed, job_id, partition, partition, schema) as put:
                    for batch in part:
                        put.write(batch)
                    refs.append(put.finish())
            return self.commit_write(feed, job_id, refs)
        except BaseException:
            with contextlib.suppress(FlightBridgeError):  # the first error is the one that tells
                self.abort_write(feed, job_id)
            raise

    def read(
        self,
        feed: str,
        *,
        columns: Sequence[str] | None = None,
        partitions: Sequence[int] | None = None,
    ) -> pa.RecordBatchReader:
        """Reads a feed, batch by batch, every batch verified.

        Rows come by partition number, in each partition in the order in which they were written.
        The content is fixed when this returns: a commit or drop meanwhile changes nothing.

        Args:
            feed: Name of a committed feed.
            columns: Names, in the order wanted; None for all.
            partitions: Numbers, in the order wanted; None for all.

        Raises:
            FeedNotFoundError: There is no such feed, column or partition.
            DataLossError: While reading: rows are missing or damaged.
        """
        from flightbridge.v1 import commands_pb2

        if columns is not None and len(columns) == 0:
            raise InvalidArgumentError("columns=[]: name at least one column, or None for all")
        if partitions is not None and len(partitions) == 0:
            return pa.RecordBatchReader.from_batches(self._projected(feed, columns), iter(()))
        ticket = commands_pb2.GetTicket(
            feed=feed,
            columns=columns,
            ranges=[commands_pb2.RowRange(partition=p) for p in partitions or ()],
        )
        return self._native.read(ticket.SerializeToString())

    def read_table(
        self,
        feed: str,
        *,
        columns: Sequence[str] | None = None,
        partitions: Sequence[int] | None = None,
    ) -> pa.Table:
        """As :meth:`read`, all at once."""
        with self.read(feed, columns=columns, partitions=partitions) as reader:
            return reader.read_all()

    # ---- write jobs, for producers with many tasks -------------------------------------------

    def begin_write(
        self,
        feed: str,
        job_id: str,
        mode: str,
        schema: pa.Schema,
        *,
        visible: str = "job",
        retention: str | None = None,
        ttl_s: float | None = None,
        writer: str | None = None,
        epoch: int | None = None,
    ) -> BeginWriteResult:
        """Opens a write job; again with the same ``job_id`` gives the same job.

        Args:
            feed: Name of the feed.
            job_id: Any text that no other write of this feed uses.
            mode: ``errorifexists``, ``append``, ``overwrite``, ``ignore``, or ``stream``: the feed
                stays open, and each job adds a generation to it, until :meth:`end_feed`.
            schema: Of every attempt.
            visible: ``job`` shows all partitions at the commit; ``partition`` shows each once its
                first attempt is finished (modes ``errorifexists`` and ``ignore`` only), and the
                commit, which must name exactly those, ends the feed. Aborting takes all back.
            retention: ``keep`` (the default): until the feed is dropped. ``once``: a partition is
                released when readers have confirmed positions behind it (:meth:`confirm_position`).
                ``epochs=N``: when they have in the N-th epoch. An append leaves it as it is.
            ttl_s: The feed is dropped after so many seconds without a read, a write or a confirmed
                position; ``None``: never.
            writer: Mode ``stream``: who counts the epochs, such as the id of a streaming query.
            epoch: Of ``writer``: 0 or more, and ascending. One that is not above the last that the
                writer has committed is a replay, and ``already_committed``.

        Raises:
            InvalidArgumentError: A setting is malformed, or the mode does not allow it.
            FailedPreconditionError: An append to a feed of another retention, of which rows are
                confirmed, or of mode ``stream``; a generation more of a feed that is ended.
            FeedExistsError: The mode is ``errorifexists`` and the feed exists; or it is ``stream``,
                and the feed was written in another.
            SchemaMismatchError: The mode is ``append`` or ``stream`` and the schema is not the
                feed's.
            UnsupportedTypeError: A column's type cannot be stored.
        """
        from flightbridge.v1 import commands_pb2

        if not isinstance(schema, pa.Schema):
            raise TypeError(f"expected a pyarrow.Schema, got {type(schema).__name__}")
        request = commands_pb2.BeginWrite(
            feed=feed,
            job_id=job_id,
            mode=_mode_number(mode),
            schema=schema.serialize().to_pybytes(),
            visible=_visible_number(visible),
            retention=parse_retention(retention, ttl_s),
            epoch=_writer_epoch(writer, epoch),
        )
        encoded = self._native.begin_write(request.SerializeToString())
        result = commands_pb2.BeginWriteResult.FromString(encoded)
        return BeginWriteResult(result.skip, result.already_committed)

    def wait_feed(self, feed: str, generation: int, timeout_s: float) -> FeedInfo:
        """Waits until an open feed has another generation than this one, or is open no longer.

        Returns it as it is after ``timeout_s`` seconds, or sooner: no call waits for more than
        half of the client's own ``timeout_s``, or for more than 30 seconds.

        Raises:
            FeedNotFoundError: There is no such feed.
            FailedPreconditionError: Its write job ended without a commit: nothing of it is kept.
        """
        wait_ms = int(min(max(timeout_s, 0.0), 30.0) * 1000)
        return self._feed_info(self._native.wait_feed(feed, generation, wait_ms))

    def open_put(
        self, feed: str, job_id: str, partition: int, attempt: int, schema: pa.Schema
    ) -> PutStream:
        """Opens one attempt at one partition of a write job.

        Args:
            feed: Name.
            job_id: Of :meth:`begin_write`.
            partition: Unit of work of the producer, 0 or more.
            attempt: The try at it, unique within the job (Spark's ``taskAttemptId``).
            schema: Of the batches to come.
        """
        native = self._native.open_put(feed, job_id, partition, attempt, schema)
        return PutStream(native, partition, attempt)

    def commit_write(
        self,
        feed: str,
        job_id: str,
        attempts: Iterable[AttemptRef],
        *,
        writer: str | None = None,
        epoch: int | None = None,
    ) -> FeedInfo:
        """Makes exactly these attempts visible, all or none. Idempotent by ``job_id``.

        Args:
            feed: Name.
            job_id: Of :meth:`begin_write`.
            attempts: What :meth:`PutStream.finish` returned, one for each partition. In mode
                ``stream`` none make no generation, but the epoch counts.
            writer: Mode ``stream``: as in :meth:`begin_write`. With it a replay is known also where
                its job is not any more.
            epoch: Likewise.

        Raises:
            FailedPreconditionError: The job is not open, or an attempt is not staged.
            DataLossError: An attempt's counts or checksum are not those that were staged.
        """
        from flightbridge.v1 import commands_pb2

        request = commands_pb2.CommitWrite(
            feed=feed,
            job_id=job_id,
            attempts=[
                commands_pb2.AttemptRef(
                    partition=ref.partition,
                    attempt=ref.attempt,
                    rows=ref.rows,
                    batches=ref.batches,
                    crc32c=ref.crc32c,
                    bytes=ref.bytes,
                )
                for ref in attempts
            ],
            epoch=_writer_epoch(writer, epoch),
        )
        return self._feed_info(self._native.commit_write(request.SerializeToString()))

    def end_feed(self, feed: str) -> FeedInfo:
        """Ends a feed of mode ``stream``: no generation follows. Idempotent.

        Write jobs of it that are open are aborted, and readers that follow it come to its end.

        Raises:
            FeedNotFoundError: There is no such feed.
            FailedPreconditionError: It was written in another mode.
        """
        return self._feed_info(self._native.end_feed(feed))

    def confirm_position(self, position: bytes) -> ConfirmResult:
        """Says that a reader will never continue from before this position.

        To be called when whatever holds the position is safe, such as a checkpoint on disk. Rows
        that no reader needs any more are released, where the feed was written with a ``retention``
        other than ``keep``. Confirming again is harmless.

        Args:
            position: Of a reader, ``BatchReader.position()``.

        Raises:
            InvalidArgumentError: It is no position.
            PositionMismatchError: The feed was written again since.
            FeedNotFoundError: There is no such feed.
        """
        from flightbridge.v1 import commands_pb2

        result = commands_pb2.ConfirmPositionResult.FromString(
            self._native.confirm_position(position)
        )
        return ConfirmResult(result.confirmed_rows, result.released_partitions)

    def abort_write(self, feed: str, job_id: str) -> None:
        """Discards a write job and everything staged in it."""
        self._native.abort_write(feed, job_id)

    # ---- life -----------------------------------------------------------------------------

    def close(self) -> None:
        """Closes the connection. Streams that are open keep it until they end."""
        self._native.close()

    def _leave(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"flightbridge.Client({self.uri!r})"

    def __reduce__(self) -> Any:
        raise FailedPreconditionError(
            "a flightbridge.Client cannot be pickled: send its uri and connect there"
        )

    @staticmethod
    def _feed_info(encoded: bytes) -> FeedInfo:
        from flightbridge.v1 import commands_pb2

        return FeedInfo.from_proto(commands_pb2.FeedInfo.FromString(encoded))

    def _projected(self, feed: str, columns: Sequence[str] | None) -> pa.Schema:
        with self.read(feed, columns=columns) as reader:
            return reader.schema


def connect(
    uri: str | Sequence[str],
    *,
    token: str | None = None,
    tls_ca: str | os.PathLike[str] | None = None,
    tls_client_cert: str | os.PathLike[str] | None = None,
    tls_client_key: str | os.PathLike[str] | None = None,
    tls_override_hostname: str | None = None,
    timeout_s: float = 60.0,
    transport: str = "auto",
) -> Client:
    """Connects to a server.

    Args:
        uri: ``grpc://HOST:PORT``, or ``grpc+tls://HOST:PORT`` for a server with TLS; or, for feeds
            that span several servers, all of these, as a list or as
            ``grpc://HOST:PORT,HOST:PORT``. Write and read with the same list.
        token: Sent as ``authorization: Bearer`` with every call; by default the environment
            variable ``FLIGHTBRIDGE_TOKEN``, where it is set.
        tls_ca: For ``grpc+tls://``: PEM file of the CAs that may have signed the server's
            certificate; by default ``FLIGHTBRIDGE_TLS_CA``, else the system's list.
        tls_client_cert: PEM file of this client's certificate, for a server that asks for one; by
            default ``FLIGHTBRIDGE_TLS_CLIENT_CERT``.
        tls_client_key: PEM file of its key; by default ``FLIGHTBRIDGE_TLS_CLIENT_KEY``.
        tls_override_hostname: Name to look for in the server's certificate in place of the uri's.
        timeout_s: Deadline in seconds of connecting, of every call, and of every wait in a stream.
        transport: How record batches travel: ``"auto"`` takes the fastest way there is; ``"local"``
            (a server in this process), ``"mapped"`` (memory shared with a server on this machine),
            ``"channel"`` (the server's data port) and ``"flight"`` (DoPut and DoGet) insist on one.

    Raises:
        InvalidArgumentError: The URI, a setting or a TLS file is malformed.
        ServerUnavailableError: No server answers at the URI.
        UnauthenticatedError: The server wants a token, or another one.
    """
    return Client(
        uri,
        token=token,
        tls_ca=tls_ca,
        tls_client_cert=tls_client_cert,
        tls_client_key=tls_client_key,
        tls_override_hostname=tls_override_hostname,
        timeout_s=timeout_s,
        transport=transport,
    )


def _writer_epoch(writer: str | None, epoch: int | None) -> commands_pb2.WriterEpoch | None:
    from flightbridge.v1 import commands_pb2

    if writer is None and epoch is None:
        return None
    if writer is None or epoch is None:
        raise InvalidArgumentError(
            f"writer={writer!r}, epoch={epoch!r}: one needs the other; give both or neither"
        )
    if isinstance(epoch, bool) or not 0 <= epoch < 2**63:
        raise InvalidArgumentError(f"epoch={epoch!r} is out of range: give 0 or more")
    return commands_pb2.WriterEpoch(writer=writer, epoch=epoch)


def _visible_number(visible: str) -> int:
    if visible not in VISIBLE:
        raise InvalidArgumentError(f"visible={visible!r} is not known: use one of {VISIBLE}")
    return VISIBLE.index(visible) + 1


def _mode_number(mode: str) -> int:
    number = _MODES.get(mode.lower()) if isinstance(mode, str) else None
    if number is None:
        raise InvalidArgumentError(
            f"mode={mode!r} is not a write mode: use one of {', '.join(sorted(_MODES))}"
        )
    return number
