"""A server in a process of its own, so that a test sees it crash instead of crashing with it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_SERVE = """
import json, sys, flightbridge
with flightbridge.Server(**json.loads(sys.argv[1])) as bridge:
    print(json.dumps([bridge.port, bridge.uri, bridge.control_uri]), flush=True)
    sys.stdin.read()  # until the test closes it
"""


@dataclass(frozen=True)
class ServerProcess:
    process: subprocess.Popen
    port: int
    uri: str
    control_uri: str | None

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
    memory_limit: int = 256 << 20, max_batch_bytes: int = 16 << 20, **settings: Any
) -> Iterator[ServerProcess]:
    """A server with these settings of :class:`flightbridge.Server`."""
    settings |= {"memory_limit": memory_limit, "max_batch_bytes": max_batch_bytes}
    command = [sys.executable, "-c", _SERVE, json.dumps(settings, default=str)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield ServerProcess(process, *json.loads(process.stdout.readline()))
            process.stdin.close()
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
