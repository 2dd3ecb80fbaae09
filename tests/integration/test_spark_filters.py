"""Filters and aggregates of feeds that statistics answer: the same results, and less is read."""

import datetime
import random
import re
from decimal import Decimal

import pyarrow as pa
import pytest

import flightbridge.spark

pytestmark = pytest.mark.spark

PARTITIONS = 12


def load(spark, uri, feed, **options):
    return spark.read.format("flightbridge").options(uri=uri, feed=feed, **options).load()


def read_whole(spark, uri, feed):
    """The same rows; a filter with the column `place` is not pushed through to the feed."""
    return load(spark, uri, feed).selectExpr("*", "monotonically_increasing_id() as place")


def partitions_read(df):
    text = df._jdf.queryExecution().executedPlan().toString()
    read, of = re.search(r"partitions: (\d+) of (\d+)", text).groups()
    assert int(of) == PARTITIONS
    return int(read)


def plan(df):
    return df._jdf.queryExecution().executedPlan().toString()


def values_of(partition):
    """Some rows of columns whose values grow with the partition, with nulls and odd ones."""
    base = partition * 10
    epoch = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(days=base + i) for i in range(4)]
    return {
        "i": pa.array([base, base + 4, None, base + 9], pa.int32()),
        "l": pa.array([base, base, base, base], pa.int64()),
        "u": pa.array([base, 2**64 - 1 - base, None, 5], pa.uint64()),
        "b": pa.array([partition % 2 == 0] * 3 + [None], pa.bool_()),
        "d": pa.array([base, -0.0, float("nan") if partition % 3 == 0 else 1.5, None]),
        "f": pa.array([base + 0.5, base + 0.25, None, base + 0.75], pa.float32()),
        "t": pa.array([f"k{base:03d}", f"k{base + 9:03d}", None, f"k{base + 9:03d}" + "z" * 70]),
        "y": pa.array([bytes([base]), bytes([base, 255]), None, b"\xff" * 70], pa.binary()),
        "day": pa.array([*days[:3], None], pa.date32()),
        "at": pa.array(
            [epoch + datetime.timedelta(hours=base), None, epoch, epoch], pa.timestamp("us", "UTC")
        ),
        "ns": pa.array([base * 1000 + 1, -1, None, base * 1000 + 999], pa.timestamp("ns")),
        "m": pa.array([Decimal(base) / 4, None, Decimal(base), Decimal(-1)], pa.decimal128(12, 2)),
        "n": pa.array([None] * 4 if partition < 9 else [1, None, 2, 3], pa.int64()),
    }


@pytest.fixture
def feed(client):
    tables = [pa.table(values_of(p)) for p in range(PARTITIONS)]
    schema = tables[0].schema
    client.begin_write("f", "j", "overwrite", schema)
    refs = []
    for partition, table in enumerate(tables):
        with client.open_put("f", "j", partition, partition, schema) as put:
            for batch in table.to_batches(max_chunksize=3):
                put.write(batch)
            refs.append(put.finish())
    client.commit_write("f", "j", refs)
    return "f"


@pytest.mark.parametrize(
    ("condition", "read"),
    [
        ("i = 34", 1),
        ("i > 95", 3),
        ("95 < i", 3),
        ("i >= 99 and i < 110", 2),
        ("i < 0", 0),
        ("i in (4, 44, 45)", 2),
        ("not (i < 110)", 1),
        ("not (i < 100 or i > 110)", 2),
        ("i not in (1, 2)", 12),
        ("l <> 30", 11),
        ("l not in (30, 40)", 10),
        ("u > 18446744073709551600", 2),
        ("b", 6),
        ("b = false", 6),
        ("d > 1000", 4),  # NaN is above all numbers
        ("d = 0", 12),
        ("d < -1", 0),
        ("isnan(d)", 12),
        ("f between 30 and 41", 2),
        ("t = 'k050'", 1),
        ("t like 'k05%'", 1),
        ("t like 'k0%'", 10),
        ("not t like 'k%'", 0),
        ("t < 'k'", 0),
        ("t > 'k1'", 2),
        ("y = x'05'", 1),
        ("day = date'2024-01-12'", 1),
        ("day >= date'2024-04-20'", 1),
        ("at > timestamp'2024-01-05 00:00:00Z'", 2),
        ("ns >= timestamp_ntz'1970-01-01 00:00:00.000110'", 1),
        ("m > 100", 1),
        ("n is not null", 3),
        ("n is null and i > 100", 2),
        ("i is null", 12),
        ("l is null", 0),
        ("n <=> 3", 3),
        ("i = 34 and t = 'k999'", 0),
        ("i = 34 or t = 'k050'", 2),
        ("i + 1 = 35", 12),
        ("i = 34 and i + 1 = 35", 1),
        ("i = l", 12),
        ("true", 12),
    ],
)
def test_partitions_without_rows_for_a_filter_are_left_out(
    classic_session, bridge, feed, condition, read
):
    spark = classic_session
    found = load(spark, bridge.uri, feed).where(condition)
    assert partitions_read(found) == read
    expected = read_whole(spark, bridge.uri, feed).where(f"place >= 0 and ({condition})")
    assert partitions_read(expected) == PARTITIONS
    expected = expected.drop("place")
    assert found.exceptAll(expected).count() == 0
    assert expected.exceptAll(found).count() == 0


