"""A server in a process of its own, so that a test sees it crash instead of crashing with it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

_SERVE = """
import sys, flightbridge
with flightbridge.Server(memory_limit=int(sys.argv[1]), max_batch_bytes=int(sys.argv[2])) as bridge:
    print(bridge.port, flush=True)
    sys.stdin.read()  # until the test closes it
"""


@dataclass(frozen=True)
class ServerProcess:
    process: subprocess.Popen
    port: int

    @property
    def uri(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def assert_alive(self, doing: str) -> None:
        status = self.process.poll()
        assert status is None, f"the server died with status {status} after {doing}"

    def memory_bytes(self) -> int:
        """Resident memory, as the kernel counts it."""
        with open(f"/proc/{self.process.pid}/status") as status:  # noqa: PTH123
            line = next(line for line in status if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024


@contextlib.contextmanager
def serving(
    memory_limit: int = 256 << 20, max_batch_bytes: int = 16 << 20
) -> Iterator[ServerProcess]:
    command = [sys.executable, "-c", _SERVE, str(memory_limit), str(max_batch_bytes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield ServerProcess(process, int(process.stdout.readline()))
            process.stdin.close()
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
