"""Holds benchmark reports against what FlightBridge promises; exit code 1 where one is missed.

    flightbridge bench put --json put.json
    python benchmarks/gate.py put.json get.json tf.json step.json move.json

With --run DIR the five benchmarks are run first, and their reports put there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Promise:
    """A figure of a result's peer and the least it may be."""

    result: str
    figure: str
    at_least: float
    says: str


PROMISES = (
    Promise("put", "ratio", 1.0, "put over TCP is as fast as stock Flight into a sink"),
    Promise("put", "cpu_ratio", 1.0, "put over TCP costs no more CPU than that"),
    Promise("get", "ratio", 1.2, "get over TCP is 1.2 times as fast as stock Flight out of memory"),
    Promise("get", "cpu_ratio", 1.0, "get over TCP costs no more CPU than that"),
    Promise("tf op, same process", "ratio", 10.0, "the op gives 10 times from_generator's batches"),
    Promise("step, in order, server process", "ratio", 0.95, "a fed step takes 1.05 times at most"),
    Promise("move", "cpu_ratio", 1.0, "moving the demo's rows costs less CPU than Parquet"),
)


def judge(results: dict[str, dict[str, Any]]) -> list[tuple[Promise, float | None, bool]]:
    """Each promise with the figure found, None where it was not measured, and whether it holds."""
    judged = []
    for promise in PROMISES:
        peer = results.get(promise.result, {}).get("peer")
        found = None if peer is None else float(peer[promise.figure])
        judged.append((promise, found, found is not None and found >= promise.at_least))
    return judged


def main() -> int:
    """Reads or makes the reports, prints one line per promise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="*", type=Path, help="files of flightbridge bench --json")
    parser.add_argument("--run", type=Path, metavar="DIR", help="run the benchmarks into DIR first")
    arguments = parser.parse_args()
    reports = list(arguments.reports)
    if arguments.run is not None:
        arguments.run.mkdir(parents=True, exist_ok=True)
        for name in ("put", "get", "tf", "step", "move"):
            report = arguments.run / f"{name}.json"
            command = [sys.executable, "-m", "flightbridge.cli", "bench", name, "--json", report]
            subprocess.run(list(map(str, command)), check=True)
            reports.append(report)
    results = {
        result["name"]: result
        for report in reports
        for result in json.loads(report.read_text())["results"]
    }
    judged = judge(results)
    for promise, found, holds in judged:
        figure = "not measured" if found is None else f"{found:.2f} (at least {promise.at_least:g})"
        print(f"{'holds ' if holds else 'MISSED'}  {promise.says}: {figure}")
    return 0 if all(holds for *_, holds in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
