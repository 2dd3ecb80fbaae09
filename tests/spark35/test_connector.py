"""The connector on Spark 3.5: its modes, its types, and the trainer behind it."""

import datetime
import re
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
import flightbridge.spark
from flightbridge.errors import (
    FailedPreconditionError,
    FeedExistsError,
    InvalidArgumentError,
    ServerUnavailableError,
)

# py4j of that time leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def frame(spark, start, end):
    return spark.range(start, end, 1, 3).selectExpr("id", "cast(id as string) as name")


def save(df, uri, feed, mode=None, **options):
    writer = df.write.format("flightbridge").option("uri", uri).option("feed", feed)
    (writer if mode is None else writer.mode(mode)).options(**options).save()


def ids(client, feed="f"):
    return sorted(client.read_table(feed).column("id").to_pylist())


def test_each_mode(spark35, bridge, client):
    save(frame(spark35, 0, 10), bridge.uri, "f")
    with pytest.raises(FeedExistsError, match=r"'f' exists"):
        save(frame(spark35, 10, 20), bridge.uri, "f")
    save(frame(spark35, 10, 20), bridge.uri, "f", "ignore")
    assert ids(client) == list(range(10))
    save(frame(spark35, 10, 20), bridge.uri, "f", "append")
    assert ids(client) == list(range(20))
    save(frame(spark35, 5, 8), bridge.uri, "f", "overwrite")
    assert ids(client) == [5, 6, 7]
    assert client.feed("f").open_jobs == 0


def test_types_cross_with_nulls(spark35, bridge, client):
    columns = {
        "boolean": ("true", pa.bool_(), True),
        "byte": ("cast(1 as byte)", pa.int8(), 1),
        "short": ("cast(2 as short)", pa.int16(), 2),
        "integer": ("3", pa.int32(), 3),
        "long": ("4L", pa.int64(), 4),
        "real": ("cast(1.5 as float)", pa.float32(), 1.5),
        "double": ("2.5D", pa.float64(), 2.5),
        "text": ("'ä€'", pa.string(), "ä€"),
        "bytes": ("x'00ff'", pa.binary(), b"\x00\xff"),
        "day": ("date'2024-02-29'", pa.date32(), datetime.date(2024, 2, 29)),
        "local": (
            "timestamp_ntz'2024-02-29 12:00:00.000001'",
            pa.timestamp("us"),
            datetime.datetime(2024, 2, 29, 12, 0, 0, 1),
        ),
        "small": ("cast(1.25 as decimal(9, 2))", pa.decimal128(9, 2), Decimal("1.25")),
        "large": ("cast(-1.25 as decimal(38, 2))", pa.decimal128(38, 2), Decimal("-1.25")),
        "list": ("array(1, null)", pa.list_(pa.field("element", pa.int32())), [1, None]),
        "parts": ("named_struct('x', 1)", pa.struct({"x": pa.int32()}), {"x": 1}),
        "map": ("map('k', 1)", None, [("k", 1)]),
    }
    values = ", ".join(f"{sql} as `{name}`" for name, (sql, _, _) in columns.items())
    nulls = [f"if(id < 0, `{name}`, null) as `{name}`" for name in columns]
    df = spark35.sql(f"select 1 as id, {values}").select("id", *columns)
    save(df.unionAll(df.selectExpr("0 as id", *nulls)), bridge.uri, "f")
    rows = {row["id"]: row for row in client.read_table("f").to_pylist()}
    schema = client.schema("f")
    for name, (_, arrow, value) in columns.items():
        assert rows[1][name] == value, name
        assert rows[0][name] is None, name
        assert arrow is None or schema.field(name).type == arrow, name


def test_shards_and_shuffle(spark35, bridge, client):
    info = flightbridge.spark.write(
        frame(spark35, 0, 5_000), bridge, "f", shards=4, shuffle=True, seed=3
    )
    assert len(info.partitions) == 4
    assert ids(client) == list(range(5_000))
    assert client.read_table("f").column("id").to_pylist() != list(range(5_000))


def test_bad_options_are_named(spark35, bridge, client):
    with pytest.raises(InvalidArgumentError, match="batch_size='5' is not known"):
        save(frame(spark35, 0, 3), bridge.uri, "f", batch_size=5)
    with pytest.raises(ServerUnavailableError, match=r"127\.0\.0\.1:1"):
        save(frame(spark35, 0, 3), "grpc://127.0.0.1:1", "f", timeout=5)
    assert client.feeds() == []


