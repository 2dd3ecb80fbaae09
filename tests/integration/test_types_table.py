"""The table of types in docs/tensorflow.md, row by row: what Spark writes and what tensors come."""

import pathlib

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
import flightbridge.spark
from flightbridge import batches

DOC = pathlib.Path(__file__).parents[2] / "docs" / "tensorflow.md"


def table_rows():
    text = DOC.read_text().split("## Types", 1)[1].split("### Options", 1)[0]
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    return [
        [cell.strip() for cell in row]
        for row in rows
        if not row[0].strip().startswith(("Arrow", "---"))
    ]


VECTOR = pa.struct(
    {
        "type": pa.int8(),
        "size": pa.int32(),
        "indices": pa.list_(pa.int32()),
        "values": pa.list_(pa.float64()),
    }
)
ITEM = pa.struct({"a": pa.int32()})

# By the first cell: Arrow types, each with the options it needs and what numpy it becomes: a dtype
# (or "bytes"), the shape behind the rows, the levels of lists. A dict is one of fields.
ARROW = {
    "bool": [(pa.bool_(), {}, ("bool", (), 0))],
    "int8, int16, int32, int64": [
        (getattr(pa, k)(), {}, (k, (), 0)) for k in ("int8", "int16", "int32", "int64")
    ],
    "uint8, uint16, uint32, uint64": [
        (getattr(pa, k)(), {}, (k, (), 0)) for k in ("uint8", "uint16", "uint32", "uint64")
    ],
    "float, double": [
        (pa.float32(), {}, ("float32", (), 0)),
        (pa.float64(), {}, ("float64", (), 0)),
    ],
    "halffloat": [(pa.float16(), {}, ("float16", (), 0))],
    "decimal32, decimal64, decimal128, decimal256": [
        (kind(5, 2), {"dtypes": {"x": dtype}}, (found, (), 0))
        for kind in (pa.decimal32, pa.decimal64, pa.decimal128, pa.decimal256)
        for dtype, found in (("float64", "float64"), ("float32", "float32"), ("string", "bytes"))
    ],
    "date32": [(pa.date32(), {}, ("int32", (), 0))],
    "date64": [(pa.date64(), {}, ("int64", (), 0))],
    "timestamp with or without zone": [
        (pa.timestamp("us", "UTC"), {}, ("int64", (), 0)),
        (pa.timestamp("s"), {}, ("int64", (), 0)),
    ],
    "time32": [(pa.time32("s"), {}, ("int32", (), 0))],
    "time64": [(pa.time64("ns"), {}, ("int64", (), 0))],
    "duration": [(pa.duration("us"), {}, ("int64", (), 0))],
    "month_interval": [],  # pyarrow cannot make it; the native tests do
    "string, large_string, string_view": [
        (k(), {}, ("bytes", (), 0)) for k in (pa.string, pa.large_string, pa.string_view)
    ],
    "binary, large_binary, binary_view, fixed_size_binary": [
        (k, {}, ("bytes", (), 0))
        for k in (pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3))
    ],
    "dictionary": [
        (pa.dictionary(pa.int16(), pa.string()), {}, ("bytes", (), 0)),
        (pa.dictionary(pa.int16(), pa.string()), {"codes": ["x"]}, ("int16", (), 0)),
    ],
    "list, large_list": [
        (pa.list_(pa.int32()), {}, ("int32", (), 1)),
        (pa.large_list(pa.string()), {}, ("bytes", (), 1)),
        (pa.list_(pa.int32()), {"pad_to": {"x": 4}}, ("int32", (4,), 0)),
    ],
    "list of lists": [(pa.list_(pa.list_(pa.int8())), {}, ("int8", (), 2))],
    "fixed_size_list of k": [
        (pa.list_(pa.float32(), 3), {}, ("float32", (3,), 0)),
        (pa.list_(pa.list_(pa.string(), 2), 3), {}, ("bytes", (3, 2), 0)),
    ],
    "struct": [(ITEM, {}, {"a": ("int32", (), 0)})],
    "list of struct": [(pa.list_(ITEM), {}, {"a": ("int32", (), 1)})],
    "map": [
        (
            pa.map_(pa.string(), pa.int64()),
            {},
            {"keys": ("bytes", (), 1), "values": ("int64", (), 1)},
        )
    ],
    "struct of type, size, indices, values": [
        (VECTOR, {"vectors": {"x": 5}}, ("float64", (5,), 0)),
        (VECTOR, {"vectors": {"x": 5}, "sparse": ["x"]}, ("float64", (5,), 0)),
    ],
    "extension types": [(pa.uuid(), {}, ("bytes", (), 0)), (pa.bool8(), {}, ("int8", (), 0))],
}

