"""What a server says of the values of a feed's columns, as tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flightbridge.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    FeedNotFoundError,
    InvalidArgumentError,
)

if TYPE_CHECKING:
    from flightbridge.v1 import commands_pb2

__all__ = ["gather_statistics"]

_CALL_MS = 10_000
"""The longest that a server takes for one answer."""


def gather_statistics(
    ask: Callable[[bytes], bytes],
    schema: pa.Schema,
    feed: str,
    columns: Sequence[str] | None,
    timeout_s: float,
) -> dict[str, pa.Table]:
    """Asks until all partitions are answered; one table for each column.

    Args:
        ask: Sends an encoded ``FeedStatistics`` and returns the encoded answer.
        schema: Of the feed.
        feed: Its name.
        columns: Names; None for all.
        timeout_s: Longest time without one more partition.
    """
    from flightbridge.v1 import commands_pb2

    names = list(schema.names if columns is None else columns)
    if not names:
        raise InvalidArgumentError("columns=[]: name at least one column, or None for all")
    request = commands_pb2.FeedStatistics(
        feed=feed, columns=names, timeout_ms=min(_CALL_MS, int(timeout_s * 500))
    )
    partitions: list[commands_pb2.PartitionStatistics] = []
    last = time.monotonic()
    while True:
        answer = commands_pb2.FeedStatisticsResult.FromString(ask(request.SerializeToString()))
        if request.feed_id not in (0, answer.feed_id):
            raise FailedPreconditionError(f"feed {feed!r} was written again meanwhile: ask again")
        request.feed_id = answer.feed_id
        partitions.extend(answer.partitions)
        if not answer.more:
            break
        if answer.partitions:
            last = time.monotonic()
        elif time.monotonic() - last > timeout_s:
            raise DeadlineExceededError(
                f"statistics of feed {feed!r}: partition {answer.next_partition} was not finished "
                f"within timeout_s={timeout_s:g}: ask for fewer columns, or raise it"
            )
        request.first_partition = answer.next_partition
    return {
        name: _table(_field(schema, feed, name).type, partitions, place)
        for place, name in enumerate(names)
    }


def _field(schema: pa.Schema, feed: str, name: str) -> pa.Field:
    # The server has answered for it, so it was there a moment ago.
    place = schema.get_field_index(name)
    if place < 0:
        raise FeedNotFoundError(f"feed {feed!r} has no column {name!r}: it was written again")
    return schema.field(place)


def _table(
    column: pa.DataType, partitions: Iterable[commands_pb2.PartitionStatistics], place: int
) -> pa.Table:
    rows = [(part.partition, part.rows, part.columns[place]) for part in partitions]
    value_type = _value_type(column)

    def bounds(side: str) -> pa.Array:
        values = [
            _value(getattr(found, side), value_type) if found.HasField(side) else None
            for _, _, found in rows
        ]
        return _array(values, value_type)

    def exact(side: str) -> list[bool]:
        return [found.HasField(side) and not getattr(found, side).cut for _, _, found in rows]

    return pa.table(
        {
            "partition": pa.array([partition for partition, _, _ in rows], pa.int64()),
            "rows": pa.array([count for _, count, _ in rows], pa.int64()),
            "nulls": pa.array([found.nulls for _, _, found in rows], pa.int64()),
            "nans": pa.array([found.nans for _, _, found in rows], pa.int64()),
            "min": bounds("min"),
            "max": bounds("max"),
            "min_exact": pa.array(exact("min"), pa.bool_()),
            "max_exact": pa.array(exact("max"), pa.bool_()),
        }
    )


def _value_type(column: pa.DataType) -> pa.DataType:
    if isinstance(column, pa.BaseExtensionType):
        return _value_type(column.storage_type)
    if pa.types.is_large_string(column) or pa.types.is_string_view(column):
        return pa.string()
    if (
        pa.types.is_large_binary(column)
        or pa.types.is_binary_view(column)
        or pa.types.is_fixed_size_binary(column)  # a cut bound is shorter
    ):
        return pa.binary()
    return column


def _array(values: list[Any], value_type: pa.DataType) -> pa.Array:
    if all(value is None for value in values):
        return pa.nulls(len(values), value_type)
    if pa.types.is_temporal(value_type):
        # As they are stored: neither rounded to what Python's types hold, nor refused by them.
        width = pa.int32() if value_type.bit_width == 32 else pa.int64()
        return pa.array(values, width).view(value_type)
    if pa.types.is_float16(value_type):
        return pa.array(values, pa.float64()).cast(value_type)
    return pa.array(values, value_type)


def _value(bound: commands_pb2.StatisticsValue, value_type: pa.DataType) -> Any:
    if pa.types.is_boolean(value_type):
        return bool(bound.int_value)
    if pa.types.is_unsigned_integer(value_type):
        return bound.uint_value
    if pa.types.is_floating(value_type):
        return bound.float_value
    if pa.types.is_decimal(value_type):
        unscaled = int.from_bytes(bound.bytes_value, "big", signed=True)
        with localcontext() as context:
            context.prec = 100  # more digits than any decimal has
            return Decimal(unscaled).scaleb(-value_type.scale)
    if pa.types.is_string(value_type):
        return bound.bytes_value.decode()
    if pa.types.is_binary(value_type):
        return bound.bytes_value
    return bound.int_value
