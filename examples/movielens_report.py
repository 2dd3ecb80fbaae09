"""What the job prints: stages as they begin, and a table at the end."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flightbridge.config import format_bytes


@dataclass
class Progress:
    """Prints what is going on, and remembers how long each stage took."""

    seconds: dict[str, float] = field(default_factory=dict)
    _start: float = field(default_factory=time.perf_counter)

    @contextlib.contextmanager
    def stage(self, name: str, text: str) -> Iterator[None]:
        begin = time.perf_counter()
        print(f"[{begin - self._start:6.1f} s] {name:<10} {text}", flush=True)
        yield
        self.seconds[name] = round(time.perf_counter() - begin, 3)

    def note(self, text: str) -> None:
        print(f"{'':22}{text}", flush=True)

    def total(self) -> float:
        return time.perf_counter() - self._start


@contextlib.contextmanager
def stderr_to(path: Path) -> Iterator[None]:
    """Native chatter within goes to ``path``; a child process started within keeps that stderr."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with path.open("wb") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def print_table(result: dict[str, Any]) -> None:
    """The short table at the end."""
    floor = result.get("rmse_noise_floor")
    lines = [
        ("train rows", f"{result['train_rows']:,}"),
        ("test rows", f"{result['test_rows']:,}"),
        ("bytes in the bridge", format_bytes(result["bytes"])),
        ("Spark to bridge", f"{result['put_rows_per_s']:,} rows/s"),
        ("bridge to tf.data", f"{result['tf_data_rows_per_s']:,} rows/s"),
        ("training", f"{result['train_rows_per_s']:,} rows/s, {result['epochs']} epochs"),
        ("RMSE global mean", f"{result['rmse_global_mean']:.4f}"),
        ("RMSE bias only", f"{result['rmse_bias_only']:.4f}"),
        ("RMSE factorization", f"{result['rmse']:.4f}"),
        *([("RMSE noise floor", f"{floor:.4f}")] if floor is not None else []),
        ("total time", f"{result['total_seconds']:.1f} s"),
    ]
    print()
    for name, value in lines:
        print(f"  {name:<20} {value}")
