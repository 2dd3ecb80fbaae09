"""Fixtures that more than one folder of tests uses. Nothing heavy is imported before it is used."""

from __future__ import annotations

import sys

import pytest

from tests.integration.kafka import broker


@pytest.fixture
def bridge():
    """An embedded server of its own for one test."""
    import flightbridge

    with flightbridge.Server(memory_limit="256MiB") as server:
        yield server


@pytest.fixture
def client(bridge):
    with bridge.client() as connected:
        yield connected


@pytest.fixture(scope="session")
def classic_session(tmp_path_factory):
    """A classic session whose JVM also serves Spark Connect, so that one start is enough.

    It has the Java connector. ``local[2,3]``: two cores, and a task may fail twice before its job
    does.
    """
    from flightbridge.spark.environment import require_java

    require_java()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        from pyspark.sql import SparkSession

        home = tmp_path_factory.mktemp("spark")
        settings = {
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.memory": "1g",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.extraJavaOptions": f"-Dderby.system.home={home}",
            "spark.local.dir": str(home / "local"),
            "spark.sql.warehouse.dir": str(home / "warehouse"),
            "spark.sql.shuffle.partitions": "4",
            "spark.jars": ",".join(broker.sparks_jars()),
            "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": "0",
        }
        import flightbridge.spark

        builder = SparkSession.builder.master("local[2,3]").appName("flightbridge-tests")
        session = flightbridge.spark.configure(builder.config(map=settings)).getOrCreate()
        session.sparkContext.setLogLevel("OFF")  # tests make tasks fail on purpose
        yield session
        session.stop()


@pytest.fixture(scope="session")
def connect_session(classic_session):
    """A Spark Connect session on the same JVM."""
    from pyspark.sql.connect.session import SparkSession

    service = getattr(
        classic_session._jvm, "org.apache.spark.sql.connect.service.SparkConnectService$"
    )
    port = getattr(service, "MODULE$").localPort()
    session = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").create()
    yield session
    session.stop()


@pytest.fixture(params=["classic", "connect"])
def spark(request):
    """Each kind of Spark session in turn."""
    return request.getfixturevalue(f"{request.param}_session")
