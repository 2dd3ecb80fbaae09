"""The ceilings no transport can pass: copying memory, and a bare TCP socket over loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

import numpy as np

from flightbridge.bench.stats import median

_CHUNK = 1 << 20
_TIMEOUT_S = 60.0

# A process of its own that accepts one connection and throws away what comes.
_SINK = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
listener.settimeout({timeout})
print(listener.getsockname()[1], flush=True)
peer, _ = listener.accept()
peer.settimeout({timeout})
buffer = bytearray({chunk})
while peer.recv_into(buffer):
    pass
peer.sendall(b"k")
"""


def memcpy_gbps(buffer_bytes: int = 256 << 20, repeat: int = 5) -> float:
    """10^9 bytes copied per second by one thread between warm buffers; median of the runs."""
    source = np.ones(buffer_bytes, np.uint8)
    target = np.ones(buffer_bytes, np.uint8)
    speeds = []
    for _ in range(repeat):
        begin = time.perf_counter()
        np.copyto(target, source)
        speeds.append(buffer_bytes / (time.perf_counter() - begin) / 1e9)
    return median(speeds)


def loopback_gbps(total_bytes: int = 1 << 30, repeat: int = 3) -> float:
    """10^9 bytes per second through one plain TCP connection between two processes; median."""
    return median([_loopback_once(total_bytes) for _ in range(repeat)])


def _loopback_once(total_bytes: int) -> float:
    sink = subprocess.Popen(
        [sys.executable, "-c", _SINK.format(timeout=_TIMEOUT_S, chunk=_CHUNK)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert sink.stdout is not None
        port = int(sink.stdout.readline())
        chunk = memoryview(bytes(_CHUNK))
        with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as connection:
            begin = time.perf_counter()
            for _ in range(max(1, total_bytes // _CHUNK)):
                connection.sendall(chunk)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)  # everything has been taken out of the socket
            seconds = time.perf_counter() - begin
        return max(1, total_bytes // _CHUNK) * _CHUNK / seconds / 1e9
    finally:
        sink.kill()
        sink.communicate()
