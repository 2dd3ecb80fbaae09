"""The top of the command line."""

from __future__ import annotations

import click

from flightbridge import __version__
from flightbridge.cli.bench import bench
from flightbridge.cli.doctor import doctor
from flightbridge.cli.failures import Invocation
from flightbridge.cli.feeds import feeds
from flightbridge.cli.serve import serve
from flightbridge.cli.serve_model import serve_model
from flightbridge.cli.stream import stream

HELP_NAMES = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=HELP_NAMES)
@click.version_option(__version__, prog_name="flightbridge", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks (also: FLIGHTBRIDGE_DEBUG=1).")
@click.pass_obj
def cli(invocation: Invocation, debug: bool) -> None:
    """Arrow Flight data exchange between Spark and TensorFlow.

    \b
    Examples:
      flightbridge doctor
      flightbridge serve --port 8815 --data-dir /var/lib/flightbridge --memory-limit 8GiB
      flightbridge feeds ls --server grpc://127.0.0.1:8815
      flightbridge bench put --json put.json
    """  # noqa: D301 (click reads the backspace)
    invocation.debug = invocation.debug or debug


for command in (serve, serve_model, feeds, stream, doctor, bench):
    cli.add_command(command)
