"""The feeds of a bridge as a catalog of Spark SQL."""

import itertools

import pyarrow as pa
import pytest

import flightbridge
from tests.security.certificates import Authority

pytestmark = pytest.mark.spark

CATALOG = "io.flightbridge.spark.FeedCatalog"
_numbers = itertools.count()


@pytest.fixture
def connected(spark):
    """Puts a catalog on the session and returns its name: a session keeps those it has used."""
    made = []

    def connect(**options):
        name = f"bridge{next(_numbers)}"
        settings = {f"spark.sql.catalog.{name}": CATALOG}
        settings |= {f"spark.sql.catalog.{name}.{key}": value for key, value in options.items()}
        for setting, value in settings.items():
            spark.conf.set(setting, value)
        made.extend(settings)
        return name

    yield connect
    for setting in made:
        spark.conf.unset(setting)


@pytest.fixture
def catalog(connected, bridge):
    return connected(uri=bridge.uri)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"), "ca")


def tables(spark, catalog):
    return [row.tableName for row in spark.sql(f"SHOW TABLES IN {catalog}").collect()]


def rows(client, feed="f"):
    return sorted(tuple(row.values()) for row in client.read_table(feed).to_pylist())


def columns(spark, table):
    described = spark.sql(f"DESCRIBE {table}").collect()
    return [(row.col_name, row.data_type) for row in described]


def test_feeds_are_tables(spark, client, catalog):
    assert tables(spark, catalog) == []
    client.write("ratings", pa.table({"id": [1, 2, 3], "x": ["a", "b", "c"]}))
    client.write("clicks.2026-11", pa.table({"id": [7]}))
    assert tables(spark, catalog) == ["clicks.2026-11", "ratings"]
    assert [t.tableName for t in spark.sql(f"SHOW TABLES IN {catalog} LIKE 'r*'").collect()] == [
        "ratings"
    ]
    assert columns(spark, f"{catalog}.ratings") == [("id", "bigint"), ("x", "string")]
    assert spark.sql(f"SELECT x FROM {catalog}.ratings WHERE id = 2").collect() == [("b",)]
    assert spark.table(f"{catalog}.`clicks.2026-11`").collect() == [(7,)]
    spark.catalog.setCurrentCatalog(catalog)
    try:
        assert spark.sql("SELECT count(*) FROM ratings").first() == (3,)
        assert [t.tableName for t in spark.sql("SHOW TABLES").collect()] == [
            "clicks.2026-11",
            "ratings",
        ]
    finally:
        spark.catalog.setCurrentCatalog("spark_catalog")
    assert spark.catalog.tableExists(f"{catalog}.ratings")
    assert not spark.catalog.tableExists(f"{catalog}.other")
    with pytest.raises(Exception, match="TABLE_OR_VIEW_NOT_FOUND"):
        spark.sql(f"SELECT * FROM {catalog}.other")


def test_inserts(spark, client, catalog):
    client.write("f", pa.table({"id": [1], "x": ["a"]}))
    spark.sql(f"INSERT INTO {catalog}.f VALUES (2, 'b')")
    spark.sql(f"INSERT INTO {catalog}.f (x, id) VALUES ('c', 3)")
    spark.createDataFrame([(4, "d")], "id long, x string").writeTo(f"{catalog}.f").append()
    assert rows(client) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    spark.sql(f"INSERT OVERWRITE {catalog}.f SELECT id + 10, x FROM {catalog}.f WHERE id > 2")
    assert rows(client) == [(13, "c"), (14, "d")]
    for values in ("(1)", "('no number', 'a')"):
        with pytest.raises(Exception, match=r"INSERT_COLUMN_ARITY_MISMATCH|CAST|cast"):
            spark.sql(f"INSERT INTO {catalog}.f VALUES {values}")
    assert rows(client) == [(13, "c"), (14, "d")]
    assert client.feed("f").open_jobs == 0


