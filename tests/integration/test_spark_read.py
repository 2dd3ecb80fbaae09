"""Feeds read back into Spark by the connector: values, plans, and what is refused."""

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest

import flightbridge
import flightbridge.spark

pytestmark = pytest.mark.spark


def load(spark, uri, feed, **options):
    return spark.read.format("flightbridge").options(uri=uri, feed=feed, **options).load()


def plan(df):
    return df._jdf.queryExecution().executedPlan().toString()


# SQL of a value of each Spark type that can be written.
TYPES = {
    "boolean": "true",
    "byte": "cast(1 as byte)",
    "short": "cast(2 as short)",
    "integer": "3",
    "long": "4L",
    "real": "cast(1.5 as float)",
    "double": "2.5D",
    "text": "'ä€'",
    "bytes": "x'007f'",
    "day": "date'2024-02-29'",
    "local": "timestamp_ntz'2024-02-29 12:00:00.000001'",
    "at": "timestamp'2024-02-29 12:00:00.000001'",
    "small": "cast(1.25 as decimal(9, 2))",
    "large": "cast(-12345678901234567890.25 as decimal(38, 2))",
    "list": "array(1, null)",
    "lists": "array(array('a', null), null, array())",
    "parts": "named_struct('x', 1, 'y', cast(null as string))",
    "map": "map('k', 1, 'l', null)",
    "deep": "map('k', array(named_struct('d', cast(1.5 as decimal(5, 1)))))",
    "months": "interval '1-2' year to month",
    "seconds": "interval '1 02:03:04.000005' day to second",
    "variant": "parse_json('{\"a\": [1, null]}')",
    "nothing": "null",
}


def test_every_type_comes_back_as_it_was(spark, bridge):
    values = ", ".join(f"{sql} as `{name}`" for name, sql in TYPES.items())
    df = spark.sql(f"select 1 as id, {values}")
    nulls = [f"if(id < 0, `{name}`, null) as `{name}`" for name in TYPES]
    df = df.unionAll(df.selectExpr("0 as id", *nulls))
    flightbridge.spark.write(df, bridge, "f", writer="connector")
    back = load(spark, bridge.uri, "f")
    assert back.schema.simpleString() == df.schema.simpleString()
    # Python has no months, and Variant is no value that it can compare.
    shown = ["id", *(f"cast(`{name}` as string) as `{name}`" for name in TYPES)]
    found = back.selectExpr(*shown).orderBy("id").collect()
    assert found == df.selectExpr(*shown).orderBy("id").collect()
    assert all(found[0][name] is None for name in TYPES)
    plain = [name for name in TYPES if name not in ("variant", "nothing", "months")]
    found = back.select(*plain).orderBy("id").collect()
    assert found == df.select(*plain).orderBy("id").collect()


