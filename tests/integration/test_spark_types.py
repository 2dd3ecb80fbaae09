"""What a feed holds after Spark wrote it: types, values, order and batch sizes."""

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest

import flightbridge.spark
from flightbridge.errors import InvalidArgumentError
from flightbridge.spark.batches import MAX_BATCH_BYTES, MIN_BATCH_BYTES

pytestmark = pytest.mark.spark

UTC = dt.timezone.utc
# SQL, Arrow type, the value read back
COLUMNS = [
    ("true", pa.bool_(), True),
    ("-128Y", pa.int8(), -128),
    ("32767S", pa.int16(), 32767),
    ("-2147483648", pa.int32(), -(2**31)),
    ("9223372036854775807L", pa.int64(), 2**63 - 1),
    ("cast(1.5 as float)", pa.float32(), 1.5),
    ("-0.1D", pa.float64(), -0.1),
    ("12345678901234567890.123BD", pa.decimal128(23, 3), Decimal("12345678901234567890.123")),
    ("cast(-1.5 as decimal(38, 18))", pa.decimal128(38, 18), Decimal("-1.5")),
    ("'Grüße \U0001f600'", pa.string(), "Grüße \U0001f600"),
    ("'x' collate unicode_ci", pa.string(), "x"),
    ("X'00FF'", pa.binary(), b"\x00\xff"),
    ("date'1815-12-10'", pa.date32(), dt.date(1815, 12, 10)),
    (
        "timestamp'2024-03-01 12:00:00.123456+02:00'",
        pa.timestamp("us", tz="UTC"),
        dt.datetime(2024, 3, 1, 10, 0, 0, 123456, UTC),
    ),
    (
        "timestamp_ntz'1900-01-01 00:00:00.000001'",
        pa.timestamp("us"),
        dt.datetime(1900, 1, 1, 0, 0, 0, 1),
    ),
    ("interval '1 02:03:04.5' day to second", pa.duration("us"), dt.timedelta(1, 7384, 500000)),
    ("array(1, null, 3)", pa.list_(pa.field("element", pa.int32())), [1, None, 3]),
    (
        "array(array('a'), array())",
        pa.list_(pa.field("element", pa.list_(pa.field("element", pa.string())))),
        [["a"], []],
    ),
    ("map('k', 1.5D)", pa.map_(pa.string(), pa.float64()), [("k", 1.5)]),
    (
        "named_struct('n', 1, 's', named_struct('t', timestamp'2024-01-01 00:00:00+00:00'))",
        pa.struct({"n": pa.int32(), "s": pa.struct({"t": pa.timestamp("us", tz="UTC")})}),
        {"n": 1, "s": {"t": dt.datetime(2024, 1, 1, tzinfo=UTC)}},
    ),
]


@pytest.mark.parametrize("large", ["false", "true"], ids=["small-offsets", "large-offsets"])
def test_every_type_arrives_as_itself(spark, bridge, client, large):
    names = [f"c{i}" for i in range(len(COLUMNS))]
    values = ", ".join(f"{sql} as {name}" for (sql, _, _), name in zip(COLUMNS, names, strict=True))
    # A second row of nulls, behind an outer join so that every column is nullable.
    df = spark.sql(
        f"select {', '.join(names)} from range(2) left join (select 0L as id, {values}) using (id)"
    )
    setting = "spark.sql.execution.arrow.useLargeVarTypes"
    before = spark.conf.get(setting)
    spark.conf.set(setting, large)
    try:
        flightbridge.spark.write(df.coalesce(1), bridge, "types")
    finally:
        spark.conf.set(setting, before)
    table = client.read_table("types")
    assert table.num_rows == 2
    for name, (sql, arrow_type, value) in zip(names, COLUMNS, strict=True):
        assert table.schema.field(name).type == arrow_type, sql
        found = table.column(name).to_pylist()
        assert sorted(found, key=lambda v: v is None) == [value, None], sql


def test_time_of_day_where_spark_has_it(spark, bridge, client):
    try:
        df = spark.sql("select time'23:59:59.5' as t")
        df.schema  # noqa: B018 - Connect analyses here
    except Exception as error:
        pytest.skip(f"this Spark has no TIME type: {error}"[:80])
    flightbridge.spark.write(df, bridge, "t")
    table = client.read_table("t")
    assert table.schema.field("t").type == pa.time64("ns")
    assert table.column("t").cast(pa.int64()).to_pylist() == [86_399_500_000_000]


def test_rows_keep_their_partition_and_order(spark, bridge, client):
    df = spark.range(0, 100_000, 1, 4).selectExpr("id", "spark_partition_id() as part")
    info = flightbridge.spark.write(df, bridge, "f")
    assert [(p.partition, p.rows) for p in info.partitions] == [(p, 25_000) for p in range(4)]
    for number in range(4):
        table = client.read_table("f", partitions=[number])
        assert table.column("id").to_pylist() == list(range(number * 25_000, (number + 1) * 25_000))
        assert set(table.column("part").to_pylist()) == {number}


@pytest.mark.parametrize("writer", ["connector", "python"])
@pytest.mark.parametrize(
    ("rows", "column"),
    [(600_000, "id"), (2_000, "repeat('x', 20000) as wide")],
    ids=["narrow", "wide"],
)
def test_batches_are_neither_tiny_nor_huge(classic_session, bridge, client, rows, column, writer):
    df = classic_session.range(0, rows, 1, 1).selectExpr(column)
    flightbridge.spark.write(df, bridge, "f", writer=writer)
    sizes = [batch.nbytes for batch in client.read("f")]
    assert len(sizes) >= 3
    assert max(sizes) <= MAX_BATCH_BYTES + MIN_BATCH_BYTES
    assert min(sizes[:-1]) >= MIN_BATCH_BYTES


def test_the_connectors_batches_are_as_large_as_asked(classic_session, bridge, client):
    df = classic_session.range(0, 600_000, 1, 1)
    flightbridge.spark.write(df, bridge, "f", batch_bytes=256 << 10)
    sizes = [batch.nbytes for batch in client.read("f")]
    assert set(sizes[:-1]) == {256 << 10}
    with pytest.raises(InvalidArgumentError, match=r"option batch_bytes='12' is out of range"):
        flightbridge.spark.write(df, bridge, "g", batch_bytes=12)
