"""``flightbridge feeds ls|show|stats|rm``: what a server holds."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from flightbridge.cli import settings
from flightbridge.cli.failures import EXIT_FAILED, complain
from flightbridge.cli.output import print_json, print_table
from flightbridge.errors import FlightBridgeError, ServerUnavailableError

if TYPE_CHECKING:
    import pyarrow as pa

    from flightbridge.client import Client, FeedInfo


@click.group()
def feeds() -> None:
    """Show and drop the feeds of a server.

    \b
    Examples:
      flightbridge feeds ls --server grpc://127.0.0.1:8815
      flightbridge feeds show ratings --json
      flightbridge feeds stats ratings --column rating
      flightbridge feeds rm ratings movies --yes
    """  # noqa: D301 (click reads the backspace)


@feeds.command("ls")
@settings.options(settings.CLIENT)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def list_feeds(server: str, timeout: float, as_json: bool, **credentials: Any) -> None:
    """List the feeds."""
    with _connect(server, timeout, credentials) as client:
        found = sorted(client.feeds(), key=lambda info: info.feed)
    if as_json:
        print_json([_summary(info) for info in found])
        return
    print_table(
        ["feed", "state", "rows", "size", "partitions", "created", "fingerprint"],
        [
            [
                info.feed,
                _state(info),
                f"{info.rows:,}",
                _size(info.bytes),
                str(len(info.partitions)),
                _when(info.created_unix_ms),
                _hex(info.fingerprint),
            ]
            for info in found
        ],
        right=["rows", "size", "partitions"],
    )
    if not found:
        click.echo(f"no feeds on {server}", err=True)


@feeds.command("show")
@click.argument("feed")
@settings.options(settings.CLIENT)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of tables.")
def show_feed(feed: str, server: str, timeout: float, as_json: bool, **credentials: Any) -> None:
    """Show one feed: its schema, partitions and fingerprint."""
    with _connect(server, timeout, credentials) as client:
        info = client.feed(feed)
        schema = client.schema(feed)
    if as_json:
        print_json(_details(info, schema))
        return
    facts = _summary(info)
    facts["size"] = _size(info.bytes)
    print_table(["field", "value"], [[name, str(value)] for name, value in facts.items()])
    click.echo()
    print_table(
        ["column", "type", "nullable"],
        [[field.name, str(field.type), "yes" if field.nullable else "no"] for field in schema],
    )
    click.echo()
    print_table(
        ["partition", "rows", "batches", "size", "crc32c"],
        [
            [
                str(part.partition),
                f"{part.rows:,}",
                f"{part.batches:,}",
                _size(part.bytes),
                "released" if part.released else f"{part.crc32c:08x}",
            ]
            for part in info.partitions
        ],
        right=["partition", "rows", "batches", "size"],
    )


@feeds.command("stats")
@click.argument("feed")
@click.option("--column", "columns", multiple=True, help="One of several; all by default.")
@settings.options(settings.CLIENT)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of tables.")
def show_statistics(
    feed: str,
    columns: tuple[str, ...],
    server: str,
    timeout: float,
    as_json: bool,
    **credentials: Any,
) -> None:
    """Show nulls, least and greatest values of a feed's columns, by partition.

    The server reads these columns when it is first asked for them. A bound of a text of more than
    64 bytes is cut, and marked with "...".
    """
    with _connect(server, timeout, credentials) as client:
        found = client.statistics(feed, columns or None)
    rows = [
        {"column": name, **{key: _plain(value) for key, value in row.items()}}
        for name, table in found.items()
        for row in _readable(table)
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ["column", "partition", "rows", "nulls", "nans", "min", "max"],
        [
            [
                row["column"],
                str(row["partition"]),
                f"{row['rows']:,}",
                f"{row['nulls']:,}",
                f"{row['nans']:,}",
                *(_bound(row[side], row[f"{side}_exact"]) for side in ("min", "max")),
            ]
            for row in rows
        ],
        right=["partition", "rows", "nulls", "nans"],
    )


@feeds.command("rm")
@click.argument("names", nargs=-1, required=True, metavar="FEED...")
@settings.options(settings.CLIENT)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--if-exists", is_flag=True, help="A feed that is not there is no error.")
def drop_feeds(
    names: tuple[str, ...],
    server: str,
    timeout: float,
    yes: bool,
    if_exists: bool,
    **credentials: Any,
) -> None:
    """Drop feeds and their data, for good.

    Goes on to the next name after one that failed, and ends with exit code 1 then.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("feeds rm drops data for good: confirm with --yes")
        click.confirm(f"Drop {', '.join(names)} from {server}?", abort=True, err=True)
    failed = False
    with _connect(server, timeout, credentials) as client:
        for name in dict.fromkeys(names):
            try:
                client.drop(name, if_exists=if_exists)
            except ServerUnavailableError:
                raise
            except FlightBridgeError as error:
                complain(str(error))
                failed = True
            else:
                click.echo(f"dropped {name}")
    if failed:
        click.get_current_context().exit(EXIT_FAILED)


def _connect(server: str, timeout: float, credentials: dict[str, Any]) -> Client:
    from flightbridge.config import parse_servers

    parse_servers(server, "--server")
    from flightbridge.client import connect
    from flightbridge.credentials import export_credentials

    export_credentials(credentials)
    return connect(server, timeout_s=timeout)


def _summary(info: FeedInfo) -> dict[str, Any]:
    return {
        "feed": info.feed,
        "state": _state(info),
        "rows": info.rows,
        "bytes": info.bytes,
        "partitions": len(info.partitions),
        "fingerprint": _hex(info.fingerprint),
        "schema_hash": _hex(info.schema_hash),
        "created": _when(info.created_unix_ms),
        "open_jobs": info.open_jobs,
        "retention": info.retention,
        "ttl_s": info.ttl_s,
        "confirmed_rows": info.confirmed_rows,
    }


def _details(info: FeedInfo, schema: pa.Schema) -> dict[str, Any]:
    return {
        **_summary(info),
        "schema": [
            {"name": field.name, "type": str(field.type), "nullable": field.nullable}
            for field in schema
        ],
        "partitions": [
            {
                "partition": part.partition,
                "rows": part.rows,
                "batches": part.batches,
                "bytes": part.bytes,
                "crc32c": f"{part.crc32c:08x}",
                "released": part.released,
            }
            for part in info.partitions
        ],
    }


def _readable(table: pa.Table) -> list[dict[str, Any]]:
    import pyarrow as pa

    for side in ("min", "max"):
        # Python's dates and times hold less than Arrow's: text of them never fails.
        if pa.types.is_temporal(table.schema.field(side).type):
            place = table.schema.get_field_index(side)
            table = table.set_column(place, side, table[side].cast(pa.string()))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, bytes):
        return value.hex()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _bound(value: Any, exact: bool) -> str:
    if value is None:
        return "-"
    return f"{value}" if exact else f"{value}..."


def _state(info: FeedInfo) -> str:
    return str(getattr(info.state, "name", info.state)).removeprefix("FEED_STATE_").lower()


def _size(count: int) -> str:
    from flightbridge.config import format_bytes

    return format_bytes(count)


def _hex(value: int) -> str:
    return f"{value:016x}"


def _when(unix_ms: int) -> str:
    moment = datetime.fromtimestamp(unix_ms / 1000, tz=timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
