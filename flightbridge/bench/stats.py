"""Percentiles, medians and paired ratios: pure functions."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of the values lie, interpolated linearly between ranks.

    Raises:
        ValueError: No values, or `percent` outside 0..100.
    """
    if not values:
        raise ValueError("percentile of no values")
    if not 0 <= percent <= 100:
        raise ValueError(f"percent={percent} is not in 0..100")
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    return percentile(values, 50)


def paired_ratio(ours: Sequence[float], peers: Sequence[float]) -> float:
    """The median of ``ours[i] / peers[i]``.

    Run i of both sides must have been measured one right after the other: on a machine whose
    speed swings, the ratios within pairs are steady where the ratio of two medians is not.

    Raises:
        ValueError: The lengths differ or are zero, or a peer's value is not above zero.
    """
    if len(ours) != len(peers):
        raise ValueError(f"{len(ours)} runs beside {len(peers)}: they are not pairs")
    if any(value <= 0 for value in peers):
        raise ValueError("a peer's value is not above zero")
    return median([our / peer for our, peer in zip(ours, peers, strict=True)])
