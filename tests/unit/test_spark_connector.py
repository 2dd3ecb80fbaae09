"""The connector's jar and the sessions that have it, without Spark."""

import logging

import pytest

from flightbridge.errors import FailedPreconditionError, InvalidArgumentError
from flightbridge.spark import connector


@pytest.fixture
def jars(tmp_path, monkeypatch):
    monkeypatch.setattr(connector, "_JARS", tmp_path)
    for name in ("flightbridge-spark-4_2.13-0.1.0.jar", "flightbridge-spark-3.5_2.12-0.1.0.jar"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("spark", "name"),
    [
        ("4", "spark-4_2.13"),
        ("4.0", "spark-4_2.13"),
        ("4.3.1", "spark-4_2.13"),
        ("3.5.7", "spark-3.5_2.12"),
    ],
)
def test_the_jar_of_a_spark(jars, spark, name):
    assert connector.jar(spark).name == f"flightbridge-{name}-0.1.0.jar"
    assert connector.jar(spark).parent == jars


def test_no_jar_says_how_to_make_one(jars):
    for jar in jars.iterdir():
        jar.unlink()
    with pytest.raises(FailedPreconditionError, match=r"Spark 4 .*`make jar` in a checkout"):
        connector.jar()
    with pytest.raises(FailedPreconditionError, match=r"Spark 3\.5 .*`make jar-3\.5`"):
        connector.jar("3.5")


@pytest.mark.parametrize("spark", ["3.4", "2", "new", ""])
def test_other_sparks_are_refused_by_version(jars, spark):
    with pytest.raises(InvalidArgumentError, match=r"spark='.*' has no connector: use Spark 4"):
        connector.jar(spark)


class Builder:
    def __init__(self, **options):
        self._options = {key.replace("_", "."): value for key, value in options.items()}

    def config(self, key, value):
        self._options[key] = value
        return self


def test_configure_adds_the_jar_once_to_those_that_are_there(jars):
    builder = Builder(spark_jars="/a.jar,/b.jar")
    own = str(connector.jar("4"))
    for _ in range(2):
        assert connector.configure(builder, spark="4") is builder
        assert builder._options["spark.jars"] == f"/a.jar,/b.jar,{own}"


def test_configure_adds_a_catalog(jars):
    builder = Builder()
    connector.configure(builder, spark="4", catalog="bridge", uri="grpc://b:1", timeout=5)
    catalogs = {k: v for k, v in builder._options.items() if k.startswith("spark.sql.catalog")}
    assert catalogs == {
        "spark.sql.catalog.bridge": "io.flightbridge.spark.FeedCatalog",
        "spark.sql.catalog.bridge.uri": "grpc://b:1",
        "spark.sql.catalog.bridge.timeout": "5",
    }


def test_configure_refuses_catalogs_that_sql_cannot_name(jars):
    for name in ("", "a.b", "1a", "my-bridge", "spark_catalog"):
        with pytest.raises(InvalidArgumentError, match="is no name for a catalog"):
            connector.configure(Builder(), spark="4", catalog=name)
    with pytest.raises(InvalidArgumentError, match=r"uri, token are options of a catalog"):
        connector.configure(Builder(), spark="4", uri="grpc://b:1", token="t" * 16)


def test_configure_refuses_what_is_no_builder_of_a_new_session(jars):
    with pytest.raises(InvalidArgumentError, match=r"is not a SparkSession\.builder"):
        connector.configure(object())
    with pytest.raises(InvalidArgumentError, match=r"jars are its server's.*--jars /.*\.jar"):
        connector.configure(Builder(spark_remote="sc://x"), spark="4")


class Session:
    """Answers as Spark does, and counts how often it is asked."""

    def __init__(self, version):
        self.version, self.asked = version, 0

    def sql(self, text):
        self.asked += 1
        assert "io.flightbridge.Connector" in text
        return self

    def collect(self):
        if self.version is None:
            raise RuntimeError("[DATATYPE_MISMATCH.UNEXPECTED_CLASS_TYPE] class not found")
        return [(self.version,)]


def test_a_session_is_asked_until_it_has_the_connector(caplog, monkeypatch):
    monkeypatch.setattr(connector, "_said", set())
    session = Session(None)
    assert connector.version_on(session) is None
    with pytest.raises(FailedPreconditionError, match=r"configure\(SparkSession\.builder\)"):
        connector.require_on(session)
    session.version = "0.0.7"
    with caplog.at_level(logging.WARNING, "flightbridge.spark"):
        assert connector.version_on(session) == "0.0.7"
        assert connector.version_on(session) == "0.0.7"
    assert session.asked == 3
    assert [r.message.partition(" and ")[0] for r in caplog.records] == [
        "the session's FlightBridge connector is 0.0.7"
    ]


def test_a_missing_connector_is_said_once(caplog, monkeypatch):
    monkeypatch.setattr(connector, "_said", set())
    with caplog.at_level(logging.WARNING, "flightbridge.spark"):
        connector.say_that_it_is_missing()
        connector.say_that_it_is_missing()
    (record,) = caplog.records
    assert "several times slower" in record.message
    assert "flightbridge.spark.jar()" in record.message
