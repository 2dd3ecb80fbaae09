"""What a program with nothing but pyarrow's Flight client does with feeds."""

from __future__ import annotations

import datetime as dt
import decimal

import pyarrow as pa
import pyarrow.flight as fl

from flightbridge.v1 import commands_pb2 as pb

OPTIONS = fl.FlightCallOptions(timeout=30)


def path(*parts: str) -> fl.FlightDescriptor:
    return fl.FlightDescriptor.for_path(*parts)


def put(client: fl.FlightClient, table: pa.Table, *parts: str, rows: int | None = None) -> None:
    writer, _ = client.do_put(path(*parts), table.schema, OPTIONS)
    with writer:
        writer.write_table(table, rows)


def get(client: fl.FlightClient, feed: str) -> pa.Table:
    info = client.get_flight_info(path(feed), OPTIONS)
    parts = [client.do_get(endpoint.ticket, OPTIONS).read_all() for endpoint in info.endpoints]
    return pa.concat_tables(parts)


def ticket(**fields) -> fl.Ticket:
    return fl.Ticket(pb.GetTicket(**fields).SerializeToString())


def numbers(rows: int = 10) -> pa.Table:
    return pa.table({"id": pa.array(range(rows), pa.int64())})


def run(client: fl.FlightClient, name: str, message=None) -> list[bytes]:
    body = b"" if message is None else message.SerializeToString()
    results = client.do_action(fl.Action(f"flightbridge.v1.{name}", body), OPTIONS)
    return [result.body.to_pybytes() for result in results]


COLUMNS = {
    "bool": pa.array([True, None, False]),
    "int8": pa.array([1, None, -3], pa.int8()),
    "uint16": pa.array([1, None, 65535], pa.uint16()),
    "int32": pa.array([1, None, -3], pa.int32()),
    "int64": pa.array([1, None, 2**62], pa.int64()),
    "uint64": pa.array([1, None, 2**64 - 1], pa.uint64()),
    "float16": pa.array([1.5, None, -2.0], pa.float16()),
    "float32": pa.array([1.5, None, float("inf")], pa.float32()),
    "float64": pa.array([1.5, None, -2.25]),
    "decimal": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("-9.99")]),
    "date": pa.array([dt.date(2020, 1, 1), None, dt.date(1970, 1, 1)]),
    "timestamp": pa.array([1, None, 3], pa.timestamp("us", tz="UTC")),
    "time": pa.array([1, None, 3], pa.time64("us")),
    "duration": pa.array([1, None, 3], pa.duration("ms")),
    "string": pa.array(["a", None, "äöü"]),
    "large_string": pa.array(["a", None, ""], pa.large_string()),
    "binary": pa.array([b"\x00", None, b""]),
    "fixed_binary": pa.array([b"abcd", None, b"efgh"], pa.binary(4)),
    "list": pa.array([[1, None], None, []], pa.list_(pa.int32())),
    "large_list": pa.array([["x"], None, []], pa.large_list(pa.string())),
    "fixed_list": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "z"}]),
    "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
    "nested_list": pa.array([[["a"], []], None, [[None]]], pa.list_(pa.list_(pa.string()))),
    "null": pa.nulls(3),
    "dictionary": pa.array(["a", None, "b"]).dictionary_encode(),
}