def test_a_catalog_of_feeds(spark35, bridge, client):
    settings = {"spark.sql.catalog.bridge35": "io.flightbridge.spark.FeedCatalog"}
    settings |= {"spark.sql.catalog.bridge35.uri": bridge.uri}
    for name, value in settings.items():
        spark35.conf.set(name, value)
    spark35.sql("CREATE TABLE bridge35.f AS SELECT id FROM range(5)")
    with pytest.raises(Exception, match="TABLE_OR_VIEW_ALREADY_EXISTS"):
        spark35.sql("CREATE TABLE bridge35.f AS SELECT 1 AS id")
    spark35.sql("INSERT INTO bridge35.f VALUES (7)")
    assert ids(client) == [0, 1, 2, 3, 4, 7]
    assert [row.tableName for row in spark35.sql("SHOW TABLES IN bridge35").collect()] == ["f"]
    assert spark35.sql("DESCRIBE bridge35.f").first()[:2] == ("id", "bigint")
    spark35.sql("INSERT OVERWRITE bridge35.f SELECT id FROM bridge35.f WHERE id > 3")
    assert ids(client) == [4, 7]
    spark35.sql("CREATE OR REPLACE TABLE bridge35.f AS SELECT id * 2 AS id FROM bridge35.f")
    assert spark35.table("bridge35.f").where("id > 8").collect() == [(14,)]
    with pytest.raises(Exception, match="spoilt"):
        spark35.sql("REPLACE TABLE bridge35.f AS SELECT raise_error('spoilt') AS id")
    assert ids(client) == [8, 14]
    spark35.sql("CREATE TABLE bridge35.`g.h` (id BIGINT)")
    assert client.feed("g.h").rows == 0
    spark35.range(3).writeTo("bridge35.`g.h`").append()
    spark35.range(3).write.mode("overwrite").saveAsTable("bridge35.i")
    assert (ids(client, "g.h"), ids(client, "i")) == ([0, 1, 2], [0, 1, 2])
    for statement, words in [
        ("ALTER TABLE bridge35.f ADD COLUMN y INT", "CREATE OR REPLACE TABLE"),
        ("ALTER TABLE bridge35.f RENAME TO bridge35.g", "of feed 'f' is not possible"),
        ("SELECT * FROM bridge35.g.h", "as in bridge35.`g.h`"),
    ]:
        with pytest.raises(Exception, match=words):
            spark35.sql(statement)
    spark35.sql("DROP TABLE bridge35.f")
    assert [feed.feed for feed in client.feeds()] == ["g.h", "i"]


def test_filters_and_aggregates_by_statistics(spark35, bridge, client):
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(days=n // 10) for n in range(100)]
    table = pa.table({"id": range(100), "day": days, "name": [f"n{n:02d}" for n in range(100)]})
    client.write("f", table, partition_rows=10)
    df = spark35.read.format("flightbridge").options(uri=bridge.uri, feed="f").load()

    def read(condition):
        found = df.where(condition)
        text = found._jdf.queryExecution().executedPlan().toString()
        return int(re.search(r"partitions: (\d+) of 10", text)[1]), found.count()

    assert read("id between 31 and 42") == (2, 12)
    assert read("day = date'2024-01-03'") == (1, 10)
    assert read("name like 'n5%' or id in (1, 2)") == (2, 12)
    assert read("not (id < 95)") == (1, 5)
    assert read("day is null") == (0, 0)
    df.createOrReplaceTempView("f")
    found = spark35.sql(
        "select count(*), count(distinct 1), count(id), min(day), max(id), max(name) from f"
    )
    assert "BatchScan" not in found._jdf.queryExecution().executedPlan().toString()
    assert tuple(found.first()) == (100, 1, 100, days[0], 99, "n99")


def test_there_is_no_python_writer(spark35, bridge):
    with pytest.raises(FailedPreconditionError, match=r"Python writer needs Spark 4\.1"):
        flightbridge.spark.write(frame(spark35, 0, 3), bridge, "f", writer="python")


@pytest.mark.tf
def test_a_trainer_reads_it(spark35, bridge):
    import flightbridge.tf

    save(frame(spark35, 0, 1_000), bridge.uri, "f")
    found = [
        batch["id"].numpy() for batch in flightbridge.tf.dataset(bridge.uri, "f", batch_size=64)
    ]
    assert sorted(np.concatenate(found).tolist()) == list(range(1_000))
