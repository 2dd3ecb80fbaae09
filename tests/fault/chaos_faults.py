"""What happens to the server in a schedule."""

from __future__ import annotations

import random
import signal
import threading

from .chaos_oracle import Failures
from .server_node import Node

POINTS = (
    "attempt_before_journal",
    "attempt_after_journal",
    "commit_before_journal",
    "commit_before_fsync",
    "commit_after_fsync",
)


class Faults(threading.Thread):
    """Kills, stops and restarts a server at random times, a few times, and brings it back.

    After ``end()`` the server is up and without failpoints.
    """

    def __init__(self, node: Node, rng: random.Random, failures: Failures) -> None:
        super().__init__(name="faults", daemon=True)
        self._node = node
        self._rng = rng
        self._failures = failures
        self._ended = threading.Event()
        self._armed = False  # a failpoint is to kill it

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        try:
            for _ in range(self._rng.randrange(1, 5)):
                self._watch(self._rng.expovariate(1 / 0.2))
                if self._ended.is_set():
                    break
                self._strike()
            while not self._ended.is_set():
                self._watch(1.0)
            if self._armed:
                self._node.restart()
        except BaseException as error:
            self._failures.add("faults", error)

    def _watch(self, seconds: float) -> None:
        """Waits, and starts the server where a failpoint has killed it."""
        while seconds > 0 and not self._ended.wait(min(seconds, 0.05)):
            seconds -= 0.05
            if not self._armed and self._node.process.poll() is not None:
                raise AssertionError(f"nobody killed it, and {self._node.state()}")
            if self._armed and self._node.process.poll() is not None:
                self._node.wait_killed()
                self._down()
                self._start()

    def _down(self) -> None:
        self._ended.wait(self._rng.choice((0, 0.05, 0.4)))

    def _start(self, **failpoints: str) -> None:
        self._node.start(**failpoints)
        self._armed = bool(failpoints)

    def _strike(self) -> None:
        what = self._rng.choice(("kill", "kill", "failpoint", "failpoint", "stop", "freeze"))
        if what == "freeze":
            self._node.process.send_signal(signal.SIGSTOP)
            self._ended.wait(self._rng.random() * 0.5)
            self._node.process.send_signal(signal.SIGCONT)
        elif what == "stop" and not self._armed:
            self._node.stop()
            self._down()
            self._start()
        else:
            self._node.kill()
            self._down()
            points = {self._rng.choice(POINTS): "crash"} if what == "failpoint" else {}
            self._start(**points)
