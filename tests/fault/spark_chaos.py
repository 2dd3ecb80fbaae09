"""Rounds of Spark jobs whose executors are killed at random moments.

    python -m tests.fault.spark_chaos --rounds 100            # make chaos-spark ROUNDS=100
    python -m tests.fault.spark_chaos --rounds 1 --seed 4711  # that round once more

What a round writes, whom it kills and when follow from its seed; how far the tasks are by then does
not, so a failure may take a few tries to show itself again.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import flightbridge
from flightbridge.client import Client

from .spark_cluster import SparkCluster, wait_for
from .spark_driver import Driver
from .spark_oracle import Tasks, assert_feed

SETTINGS = {"spark.speculation": "true", "spark.speculation.quantile": "0.5"}
KEPT_WRITES = 4  # appended to one feed, before it is overwritten


class Rounds:
    """One after the other on the same cluster, driver, server and feed."""

    def __init__(self, cluster: SparkCluster, driver: Driver, bridge: flightbridge.Server) -> None:
        self.cluster, self.driver, self.bridge = cluster, driver, bridge
        self.written: list[range] = []  # what the feed holds
        self.passed = self.kills = self.hits = self.repeated = 0

    def run(self, seed: int) -> None:
        """Raises AssertionError, with the seed, where a round goes wrong."""
        try:
            with (
                tempfile.TemporaryDirectory(prefix="tasks-", dir=self.cluster.root) as root,
                flightbridge.connect(self.bridge.uri, timeout_s=30) as client,
            ):
                self._round(random.Random(seed), client, Path(root))
        except Exception as error:
            again = f"repeat it with  make chaos-spark SEED={seed}"
            raise AssertionError(f"{type(error).__name__}: {error}\n{again}") from error
        self.passed += 1

    def _round(self, rng: random.Random, client: Client, root: Path) -> None:
        wait_for(lambda: len(self.cluster.executors()) == 2, "two executors")
        tasks = Tasks(root / "tasks")
        first = rng.randrange(1 << 20)
        rows = range(first, first + rng.randrange(4000, 16_000))
        partitions = rng.randrange(2, 9)
        shape = rng.choice(("plain", "plain", "grouped"))
        options = {"transport": rng.choice(("mapped", "channel", "flight"))}
        if rng.random() < 0.25:
            options |= {"shards": rng.randrange(1, 5), "shuffle": "true", "seed": first}
        mode = rng.choice(("append", "overwrite"))
        # What comes from a shuffle unsorted comes in another order when a task is repeated, and a
        # partition that is visible already is refused then.
        if rng.random() < 0.25 and shape == "plain":
            options["visible"], mode = "partition", "errorifexists"
        if mode != "append" or len(self.written) == KEPT_WRITES:
            self.written = []
            if mode != "overwrite":
                client.drop("f", if_exists=True)
        self.driver.start(
            uri=self.bridge.uri,
            feed="f",
            mode=mode,
            options=options,
            faults=str(tasks.directory),
            start=rows.start,
            rows=len(rows),
            partitions=partitions,
            shape=shape,
            pause_ms=max(1, 200_000 // len(rows)),  # a second on two executors
        )
        wait_for(lambda: tasks.started() or self.driver.is_done(), "a task")
        for _ in range(rng.choice((1, 1, 2))):
            time.sleep(rng.uniform(0, 1.5))
            victim = rng.choice(self.cluster.executors() or [None])
            if victim is not None:
                victim.kill()
                self.kills += 1
                self.hits += not self.driver.is_done()
        outcome = self.driver.outcome()
        assert outcome == "done", outcome
        self.written.append(rows)
        assert_feed(client, *self.written)
        started = tasks.started()
        self.repeated += len(started) - len({(one.stage, one.partition) for one in started})

    def report(self) -> str:
        return (
            f"{self.passed} rounds passed; {self.kills} executors killed, {self.hits} of them "
            f"while the job ran; {self.repeated} tasks ran again"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, help="of the first round; the others count on from it")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else int.from_bytes(os.urandom(3), "little")
    print(f"chaos-spark: seeds {first} to {first + options.rounds - 1}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="flightbridge-spark-") as root,
        SparkCluster(Path(root)) as cluster,
        cluster.driver("chaos", **SETTINGS) as driver,
        flightbridge.Server(memory_limit="256MiB") as bridge,
    ):
        rounds = Rounds(cluster, driver, bridge)
        for seed in range(first, first + options.rounds):
            try:
                rounds.run(seed)
            except AssertionError as error:
                print(f"chaos-spark: seed {seed} failed: {error}", flush=True)
                print(f"chaos-spark: before that, {rounds.report()}", flush=True)
                return 1
            if rounds.passed % 10 == 0:
                print(f"chaos-spark: {rounds.report()}", flush=True)
        with bridge.client() as client:
            client.drop("f")
            wait_for(lambda: client.status().memory_used_bytes == 0, "the last byte's release")
        print(f"chaos-spark: {rounds.report()}, from seed {first} on")
    return 0


if __name__ == "__main__":
    sys.exit(main())
