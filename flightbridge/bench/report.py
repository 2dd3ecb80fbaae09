"""The report of a benchmark: a table for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from flightbridge.bench.ceilings import loopback_gbps, memcpy_gbps
from flightbridge.bench.machine import machine_facts
from flightbridge.bench.model import Report, Result
from flightbridge.bench.options import BenchOptions
from flightbridge.bench.progress import Progress

Benchmark = Callable[[BenchOptions, Progress], Iterator[Result]]


def run_report(benchmark: Benchmark, options: BenchOptions) -> Report:
    """Measures the ceilings, then the benchmark, and reports them together."""
    with Progress() as progress:
        progress.say("measuring the ceilings: memcpy and a bare TCP socket")
        size = (64 << 20) if options.quick else (256 << 20)
        ceilings = {
            "memcpy_gbps": memcpy_gbps(size, 3 if options.quick else 5),
            "loopback_gbps": loopback_gbps(size if options.quick else 1 << 30),
        }
        report = Report(machine_facts(), ceilings)
        report.results.extend(benchmark(options, progress))
    return report


def write_json(report: Report, path: str) -> None:
    """Writes the report as JSON to a file, or to stdout where `path` is ``-``."""
    text = json.dumps(report.to_json(), indent=2) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        Path(path).write_text(text)


def print_report(report: Report) -> None:
    """Prints the table to stdout: the machine and the ceilings above, one line per result."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from flightbridge.config import format_bytes

    terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if terminal else 1000)
    machine, ceilings = report.machine, report.ceilings
    print(
        f"{machine['cpu']}, {machine['cores']} cores, {format_bytes(machine['memory_bytes'])}; "
        f"pyarrow {machine['pyarrow']}"
    )
    print(
        f"ceilings: memcpy {ceilings['memcpy_gbps']:.2f} GB/s, "
        f"raw TCP loopback {ceilings['loopback_gbps']:.2f} GB/s"
    )
    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    for header in (
        "bytes",
        "batch",
        "streams",
        "GB/s",
        "batches/s",
        "CPU s/GB",
        "p50 ms",
        "p99 ms",
    ):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("peer", no_wrap=True)
    for result in report.results:
        table.add_row(
            result.name,
            format_bytes(result.bytes),
            format_bytes(result.batch_bytes),
            str(result.streams),
            f"{result.gbps:.2f}",
            f"{result.batches_per_s:,.0f}",
            f"{result.cpu_s_per_gb:.2f}",
            f"{result.p50_ms:.2f}" if result.p50_ms else "-",
            f"{result.p99_ms:.2f}" if result.p99_ms else "-",
            _peer(result),
        )
    console.print(table)
    for result in report.results:
        if result.peak_memory_bytes:
            print(
                f"{result.name}: the server's resident memory was at most "
                f"{format_bytes(result.peak_memory_bytes)}, with --memory-limit "
                f"{format_bytes(result.memory_limit_bytes)}"
            )
            break


def _peer(result: Result) -> str:
    if result.peer is None:
        return ""
    peer = result.peer
    return f"{peer.ratio:.2f}x as fast, {1 / peer.cpu_ratio:.2f}x the CPU of {peer.name}"