def random_condition(rng, depth=0):
    if depth < 2 and rng.random() < 0.5:
        left, right = random_condition(rng, depth + 1), random_condition(rng, depth + 1)
        negated = "not " if rng.random() < 0.3 else ""
        return f"{negated}({left} {rng.choice(['and', 'or'])} {right})"
    number = rng.choice([-5, 0, 4, 9, 10, 30, 44, 99, 110, 119, 200])
    literals = {
        "i": f"{number}",
        "l": f"{number}L",
        "d": rng.choice([f"{number}D", "double('NaN')", "-0.0D", "0.5D"]),
        "f": f"float({number} + 0.25)",
        "t": rng.choice([f"'k{max(number, 0):03d}'", "'k'", "''", "'l'", "'k05'"]),
        "day": f"date_add(date'2024-01-01', {number})",
        "m": f"cast({number} / 4 as decimal(12, 2))",
        "n": str(rng.choice([0, 1, 2, 9])),
    }
    column = rng.choice(list(literals))
    value = literals[column]
    condition = rng.choice(
        [
            f"{column} {rng.choice(['=', '<', '<=', '>', '>=', '<>', '<=>'])} {value}",
            f"{column} in ({value}, null)",
            f"{column} in ({value})",
            f"{column} is null",
            f"{column} is not null",
            f"t like '{value[1:-1]}%'" if column == "t" else f"{value} < {column}",
        ]
    )
    return f"not ({condition})" if rng.random() < 0.3 else condition


def test_random_filters_give_what_they_give_without_statistics(classic_session, bridge, feed):
    spark = classic_session
    rng = random.Random(5)
    conditions = [random_condition(rng) for _ in range(100)]
    # All in one query: which rows make which conditions true.
    truths = [f"sum(if({condition}, hash(*), 0))" for condition in conditions]
    expected = load(spark, bridge.uri, feed).selectExpr(*truths).first()
    left_out = 0
    for number, condition in enumerate(conditions):
        found = load(spark, bridge.uri, feed).where(condition)
        hashes = found.selectExpr("sum(hash(*))").first()[0]
        assert (hashes or 0) == (expected[number] or 0), condition
        if shown := re.search(r"partitions: (\d+) of (\d+)", plan(found)):
            left_out += PARTITIONS - int(shown[1])
    assert left_out > 200


def test_only_asked_when_there_are_filters(classic_session, bridge, client, feed):
    load(classic_session, bridge.uri, feed).select("i").collect()
    used = client.status().memory_used_bytes
    load(classic_session, bridge.uri, feed).where("i = 34").collect()
    assert client.status().memory_used_bytes > used  # what was asked for is kept


def test_what_is_left_out_does_not_travel(classic_session, bridge, client):
    table = pa.table({"k": pa.array([0] * 100_000 + [1] * 100_000, pa.int64())})
    client.write("g", table, partition_rows=100_000)
    before = client.status().bytes_got
    found = load(classic_session, bridge.uri, "g").where("k = 1")
    assert found.selectExpr("sum(k)").first()[0] == 100_000
    assert 700_000 < client.status().bytes_got - before < 1_000_000


