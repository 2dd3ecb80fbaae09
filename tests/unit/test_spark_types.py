import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flightbridge.errors import SchemaMismatchError, UnsupportedTypeError
from flightbridge.spark.batches import MAX_BATCH_BYTES, MIN_BATCH_BYTES, rebatched
from flightbridge.spark.types import arrow_schema

pytest.importorskip("pyspark")
from pyspark.ml.linalg import MatrixUDT, VectorUDT
from pyspark.sql import types as spark_types


def one(spark_type):
    return spark_types.StructType([spark_types.StructField("c", spark_type, False)])


ATOMIC = [
    (spark_types.BooleanType(), pa.bool_()),
    (spark_types.ByteType(), pa.int8()),
    (spark_types.ShortType(), pa.int16()),
    (spark_types.IntegerType(), pa.int32()),
    (spark_types.LongType(), pa.int64()),
    (spark_types.FloatType(), pa.float32()),
    (spark_types.DoubleType(), pa.float64()),
    (spark_types.DecimalType(20, 3), pa.decimal128(20, 3)),
    (spark_types.StringType(), pa.string()),
    (spark_types.VarcharType(3), pa.string()),
    (spark_types.BinaryType(), pa.binary()),
    (spark_types.DateType(), pa.date32()),
    (spark_types.TimestampType(), pa.timestamp("us", tz="UTC")),
    (spark_types.TimestampNTZType(), pa.timestamp("us")),
    (spark_types.DayTimeIntervalType(), pa.duration("us")),
]


@pytest.mark.parametrize(("spark_type", "arrow_type"), ATOMIC, ids=lambda t: str(t))
def test_every_type_maps_whatever_the_session_says(spark_type, arrow_type):
    assert arrow_schema(one(spark_type)) == pa.schema([pa.field("c", arrow_type)])


def test_nested_types_are_nullable_all_the_way_down():
    inner = spark_types.StructType([spark_types.StructField("x", spark_types.LongType(), False)])
    nested = spark_types.MapType(
        spark_types.StringType(), spark_types.ArrayType(inner, containsNull=False), False
    )
    expected = pa.map_(pa.string(), pa.list_(pa.field("element", pa.struct({"x": pa.int64()}))))
    assert arrow_schema(one(nested)).field("c").type == expected


@pytest.mark.parametrize(
    ("spark_type", "path", "remedy"),
    [
        (spark_types.CalendarIntervalType(), "c", "cast it to string"),
        (spark_types.YearMonthIntervalType(), "c", "cast it to string"),
        (spark_types.VariantType(), "c", "to_json"),
        (spark_types.NullType(), "c", "cast it to a concrete type"),
        (MatrixUDT(), "c", "plain columns"),
        (spark_types.ArrayType(spark_types.VariantType()), "c[]", "to_json"),
        (one(spark_types.NullType()), "c.c", "cast it to a concrete type"),
        (spark_types.MapType(spark_types.StringType(), MatrixUDT()), "c.value", "plain columns"),
    ],
    ids=lambda value: str(value),
)
def test_what_cannot_cross_is_named_with_its_remedy(spark_type, path, remedy):
    with pytest.raises(UnsupportedTypeError) as caught:
        arrow_schema(one(spark_type))
    assert f"column {path!r} has Spark type" in str(caught.value)
    assert remedy in str(caught.value)


def test_vectors_cross_with_their_size_where_the_column_says_it():
    for metadata, noted in [
        ({"ml_attr": {"num_attrs": 7, "attrs": {}}}, {b"flightbridge.vector_size": b"7"}),
        ({"ml_attr": {"type": "numeric"}}, None),
        ({}, None),
    ]:
        field = spark_types.StructField("v", VectorUDT(), metadata=metadata)
        found = arrow_schema(spark_types.StructType([field])).field("v")
        assert found.metadata == noted
        assert [(f.name, str(f.type)) for f in found.type] == [
            ("type", "int8"),
            ("size", "int32"),
            ("indices", "list<element: int32>"),
            ("values", "list<element: double>"),
        ]


def test_spatial_types_are_refused_where_spark_has_them():
    if not hasattr(spark_types, "GeometryType"):
        pytest.skip("this Spark has no spatial types")
    with pytest.raises(UnsupportedTypeError, match="st_asbinary"):
        arrow_schema(one(spark_types.GeometryType(4326)))


def test_two_columns_of_one_name_are_refused():
    twice = spark_types.StructType([spark_types.StructField("a", spark_types.LongType())] * 2)
    with pytest.raises(UnsupportedTypeError, match="'a' appears more than once"):
        arrow_schema(twice)


def test_no_columns_are_refused():
    with pytest.raises(UnsupportedTypeError, match="no columns"):
        arrow_schema(spark_types.StructType([]))


# ---- batches ------------------------------------------------------------------------------------

SCHEMA = pa.schema([("id", pa.int64())])


def ids(start, rows):
    return pa.record_batch([pa.array(np.arange(start, start + rows))], schema=SCHEMA)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 1_500_000), max_size=6))
def test_rebatching_keeps_rows_and_order_and_sizes(row_counts):
    given_batches, start = [], 0
    for rows in row_counts:
        given_batches.append(ids(start, rows))
        start += rows
    sent = list(rebatched(given_batches, SCHEMA))
    rows = pa.Table.from_batches(sent, SCHEMA).column("id").to_numpy()
    assert np.array_equal(rows, np.arange(start))
    assert all(batch.nbytes <= MAX_BATCH_BYTES + MIN_BATCH_BYTES for batch in sent)
    assert all(batch.nbytes >= MIN_BATCH_BYTES for batch in sent[:-1])
    assert all(batch.num_rows > 0 for batch in sent)


def test_large_batches_are_cut_and_a_large_row_stays_whole():
    row = b"x" * (MAX_BATCH_BYTES + 1)
    schema = pa.schema([("b", pa.binary())])
    sent = list(rebatched([pa.record_batch([[row, b"a", row]], schema=schema)], schema))
    assert [batch.num_rows for batch in sent] == [1, 2]
    wide = ids(0, 3 * MAX_BATCH_BYTES // 8)
    assert [batch.nbytes for batch in rebatched([wide], SCHEMA)] == [MAX_BATCH_BYTES] * 3


def test_session_dependent_types_become_the_feeds():
    instant = 1_577_836_800_000_000
    session = pa.schema(
        [
            pa.field("t", pa.timestamp("us", tz="Asia/Tokyo"), nullable=False),
            pa.field("s", pa.large_string()),
            pa.field("l", pa.list_(pa.field("element", pa.large_binary(), nullable=False))),
        ]
    )
    feed = pa.schema(
        {"t": pa.timestamp("us", tz="UTC"), "s": pa.string(), "l": pa.list_(pa.binary())}
    )
    feed = feed.set(2, pa.field("l", pa.list_(pa.field("element", pa.binary()))))
    batch = pa.record_batch(
        [pa.array([instant], session.field("t").type), ["x"], [[b"a", b"b"]]], schema=session
    )
    (sent,) = rebatched([batch], feed)
    assert sent.schema == feed
    assert sent.column("t").cast(pa.int64()).to_pylist() == [instant]
    assert sent.column("l").to_pylist() == [[b"a", b"b"]]


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        (pa.record_batch({"other": [1]}), "Spark sent columns"),
        (pa.record_batch({"id": ["x"]}), "column 'id'"),
    ],
)
def test_batches_of_another_shape_are_refused(batch, text):
    with pytest.raises(SchemaMismatchError, match=text):
        list(rebatched([batch], SCHEMA))