def test_arrow_types_that_spark_has_not(spark, bridge, client):
    columns = {
        "word": pa.array(["a", "b", None, "a"]).dictionary_encode(),
        "u8": pa.array([255, 0, None, 1], pa.uint8()),
        "u16": pa.array([65_535, 0, None, 1], pa.uint16()),
        "u32": pa.array([2**32 - 1, 0, None, 1], pa.uint32()),
        "u64": pa.array([2**64 - 1, 0, None, 1], pa.uint64()),
        "half": pa.array([1.5, 0, None, 1], pa.float16()),
        "large": pa.array(["x", "y", None, "z"], pa.large_string()),
        "fixed": pa.array([b"ab", b"cd", None, b"ef"], pa.binary(2)),
        "pair": pa.array([[1, 2], [3, 4], None, [5, 6]], pa.list_(pa.int32(), 2)),
        "large_list": pa.array([[1], [], None, [5, 6]], pa.large_list(pa.int64())),
        "nanos": pa.array([1_001, -1, None, 3], pa.timestamp("ns")),
        "ms": pa.array([86_400_000, -86_400_000, None, 0], pa.date64()),
        "seconds": pa.array([1, 2, None, 3], pa.duration("s")),
    }
    client.write("f", pa.table(columns))
    df = load(spark, bridge.uri, "f")
    assert dict(df.dtypes) == {
        "word": "string",
        "u8": "smallint",
        "u16": "int",
        "u32": "bigint",
        "u64": "decimal(20,0)",
        "half": "float",
        "large": "string",
        "fixed": "binary",
        "pair": "array<int>",
        "large_list": "array<bigint>",
        "nanos": "timestamp_ntz",
        "ms": "date",
        "seconds": "interval day to second",
    }
    first, second, nothing, _ = df.collect()
    epoch = datetime.datetime(1970, 1, 1)
    assert first.asDict() == {
        "word": "a",
        "u8": 255,
        "u16": 65_535,
        "u32": 2**32 - 1,
        "u64": Decimal(2**64 - 1),
        "half": 1.5,
        "large": "x",
        "fixed": b"ab",
        "pair": [1, 2],
        "large_list": [1],
        "nanos": epoch + datetime.timedelta(microseconds=1),
        "ms": datetime.date(1970, 1, 2),
        "seconds": datetime.timedelta(seconds=1),
    }
    assert second["nanos"] == epoch - datetime.timedelta(microseconds=1)
    assert set(nothing) == {None}


INNER = pa.struct({"p": pa.int64(), "q": pa.int64()})
OUTER = pa.struct({"x": pa.int32(), "y": pa.string(), "z": INNER})
OUTERS = [{"x": 1, "y": "a", "z": {"p": 10, "q": 20}}, None, {"x": 3, "y": None, "z": None}]


@pytest.mark.parametrize(
    ("select", "values"),
    [
        ("s.x", [1, None, 3]),
        ("s.y", ["a", None, None]),
        ("s.z.q", [20, None, None]),
        ("l.y", [["a", None, None], None, []]),
        ("m['k'].z.q", [20, None, None]),
        ("s.z.q + s.x", [21, None, None]),
        ("if(s.x = 3, id, null)", [None, None, 3]),
    ],
)
def test_parts_of_nested_columns(spark, bridge, client, select, values):
    columns = {
        "id": [1, 2, 3],
        "s": pa.array(OUTERS, OUTER),
        "l": pa.array([OUTERS, None, []], pa.list_(OUTER)),
        "m": pa.array([[("k", OUTERS[0])], None, []], pa.map_(pa.string(), OUTER)),
    }
    client.write("f", pa.table(columns))
    df = load(spark, bridge.uri, "f").selectExpr("id", f"{select} as value")
    assert [row.value for row in df.orderBy("id").collect()] == values


@pytest.mark.parametrize("transport", ["channel", "flight"])
def test_both_ways_bring_the_same_rows(classic_session, bridge, client, transport):
    columns = {
        "x": pa.array([1, None, 3] * 1_000),
        "code": pa.array(["a", "b", None] * 1_000).dictionary_encode(),
        "list": pa.array([[1], [], None] * 1_000),
        "none": pa.nulls(3_000),
        "flag": pa.array([True, None, False] * 1_000),
    }
    batches = pa.table(columns).to_batches(max_chunksize=700)
    client.write("f", pa.Table.from_batches(batches), partition_rows=1_500)
    back = load(classic_session, bridge.uri, "f", transport=transport)
    rows = back.collect()  # of one task, so in the feed's order
    for name, column in columns.items():
        assert [row[name] for row in rows] == column.to_pylist(), name
    assert back.select("code").distinct().count() == 3


