"""``flightbridge bench`` and its subcommands: measurements beside peers and ceilings."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from flightbridge.bench.options import VALUES
from flightbridge.cli.settings import CREDENTIALS, Size


@dataclass(frozen=True)
class Benchmark:
    """One subcommand and its sizes."""

    name: str
    help: str
    bytes: str
    batch_rows: int
    columns: int
    quick_bytes: int
    takes_streams: bool = False
    takes_uri: bool = True
    repeat: int = 5


BENCHMARKS = (
    Benchmark(
        "put",
        "Record batches into a server, beside a stock pyarrow FlightClient into a stock C++ "
        "server that throws them away.",
        "512MiB",
        65_536,
        12,
        16 << 20,
        takes_streams=True,
    ),
    Benchmark(
        "get",
        "Record batches out of a server, beside a stock pyarrow FlightClient out of a stock C++ "
        "server.",
        "512MiB",
        65_536,
        12,
        16 << 20,
        takes_streams=True,
    ),
    Benchmark(
        "tf",
        "Batches out of the tf.data op, beside tf.data from_generator over the same arrays.",
        "64MiB",
        1_024,
        12,
        8 << 20,
    ),
    Benchmark(
        "shuffle",
        "Shuffled batches out of the tf.data op, fully and by a window of 65,536 rows, beside "
        "numpy gathering the same columns in such an order.",
        "512MiB",
        16_384,
        12,
        16 << 20,
    ),
    Benchmark(
        "step",
        "A training step of about 6 ms fed by the tf.data op, beside the same step fed by one "
        "constant tensor.",
        "128MiB",
        1_024,
        12,
        8 << 20,
    ),
    Benchmark(
        "move",
        "Rows of the MovieLens demo's shape, put and read by tf.data, beside Parquet written and "
        "read: processor time is what counts.",
        "32MiB",
        10_000,
        6,
        1 << 20,
        takes_uri=False,
    ),
    Benchmark(
        "spark",
        "A DataFrame of 13 columns out of Spark: through the connector, beside Spark's own noop "
        "sink, Parquet and the Python writer; and with an epoch of tf.data behind it.",
        "512MiB",
        1_024,
        13,
        4 << 20,
        takes_uri=False,
        repeat=3,
    ),
    Benchmark(
        "spill",
        "A feed larger than the server's memory, put and got through its data directory, beside "
        "the bare disk; a fully shuffled epoch of it beside one in order; and how much memory the "
        "server took.",
        "2GiB",
        65_536,
        12,
        64 << 20,
        takes_uri=False,
        repeat=1,
    ),
)


@click.group(short_help="Measure FlightBridge beside its peers and ceilings.")
def bench() -> None:
    """Measure FlightBridge on this machine, beside its peers and its ceilings.

    Both sides run in turn on the same data, and a ratio is the median of the ratios within the
    pairs: speeds of shared machines swing, ratios hardly. Above the table stand the ceilings of the
    same run: copying memory, and a bare TCP socket. Progress goes to stderr, results to stdout.

    \b
    Examples:
      flightbridge bench put
      flightbridge bench get --streams 2 --batch-rows 16384 --json get.json
      flightbridge bench tf --quick
    """  # noqa: D301 (click reads the backspace)


def _command(benchmark: Benchmark) -> click.Command:
    def callback(**values: Any) -> None:
        _run(benchmark, **values)

    options: list[Callable[[Any], Any]] = [
        click.option(
            "--json", "json_path", metavar="OUT", help="Write the report there; - is stdout."
        ),
        click.option(
            "--bytes",
            "total",
            type=Size(),
            default=benchmark.bytes,
            show_default=True,
            help="Column data moved by each run.",
        ),
        click.option(
            "--rows",
            type=click.IntRange(min=1),
            help="Rows moved by each run, instead of --bytes.",
        ),
        click.option(
            "--batch-rows",
            type=click.IntRange(min=1),
            default=benchmark.batch_rows,
            show_default=True,
            help="Rows of each batch.",
        ),
        click.option(
            "--repeat",
            type=click.IntRange(min=1),
            default=benchmark.repeat,
            show_default=True,
            help="Runs of each side that count.",
        ),
        click.option("--no-peer", is_flag=True, help="Leave the peer out."),
        click.option("--quick", is_flag=True, help="A few seconds: does it all work?"),
    ]
    if benchmark.name == "spark":
        options.append(
            click.option(
                "--own-core",
                is_flag=True,
                help="Leave one core to the server; Spark gets the others.",
            )
        )
    if benchmark.name not in ("move", "spark"):
        options.insert(
            4,
            click.option(
                "--columns",
                type=click.IntRange(1, 1000),
                default=benchmark.columns,
                show_default=True,
                help="Columns, cycling through int64, float32 and int32.",
            ),
        )
    if benchmark.name in ("tf", "spill"):
        options.append(
            click.option(
                "--values",
                type=click.Choice(VALUES),
                default=VALUES[0],
                show_default=True,
                help="What the columns hold: int64, float32 and int32 in turn; strings of 4 to 40 "
                "bytes; lists of 0 to 16 int32.",
            )
        )
    if benchmark.name == "tf":
        options.append(
            click.option(
                "--peers",
                default="",
                metavar="NAMES",
                help="Further peers, separated by commas: tfrecord, parquet, service, arrowstream.",
            )
        )
    if benchmark.name == "spill":
        options += [
            click.option(
                "--memory-limit",
                type=Size(),
                default="512MiB",
                show_default=True,
                help="What the server may hold in memory.",
            ),
            click.option(
                "--folder",
                type=click.Path(exists=True, file_okay=False, writable=True),
                help="Where to write; default: the system's folder for temporary files.",
            ),
        ]
    if benchmark.takes_streams:
        options.append(
            click.option(
                "--streams",
                type=click.IntRange(1, 64),
                default=1,
                show_default=True,
                help="Streams at once, each over its own connection.",
            )
        )
    if benchmark.takes_uri:
        options.append(
            click.option("--uri", help="Use this running server instead of starting one.")
        )
        options.extend(setting.apply for setting in CREDENTIALS)
    for option in reversed(options):
        callback = option(callback)
    return click.command(benchmark.name, help=benchmark.help, short_help=benchmark.help)(callback)


def _run(
    benchmark: Benchmark,
    *,
    json_path: str | None,
    total: int,
    rows: int | None,
    batch_rows: int,
    repeat: int,
    no_peer: bool,
    quick: bool,
    columns: int = 6,
    streams: int = 1,
    uri: str | None = None,
    memory_limit: int = 512 << 20,
    folder: str | None = None,
    peers: str = "",
    own_core: bool = False,
    values: str = "numbers",
    **credentials: str | None,
) -> None:
    from flightbridge.bench import report
    from flightbridge.bench.data import bytes_per_row
    from flightbridge.bench.options import BenchOptions
    from flightbridge.config import parse_uri
    from flightbridge.credentials import export_credentials

    if peers and values != "numbers":
        raise click.UsageError(
            f"--peers with --values {values}: the further peers are measured with numbers only; "
            "leave one of the two out"
        )
    if uri is not None:
        parse_uri(uri, "--uri")
        export_credentials(credentials)
    if json_path not in (None, "-"):
        Path(json_path).open("a").close()  # refuse now, not after measuring
    # A plain SIGTERM would leave the servers that the benchmark started behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if rows is not None:
        total = max(1, int(rows * bytes_per_row(benchmark.name, columns, values)))
    elif quick:
        total = benchmark.quick_bytes
    options = BenchOptions(
        bytes=total,
        batch_rows=batch_rows,
        columns=columns,
        streams=streams,
        repeat=min(repeat, 2) if quick else repeat,
        uri=uri,
        peer=not no_peer,
        peers=_peers(peers),
        quick=quick,
        spill_memory=min(memory_limit, 32 << 20) if quick else memory_limit,
        folder=folder,
        own_core=own_core,
        values=values,
    )
    measured = report.run_report(
        importlib.import_module(f"flightbridge.bench.{benchmark.name}").run, options
    )
    if json_path != "-":
        report.print_report(measured)
    if json_path is not None:
        report.write_json(measured, json_path)


def _peers(names: str) -> tuple[str, ...]:
    from flightbridge.bench.tf_peers import NAMES

    wanted = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    for name in wanted:
        if name not in NAMES:
            raise click.UsageError(f"--peers has {name!r}, which is not one of {', '.join(NAMES)}")
    return wanted


for _benchmark in BENCHMARKS:
    bench.add_command(_command(_benchmark))
