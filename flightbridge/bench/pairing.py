"""Measuring two sides in turn (A B A B), so that a machine that slows down slows both."""

from __future__ import annotations

from collections.abc import Callable

from flightbridge.bench.model import Sample

Run = Callable[[], Sample]
Note = Callable[[str, Sample], None]


def measure(
    sides: dict[str, Run], repeat: int, *, warmup: int = 1, note: Note | None = None
) -> dict[str, list[Sample]]:
    """Runs every side in turn, `repeat` rounds after `warmup` rounds that do not count.

    Args:
        sides: Name and run of each side; a round runs them in this order.
        repeat: Rounds that count, at least 1.
        warmup: Rounds before them: they touch buffer pools and open connections.
        note: Told of every run that counts.

    Returns:
        The samples of each side; those at one index are a pair.
    """
    if repeat < 1:
        raise ValueError(f"repeat={repeat} must be at least 1")
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for turn in range(warmup + repeat):
        for name, run in sides.items():
            sample = run()
            if turn >= warmup:
                samples[name].append(sample)
                if note is not None:
                    note(name, sample)
    return samples
