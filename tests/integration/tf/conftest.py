import numpy as np
import pyarrow as pa
import pytest

import flightbridge

ROWS = 1_003  # a prime: no batch size divides it


def make_types_table() -> pa.Table:
    """A column of every type that has a tensor form; column names say the type."""
    n = ROWS
    ints = np.arange(n)
    text = [f"row {i} " + "x" * (i % 40) for i in range(n)]  # short and long: both kinds of tstring
    lists = [list(range(i % 5)) for i in range(n)]
    return pa.table(
        {
            "id": pa.array(ints, pa.int64()),
            "bool": pa.array(ints % 3 == 0),
            **{
                f"{kind}": pa.array(ints % 100, kind)
                for kind in ("int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64")
            },
            "float16": pa.array((ints % 64).astype(np.float16)),
            "float32": pa.array((ints / 7).astype(np.float32)),
            "float64": pa.array(ints / 3),
            "date32": pa.array((ints % 20_000).astype(np.int32)).cast(pa.date32()),
            "time32": pa.array((ints % 86_400).astype(np.int32)).cast(pa.time32("s")),
            "timestamp": pa.array(ints * 1_000_003).cast(pa.timestamp("us", "UTC")),
            "duration": pa.array(ints).cast(pa.duration("ms")),
            "string": pa.array(text),
            "large_string": pa.array(text, pa.large_string()),
            "binary": pa.array([t.encode() + b"\0\xff" for t in text]),
            "fixed_binary": pa.array([f"{i:04d}".encode() for i in range(n)], pa.binary(4)),
            "dictionary": pa.array([text[i % 7] for i in range(n)]).dictionary_encode(),
            "fixed_list": pa.FixedSizeListArray.from_arrays(
                pa.array(np.arange(3 * n, dtype=np.float32)), 3
            ),
            "list_int": pa.array(lists, pa.list_(pa.int32())),
            "list_string": pa.array([[str(v) * 9 for v in vs] for vs in lists]),
            "large_list": pa.array(lists, pa.large_list(pa.float64())),
        }
    )


@pytest.fixture(scope="session")
def types_table():
    return make_types_table()


@pytest.fixture(scope="session")
def bridge(types_table):
    """A server with the feeds `types` (three partitions), `plain`, `regression` and `weighted`."""
    with flightbridge.Server() as server:
        with server.client() as client:
            client.write("types", types_table, partition_rows=400)
            client.write("plain", types_table.select(["id", "float32"]), partition_rows=300)
            client.write("empty", types_table.select(["id"]).slice(0, 0))
            client.write("regression", regression_table())
            client.write("weighted", weighted_table())
        yield server


def regression_table(rows: int = 4_096) -> pa.Table:
    """y = a straight line over four features: a model that learns must see the loss fall."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    y = x @ np.array([1.0, -2.0, 3.0, 0.5], np.float32) + 0.25
    return pa.table({**{f"x{i}": x[:, i] for i in range(4)}, "y": y.astype(np.float32)})


def weighted_table(rows: int = 2_048) -> pa.Table:
    """As `regression`, but every other y is nonsense of weight 0."""
    table = regression_table(rows)
    odd = np.arange(rows) % 2 == 1
    y = np.where(odd, 100.0, table["y"].to_numpy()).astype(np.float32)
    table = table.set_column(table.schema.get_field_index("y"), "y", pa.array(y))
    return table.append_column("w", pa.array((~odd).astype(np.float32)))
