"""How long a feed keeps its rows, as settings say it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flightbridge.errors import InvalidArgumentError

if TYPE_CHECKING:
    from flightbridge.v1 import commands_pb2

_EPOCHS = re.compile(r"epochs=(\d{1,7})")
_MOST_EPOCHS = 1_000_000
_LONGEST_TTL_S = 10 * 365 * 24 * 3600


def parse_retention(
    retention: str | None, ttl_s: float | None, prefix: str = ""
) -> commands_pb2.Retention | None:
    """A ``Retention`` message; ``None`` where neither is given.

    Args:
        retention: ``"keep"``; ``"once"``: partitions are released as readers confirm positions
            behind them; ``"epochs=N"``: as they confirm such positions in the N-th epoch.
        ttl_s: Seconds without a read, a write or a confirmed position after which the feed is
            dropped.
        prefix: What is put before a setting's name in errors.

    Raises:
        InvalidArgumentError: A value is malformed or out of range.
    """
    if retention is None and ttl_s is None:
        return None
    from flightbridge.v1 import commands_pb2

    message = commands_pb2.Retention()
    if retention is not None:
        message.epochs = _epochs(retention, prefix)
    if ttl_s is not None:
        message.ttl_ms = _milliseconds(ttl_s, prefix)
    return message


def format_retention(epochs: int) -> str:
    """``"keep"``, ``"once"`` or ``"epochs=N"``."""
    if epochs == 0:
        return "keep"
    return "once" if epochs == 1 else f"epochs={epochs}"


def _epochs(retention: str, prefix: str) -> int:
    text = retention.lower() if isinstance(retention, str) else ""
    if text in ("keep", "once"):
        return int(text == "once")
    match = _EPOCHS.fullmatch(text)
    if match and 1 <= int(match.group(1)) <= _MOST_EPOCHS:
        return int(match.group(1))
    raise InvalidArgumentError(
        f"{prefix}retention={retention!r} is not known: give 'keep', 'once' or 'epochs=N' with N "
        f"from 1 to {_MOST_EPOCHS}"
    )


def _milliseconds(ttl_s: float, prefix: str) -> int:
    wrong = InvalidArgumentError(
        f"{prefix}ttl={ttl_s!r} is not a time: give seconds from 0.001 to {_LONGEST_TTL_S} "
        "(ten years), or leave it out"
    )
    if isinstance(ttl_s, bool):
        raise wrong
    try:
        seconds = float(ttl_s)
    except (TypeError, ValueError):
        raise wrong from None
    if not 0.001 <= seconds <= _LONGEST_TTL_S:
        raise wrong
    return round(seconds * 1000)
