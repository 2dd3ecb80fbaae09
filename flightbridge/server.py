"""The FlightBridge server inside this process.

``with flightbridge.Server() as bridge:`` runs the same native server that ``flightbridge serve``
deploys alone. Data moves on native threads that never hold the GIL.
"""

from __future__ import annotations

import atexit
import os
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flightbridge import tls as tls_files
from flightbridge._native._server import NativeServer
from flightbridge.closing import Closing
from flightbridge.config import parse_bytes, parse_servers
from flightbridge.control import ControlServer
from flightbridge.errors import InvalidArgumentError
from flightbridge.v1 import commands_pb2

if TYPE_CHECKING:
    from flightbridge.client import Client, ServerStatus

_live: weakref.WeakSet[Server] = weakref.WeakSet()


class Server(Closing):
    """An Arrow Flight server over a store of feeds, serving once constructed.

    Thread-safe. Use it as a context manager, or call :meth:`stop`; a server that is never stopped
    warns with :class:`ResourceWarning` and is stopped when it is collected or at exit. A forked
    child has no server: there, every copy of this object does nothing.

    Args:
        host: Address to listen on. One that other machines can reach needs TLS and tokens, or
            ``insecure=True``.
        port: Port to listen on; 0 picks a free one.
        data_dir: Directory in which feeds outlive the server; made if it is missing. None keeps
            feeds in memory.
        memory_limit: Bytes (or text such as ``"512MiB"``) that feeds may hold in memory. With a
            data directory feeds are files, and this much of them is kept in memory.
        spill_limit: Bytes (or text) that feeds may take in the data directory; None leaves it to
            the disk.
        put_wait_s: Seconds that a put waits for room where memory or disk is full, before it is
            refused.
        job_ttl_s: Seconds after which a write job that nobody has put to, asked about or committed
            is aborted, such as that of a writer which was killed; it holds its feed until then.
        max_batch_bytes: Bytes (or text) above which a record batch is refused.
        max_streams: Puts and gets at the same time; one more is refused.
        max_feeds: Feeds, open ones included; a write of one more is refused.
        control_port: Port of ``grpc.health.v1`` and ``flightbridge.v1.Coordinator``; 0 picks a
            free one, None serves none.
        token_file: File with the tokens that callers need and what each may do, read again when
            it changes (docs/operations.md has its format). None: whoever can connect may do
            everything. Clients in this process need no token.
        tls_cert: PEM file with the server's certificate chain. With it and its key the server
            speaks TLS and nothing else, on the control port, too.
        tls_key: PEM file with the certificate's key, unencrypted.
        tls_client_ca: PEM file of the CAs that must have signed every client's certificate; None
            asks clients for none.
        peers: ``grpc+tls://HOST:PORT,HOST:PORT``, or a list of URIs: the servers that feeds may
            span, spelled as clients spell them, this one included. They ask one another. None
            allows any that a writer names; needed with ``peer_token_file``.
        peer_token_file: File that holds the token to show to ``peers`` and nothing else; it needs
            the scope ``peer`` there. A server with ``token_file`` needs it for such feeds.
        peer_tls_ca: PEM file of the CAs that may have signed the certificates of ``peers``; None:
            the system's. To those that ask for one the server shows its own certificate.
        data_port: Where FlightBridge's own clients put and get record batches without gRPC; 0 picks
            a free port, None offers none. There is none with TLS.
        insecure: Allow a host that other machines can reach, without TLS or without tokens.

    Raises:
        InvalidArgumentError: A setting is outside what is allowed, or the host is not this
            machine's.
        FailedPreconditionError: The port is in use, or the data directory is another server's.
        PermissionDeniedError: The host is not loopback, TLS or tokens are missing, and ``insecure``
            is not set.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        data_dir: str | os.PathLike[str] | None = None,
        memory_limit: int | str = "1GiB",
        spill_limit: int | str | None = None,
        put_wait_s: float = 30.0,
        job_ttl_s: float = 3600.0,
        max_batch_bytes: int | str = "256MiB",
        max_streams: int = 1024,
        max_feeds: int = 10_000,
        control_port: int | None = None,
        token_file: str | os.PathLike[str] | None = None,
        tls_cert: str | os.PathLike[str] | None = None,
        tls_key: str | os.PathLike[str] | None = None,
        tls_client_ca: str | os.PathLike[str] | None = None,
        peers: str | Sequence[str] | None = None,
        peer_token_file: str | os.PathLike[str] | None = None,
        peer_tls_ca: str | os.PathLike[str] | None = None,
        insecure: bool = False,
        data_port: int | None = 0,
    ) -> None:
        self._pid = os.getpid()
        self._stopped = True  # until there is something to stop
        self._control: ControlServer | None = None
        if not isinstance(host, str) or not host:
            raise InvalidArgumentError(
                f"host={host!r} is not a host: give a name or address, such as '127.0.0.1'"
            )
        tls = (_absolute(tls_cert), _absolute(tls_key), _absolute(tls_client_ca))
        _check_tls(*tls)
        peer_ca = _absolute(peer_tls_ca)
        if peer_ca:
            tls_files.check_certificates("peer_tls_ca", peer_ca)
        self._native = NativeServer(
            host,
            _check_port("port", port),
            _absolute(data_dir),
            parse_bytes(memory_limit, "memory_limit"),
            -1 if spill_limit is None else parse_bytes(spill_limit, "spill_limit"),
            _wait_ms("put_wait_s", put_wait_s),
            _wait_ms("job_ttl_s", job_ttl_s, 1, 365 * 86_400),
            parse_bytes(max_batch_bytes, "max_batch_bytes"),
            _count("max_streams", max_streams),
            _count("max_feeds", max_feeds),
            _absolute(token_file),
            tls,
            (
                "" if peers is None else parse_servers(peers, "peers"),
                _absolute(peer_token_file),
                peer_ca,
            ),
            bool(insecure),
            -1 if data_port is None else _check_port("data_port", data_port),
        )
        self._stopped = False
        if control_port is not None:
            try:
                self._control = ControlServer(
                    host,
                    _check_port("control_port", control_port),
                    status=self._native.status_for,
                    feeds=self._native.feeds_for,
                    tls=tls,
                )
            except BaseException:
                self.stop(grace_s=0)
                raise
        _live.add(self)

    @property
    def host(self) -> str:
        """The address the server listens on, as it was given."""
        return self._native.host

    @property
    def port(self) -> int:
        """The port the server listens on."""
        return self._native.port

    @property
    def uri(self) -> str:
        """``grpc://HOST:PORT``; ``grpc+tls://`` with TLS."""
        return self._native.uri

    @property
    def control_uri(self) -> str | None:
        """As :attr:`uri`, of the control port; None without one."""
        return None if self._control is None else self._control.uri

    def status(self) -> ServerStatus:
        """What the server holds and does now; once stopped, as it was then."""
        from flightbridge.client import ServerStatus

        message = commands_pb2.ServerStatus.FromString(self._native.status())
        return ServerStatus.from_proto(message)

    def client(self) -> Client:
        """A new client of this server; the caller closes it."""
        from flightbridge.client import connect

        return connect(self.uri)

    def stop(self, grace_s: float = 5.0) -> None:
        """Refuse new calls, give running ones ``grace_s`` seconds, then cancel them.

        Returns when the server is down. Idempotent, and safe from any thread and from a Python
        signal handler (it takes no lock of Python's).
        """
        if not isinstance(grace_s, (int, float)) or not 0 <= grace_s <= 86400:
            raise InvalidArgumentError(
                f"grace_s={grace_s!r} is not a waiting time: give seconds, 0 to 86400"
            )
        if os.getpid() != self._pid:
            return
        self._stopped = True
        _live.discard(self)
        if self._control is not None:
            self._control.draining()
        try:
            self._native.stop(int(grace_s * 1000))
        finally:
            if self._control is not None:
                self._control.stop()

    def _leave(self) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "serving"
        return f"<flightbridge.Server {self.uri} {state}>"

    def __del__(self) -> None:
        # Not there where __init__ failed before it.
        if not getattr(self, "_stopped", True):
            _stop_unclosed(self)