def test_metrics_count_partitions(classic_session, bridge, feed):
    df = load(classic_session, bridge.uri, feed).where("i = 34")
    df.collect()
    scan = next(
        node
        for node in plan_nodes(df._jdf.queryExecution().executedPlan())
        if node.getClass().getSimpleName() == "BatchScanExec"
    )
    metrics = scan.metrics()
    assert metrics.apply("flightbridgePartitionsRead").value() == 1
    assert metrics.apply("flightbridgePartitionsLeftOut").value() == PARTITIONS - 1


def plan_nodes(node):
    if node.getClass().getSimpleName() == "AdaptiveSparkPlanExec":
        node = node.executedPlan()
    yield node
    children = node.children()
    for i in range(children.size()):
        yield from plan_nodes(children.apply(i))


AGGREGATES = {
    "count(*)": True,
    "count(1)": True,
    "count(distinct 1)": True,
    "count(i)": True,
    "count(n), count(*)": True,
    "min(i), max(i), count(*), count(distinct 1)": True,
    "min(l), max(l), count(l)": True,
    "min(u), max(u)": True,
    "min(b), max(b)": True,
    "min(f), max(f)": True,
    "max(d)": False,  # its least value is zero, of which there are two
    "min(day), max(day)": True,
    "min(at), max(at)": True,
    "min(ns), max(ns)": True,
    "min(m), max(m)": True,
    "min(n), max(n)": True,
    "min(t)": False,  # its greatest one is cut
    "sum(i), count(*)": False,
    "avg(i)": False,
    "count(distinct i)": False,
    "max(i + 1)": False,
}


@pytest.mark.parametrize("aggregates", AGGREGATES)
def test_aggregates_are_what_spark_makes_of_the_rows(classic_session, bridge, feed, aggregates):
    spark = classic_session
    load(spark, bridge.uri, feed).createOrReplaceTempView("feed_rows")
    read_whole(spark, bridge.uri, feed).createOrReplaceTempView("all_rows")
    found = spark.sql(f"select {aggregates} from feed_rows")
    answered = "BatchScan" not in plan(found)
    assert answered == AGGREGATES[aggregates]
    expected = spark.sql(f"select {aggregates} from all_rows where place >= 0")
    assert "BatchScan" in plan(expected)
    assert str(found.collect()) == str(expected.collect())  # a NaN is not equal to itself


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 10])
def test_counts_of_small_feeds(classic_session, bridge, client, rows):
    client.write("g", pa.table({"x": pa.array([7] * rows, pa.int64())}))
    df = load(classic_session, bridge.uri, "g")
    df.createOrReplaceTempView("g")
    found = classic_session.sql(
        "select count(*), count(distinct 1), count(x), min(x), max(x) from g"
    ).first()
    assert tuple(found) == (rows, min(rows, 1), rows, *([7 if rows else None] * 2))
    assert df.count() == rows


def test_aggregates_behind_a_filter_are_of_its_rows(classic_session, bridge, feed):
    df = load(classic_session, bridge.uri, feed).where("i >= 104")
    assert df.count() == 5
    assert tuple(df.selectExpr("min(i)", "max(i)").first()) == (104, 119)


def test_a_feed_that_spans_servers(classic_session, bridge):
    with (
        flightbridge.Server() as second,
        flightbridge.connect([bridge.uri, second.uri]) as client,
    ):
        client.write("s", pa.table({"id": range(3_000)}), partition_rows=250)
        assert {part.server for part in client.feed("s").partitions} == {bridge.uri, second.uri}
        df = load(classic_session, client.uri, "s")
        for first in range(0, 3_000, 250):
            found = df.where(f"id between {first} and {first + 10}")
            assert partitions_read(found) == 1
            assert found.count() == 11
        assert df.selectExpr("max(id)").first()[0] == 2_999


def test_a_schema_of_ones_own_is_not_compared(classic_session, bridge, client):
    client.write("g", pa.table({"at": pa.array([1, 2], pa.timestamp("s"))}))
    reader = classic_session.read.format("flightbridge").options(uri=bridge.uri, feed="g")
    with pytest.raises(Exception, match="SCHEMA_MISMATCH"):
        reader.schema("at bigint").load().where("at = 1").collect()
    with pytest.raises(Exception, match="NOT_FOUND"):
        reader.schema("other bigint").load().where("other = 1").collect()
