"""A TCP proxy that delays, cuts up, resets and damages what passes through it.

It listens on 127.0.0.2 at the ports that a server has on 127.0.0.1, so that a client that knows the
server by that address comes through it with every connection, the data channel's too.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass

HOST = "127.0.0.2"
UP, DOWN = "up", "down"  # from the client, to the client
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


@dataclass
class Weather:
    """What happens on the way. Limits are of the whole proxy, so that it calms down.

    Attributes:
        piece: Most bytes that are passed on at once; 0 passes on what came.
        delay_s: Longest pause before a piece.
        reset_every: Mean of the bytes of a connection, in either direction, until it is reset.
        resets: Connections that are still to be reset.
    """

    piece: int = 0
    delay_s: float = 0
    reset_every: int = 1 << 60
    resets: int = 0


class Proxy:
    """Thread-safe. A context manager: afterwards no connection and no thread is left."""

    def __init__(self, ports: list[int], seed: int = 0) -> None:
        self.weather = Weather()
        self.resets = 0
        self.flips = 0
        self.passed = {(port, way): 0 for port in ports for way in (UP, DOWN)}  # bytes
        self.connections = dict.fromkeys(ports, 0)
        self.longest = dict.fromkeys(self.passed, 0)  # bytes of one connection
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self._flip: tuple[str, int] | None = None
        self._cut: tuple[int, str, int | None] | None = None
        self._closed = False
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        for port in ports:
            listener = socket.create_server((HOST, port), backlog=64)
            self._sockets.add(listener)
            self._run(self._accept, listener, port)

    def flip(self, direction: str, offset: int) -> None:
        """One bit of the next byte that is so far into a connection in this direction."""
        with self._lock:
            self._flip = (direction, offset)

    def cut(self, port: int, direction: str, offset: int | None = None) -> None:
        """The next connection to this port that has passed so many bytes is reset behind them.

        Without an offset it is the next that passes anything, before it does.
        """
        with self._lock:
            self._cut = (port, direction, offset)

    def reset_all(self) -> None:
        """Every connection that there is now."""
        with self._lock:
            pairs = [s for s in self._sockets if not _listens(s)]
        for one in pairs:
            _reset(one)

    def _run(self, what, *args: object) -> None:
        thread = threading.Thread(target=what, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket, port: int) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", port), timeout=10)
                server.settimeout(None)
            except OSError:  # the server is away
                _reset(client)
                continue
            with self._lock:
                closed = self._closed
                self.connections[port] += 1
                self._sockets |= {client, server}
                seeds = self._rng.random(), self._rng.random()
            if closed:
                _reset(client)
                _reset(server)
                return
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._run(self._pump, client, server, UP, port, random.Random(seeds[0]))
            self._run(self._pump, server, client, DOWN, port, random.Random(seeds[1]))

    def _pump(
        self,
        source: socket.socket,
        sink: socket.socket,
        direction: str,
        port: int,
        rng: random.Random,
    ) -> None:
        passed = 0
        until_reset = rng.expovariate(1 / self.weather.reset_every)
        try:
            while data := source.recv(1 << 16):
                weather = self.weather
                data = self._flipped(direction, passed, data)
                data, cut = self._cut_off(port, direction, passed, data)
                passed += len(data)
                with self._lock:
                    self.passed[port, direction] += len(data)
                    self.longest[port, direction] = max(passed, self.longest[port, direction])
                for piece in _pieces(data, weather.piece, rng):
                    if weather.delay_s:
                        time.sleep(rng.random() * weather.delay_s)
                    sink.sendall(piece)
                if cut:
                    time.sleep(0.1)  # a reset overtakes what was not yet read
                if cut or (passed > until_reset and self._may_reset()):
                    raise ConnectionResetError
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            _reset(sink)
            _reset(source)

    def _may_reset(self) -> bool:
        with self._lock:
            if self.weather.resets == 0:
                return False
            self.weather.resets -= 1
            self.resets += 1
            return True

    def _flipped(self, direction: str, passed: int, data: bytes) -> bytes:
        with self._lock:
            if self._flip is None or self._flip[0] != direction:
                return data
            at = self._flip[1] - passed
            if not 0 <= at < len(data):
                return data
            self._flip = None
            self.flips += 1
            bit = 1 << self._rng.randrange(8)
        return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]

    def _cut_off(self, port: int, direction: str, passed: int, data: bytes) -> tuple[bytes, bool]:
        with self._lock:
            if self._cut is None or self._cut[:2] != (port, direction):
                return data, False
            at = 0 if self._cut[2] is None else self._cut[2] - passed
            if not 0 <= at <= len(data):
                return data, False
            self._cut = None
            self.resets += 1
        return data[:at], True

    def close(self) -> None:
        with self._lock:
            self._closed = True
            sockets = list(self._sockets)
        for one in sockets:
            _reset(one)
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a thread of the proxy hangs"

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _pieces(data: bytes, most: int, rng: random.Random):
    if most == 0:
        yield data
        return
    begin = 0
    while begin < len(data):
        size = rng.randint(1, most)
        yield data[begin : begin + size]
        begin += size


def _listens(one: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        return one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    return False


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        if not _listens(one):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        one.shutdown(socket.SHUT_RDWR)  # wakes whoever waits in it
    one.close()
