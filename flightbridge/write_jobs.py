"""Write jobs: for producers with many tasks, each of which sends its partitions by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow as pa

from flightbridge.descriptions import AttemptRef, BeginWriteResult, FeedInfo
from flightbridge.errors import InvalidArgumentError
from flightbridge.put_stream import PutStream
from flightbridge.retention import parse_retention

if TYPE_CHECKING:
    from flightbridge._native._client import NativeClient
    from flightbridge.v1 import commands_pb2

VISIBLE = ("job", "partition")
_MODES = {
    "errorifexists": 1,
    "error": 1,
    "append": 2,
    "overwrite": 3,
    "ignore": 4,
    "stream": 5,
}


class WriteJobs:
    """What :class:`flightbridge.Client` does with write jobs: begin, put, commit or abort."""

    _native: NativeClient

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

    def abort_write(self, feed: str, job_id: str) -> None:
        """Discards a write job and everything staged in it."""
        self._native.abort_write(feed, job_id)

    @staticmethod
    def _feed_info(encoded: bytes) -> FeedInfo:
        from flightbridge.v1 import commands_pb2

        return FeedInfo.from_proto(commands_pb2.FeedInfo.FromString(encoded))


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
