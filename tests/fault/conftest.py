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