# By the second cell: SQL for a value, and the type that Spark writes.
SPARK = {
    "BOOLEAN": [("true", pa.bool_())],
    "TINYINT, SMALLINT, INT, BIGINT": [
        ("1Y", pa.int8()),
        ("1S", pa.int16()),
        ("1", pa.int32()),
        ("1L", pa.int64()),
    ],
    "FLOAT, DOUBLE": [("cast(1 as float)", pa.float32()), ("1D", pa.float64())],
    "DECIMAL": [("1.25BD", pa.decimal128(3, 2))],
    "DATE": [("date'1970-01-03'", pa.date32())],
    "TIMESTAMP, TIMESTAMP_NTZ": [
        ("timestamp'1970-01-01 00:00:02Z'", pa.timestamp("us", "UTC")),
        ("timestamp_ntz'1970-01-01 00:00:02'", pa.timestamp("us")),
    ],
    "TIME": [("time'00:00:01'", pa.time64("ns"))],
    "INTERVAL DAY TO SECOND": [("interval '1' second", pa.duration("us"))],
    "STRING, CHAR, VARCHAR": [("'a'", pa.string()), ("cast('a' as varchar(3))", pa.string())],
    "BINARY": [("X'00FF'", pa.binary())],
    "ARRAY": [("array(1, 2)", pa.list_(pa.field("element", pa.int32())))],
    "ARRAY of ARRAY": [
        (
            "array(array(1), array())",
            pa.list_(pa.field("element", pa.list_(pa.field("element", pa.int32())))),
        )
    ],
    "STRUCT": [("named_struct('a', 1)", ITEM)],
    "ARRAY of STRUCT": [("array(named_struct('a', 1))", pa.list_(pa.field("element", ITEM)))],
    "MAP": [("map('k', 1L)", pa.map_(pa.string(), pa.int64()))],
    "MLlib VectorUDT": [],  # has no SQL; test_vectors_of_a_spark_pipeline
}


def test_the_table_has_these_rows():
    assert [row[0] for row in table_rows()] == list(ARROW)
    assert [row[1] for row in table_rows() if row[1]] == list(SPARK)


def shown(dtype, shape, levels):
    """The third cell's way of saying it, in part."""
    dims = ", ".join(["n"] + ["None"] * levels + list("km"[: len(shape)]))
    return ("string" if dtype == "bytes" else dtype), f"[{dims}]"


CASES = [(cell, *case) for cell, cases in ARROW.items() for case in cases]


@pytest.mark.parametrize(("cell", "kind", "options", "found"), CASES, ids=str)
def test_a_row_tells_what_is_read(cell, kind, options, found):
    with flightbridge.Server() as server, server.client() as client:
        client.write("f", pa.table({"x": pa.array([], kind)}))
        with batches.read(server.uri, "f", batch_size=1, **options) as reader:
            layouts = reader._reader.layouts
    expected = found if isinstance(found, dict) else {None: found}
    text = next(row[2] for row in table_rows() if row[0] == cell)
    for layout, (key, (dtype, shape, levels)) in zip(layouts, expected.items(), strict=True):
        assert layout.keys == (["x"] if key is None else ["x", key])
        assert (layout.dtype, layout.shape, layout.levels) == (dtype, shape, levels)
        if key is not None:
            assert "dict" in text
        elif cell not in ("extension types", "dictionary"):
            name, dims = shown(dtype, shape, levels)
            assert dims in text or len(shape) > 1
            assert name in text or cell.endswith("of k") or "list" in cell
        assert ("tf.RaggedTensor" in text) or not levels


