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
from flightbridge.put_stream import PutStream
from flightbridge.statistics import gather_statistics
from flightbridge.write_input import batches_of, partitions_of
from flightbridge.write_jobs import WriteJobs

if TYPE_CHECKING:
    from flightbridge._native._client import NativeClient

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


class Client(Closing, WriteJobs):
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

    # ---- feeds that grow, and rows that may go -----------------------------------------------

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