def test_create_table_as_select(spark, client, catalog):
    select = "SELECT id, cast(id AS STRING) AS name FROM range(5)"
    spark.sql(f"CREATE TABLE {catalog}.f AS {select}")
    assert rows(client) == [(i, str(i)) for i in range(5)]
    with pytest.raises(Exception, match="TABLE_OR_VIEW_ALREADY_EXISTS"):
        spark.sql(f"CREATE TABLE {catalog}.f AS {select}")
    spark.sql(f"CREATE TABLE IF NOT EXISTS {catalog}.f AS SELECT 1 AS other")
    assert client.feed("f").rows == 5
    spark.sql(f"CREATE OR REPLACE TABLE {catalog}.f AS SELECT id * 2 AS twice FROM {catalog}.f")
    assert rows(client) == [(i * 2,) for i in range(5)]
    spark.sql(f"REPLACE TABLE {catalog}.f AS SELECT 'x' AS x WHERE false")
    assert (client.feed("f").rows, client.schema("f").names) == (0, ["x"])
    with pytest.raises(Exception, match=r"NOT_FOUND"):
        spark.sql(f"REPLACE TABLE {catalog}.missing AS SELECT 1 AS x")
    frame = spark.range(3)
    frame.write.saveAsTable(f"{catalog}.g")
    frame.writeTo(f"{catalog}.h").create()
    frame.selectExpr("id + 1 AS id").write.mode("overwrite").saveAsTable(f"{catalog}.g")
    frame.write.mode("append").saveAsTable(f"{catalog}.h")
    assert rows(client, "g") == [(1,), (2,), (3,)]
    assert rows(client, "h") == [(0,), (0,), (1,), (1,), (2,), (2,)]


def test_create_table_makes_an_empty_feed(spark, client, catalog):
    spark.sql(f"CREATE TABLE {catalog}.f (id BIGINT, tags ARRAY<STRING>) USING flightbridge")
    assert client.feed("f").rows == 0
    assert columns(spark, f"{catalog}.f") == [("id", "bigint"), ("tags", "array<string>")]
    with pytest.raises(Exception, match="ALREADY_EXISTS"):
        spark.sql(f"CREATE TABLE {catalog}.f (id BIGINT)")
    spark.sql(f"CREATE TABLE IF NOT EXISTS {catalog}.f (id BIGINT)")
    spark.sql(f"INSERT INTO {catalog}.f SELECT id, array('x') FROM range(2)")
    assert rows(client) == [(0, ["x"]), (1, ["x"])]
    spark.sql(f"CREATE OR REPLACE TABLE {catalog}.f (score DOUBLE)")
    assert (client.feed("f").rows, client.schema("f").names) == (0, ["score"])
    assert client.feed("f").open_jobs == 0


@pytest.mark.parametrize("statement", ["CREATE", "CREATE OR REPLACE", "REPLACE"])
def test_a_statement_that_fails_leaves_the_feed_as_it_was(spark, client, catalog, statement):
    there = statement != "CREATE"
    if there:
        client.write("f", pa.table({"id": [1, 2]}))
    # Some partitions are written whole before another fails, as often as Spark tries.
    fails = "SELECT /*+ REPARTITION(4) */ if(id = 999, raise_error('spoilt'), id) FROM range(1000)"
    with pytest.raises(Exception, match="spoilt"):
        spark.sql(f"{statement} TABLE {catalog}.f AS {fails}")
    assert tables(spark, catalog) == (["f"] if there else [])
    if there:
        assert rows(client) == [(1,), (2,)]
        assert client.feed("f").open_jobs == 0


def test_options_of_new_feeds(spark, client, connected, bridge):
    catalog = connected(uri=bridge.uri, split_bytes="1000", timeout="30", retention="once")
    spark.sql(f"CREATE TABLE {catalog}.f AS SELECT 1 AS x")
    spark.sql(f"CREATE TABLE {catalog}.g OPTIONS (retention 'epochs=3') AS SELECT 1 AS x")
    spark.sql(f"INSERT INTO {catalog}.f VALUES (2)")
    assert spark.table(f"{catalog}.f").count() == 2
    assert (client.feed("f").retention, client.feed("g").retention) == ("once", "epochs=3")


