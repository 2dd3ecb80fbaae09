"""Tables for people, JSON and plain columns for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 1000  # columns: nothing is wrapped or cut off where a program reads


def console(file: TextIO | None = None) -> Console:
    """A console that colours for a terminal only and never wraps into a pipe."""
    from rich.console import Console

    stream = file if file is not None else sys.stdout
    return Console(
        file=stream,
        highlight=False,
        soft_wrap=False,
        width=None if stream.isatty() else _PIPE_WIDTH,
    )


def print_table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()
) -> None:
    """Prints a table; into a pipe, plain columns with one header line.

    Args:
        headers: Column names.
        rows: Cells as text, taken literally (no markup).
        right: Names of the columns aligned to the right.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = console()
    table = Table(box=box.SIMPLE_HEAD if out.is_terminal else None, pad_edge=False)
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out.print(table)


def print_json(value: Any) -> None:
    """Prints a value as JSON with stable key order of its making."""
    click.echo(json.dumps(value, indent=2))
