"""One attempt at a partition, on its way to the server."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from flightbridge.closing import Closing
from flightbridge.descriptions import AttemptRef

if TYPE_CHECKING:
    import pyarrow as pa

    from flightbridge._native._client import NativePut


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
