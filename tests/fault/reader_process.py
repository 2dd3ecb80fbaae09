"""Readers and servers in processes of their own, which a test can kill, stop and wake."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# Reads as many batches as each line of its input says (-1: all), printing the ids of each; "save"
# writes its position, by rename.
_READ = """
import json, os, sys
from flightbridge import batches
uri, state, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
position = open(state, "rb").read() if os.path.exists(state) else None
with batches.read(uri, "f", position=position, **settings) as reader:
    for line in sys.stdin:
        if line == "save\\n":
            with open(state + ".new", "wb") as file:
                file.write(reader.position())
            os.replace(state + ".new", state)
        count = 0 if line == "save\\n" else int(line)
        while count != 0:
            batch = next(reader, None)
            if batch is None:
                break
            print(json.dumps(batch["id"].tolist()), flush=True)
            count -= 1
        print(json.dumps(reader.stats()), flush=True)
"""


class ReaderProcess:
    """A reader, driven batch by batch. A context manager: afterwards the process is gone."""

    def __init__(
        self, uri: str, state: Path, *, inside: Sequence[str] = (), **settings: Any
    ) -> None:
        self.process = subprocess.Popen(
            [*inside, sys.executable, "-c", _READ, uri, str(state), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.stats: dict[str, int] = {}

    def ask(self, what: object) -> None:
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()

    def answer(self) -> list[int]:
        """The ids of all batches of one ``ask``."""
        ids: list[int] = []
        for line in self.process.stdout:
            found = json.loads(line)
            if isinstance(found, dict):
                self.stats = found
                return ids
            ids += found
        raise AssertionError(f"the reader ended with {self.process.wait()} after {len(ids)} rows")

    def take(self, batches: int) -> list[int]:
        self.ask(batches)
        return self.answer()

    def rest(self) -> list[int]:
        return self.take(-1)

    def save(self) -> None:
        self.ask("save")
        assert self.answer() == []

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Ends it well: its reader is closed."""
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == 0

    def __enter__(self) -> ReaderProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


_SERVE = """
import sys, flightbridge
with flightbridge.Server(memory_limit="512MiB") as bridge:
    print(bridge.uri, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def server_process() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, which a test can stop and wake; and its URI."""
    command = [sys.executable, "-c", _SERVE]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process, process.stdout.readline().strip()
            process.stdin.close()
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
