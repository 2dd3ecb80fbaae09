"""A server whose directory and port outlive its processes, and which crashes where told to."""

from __future__ import annotations

import collections
import contextlib
import functools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flightbridge.errors import ServerUnavailableError

_SERVE = """
import json, sys, flightbridge
with flightbridge.Server(**json.loads(sys.argv[1])) as bridge:
    print(bridge.port, flush=True)
    sys.stdin.read()  # until the test closes it
"""


@functools.cache
def failpoint_library() -> Path:
    """The core with its failpoints, made in the build directory of the Python package.

    With LD_PRELOAD it takes the place of the library that is installed.
    """
    root = Path(__file__).parents[2]
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    build = max(root.glob(f"build/{tag}-*/CMakeCache.txt"), key=os.path.getmtime, default=None)
    if build is None:
        pytest.skip("no build directory: failpoints are made from the sources (make build)")
    cmake = re.search(r"^CMAKE_COMMAND:INTERNAL=(.*)$", build.read_text(), re.MULTILINE)[1]
    made = subprocess.run(
        [cmake, "--build", build.parent, "--target", "fb_failpoints"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert made.returncode == 0, made.stdout
    return build.parent / "failpoints/libflightbridge.so"


_given: collections.deque[int] = collections.deque(maxlen=200)


def free_port() -> int:
    """A port that nobody else gets while its server is away.

    No connection by itself, since it is below the range of those, and no other test or process of
    tests, since each has its own part of it.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:  # noqa: PTH123
        end = max(int(file.read().split()[0]), 12_000)
    part = (end - 10_000) // 16
    begin = 10_000 + os.getpid() % 16 * part
    while True:
        port = random.randrange(begin, begin + part)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.append(port)
                return port


class Node:
    """One server. Settings are those of :class:`flightbridge.Server`; ``inside`` is put before
    its command."""

    def __init__(self, data_dir: Path, *, inside: Sequence[str] = (), **settings: Any) -> None:
        self.data_dir = data_dir
        self.inside = inside
        self.port = settings.pop("port", None) or free_port()
        self.settings = settings
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self, **failpoints: str) -> None:
        """Starts a process. ``commit_before_fsync="crash"`` switches that failpoint on."""
        settings = {"port": self.port, "data_dir": str(self.data_dir), **self.settings}
        environment = dict(os.environ)
        if failpoints:
            names = (f"{name.replace('_', '.', 1)}={do}" for name, do in failpoints.items())
            environment |= {
                "LD_PRELOAD": str(failpoint_library()),
                "FB_FAILPOINTS": ";".join(names),
            }
        self.process = subprocess.Popen(
            [*self.inside, sys.executable, "-c", _SERVE, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        line = self.process.stdout.readline()
        assert line, f"the server did not start: {self.process.wait(timeout=30)}"
        self.port = int(line)

    def restart(self, **failpoints: str) -> None:
        self.kill()
        self.start(**failpoints)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.wait_killed()

    def wait_killed(self) -> None:
        """Until it has died of SIGKILL, its own or ours."""
        assert self.process.wait(timeout=60) == -signal.SIGKILL
        self.close()

    def stop(self) -> None:
        """Ends it well."""
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == 0
        self.close()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(timeout=60)
        self.process.stdin.close()
        self.process.stdout.close()

    @property
    def uri(self) -> str:
        scheme = "grpc+tls" if self.settings.get("tls_cert") else "grpc"
        return f"{scheme}://{self.settings.get('host', '127.0.0.1')}:{self.port}"

    def state(self) -> str:
        """In words: how it ended, or how much of the processor it had, which tells one that hangs
        from one that the machine starves."""
        if (status := self.process.poll()) is not None:
            return f"the server has ended with {status}"
        # Fields 3, 14, 15 and 22 of proc(5); the name before them may hold blanks.
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = os.sysconf("SC_CLK_TCK")
        used = (int(fields[11]) + int(fields[12])) / ticks
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / ticks
        return f"the server's state is {fields[0]}; it used {used:.1f} s of CPU in {age:.0f} s"

    def segment_files(self) -> list[str]:
        return sorted(path.name for path in (Path(self.data_dir) / "segments").iterdir())


def until_it_answers(call, timeout_s: float = 60):
    """Repeats a call while the server is away; gRPC tries a lost connection again in a second."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return call()
        except ServerUnavailableError:
            assert time.monotonic() < deadline, "it did not come back in time"
            time.sleep(0.05)
