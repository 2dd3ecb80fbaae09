"""The ``flightbridge`` command: serve, feeds, doctor and bench.

This package knows everything else and nothing else knows it. Modules here import only click and
the standard library at the top; pyarrow, grpc, rich and TensorFlow are imported by the command
that needs them, so that ``flightbridge -h`` answers at once and ``doctor`` works in an
environment where the rest does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    from flightbridge.cli.app import cli
    from flightbridge.cli.failures import run

    run(cli, args)
