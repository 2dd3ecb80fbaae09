"""Trying something that may hang or crash, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: `text` is its output, or the last line of its error."""

    ok: bool
    text: str


def try_python(code: str, timeout_s: float) -> Outcome:
    """Runs Python code in a fresh interpreter; a crash or a hang becomes an outcome too."""
    return try_command([sys.executable, "-c", code], timeout_s)


def try_command(command: list[str], timeout_s: float) -> Outcome:
    """Runs a command; its standard output, stripped, where it ends with 0."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return Outcome(False, f"{command[0]}: not found")
    except OSError as error:
        return Outcome(False, f"{command[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Outcome(False, f"no answer within {timeout_s:g} s")
    if done.returncode == 0:
        return Outcome(True, done.stdout.strip() or done.stderr.strip())
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    said = lines[-1].strip() if lines else "no message"
    if done.returncode < 0:
        return Outcome(False, f"crashed with {signal.Signals(-done.returncode).name}: {said}")
    return Outcome(False, said)
