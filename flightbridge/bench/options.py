"""What a benchmark is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

VALUES = ("numbers", "strings", "lists")
"""What the columns of ``bench tf`` may hold."""

_HEADROOM = 256 << 20


@dataclass(frozen=True)
class BenchOptions:
    """Settings of one benchmark run.

    Attributes:
        bytes: Bytes of column data moved by each run.
        batch_rows: Rows of each record batch.
        columns: Columns of each record batch.
        values: What the columns of ``tf`` hold, one of :data:`VALUES`.
        streams: Streams at once, each over its own connection.
        repeat: Runs of each side that count; sides take turns.
        warmup: Runs of each side before them.
        uri: A running server to use; None starts one.
        peer: Whether to measure the peer too.
        peers: Further peers of ``tf``, of :data:`flightbridge.bench.tf_peers.NAMES`.
        quick: Whether this only checks that everything works.
        spill_memory: Bytes that the server of ``spill`` may hold in memory.
        own_core: Whether the server of ``spark`` gets a core that Spark does not use.
        folder: Where ``spill`` writes; None is the system's folder for temporary files.
    """

    bytes: int
    batch_rows: int
    columns: int
    streams: int = 1
    repeat: int = 5
    warmup: int = 1
    uri: str | None = None
    peer: bool = True
    peers: tuple[str, ...] = ()
    quick: bool = False
    spill_memory: int = 512 << 20
    folder: str | None = None
    own_core: bool = False
    values: str = "numbers"

    @property
    def memory_limit(self) -> int:
        """For a server that must hold everything in memory, with one run being dropped."""
        return 2 * self.bytes + _HEADROOM
