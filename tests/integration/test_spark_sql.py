"""Feeds as tables of Spark SQL."""

import itertools

import pyarrow as pa
import pytest

pytestmark = pytest.mark.spark

_numbers = itertools.count()


@pytest.fixture
def table(spark, bridge):
    """Makes tables of feeds by ``CREATE TABLE name {columns} USING flightbridge ... {rest}``."""
    made = []

    def make(feed, columns="", rest="", more=""):
        name = f"t{next(_numbers)}"
        options = f"OPTIONS (uri '{bridge.uri}', feed '{feed}'{more})"
        made.append(name)
        spark.sql(f"CREATE TABLE {name} {columns} USING flightbridge {options} {rest}")
        return name

    yield make
    for name in made:
        spark.sql(f"DROP TABLE IF EXISTS {name}")


def rows(client, feed="f"):
    return sorted(tuple(row.values()) for row in client.read_table(feed).to_pylist())


def test_a_table_of_a_feed_that_exists(spark, bridge, client, table):
    client.write("f", pa.table({"id": [1, 2, 3], "x": ["a", "b", "c"]}))
    t = table("f")
    assert [row.col_name for row in spark.sql(f"DESCRIBE {t}").collect()][:2] == ["id", "x"]
    assert spark.sql(f"SELECT x FROM {t} WHERE id = 2").collect() == [("b",)]
    assert spark.sql(f"SELECT count(*) FROM {t}").first() == (3,)
    spark.sql(f"INSERT INTO {t} VALUES (4, 'd')")
    spark.sql(f"INSERT INTO {t} (x, id) VALUES ('e', 5)")
    assert rows(client) == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")]
    assert spark.table(t).count() == 5
    spark.sql(f"INSERT OVERWRITE {t} SELECT id + 10, x FROM {t} WHERE id > 3")
    assert rows(client) == [(14, "d"), (15, "e")]
    assert client.feed("f").open_jobs == 0
    spark.sql(f"DROP TABLE {t}")
    assert client.feed("f").rows == 2, "the feed is not the table's to drop"


def test_a_table_that_makes_its_feed(spark, bridge, client, table):
    t = table("f", "(id BIGINT, score DOUBLE, tags ARRAY<STRING>)")
    with pytest.raises(Exception, match=r"NOT_FOUND.*f"):
        spark.sql(f"SELECT * FROM {t}").collect()
    spark.sql(f"INSERT INTO {t} SELECT id, id / 2, array('x') FROM range(3)")
    assert rows(client) == [(0, 0.0, ["x"]), (1, 0.5, ["x"]), (2, 1.0, ["x"])]
    assert client.schema("f").field("score").type == pa.float64()


def test_create_table_as_select(spark, bridge, client, table):
    t = table("f", rest="AS SELECT id, cast(id AS STRING) AS name FROM range(5)")
    assert rows(client) == [(i, str(i)) for i in range(5)]
    assert spark.table(t).where("name = '3'").first().id == 3


ARRANGING = [("shards", "4"), ("shuffle", "true"), ("seed", "7"), ("Mode", "ignore")]


@pytest.mark.parametrize(("option", "value"), ARRANGING)
def test_options_of_a_table_that_inserts_would_not_heed_are_refused(
    spark, client, table, option, value
):
    client.write("f", pa.table({"id": [1]}))
    t = table("f", more=f", {option} '{value}'")
    refused = rf"INVALID_ARGUMENT.*option {option.lower()}='{value}' is not for writes to a table"
    for statement in ("INSERT INTO", "INSERT OVERWRITE"):
        with pytest.raises(Exception, match=rf"{refused}.*/\*\+ REPARTITION\(8\) \*/"):
            spark.sql(f"{statement} {t} SELECT id FROM range(9)")
    assert rows(client) == [(1,)]
    assert spark.table(t).collect() == [(1,)], "reads have no use for it"


@pytest.mark.parametrize(("option", "value"), ARRANGING)
def test_options_of_a_statement_that_it_would_not_heed_are_refused(
    spark, client, table, option, value
):
    client.write("f", pa.table({"id": [1]}))
    t = table("f")
    refused = rf"INVALID_ARGUMENT.*option {option.lower()}='{value}' is not for writes to a table"
    with pytest.raises(Exception, match=refused):
        spark.range(9).writeTo(t).option(option, value).append()
    with pytest.raises(Exception, match=refused):
        table("g", more=f", {option} '{value}'", rest="AS SELECT id FROM range(9)")
    assert rows(client) == [(1,)]
    assert [feed.feed for feed in client.feeds()] == ["f"]


def test_hints_arrange_what_is_inserted(spark, client, table):
    t = table("f", "(id BIGINT)")
    spark.sql(f"INSERT INTO {t} SELECT /*+ REPARTITION(5) */ id FROM range(1000)")
    assert rows(client) == [(i,) for i in range(1000)]
    assert len(client.feed("f").partitions) == 5


def test_a_temporary_view(spark, bridge, client):
    client.write("f", pa.table({"id": range(10)}))
    options = f"OPTIONS (uri '{bridge.uri}', feed 'f')"
    spark.sql(f"CREATE OR REPLACE TEMPORARY VIEW v USING flightbridge {options}")
    assert spark.sql("SELECT sum(id) FROM v").first() == (45,)
    spark.catalog.dropTempView("v")


def test_columns_that_do_not_fit_are_refused(spark, bridge, client, table):
    client.write("f", pa.table({"id": [1], "x": ["a"]}))
    t = table("f")
    for values in ("(1)", "(1, 'a', 2)", "('no number', 'a')"):
        with pytest.raises(Exception, match=r"INSERT_COLUMN_ARITY_MISMATCH|CAST|cast"):
            spark.sql(f"INSERT INTO {t} VALUES {values}")
    assert rows(client) == [(1, "a")]
