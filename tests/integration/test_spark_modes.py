"""The four save modes and their refusals, through both APIs, on both kinds of session."""

import itertools

import pyarrow as pa
import pytest

import flightbridge.spark
from flightbridge.errors import (
    FeedExistsError,
    FeedNotFoundError,
    InvalidArgumentError,
    SchemaMismatchError,
    ServerUnavailableError,
    UnsupportedTypeError,
)
from flightbridge.spark import register

pytestmark = pytest.mark.spark


def frame(spark, start, end):
    return spark.range(start, end, 1, 3).selectExpr("id", "cast(id as string) as name")


def through_format(df, uri, feed, mode, **options):
    writer = df.write.format("flightbridge").option("uri", uri).option("feed", feed)
    for name, value in options.items():
        writer = writer.option(name, value)
    (writer if mode is None else writer.mode(mode)).save()


def through_save_arguments(df, uri, feed, mode, **options):
    df.write.save(format="flightbridge", mode=mode, uri=uri, feed=feed, **options)


def through_write(df, uri, feed, mode, **options):
    arguments = {} if mode is None else {"mode": mode}
    return flightbridge.spark.write(df, uri, feed, **arguments, **options)


def through_python(df, uri, feed, mode, **options):
    return through_write(df, uri, feed, mode, writer="python", **options)


def through_python_format(df, uri, feed, mode, **options):
    register(df.sparkSession)
    writer = df.write.format("flightbridge_python").option("uri", uri).option("feed", feed)
    (writer if mode is None else writer.mode(mode)).options(**options).save()


WAYS = [
    through_format,
    through_save_arguments,
    through_write,
    through_python,
    through_python_format,
]
BY_PYTHON = [through_python, through_python_format]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__.removeprefix("through_"))
def save(request):
    return request.param


def ids(client, feed="f"):
    return sorted(client.read_table(feed).column("id").to_pylist())


def nothing_is_open(client, feed="f"):
    return client.feed(feed).open_jobs == 0 and client.status().open_puts == 0


def test_each_mode(spark, save, bridge, client):
    save(frame(spark, 0, 10), bridge.uri, "f", None)
    assert ids(client) == list(range(10))
    for mode in (None, "error", "errorifexists"):
        with pytest.raises(FeedExistsError, match=r"\bf\b.* exists"):
            save(frame(spark, 10, 20), bridge.uri, "f", mode)
    save(frame(spark, 10, 20), bridge.uri, "f", "ignore")
    assert ids(client) == list(range(10))
    save(frame(spark, 10, 20), bridge.uri, "f", "append")
    assert ids(client) == list(range(20))
    save(frame(spark, 5, 8), bridge.uri, "f", "overwrite")
    assert ids(client) == [5, 6, 7]
    assert nothing_is_open(client)


def test_a_refusal_comes_before_the_work(classic_session, bridge, client):
    """Spark runs every shuffle of a plan before it opens the write: the feed is asked for first."""
    client.write("f", pa.table({"id": [1]}))
    told = "select id % 2 as k, assert_true(id < 0, 'worked') is null as x from range(9)"
    df = classic_session.sql(told).groupBy("k").count()
    with pytest.raises(FeedExistsError):
        through_format(df, bridge.uri, "f", None)
    through_format(df, bridge.uri, "f", "ignore")
    assert ids(client) == [1]


def test_retention_travels_with_the_write(spark, save, bridge, client):
    save(frame(spark, 0, 10), bridge.uri, "f", None, retention="epochs=2", ttl=3600)
    info = client.feed("f")
    assert (info.retention, info.ttl_s) == ("epochs=2", 3600)
    with pytest.raises(InvalidArgumentError, match="option retention='never'"):
        save(frame(spark, 0, 10), bridge.uri, "g", None, retention="never")
    # With overwrite each partition cannot be shown at once: so the option did arrive.
    with pytest.raises(InvalidArgumentError, match="visible=partition with mode overwrite"):
        save(frame(spark, 0, 10), bridge.uri, "f", "overwrite", visible="partition")


@pytest.mark.parametrize("mode", ["ignore", "append", "overwrite", "error"])
def test_each_mode_makes_a_new_feed(spark, bridge, client, mode):
    through_format(frame(spark, 0, 3), bridge.uri, mode, mode)
    assert ids(client, mode) == [0, 1, 2]