def test_drop_table(spark, client, catalog):
    client.write("f", pa.table({"id": [1]}))
    spark.sql(f"DROP TABLE {catalog}.f")
    assert client.feeds() == []
    with pytest.raises(Exception, match="TABLE_OR_VIEW_NOT_FOUND"):
        spark.sql(f"DROP TABLE {catalog}.f")
    spark.sql(f"DROP TABLE IF EXISTS {catalog}.f")
    client.write("f", pa.table({"id": [1]}))
    spark.sql(f"DROP TABLE {catalog}.f PURGE")
    assert client.feeds() == []


def test_a_cached_table_shows_what_is_inserted(spark, client, catalog):
    client.write("f", pa.table({"id": [1]}))
    spark.sql(f"CACHE TABLE {catalog}.f")
    assert spark.table(f"{catalog}.f").count() == 1
    client.write("f", pa.table({"id": [5, 6]}), mode="append")
    assert spark.table(f"{catalog}.f").count() == 1, "what was cached"
    spark.sql(f"INSERT INTO {catalog}.f VALUES (2)")
    assert sorted(spark.table(f"{catalog}.f").collect()) == [(1,), (2,), (5,), (6,)]
    spark.sql(f"UNCACHE TABLE {catalog}.f")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("ALTER TABLE {c}.f ADD COLUMN y INT", "of feed 'f' .*CREATE OR REPLACE TABLE"),
        ("ALTER TABLE {c}.f SET TBLPROPERTIES ('a'='b')", "of feed 'f' .*CREATE OR REPLACE TABLE"),
        ("ALTER TABLE {c}.f RENAME TO {c}.g", "of feed 'f' .*AS SELECT one of the other name"),
        ("SELECT * FROM {c}.a.b", "one level.*quote a name with dots, as in {c}.`a.b`"),
        ("CREATE NAMESPACE {c}.daily", "no namespaces .*`clicks.daily`"),
        ("CREATE TABLE {c}.n (x INT NOT NULL)", "'n' .*NOT NULL of column 'x'.*leave it out"),
        ("CREATE TABLE {c}.n (x INT) PARTITIONED BY (x)", "'n' .*PARTITIONED BY.*leave it out"),
        ("CREATE TABLE {c}.n (x INT) COMMENT 'c'", "'n' .*COMMENT.*leave it out"),
        ("CREATE TABLE {c}.n (x INT) LOCATION '/n'", "'n' .*LOCATION.*leave it out"),
        ("CREATE TABLE {c}.n USING orc AS SELECT 1 AS x", "'n' .*USING orc.*leave it out"),
        ("CREATE TABLE {c}.n OPTIONS (uri 'grpc://b:1') AS SELECT 1", "set spark.sql.catalog.{c}"),
        ("CREATE TABLE {c}.n OPTIONS (shards 4) AS SELECT 1", "option shards.*REPARTITION"),
        ("CREATE TABLE {c}.n OPTIONS (colour 'red') AS SELECT 1", "colour='red' is not known"),
        ("CREATE TABLE {c}.`a/b` AS SELECT 1 AS x", "a/b"),
    ],
)
def test_what_is_not_possible_is_said(spark, client, catalog, statement, words):
    client.write("f", pa.table({"x": [1]}))
    with pytest.raises(Exception, match=f"(?s)INVALID_ARGUMENT.*{words.format(c=catalog)}"):
        spark.sql(statement.format(c=catalog)).collect()
    assert [feed.feed for feed in client.feeds()] == ["f"]
    assert rows(client) == [(1,)]


def test_options_of_writes_that_nobody_would_heed_are_refused(spark, client, catalog):
    frame = spark.range(3)
    frame.write.saveAsTable(f"{catalog}.f")
    for writer in (
        lambda: frame.writeTo(f"{catalog}.f").option("shards", 4).append(),
        lambda: frame.write.option("shards", 4).saveAsTable(f"{catalog}.g"),
    ):
        with pytest.raises(Exception, match=r"option shards='4' is not for writes to a table"):
            writer()
    assert rows(client) == [(0,), (1,), (2,)]
    assert client.feed("f").open_jobs == 0


def test_there_is_one_level(spark, catalog):
    assert spark.sql(f"SHOW NAMESPACES IN {catalog}").collect() == []
    with pytest.raises(Exception, match="SCHEMA_NOT_FOUND"):
        spark.sql(f"SHOW TABLES IN {catalog}.daily").collect()


