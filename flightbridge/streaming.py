"""Feeds as plain Arrow IPC streams over a socket, for readers that know no Flight.

``ArrowStreamDataset`` of ``tensorflow_io`` is one: it connects to a socket and reads a stream.

    >>> with StreamEndpoint(bridge.uri, "ratings", batch_rows=1024) as endpoint:
    ...     ds = tfio.arrow.ArrowStreamDataset.from_schema(endpoint.address, endpoint.schema)

Every connection is sent the whole feed, once. The protocol has no place for a token, so an endpoint
is reachable from its own machine only, unless it is told otherwise.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from flightbridge.client import connect
from flightbridge.closing import Closing
from flightbridge.errors import (
    FailedPreconditionError,
    FlightBridgeError,
    InvalidArgumentError,
    PermissionDeniedError,
)

if TYPE_CHECKING:
    from flightbridge.server import Server

log = logging.getLogger("flightbridge.stream")

_CONTINUATION = b"\xff\xff\xff\xff"
_PIECE_BYTES = 1 << 20
_END = struct.pack("<i", 0)  # behind a continuation: no more messages
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: the reader sees a connection that broke


class StreamEndpoint(Closing):
    """Serves one feed to whoever connects. Thread-safe; :meth:`close` it.

    Attributes:
        address: What a reader connects to: ``HOST:PORT`` or ``unix:///PATH``.
        schema: Of the streams; dictionary columns are sent as their values.
    """

    def __init__(
        self,
        uri: str | Sequence[str] | Server,
        feed: str,
        *,
        columns: Sequence[str] | None = None,
        batch_rows: int | None = None,
        listen: str = "127.0.0.1:0",
        max_streams: int = 16,
        timeout_s: float = 60.0,
        token: str | None = None,
        insecure: bool = False,
    ) -> None:
        """Listens when this returns.

        Args:
            uri: The server that has the feed.
            feed: Name of a committed feed; each connection reads what is committed when it begins.
            columns: Names, in the order wanted; None for all.
            batch_rows: Rows of a record batch at most; None sends batches as they were written.
            listen: ``HOST:PORT`` (port 0: any free one) or ``unix:///PATH``, a socket that this
                user alone may open.
            max_streams: Connections served at the same time; others wait.
            timeout_s: Deadline of every call to the server, and of a reader that takes nothing.
            token: Bearer token for the server.
            insecure: Allow a host that other machines reach: whoever reaches it reads the feed.

        Raises:
            InvalidArgumentError: An argument is malformed.
            PermissionDeniedError: ``listen`` is no loopback address and ``insecure`` is false.
            FailedPreconditionError: The address is in use.
            FeedNotFoundError: There is no such feed or column.
            ServerUnavailableError: No server answers at ``uri``.
        """
        for name, value in (("batch_rows", batch_rows), ("max_streams", max_streams)):
            if value is not None and (isinstance(value, bool) or value < 1):
                raise InvalidArgumentError(f"{name}={value!r} is out of range: give 1 or more")
        self._uri = uri if isinstance(uri, str | Sequence) else uri.uri
        self._feed = feed
        self._columns = None if columns is None else list(columns)
        self._batch_rows = batch_rows
        self._timeout_s = timeout_s
        self._token = token
        with self._read() as stream:
            self.schema = _plain(stream.schema)
        self._socket_path: str | None = None
        self._socket, self.address = self._listen(listen, insecure)
        self._free = threading.Semaphore(max_streams)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._closed = False
        self._acceptor = threading.Thread(target=self._accept, name="fb-stream", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Ends every stream, as broken where it is not at its end, and stops listening."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            # shutdown() wakes whoever waits in a call on the socket; close() alone would not.
            for connection in (self._socket, *self._open):
                with contextlib.suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    connection.shutdown(socket.SHUT_RDWR)
        self._free.release()  # wakes the acceptor, should all streams be taken
        self._acceptor.join()
        for thread in list(self._threads):
            thread.join()
        self._socket.close()
        if self._socket_path is not None:
            Path(self._socket_path).unlink(missing_ok=True)

    def _leave(self) -> None:
        self.close()

    # ---- listening ------------------------------------------------------------------------

    def _listen(self, listen: str, insecure: bool) -> tuple[socket.socket, str]:
        if listen.startswith("unix://"):
            return self._listen_unix(listen.removeprefix("unix://")), listen
        host, colon, port = listen.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise InvalidArgumentError(
                f"listen={listen!r} is not an address: write HOST:PORT, such as 127.0.0.1:0, or "
                "unix:///PATH"
            )
        try:
            found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        except OSError as error:
            raise InvalidArgumentError(
                f"listen={listen!r}: host {host!r} does not resolve: {error.strerror}"
            ) from None
        for *_, address in found:
            if not insecure and not ipaddress.ip_address(address[0]).is_loopback:
                raise PermissionDeniedError(
                    f"listen={listen!r} can be reached from other machines, and an Arrow stream "
                    "has neither tokens nor TLS: listen on 127.0.0.1 or unix:///PATH, or allow it "
                    "with insecure=True (--insecure)"
                )
        family, kind, _, _, address = found[0]
        server = socket.socket(family, kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(server, address, listen)
        bound = server.getsockname()
        return server, f"[{host}]:{bound[1]}" if ":" in host else f"{host}:{bound[1]}"

    def _listen_unix(self, path: str) -> socket.socket:
        if not path.startswith("/"):
            raise InvalidArgumentError(
                f"listen='unix://{path}' is not an absolute path: write unix:///PATH"
            )
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if Path(path).is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(path) != 0:  # left behind by a process that was killed
                    Path(path).unlink()
        mask = os.umask(0o177)
        try:
            _bind(server, path, f"unix://{path}")
        finally:
            os.umask(mask)
        self._socket_path = path
        return server

    def _accept(self) -> None:
        while True:
            self._free.acquire()
            try:
                connection, _ = self._socket.accept()
            except OSError:  # close() has shut it down
                return
            thread = threading.Thread(
                target=self._serve, args=(connection,), name="fb-stream-send", daemon=True
            )
            with self._lock:
                if self._closed:
                    connection.close()
                    return
                self._open.add(connection)
                self._threads.add(thread)
            thread.start()

    # ---- one stream -----------------------------------------------------------------------

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(self._timeout_s)
                self._send(connection)
        except (FlightBridgeError, OSError, pa.ArrowException) as error:
            if not self._closed:
                log.warning("a stream of feed %r ended early: %s", self._feed, error)
        finally:
            with self._lock:
                self._open.discard(connection)
                self._threads.discard(threading.current_thread())
            self._free.release()

    def _send(self, connection: socket.socket) -> None:
        # To Arrow's readers a stream that stops behind a message has ended. So each message is sent
        # with the first bytes of what follows it, and one that stops early stops inside a message.
        connection.sendall(_CONTINUATION)
        with self._read() as stream:
            _push(connection, self.schema.serialize())
            for batch in self._batches(stream):
                _push(connection, batch.serialize())
        connection.sendall(_END)

    def _read(self) -> pa.RecordBatchReader:
        with connect(self._uri, token=self._token, timeout_s=self._timeout_s) as client:
            return client.read(self._feed, columns=self._columns)

    def _batches(self, stream: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        if _plain(stream.schema) != self.schema:
            raise FailedPreconditionError(
                f"feed {self._feed!r} was written again with another schema: start the endpoint "
                "again"
            )
        for batch in stream:
            whole = pa.RecordBatch.from_arrays(
                [
                    column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
                    for column in batch.columns
                ],
                schema=self.schema,
            )
            step = self._batch_rows or max(1, whole.num_rows)
            for begin in range(0, whole.num_rows, step):
                yield whole.slice(begin, step)


def _push(connection: socket.socket, message: pa.Buffer) -> None:
    # In pieces: the timeout is of a whole sendall(), and a slow reader is not one that is gone.
    view = memoryview(message)[len(_CONTINUATION) :]
    last = (len(view) - 1) // _PIECE_BYTES * _PIECE_BYTES
    for begin in range(0, last, _PIECE_BYTES):
        connection.sendall(view[begin : begin + _PIECE_BYTES])
    connection.sendall(bytes(view[last:]) + _CONTINUATION)


def _plain(schema: pa.Schema) -> pa.Schema:
    """Without dictionaries, which would be messages of their own."""
    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in schema
    ]
    return pa.schema(fields)


def _bind(server: socket.socket, address: object, listen: str) -> None:
    try:
        server.bind(address)  # type: ignore[arg-type]
        server.listen(64)
    except OSError as error:
        server.close()
        raise FailedPreconditionError(
            f"cannot listen on {listen}: {error.strerror}; choose another address (port 0 picks a "
            "free one)"
        ) from None