def test_write_returns_the_committed_feed(spark, bridge, client):
    info = flightbridge.spark.write(frame(spark, 0, 100), bridge, "f", partitions=5)
    assert info == client.feed("f")
    assert info.rows == 100
    assert 1 <= len(info.partitions) <= 5
    kept = flightbridge.spark.write(frame(spark, 0, 1), bridge, "f", "ignore")
    assert kept == info


@pytest.mark.parametrize("writer", ["connector", "python"])
def test_empty_partitions_leave_no_trace_and_an_empty_frame_makes_an_empty_feed(
    spark, bridge, client, writer
):
    some = frame(spark, 0, 9).where("id between 3 and 5")  # the middle one of three partitions
    info = flightbridge.spark.write(some, bridge, "f", writer=writer)
    assert [p.partition for p in info.partitions] == [1]
    empty = flightbridge.spark.write(some.limit(0), bridge, "empty", writer=writer)
    assert (empty.rows, empty.partitions) == (0, ())
    assert client.schema("empty").names == ["id", "name"]


def test_append_of_another_schema_is_refused_and_changes_nothing(spark, save, bridge, client):
    save(frame(spark, 0, 4), bridge.uri, "f", None)
    before = client.feed("f")
    with pytest.raises(SchemaMismatchError):
        save(frame(spark, 0, 4).drop("name"), bridge.uri, "f", "append")
    assert client.feed("f") == before


def test_append_does_not_care_for_nullability_or_time_zone(spark, bridge, client):
    instant = "timestamp'2024-03-01 12:00:00+00:00' as at"
    zone = spark.conf.get("spark.sql.session.timeZone")
    try:
        for number, name in enumerate(("UTC", "Asia/Tokyo")):
            spark.conf.set("spark.sql.session.timeZone", name)
            column = "1 as id" if number == 0 else "cast(null as int) as id"
            through_format(spark.sql(f"select {column}, {instant}"), bridge.uri, "f", "append")
    finally:
        spark.conf.set("spark.sql.session.timeZone", zone)
    table = client.read_table("f")
    assert table.column("id").to_pylist() == [1, None]
    assert table.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert len(set(table.column("at").to_pylist())) == 1


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"batch_size": 5}, InvalidArgumentError, "batch_size='?5'? is not known"),
        ({"timeout": "never"}, InvalidArgumentError, "timeout='never' is not a time"),
    ],
)
def test_bad_options_are_named(spark, save, bridge, client, options, error, text):
    with pytest.raises(error, match=text):
        save(frame(spark, 0, 3), bridge.uri, "f", None, **options)
    assert client.feeds() == []


@pytest.mark.parametrize(
    ("uri", "error", "text"),
    [
        ("http://127.0.0.1:1", InvalidArgumentError, r"uri='http://127\.0\.0\.1:1'.*grpc://"),
        ("grpc://127.0.0.1:1", ServerUnavailableError, r"127\.0\.0\.1:1"),
    ],
)
def test_bad_uris_are_named(spark, save, uri, error, text):
    with pytest.raises(error, match=text):
        save(frame(spark, 0, 3), uri, "f", None, timeout=5)


def test_missing_options_are_named(spark, bridge):
    with pytest.raises(InvalidArgumentError, match="option feed is missing"):
        spark.range(1).write.format("flightbridge").option("uri", bridge.uri).save()
    with pytest.raises(InvalidArgumentError, match="option uri is missing"):
        spark.range(1).write.format("flightbridge").option("feed", "f").save()


def test_a_path_and_partition_columns_are_refused(spark, bridge):
    writer = spark.range(1).write.format("flightbridge").option("uri", bridge.uri)
    with pytest.raises(InvalidArgumentError, match=r"a feed has a name, not a path"):
        writer.option("feed", "f").save("/tmp/x")
    with pytest.raises(InvalidArgumentError, match=r"partitionBy='id' is not supported"):
        writer.option("feed", "f").save(partitionBy="id")


def test_what_only_the_connector_does_is_refused_by_the_python_writer(spark, bridge, client):
    for name, value in [("shards", 2), ("shuffle", True), ("batch_bytes", 1 << 20)]:
        with pytest.raises(InvalidArgumentError, match=rf"option {name}=.*configure\(builder\)"):
            through_python(frame(spark, 0, 3), bridge.uri, "f", None, **{name: value})
    with pytest.raises(InvalidArgumentError, match="writer='java' is not one of auto, connector"):
        through_write(frame(spark, 0, 3), bridge.uri, "f", None, writer="java")
    assert client.feeds() == []