def _absolute(path: str | os.PathLike[str] | None) -> str:
    return "" if path is None else str(Path(os.fsdecode(path)).absolute())


def _count(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**62:
        raise InvalidArgumentError(f"{name}={value!r} must be a whole number above zero")
    return value


def _check_tls(cert: str, key: str, client_ca: str) -> None:
    if cert and key:  # the core says what is missing otherwise
        tls_files.check_pair("tls_cert", cert, "tls_key", key)
    if client_ca:
        tls_files.check_certificates("tls_client_ca", client_ca)


def _check_port(name: str, port: int) -> int:
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise InvalidArgumentError(
            f"{name}={port!r} is not a port: give a number from 0 to 65535 (0 picks a free one)"
        )
    return port


def _wait_ms(name: str, seconds: float, least: int = 0, most: int = 86_400) -> int:
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, (int, float))
        or not least <= seconds <= most
    ):
        raise InvalidArgumentError(
            f"{name}={seconds!r} is not a waiting time: give seconds, {least} to {most}"
        )
    return int(seconds * 1000)


def _stop_unclosed(server: Server) -> None:
    if os.getpid() != server._pid:
        return
    try:
        warnings.warn(
            f"unclosed {server!r}: use `with flightbridge.Server()` or call stop()",
            ResourceWarning,
            source=server,
            stacklevel=2,
        )
    finally:  # also where warnings are errors
        server.stop(grace_s=0.5)


def _stop_all() -> None:
    for server in list(_live):
        _stop_unclosed(server)


atexit.register(_stop_all)