@pytest.mark.spark
def test_what_spark_writes_is_what_the_rows_say(spark, bridge, client):
    arrow = {row[1]: row[0] for row in table_rows() if row[1]}
    for cell, cases in SPARK.items():
        for sql, kind in cases:
            try:
                df = spark.sql(f"select {sql} as x")
                df.schema  # noqa: B018 - Connect analyses here
            except Exception:
                if cell == "TIME":  # not in every Spark
                    continue
                raise
            flightbridge.spark.write(df, bridge, "f", mode="overwrite")
            assert client.schema("f").field("x").type == kind, sql
            options = {"dtypes": {"x": "float64"}} if cell == "DECIMAL" else {}
            with batches.read(bridge.uri, "f", batch_size=1, **options) as reader:
                layouts = reader._reader.layouts
                assert next(reader)["x"] is not None
            found = [(x.dtype, x.shape, x.levels) for x in layouts]
            wanted = [case for case in ARROW[arrow[cell]] if case[0] == kind]
            if wanted:
                expected = wanted[0][2]
                expected = list(expected.values()) if isinstance(expected, dict) else [expected]
                assert found == expected, sql


@pytest.mark.spark
def test_values_of_a_spark_session_become_tensors(spark, bridge):
    df = spark.sql(
        """
        select id, if(id % 3 = 0, null, id / 2D) as maybe,
               array_repeat(id, cast(id % 4 as int)) as l,
               transform(sequence(0L, id % 3), x -> array(x, id)) as deep,
               named_struct('z', id, 'a', named_struct('s', cast(id as string))) as s,
               map('k', id, 'j', id + 1) as m, cast(id as decimal(20, 3)) / 8 as d,
               timestamp_micros(1500000 * id) as t
        from range(0, 50, 1, 3)
        """
    )
    flightbridge.spark.write(df, bridge, "values")
    options = {"dtypes": {"d": "float64", "t": "float64"}, "mask": ["maybe"], "shuffle": True}
    with batches.read(bridge.uri, "values", batch_size=50, **options) as reader:
        batch = next(reader)
    ids = batch["id"].tolist()
    assert sorted(ids) == list(range(50))
    assert batch["maybe"].tolist() == [0 if i % 3 == 0 else i / 2 for i in ids]
    assert batch["maybe_mask"].tolist() == [i % 3 != 0 for i in ids]
    assert np.diff(batch["l"].row_splits).tolist() == [i % 4 for i in ids]
    outer, inner = batch["deep"].row_splits, batch["deep"].values
    assert np.diff(outer).tolist() == [i % 3 + 1 for i in ids]
    assert inner.values.reshape(-1, 2).tolist() == [[x, i] for i in ids for x in range(i % 3 + 1)]
    assert list(batch["s"]["a"]["s"]) == [str(i) for i in ids]
    assert batch["s"]["z"].tolist() == ids
    assert list(batch["m"]["keys"].values) == ["k", "j"] * 50
    assert batch["m"]["values"].values.tolist() == [v for i in ids for v in (i, i + 1)]
    assert batch["d"].tolist() == [i / 8 for i in ids]
    assert batch["t"].tolist() == [i * 1.5 for i in ids]


@pytest.mark.spark
def test_vectors_of_a_spark_pipeline(classic_session, bridge, client):
    from pyspark.ml.feature import VectorAssembler
    from pyspark.ml.linalg import Vectors

    rows = [(i, float(i % 2), 0.0, float(i == 7)) for i in range(20)]
    df = classic_session.createDataFrame(rows, ["id", "a", "b", "c"])
    made = VectorAssembler(inputCols=["a", "b", "c"], outputCol="v").transform(df)
    flightbridge.spark.write(made.select("id", "v"), bridge, "assembled")
    assert client.schema("assembled").field("v").metadata == {b"flightbridge.vector_size": b"3"}
    for options in ({}, {"sparse": ["v"]}):
        with batches.read(bridge.uri, "assembled", batch_size=20, **options) as reader:
            batch = next(reader)
        value = batch["v"]
        if options:
            value = np.zeros(value.dense_shape)
            value[tuple(batch["v"].indices.T)] = batch["v"].values
        assert value.tolist() == [list(rows[i][1:]) for i in batch["id"]]

    both = [(Vectors.dense([1.0, 2.0]),), (Vectors.sparse(2, [1], [5.0]),)]
    flightbridge.spark.write(classic_session.createDataFrame(both, ["v"]).coalesce(1), bridge, "b")
    with pytest.raises(flightbridge.errors.UnsupportedTypeError, match=r"'v'.*vectors=\{'v': n\}"):
        batches.read(bridge.uri, "b", batch_size=2)
    with batches.read(bridge.uri, "b", batch_size=2, vectors={"v": 2}) as reader:
        assert next(reader)["v"].tolist() == [[1, 2], [0, 5]]
