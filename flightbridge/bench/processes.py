"""The other processes of a benchmark: a server of ours, and the stock peer."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flightbridge.errors import DeadlineExceededError, FailedPreconditionError

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Spawned:
    """A running server: `line` is what it printed when ready."""

    pid: int
    line: str


@contextlib.contextmanager
def spawned(
    command: Sequence[str], ready_prefix: str, *, env: Mapping[str, str] | None = None
) -> Iterator[Spawned]:
    """Runs a server until the block ends; it is ready once it prints a line with this prefix.

    Its standard input stays open until then: a server that watches it ends with this process.

    Raises:
        FailedPreconditionError: It ended before it was ready; the message holds what it said.
        DeadlineExceededError: It was not ready in time.
    """
    # stderr to a file, not a pipe: a pipe nobody reads would stop a talkative server.
    with tempfile.NamedTemporaryFile(prefix="flightbridge-bench-", suffix=".log") as log:
        process = subprocess.Popen(
            list(command),
            stdout=subprocess.PIPE,
            stderr=log.fileno(),
            stdin=subprocess.PIPE,
            env=env,
        )
        try:
            yield Spawned(process.pid, _wait_ready(process, ready_prefix, command[0], log.name))
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdout, process.stdin):
                assert pipe is not None
                pipe.close()


@contextlib.contextmanager
def serve(memory_limit: int, *extra: str) -> Iterator[tuple[str, int]]:
    """``flightbridge serve`` of this interpreter, on any free port: its URI and pid."""
    prefix = "flightbridge: serving "
    command = [
        *(sys.executable, "-m", "flightbridge.cli", "serve", "--port", "0"),
        *("--control-port", "none", "--memory-limit", str(memory_limit), *extra),
    ]
    with spawned(command, prefix) as server:
        yield server.line.removeprefix(prefix).strip(), server.pid


def native_program(name: str) -> Path:
    """A benchmark program that the build put into ``flightbridge/_native/bin``.

    Raises:
        FailedPreconditionError: It was not built.
    """
    from flightbridge._native import library_dir

    program = library_dir() / "bin" / name
    if not os.access(program, os.X_OK):
        raise FailedPreconditionError(
            f"the benchmark peer {program} is missing: build with -DFB_BUILD_BENCHMARKS=ON "
            "(make build does), or leave the peer out with --no-peer"
        )
    return program


def _wait_ready(process: subprocess.Popen[bytes], prefix: str, name: str, log_path: str) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + _START_TIMEOUT_S
    text = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceededError(f"{name} was not ready within {_START_TIMEOUT_S:g} s")
        readable, _, _ = select.select([process.stdout], [], [], left)
        if not readable:
            continue
        chunk = os.read(process.stdout.fileno(), 4096)
        if not chunk:
            process.wait(_STOP_TIMEOUT_S)
            said = Path(log_path).read_text(errors="replace").strip().splitlines()
            raise FailedPreconditionError(
                f"{name} ended with {process.returncode} before it was ready: "
                + (said[-1] if said else "it said nothing")
            )
        text += chunk
        for line in text.decode(errors="replace").splitlines(keepends=True):
            if line.startswith(prefix) and line.endswith("\n"):
                return line.strip()
