"""Fixtures of the tests that need a Spark cluster."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def spark_cluster(tmp_path_factory):
    from flightbridge.spark.environment import require_java

    from .spark_cluster import SparkCluster

    require_java()
    with SparkCluster(tmp_path_factory.mktemp("spark-cluster")) as cluster:
        yield cluster


@pytest.fixture
def tasks(tmp_path):
    """What TaskFaults sees of a test's tasks, and what it is told to do to them."""
    from .spark_oracle import Tasks

    return Tasks(tmp_path / "tasks")


@pytest.fixture
def executors(spark_cluster, driver):
    """Both of the test module's driver, alive."""
    from .spark_cluster import wait_for

    wait_for(lambda: len(spark_cluster.executors()) == 2, "two executors")
    return spark_cluster.executors