def test_shards_and_shuffle_arrange_the_rows(spark, bridge, client):
    df = frame(spark, 0, 10_000)
    info = flightbridge.spark.write(df, bridge, "f", shards=5, shuffle=True, seed=7)
    assert len(info.partitions) == 5
    assert ids(client) == list(range(10_000))
    inside = client.read_table("f").column("id").to_pylist()
    ascending = sum(a < b for a, b in itertools.pairwise(inside))
    assert 4_500 < ascending < 5_500  # ten standard deviations of a random order are 290
    again = flightbridge.spark.write(df, bridge, "again", shards=5, shuffle=True, seed=7)
    assert [p.rows for p in again.partitions] == [p.rows for p in info.partitions]
    assert client.read_table("again").column("id").to_pylist() == inside
    flightbridge.spark.write(df, bridge, "other", shards=5, shuffle=True, seed=8)
    assert client.read_table("other").column("id").to_pylist() != inside


def test_the_connector_takes_what_the_python_writer_does_not(spark, bridge, client):
    df = spark.sql("select 1 as id, interval '1' month as m, parse_json('{}') as v, null as n")
    flightbridge.spark.write(df, bridge, "f", writer="connector")
    schema = client.schema("f")
    assert schema.names == ["id", "m", "v", "n"]
    assert schema.field("n").type == pa.null()
    assert client.feed("f").rows == 1


@pytest.mark.parametrize("save", BY_PYTHON, ids=lambda way: way.__name__)
@pytest.mark.parametrize(
    ("column", "remedy"),
    [
        ("make_interval(1)", "cast it to string"),
        ("interval '1' month", "cast it to string"),
        ("parse_json('{}')", "to_json"),
        ("null", "cast it to a concrete type"),
        ("array(named_struct('deep', parse_json('1')))", r"\.deep' has.*to_json"),
    ],
)
def test_unsupported_types_are_named_before_any_task(spark, save, bridge, client, column, remedy):
    df = spark.sql(f"select 1 as id, {column} as c")
    with pytest.raises(UnsupportedTypeError, match=f"column 'c.*{remedy}"):
        save(df, bridge.uri, "f", None)
    assert client.feeds() == []


def test_other_formats_are_spark_s_own(spark, tmp_path):
    df = frame(spark, 0, 5)
    path = str(tmp_path / "rows")
    df.write.parquet(path)
    with pytest.raises(Exception, match="PATH_ALREADY_EXISTS"):
        df.write.format("parquet").save(path)
    df.write.mode("append").format("json").save(str(tmp_path / "other"), mode="ignore")
    assert spark.read.json(str(tmp_path / "other")).count() == 5
    df.write.save(path, format="parquet", mode="overwrite")
    assert spark.read.parquet(path).count() == 5


def test_one_writer_object_can_be_used_again(spark, bridge, client, tmp_path):
    writer = frame(spark, 0, 5).write.format("flightbridge")
    writer.option("uri", bridge.uri).option("feed", "f").save()
    writer.mode("append").save()
    writer.mode("ignore").save()
    assert ids(client) == sorted([*range(5), *range(5)])
    writer.format("parquet").mode("error").save(str(tmp_path / "rows"))
    assert spark.read.parquet(str(tmp_path / "rows")).count() == 5


def test_the_python_writer_says_how_to_read(spark):
    register(spark)
    with pytest.raises(Exception, match="only writes where the session has no connector"):
        spark.read.format("flightbridge_python").load().collect()


def test_a_failing_query_keeps_its_own_error(spark, bridge, client):
    df = spark.sql("select assert_true(id < 0, 'told you') is null as x from range(3)")
    with pytest.raises(Exception, match="told you") as caught:
        through_format(df, bridge.uri, "f", None)
    assert type(caught.value).__module__.startswith("pyspark")
    with pytest.raises(FeedNotFoundError):
        client.feed("f")


@pytest.mark.parametrize("writer", ["connector", "python"])
def test_a_feed_that_spans_servers(classic_session, bridge, writer):
    with (
        flightbridge.Server() as second,
        flightbridge.Server() as third,
        flightbridge.connect([bridge.uri, second.uri, third.uri]) as client,
    ):
        through_write(frame(classic_session, 0, 30), client.uri, "f", "error", writer=writer)
        assert ids(client) == list(range(30))
        info = flightbridge.spark.write(
            frame(classic_session, 30, 60), client.uri, "f", "append", partitions=6, writer=writer
        )
        assert {part.server for part in info.partitions} <= set(info.servers)
        assert len({part.server for part in info.partitions}) > 1
        assert ids(client) == list(range(60))
