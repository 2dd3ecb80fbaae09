"""Stopping on SIGTERM and SIGINT: the first asks, the second forces."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import TracebackType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_REPEAT_S = 0.5  # the same wish, sent twice


class StopSignals:
    """Turns the first SIGTERM or SIGINT into an event, and the second into the end of the process.

    Make it in the main thread before any other thread starts: the signals are blocked there, so
    every later thread (gRPC's, Arrow's) inherits the mask and none of them is interrupted. A
    thread of ours takes them with ``sigwait``, where locks may be held, unlike in a handler.
    """

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._number = 0

    def __enter__(self) -> StopSignals:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        threading.Thread(target=self._watch, name="fb-signals", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The watcher stays until the process ends, so that a second signal is never ignored.
        return None

    def wait(self) -> str:
        """Blocks until the first signal; its name."""
        self._stopping.wait()
        return signal.Signals(self._number).name

    def stop_with_stdin(self) -> None:
        """From now on the end of standard input counts as a SIGTERM."""
        threading.Thread(target=self._watch_stdin, name="fb-stdin", daemon=True).start()

    @property
    def stopping(self) -> bool:
        """Whether a signal has come."""
        return self._stopping.is_set()

    def _watch_stdin(self) -> None:
        try:
            while os.read(0, 4096):
                pass
        except OSError:  # closed from the start (<&-): there is no parent to wait for
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    def _watch(self) -> None:
        self._number = signal.sigwait(_SIGNALS)
        self._stopping.set()
        first_at = time.monotonic()
        second = signal.Signals(signal.sigwait(_SIGNALS))
        # Not meant as a second one: timeout(1) and some supervisors signal process and group both.
        while time.monotonic() - first_at < _REPEAT_S:
            second = signal.Signals(signal.sigwait(_SIGNALS))
        print(f"flightbridge: second {second.name}: not waiting any longer", file=sys.stderr)
        sys.stderr.flush()
        os._exit(128 + int(second))