def test_dictionaries_inside_columns(spark, bridge, client):
    words = pa.array(["a", "b", None, "a"]).dictionary_encode()
    # One that holds its null itself.
    nulls = pa.DictionaryArray.from_arrays(pa.array([1, 0, 0, 1], pa.uint8()), ["b", None])
    columns = {
        "part": pa.StructArray.from_arrays([words, nulls], ["w", "n"]),
        "list": pa.ListArray.from_arrays(pa.array([0, 2, 2, 3, 4], pa.int32()), words),
    }
    client.write("f", pa.table(columns))
    assert load(spark, bridge.uri, "f").collect() == [
        (("a", None), ["a", "b"]),
        (("b", "b"), []),
        ((None, "b"), [None]),
        (("a", None), ["a"]),
    ]


def test_a_schema_that_the_feed_does_not_have_is_refused(classic_session, bridge, client):
    columns = {
        "day": [datetime.date(2024, 1, 2)],
        "at": [datetime.datetime(2024, 1, 2)],
        "price": pa.array([Decimal("1.239")]),
        "part": [{"x": 1, "y": 2}],
        "list": [[1]],
    }
    client.write("f", pa.table(columns))

    def read(schema):
        options = {"uri": bridge.uri, "feed": "f"}
        reader = classic_session.read.schema(schema).format("flightbridge").options(**options)
        return reader.load().collect()

    for schema, text in (
        ("day INT", r"'day' is read as INT, and the feed holds DATE"),
        ("at BIGINT", r"'at' is read as BIGINT, and the feed holds TIMESTAMP_NTZ"),
        ("price DECIMAL(10, 1)", r"'price' is read as DECIMAL\(10,1\).*DECIMAL\(4,3\)"),
        ("part STRUCT<x: INT>", r"'part\.x' is read as INT, and the feed holds BIGINT"),
        ("part STRUCT<x: BIGINT, z: BIGINT>", r"no field 'part\.z'; those beside it are: x, y"),
        ("list ARRAY<STRING>", r"'list\[\]' is read as STRING, and the feed holds BIGINT"),
        ("list BIGINT", r"'list' is read as BIGINT, and the feed holds ARRAY<BIGINT>"),
    ):
        with pytest.raises(Exception, match=rf"SCHEMA_MISMATCH.*{text}"):
            read(schema)
    # By name, not by place.
    assert read("part STRUCT<y: BIGINT, x: BIGINT>") == [((2, 1),)]
    assert read("list ARRAY<BIGINT>, day DATE") == [([1], datetime.date(2024, 1, 2))]


def test_partitions_are_split_and_put_together(classic_session, bridge):
    df = classic_session.range(0, 30_000, 1, 3).selectExpr("id", "cast(id as string) as name")
    flightbridge.spark.write(df, bridge, "f", batch_bytes=65_536)
    for split_bytes, tasks in ((64 << 20, 1), (100_000, 5), (1_000, None)):
        back = load(classic_session, bridge.uri, "f", split_bytes=split_bytes)
        count = back.rdd.getNumPartitions()
        assert (count == tasks) if tasks else (count > 100), count
        if split_bytes >= 100_000:
            assert sorted(row.id for row in back.collect()) == list(range(30_000))
    assert load(classic_session, bridge.uri, "f").where("id = 777").collect()[0].name == "777"


def test_only_what_is_needed_travels(classic_session, bridge, client):
    client.write("f", pa.table({"a": range(1_000), "b": ["x" * 100] * 1_000}), partition_rows=300)
    df = load(classic_session, bridge.uri, "f")
    before = client.status().bytes_got
    assert df.count() == 1_000
    assert df.selectExpr("count(*)", "count(1)").first() == (1_000, 1_000)
    assert client.status().bytes_got == before, "counting rows moves none"
    assert "BatchScan" not in plan(df.selectExpr("count(*) as n"))
    assert df.selectExpr("sum(a)").first()[0] == 499_500
    assert client.status().bytes_got - before < 20_000, "column b came along"
    before = client.status().bytes_got
    assert len(df.limit(5).collect()) == 5
    assert client.status().bytes_got - before < 2_000
    assert "limit 5" in plan(df.limit(5))
    assert df.where("a < 0").count() == 0
    assert df.selectExpr("1 as one").groupBy("one").count().first() == (1, 1_000)