def test_bad_options_of_the_catalog_are_named(spark, connected, bridge):
    for options, words in [
        ({}, r"set spark\.sql\.catalog\.bridge\d+\.uri to the bridge"),
        ({"uri": "http://b"}, "'http://b' is not the address"),
        ({"uri": bridge.uri, "feed": "f"}, r"spark\.sql\.catalog\.bridge\d+\.feed is not known"),
        ({"uri": bridge.uri, "timeout": "soon"}, "timeout='soon' is not a time"),
        ({"uri": "grpc://127.0.0.1:1", "timeout": "5"}, "no server answers at grpc://127"),
    ]:
        with pytest.raises(Exception, match=words):
            spark.sql(f"SHOW TABLES IN {connected(**options)}").collect()


def test_tokens_and_tls(spark, connected, tmp_path, authority):
    tokens = tmp_path / "tokens"
    tokens.write_text(
        "token-of-a-reader-0123 read:clicks.*\n"
        "token-of-a-writer-0123 read:clicks.*,write:clicks.*\n"
        "token-of-an-admin-0123 read:*,write:*,admin:*\n"
    )
    tokens.chmod(0o600)
    pair = authority.issue("server")
    files = {"tls_cert": str(pair.cert), "tls_key": str(pair.key), "token_file": str(tokens)}
    with flightbridge.Server(memory_limit="64MiB", **files) as server:
        files = {"uri": server.uri, "tls_ca": str(authority.ca), "timeout": "20"}
        reader, writer, admin = (
            connected(token=f"token-of-{who}-0123", **files)
            for who in ("a-reader", "a-writer", "an-admin")
        )
        spark.sql(f"CREATE TABLE {writer}.`clicks.a` AS SELECT id FROM range(3)")
        spark.sql(f"CREATE TABLE {admin}.secret AS SELECT 1 AS x")
        assert tables(spark, reader) == ["clicks.a"]
        assert tables(spark, admin) == ["clicks.a", "secret"]
        assert spark.table(f"{reader}.`clicks.a`").count() == 3
        for statement, scope in [
            (f"DROP TABLE {reader}.`clicks.a`", "admin"),
            (f"DROP TABLE {writer}.`clicks.a`", "admin"),
            (f"INSERT INTO {reader}.`clicks.a` VALUES (4)", "write"),
            (f"CREATE TABLE {reader}.`clicks.b` AS SELECT 1 AS x", "write"),
            (f"SELECT * FROM {reader}.secret", "read"),
        ]:
            with pytest.raises(Exception, match=rf"PERMISSION_DENIED\].*{scope}"):
                spark.sql(statement)
        assert tables(spark, admin) == ["clicks.a", "secret"]
        spark.sql(f"DROP TABLE {admin}.`clicks.a`")
        assert tables(spark, admin) == ["secret"]
        with pytest.raises(Exception, match="UNAUTHENTICATED"):
            spark.sql(f"SHOW TABLES IN {connected(token='token-of-nobody-0123', **files)}")
        without_ca = connected(uri=server.uri, token="token-of-a-reader-0123", timeout="5")
        with pytest.raises(Exception, match="tls_ca"):
            spark.sql(f"SHOW TABLES IN {without_ca}")


def test_feeds_over_several_servers(spark, connected):
    with (
        flightbridge.Server(memory_limit="64MiB") as one,
        flightbridge.Server(memory_limit="64MiB") as other,
    ):
        catalog = connected(uri=f"{one.uri},{other.uri}")
        with one.client() as alone:
            alone.write("alone", pa.table({"x": [1]}))
        for name in ("f", "g", "h"):
            spark.sql(f"CREATE TABLE {catalog}.{name} AS SELECT id FROM range(0, 100, 1, 4)")
        assert tables(spark, catalog) == ["f", "g", "h"]
        assert spark.table(f"{catalog}.g").count() == 100
        spark.sql(f"DROP TABLE {catalog}.g")
        assert tables(spark, catalog) == ["f", "h"]
        with one.client() as first, other.client() as second:
            left = {feed.feed for client in (first, second) for feed in client.feeds()}
        assert left == {"alone", "f", "h"}
