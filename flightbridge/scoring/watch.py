"""A deadline for what a server waits for: gRPC, as pyarrow has it, sets none on its reads.

Whoever neither sends nor takes anything for too long loses the connection, which ends what waits
for it. That is all that can be done from outside of a call, and Linux only.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

log = logging.getLogger("flightbridge.scoring")


class IdleWatch:
    """Ends connections that are waited for too long. Thread-safe; :meth:`close` it."""

    def __init__(self, timeout_s: float) -> None:
        """``timeout_s``: seconds that one wait may take."""
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        self._waits: dict[int, tuple[float, str]] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="fb-idle-watch", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def waiting(self, peer: str) -> Iterator[None]:
        """The block waits for this peer, as ``ServerCallContext.peer()`` names it."""
        key = threading.get_ident()
        with self._changed:
            self._waits[key] = (time.monotonic() + self._timeout_s, peer)
            if len(self._waits) == 1:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._waits.pop(key, None)

    def cut_all(self) -> None:
        """Ends the connections that are waited for now."""
        with self._changed:
            peers = {peer for _, peer in self._waits.values()}
        for peer in peers:
            cut(peer)

    def close(self) -> None:
        """Stops watching. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                now = time.monotonic()
                over = {key: peer for key, (until, peer) in self._waits.items() if until <= now}
                for key in over:
                    del self._waits[key]
                left = [until - now for until, _ in self._waits.values()]
                if not over:
                    self._changed.wait(min(left, default=None))
                    continue
            for peer in set(over.values()):
                log.warning("%s was idle for %g s: its connection is ended", peer, self._timeout_s)
                cut(peer)


def cut(peer: str) -> int:
    """Shuts down this process's connections to a peer, ``ipv4:HOST:PORT``; how many there were."""
    address = _address(peer)
    found = 0
    if address is None:
        return found
    for entry in list(Path("/proc/self/fd").iterdir()):
        try:
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as connection:
                there = connection.getpeername()
                if (_plain(there[0]), there[1]) == address:
                    connection.shutdown(socket.SHUT_RDWR)
                    found += 1
        except (OSError, ValueError, IndexError, TypeError):  # gone meanwhile, or no TCP
            continue
    return found


def _address(peer: str) -> tuple[str, int] | None:
    _, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    try:
        return _plain(host.strip("[]")), int(port)
    except ValueError:
        return None


def _plain(host: str) -> str:
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
