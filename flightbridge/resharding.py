"""Going on under another shard count: the positions of all old shards in, those of the new out.

A pure function of positions, without a server. What is left of an epoch that was begun with other
shards is a list of ranges: rows ``[begin, end)`` of the order in which shard ``i`` of ``n`` hands
out epoch ``e``. The new shards take equal parts of that list, and the epochs behind it by their own
plan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from flightbridge.errors import InvalidArgumentError, PositionMismatchError
from flightbridge.v1 import commands_pb2

__all__ = ["parse_position", "reshard"]

_MOST_SHARDS = 1 << 20
_FIRST_FORMAT_WITH_ROWS = 3
_UNKNOWN = -1  # shard_rows of a position that no reader has made


@dataclasses.dataclass(frozen=True, order=True)
class _Range:
    """Rows ``[begin, end)`` of the order of one shard of ``num_shards``."""

    num_shards: int
    shard: int
    begin: int
    end: int

    @property
    def rows(self) -> int:
        return self.end - self.begin


def parse_position(position: bytes) -> commands_pb2.Position:
    """The message in what ``BatchReader.position()`` returned.

    Raises:
        InvalidArgumentError: It is no position.
    """
    from google.protobuf.message import DecodeError

    if not isinstance(position, bytes):
        raise InvalidArgumentError(f"position={position!r} is not bytes: give what position() gave")
    try:
        parsed = commands_pb2.Position.FromString(position)
    except DecodeError:
        parsed = commands_pb2.Position()
    if not parsed.feed:
        raise InvalidArgumentError(
            f"position ({len(position)} bytes) is damaged: it is no Position; give what "
            "position() gave"
        )
    return parsed


def reshard(positions: Iterable[bytes], num_shards: int) -> list[bytes]:
    """The positions from which ``num_shards`` readers go on where other readers were.

    Together the new readers hand out each row that is left of the epoch exactly once, in equal
    parts (to one row), each part in the order that the old shards had; later epochs are those of
    ``num_shards`` readers that have always been so many. Shuffled or not, in any epoch, also where
    the old shards were in different epochs, and again after an earlier call.

    Under ``uneven="pad"`` and ``"drop"`` the parts are equal: the last rows are left out of the
    epoch, or one is repeated. What the old shards had left out or repeated stays so.

    Args:
        positions: Of all old shards, one each, in any order.
        num_shards: How many readers there are from now on.

    Returns:
        The position of shard ``i`` of ``num_shards`` at index ``i``. All other settings of the
        readers must be what they were.

    Raises:
        InvalidArgumentError: A shard's position is missing or given twice, or ``policy`` has no
            shards to share out (``"off"``, ``"dynamic"``).
        PositionMismatchError: The positions are not of one read; the message names what differs.

    Example:
        >>> with open_readers(4) as readers:
        ...     saved = [reader.position() for reader in readers]
        >>> positions = flightbridge.reshard(saved, 6)
        >>> reader = flightbridge.batches.read(
        ...     uri, "train", batch_size=64, shard=(5, 6), position=positions[5]
        ... )
    """
    if isinstance(num_shards, bool) or not isinstance(num_shards, int):
        raise InvalidArgumentError(f"num_shards={num_shards!r} is not a whole number")
    if not 1 <= num_shards <= _MOST_SHARDS:
        raise InvalidArgumentError(
            f"num_shards={num_shards} is out of range: give an int from 1 to {_MOST_SHARDS}"
        )
    old = [parse_position(position) for position in positions]
    if any(position.follow for position in old):
        raise InvalidArgumentError(
            "positions of readers with follow=True cannot be resharded: restore each shard from "
            "its own, with as many shards"
        )
    _check(old)
    until = max(_touched_until(position) for position in old)
    left = {
        epoch: _merged(r for position in old for r in _left_of(position, epoch))
        for epoch in range(min(position.epoch for position in old), until)
    }
    # Where the rows of the last epoch touched are all handed out, the new readers are at its end.
    at_end = max(until - 1, min(left, default=until))
    first = min((epoch for epoch in left if left[epoch]), default=at_end)
    made = [_begin(old[0], shard, num_shards, first, until) for shard in range(num_shards)]
    for epoch in range(first, until):
        for position, part in zip(
            made, _parts(left[epoch], num_shards, old[0].uneven), strict=True
        ):
            for r in part:
                position.remaining.add(
                    epoch=epoch, shard=r.shard, num_shards=r.num_shards, begin=r.begin, end=r.end
                )
    return [position.SerializeToString() for position in made]


# What has to be the same in all positions, by name, as a reader sees it.
_COMMON: dict[str, Callable[[commands_pb2.Position], object]] = {
    "format": lambda p: p.format,
    "feed": lambda p: p.feed,
    "schema_hash": lambda p: f"{p.schema_hash:016x}",
    "fingerprint": lambda p: f"{p.fingerprint:016x}",
    "policy": lambda p: commands_pb2.ShardPolicy.Name(p.policy),
    "uneven": lambda p: commands_pb2.UnevenShards.Name(p.uneven),
    "num_shards": lambda p: p.num_shards,
    "shuffle_window": lambda p: p.shuffle_window,
    "seed": lambda p: p.seed if p.shuffle_window else 0,
}


def _check(positions: Sequence[commands_pb2.Position]) -> None:
    if not positions:
        raise InvalidArgumentError("positions=[] is empty: give the positions of all old shards")
    first = positions[0]
    for position in positions:
        for name, value in _COMMON.items():
            if value(position) != value(first):
                raise PositionMismatchError(
                    f"positions of shards {first.shard} and {position.shard} differ in {name}: "
                    f"{value(first)} and {value(position)}; give positions of one read"
                )
    if first.format < _FIRST_FORMAT_WITH_ROWS:
        raise PositionMismatchError(
            f"positions have format={first.format}, which does not say how many rows a shard has: "
            "restore them with the shard count they have, read a batch, and save them again"
        )
    if first.policy == commands_pb2.SHARD_POLICY_DYNAMIC:
        raise InvalidArgumentError(
            "positions are of policy='dynamic', where no reader has a shard: readers may come and "
            "go, restore each from its own position"
        )
    if first.policy == commands_pb2.SHARD_POLICY_OFF:
        raise InvalidArgumentError(
            "positions are of policy='off', where every reader has all rows: there is nothing to "
            "share out, restore each from its own position"
        )
    count: dict[int, int] = {}
    for position in positions:
        count[position.shard] = count.get(position.shard, 0) + 1
    wrong = [shard for shard in range(first.num_shards) if count.get(shard) != 1]
    if wrong or len(positions) != first.num_shards:
        shown = ", ".join(f"{shard} ({count.get(shard, 0)} times)" for shard in wrong[:5])
        raise InvalidArgumentError(
            f"positions are {len(positions)}, of num_shards={first.num_shards}: give one of each "
            f"shard; wrong is shard {shown}"
        )


def _touched_until(position: commands_pb2.Position) -> int:
    """The first epoch that can be read by a plan of any shards, as far as this reader goes."""
    begun = position.epoch + (1 if position.cursor else 0)
    return int(max(begun, position.plan_until))


def _left_of(position: commands_pb2.Position, epoch: int) -> Iterable[_Range]:
    if epoch < position.epoch:
        return
    skip = position.cursor if epoch == position.epoch else 0
    if epoch >= position.plan_until:
        if position.shard_rows == _UNKNOWN:
            raise InvalidArgumentError(
                f"the position of shard {position.shard} of {position.num_shards} was made by "
                "reshard and never read from, while other shards are epochs further: open a reader "
                "at it and give that reader's position()"
            )
        yield _Range(position.num_shards, position.shard, skip, position.shard_rows)
        return
    for r in position.remaining:
        if r.epoch == epoch:
            skipped = min(skip, r.end - r.begin)
            skip -= skipped
            yield _Range(r.num_shards, r.shard, r.begin + skipped, r.end)


def _merged(ranges: Iterable[_Range]) -> list[_Range]:
    out: list[_Range] = []
    for r in sorted(ranges):
        if r.rows <= 0:
            continue
        if out and out[-1].end == r.begin and out[-1].shard == r.shard:
            out[-1] = dataclasses.replace(out[-1], end=r.end)
        else:
            out.append(r)
    return out


def _parts(ranges: list[_Range], count: int, uneven: int) -> list[list[_Range]]:
    """``ranges`` in ``count`` parts that are equal to one row; equal where ``uneven`` says so."""
    total = sum(r.rows for r in ranges)
    if uneven == commands_pb2.UNEVEN_SHARDS_DROP:
        total -= total % count
    edges = [total * i // count for i in range(count + 1)]
    parts: list[list[_Range]] = [[] for _ in range(count)]
    part, at = 0, 0
    for r in ranges:
        begin = r.begin
        while begin < r.end and at < total:
            while at >= edges[part + 1]:
                part += 1
            end = min(r.end, begin + edges[part + 1] - at)
            parts[part].append(dataclasses.replace(r, begin=begin, end=end))
            at += end - begin
            begin = end
    if uneven == commands_pb2.UNEVEN_SHARDS_PAD and total % count:
        for i, mine in enumerate(parts):
            if edges[i + 1] - edges[i] <= total // count:
                again = (mine or ranges)[0]
                mine.append(dataclasses.replace(again, end=again.begin + 1))
    return parts


def _begin(
    old: commands_pb2.Position, shard: int, num_shards: int, epoch: int, until: int
) -> commands_pb2.Position:
    position = commands_pb2.Position()
    position.CopyFrom(old)
    del position.remaining[:]
    position.shard, position.num_shards = shard, num_shards
    position.epoch, position.cursor = epoch, 0
    position.plan_until = until if until > epoch else 0
    position.shard_rows = _UNKNOWN
    return position
