"""A few rounds of ``make chaos-spark``, or as many as FLIGHTBRIDGE_SPARK_ROUNDS says."""

from __future__ import annotations

import os

import pytest

import flightbridge

from .spark_chaos import SETTINGS, Rounds

ROUNDS = int(os.environ.get("FLIGHTBRIDGE_SPARK_ROUNDS", "4"))


@pytest.mark.spark
@pytest.mark.slow
@pytest.mark.timeout(600 + 60 * ROUNDS)
def test_executors_killed_at_random(spark_cluster):
    with (
        spark_cluster.driver("rounds", **SETTINGS) as driver,
        flightbridge.Server(memory_limit="256MiB") as bridge,
    ):
        rounds = Rounds(spark_cluster, driver, bridge)
        for seed in range(1, 1 + ROUNDS):
            rounds.run(seed)
        assert rounds.kills >= ROUNDS  # somebody died in each