def test_spark_knows_how_large_a_feed_is(classic_session, bridge, client):
    client.write("small", pa.table({"id": range(10), "name": [f"n{i}" for i in range(10)]}))
    small = load(classic_session, bridge.uri, "small")
    big = classic_session.range(0, 100_000)
    joined = big.join(small, "id")
    assert "BroadcastHashJoin" in plan(joined)
    assert sorted(row.name for row in joined.collect()) == sorted(f"n{i}" for i in range(10))


def test_predictions_join_with_what_they_are_of(spark, bridge, client):
    rows = spark.range(0, 100, 1, 3).selectExpr("id", "id * 2 as twice")
    flightbridge.spark.write(rows, bridge, "rows")
    client.write("scores", pa.table({"id": range(100), "score": [i / 100 for i in range(100)]}))
    both = load(spark, bridge.uri, "rows").join(load(spark, bridge.uri, "scores"), "id")
    assert both.where("twice = 84").select("score").first().score == 0.42
    assert both.count() == 100


def test_a_feed_that_spans_servers(classic_session, bridge):
    with (
        flightbridge.Server() as second,
        flightbridge.connect([bridge.uri, second.uri]) as client,
    ):
        client.write("f", pa.table({"id": range(3_000)}), partition_rows=250)
        assert {part.server for part in client.feed("f").partitions} == {bridge.uri, second.uri}
        df = load(classic_session, client.uri, "f")
        assert sorted(row.id for row in df.collect()) == list(range(3_000))
        assert df.count() == 3_000


def test_an_empty_feed(spark, bridge, client):
    client.write("f", pa.table({"id": pa.array([], pa.int64())}))
    df = load(spark, bridge.uri, "f")
    assert (df.count(), df.collect()) == (0, [])


def test_a_feed_that_is_written_again_is_an_error_and_never_mixed(classic_session, bridge, client):
    client.write("f", pa.table({"id": range(10)}))
    df = load(classic_session, bridge.uri, "f")
    planned = df.rdd  # the plan is made here, and its tasks run below
    client.write("f", pa.table({"id": range(20)}), mode="overwrite")
    with pytest.raises(Exception, match=r"FAILED_PRECONDITION"):
        planned.collect()
    assert load(classic_session, bridge.uri, "f").count() == 20


def test_a_feed_that_is_dropped(classic_session, bridge, client):
    client.write("f", pa.table({"id": range(10)}))
    df = load(classic_session, bridge.uri, "f")
    client.drop("f")
    with pytest.raises(Exception, match=r"NOT_FOUND.*f"):
        df.collect()
    with pytest.raises(Exception, match=r"NOT_FOUND.*f"):
        load(classic_session, bridge.uri, "f")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"uri": "grpc://127.0.0.1:1"}, r"no server answers at grpc://127\.0\.0\.1:1"),
        ({"uri": "nonsense"}, r"uri='nonsense' is not the address"),
        ({"split_bytes": "none"}, r"split_bytes='none' is not a number"),
        ({"columns": "a"}, r"columns='a' is not known"),
        ({"feed": ""}, r"option feed is missing"),
    ],
)
def test_mistakes_are_named(classic_session, bridge, client, options, text):
    client.write("f", pa.table({"id": range(10)}))
    with pytest.raises(Exception, match=text):
        load(classic_session, **{"uri": bridge.uri, "feed": "f", "timeout": 5, **options}).collect()


def test_types_that_spark_has_not_are_named(classic_session, bridge, client):
    client.write("f", pa.table({"x": pa.array([Decimal(1)], pa.decimal256(60, 0))}))
    with pytest.raises(Exception, match=r"UNSUPPORTED_TYPE.*column 'x'.*Decimal\(60"):
        load(classic_session, bridge.uri, "f")
