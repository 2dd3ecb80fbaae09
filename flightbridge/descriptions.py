"""What a server says of feeds, partitions, attempts and itself: plain values, safe to pickle."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from flightbridge.retention import format_retention

__all__ = [
    "AttemptRef",
    "BeginWriteResult",
    "ConfirmResult",
    "FeedInfo",
    "FeedState",
    "GenerationInfo",
    "PartitionInfo",
    "ServerStatus",
]


class FeedState(IntEnum):
    """Where a feed is in its life."""

    UNSPECIFIED = 0
    OPEN = 1
    COMMITTED = 2
    ABORTED = 3
    DROPPED = 4


@dataclass(frozen=True)
class PartitionInfo:
    """One committed partition of a feed."""

    partition: int
    rows: int
    bytes: int
    batches: int
    crc32c: int
    server: str | None = None
    """URI of the server that holds it, where the feed spans several."""
    released: bool = False
    """Readers have confirmed all of it, and its rows are gone."""
    generation: int = 0
    """What it came with, from 1, in a feed that grows or grew; else 0."""


@dataclass(frozen=True)
class GenerationInfo:
    """What became visible at once, of a feed that grows.

    Attributes:
        generation: 1, 2, 3, ...; 0 is the feed before the first.
        rows: Rows that came with it.
        fingerprint: Hash of the schema and of all rows up to here.
    """

    generation: int
    rows: int
    fingerprint: int


@dataclass(frozen=True)
class FeedInfo:
    """A feed as the server describes it.

    Attributes:
        feed: Name.
        feed_id: Identity of this committed content; every commit changes it.
        state: Where the feed is in its life.
        schema_hash: Hash of the schema.
        fingerprint: Hash of schema and content; equal content written again has an equal one.
        rows: Rows of all partitions.
        bytes: Bytes of all partitions as stored.
        partitions: By partition number.
        created_unix_ms: When the content was committed, in milliseconds since 1970 (UTC).
        schema_text: The schema, for people.
        open_jobs: Write jobs begun and not yet committed or aborted.
        generation: Grows with every generation of an open feed, and when it is sealed.
        servers: URIs of the servers that the feed spans; empty where it is on one only.
        retention: How long it keeps its rows: ``keep``, ``once`` or ``epochs=N``.
        ttl_s: Seconds without use after which it is dropped; ``None``: never.
        confirmed_rows: Rows that readers need no more, those not released yet included.
        generations: Of a feed that grows, or grew: from generation 0, the feed before the first,
            on; of what :meth:`Client.commit_write` returns only the new one and the one before.
        writers: Of a feed of mode ``stream``: the last epoch that each writer has committed.
    """

    feed: str
    feed_id: int
    state: FeedState
    schema_hash: int
    fingerprint: int
    rows: int
    bytes: int
    partitions: tuple[PartitionInfo, ...]
    created_unix_ms: int
    schema_text: str
    open_jobs: int
    generation: int = 0
    servers: tuple[str, ...] = ()
    retention: str = "keep"
    ttl_s: float | None = None
    confirmed_rows: int = 0
    generations: tuple[GenerationInfo, ...] = ()
    writers: tuple[tuple[str, int], ...] = ()

    @classmethod
    def from_proto(cls, message: Any) -> FeedInfo:
        """From a ``flightbridge.v1.FeedInfo`` message."""
        return cls(
            feed=message.feed,
            feed_id=message.feed_id,
            state=FeedState(message.state),
            schema_hash=message.schema_hash,
            fingerprint=message.fingerprint,
            rows=message.rows,
            bytes=message.bytes,
            partitions=tuple(
                PartitionInfo(
                    p.partition,
                    p.rows,
                    p.bytes,
                    p.batches,
                    p.crc32c,
                    message.servers[p.server] if message.servers else None,
                    p.released,
                    p.generation,
                )
                for p in message.partitions
            ),
            created_unix_ms=message.created_unix_ms,
            schema_text=message.schema_text,
            open_jobs=message.open_jobs,
            generation=message.generation,
            servers=tuple(message.servers),
            retention=format_retention(message.retention.epochs),
            ttl_s=message.retention.ttl_ms / 1000 or None,
            confirmed_rows=message.confirmed_rows,
            generations=tuple(
                GenerationInfo(g.generation, g.rows, g.fingerprint) for g in message.generations
            ),
            writers=tuple((w.writer, w.epoch) for w in message.writers),
        )


@dataclass(frozen=True)
class ConfirmResult:
    """What is known of a feed once a position was confirmed.

    Attributes:
        confirmed_rows: Rows that its readers need no more, by all confirmations so far.
        released_partitions: Partitions whose rows are gone, so far.
    """

    confirmed_rows: int
    released_partitions: int


@dataclass(frozen=True)
class ServerStatus:
    """What a server holds and does now. Sizes in bytes, ``uptime_ms`` in milliseconds.

    With a token that has no scope ``admin:*`` only ``version`` and ``uptime_ms`` are filled.
    ``token_file_error`` says why the token file as it is now is not in force; empty where it is.
    ``disk_limit_bytes`` is -1 where only the disk itself limits the data directory, and 0 without
    one. ``dealt_bytes`` are, of what is used of both, rows in the order of a full shuffle.
    """

    version: str
    memory_limit_bytes: int
    memory_used_bytes: int
    feeds: int
    open_puts: int
    open_gets: int
    bytes_put: int
    bytes_got: int
    uptime_ms: int
    data_dir: str
    token_file_error: str
    disk_limit_bytes: int
    disk_used_bytes: int
    dealt_bytes: int
    open_leases: int

    @classmethod
    def from_proto(cls, message: Any) -> ServerStatus:
        """From a ``flightbridge.v1.ServerStatus`` message."""
        return cls(**{name: getattr(message, name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class BeginWriteResult:
    """What a write job has to do.

    Attributes:
        skip: The mode is ``ignore`` and the feed exists: write nothing.
        already_committed: This job, or in mode ``stream`` its epoch or a later one of its writer,
            was committed before: write nothing, commit again at will.
    """

    skip: bool
    already_committed: bool


@dataclass(frozen=True)
class AttemptRef:
    """A staged attempt, for :meth:`Client.commit_write`. Picklable: a task sends it to the driver.

    Attributes:
        partition: Unit of work of the producer.
        attempt: The try at it.
        rows: Rows staged.
        batches: Record batches staged.
        crc32c: Checksum over the batches' checksums.
        bytes: Bytes staged.
    """

    partition: int
    attempt: int
    rows: int
    batches: int
    crc32c: int
    bytes: int = 0
