"""``flightbridge stream``: a feed as a plain Arrow stream, for readers that know no Flight."""

from __future__ import annotations

import logging
from typing import Any

import click

from flightbridge.cli import settings
from flightbridge.errors import PermissionDeniedError

log = logging.getLogger("flightbridge.stream")


@click.command()
@click.option("--feed", required=True, help="The feed to stream.")
@click.option("--columns", help="Names, separated by commas; all columns by default.")
@settings.options(settings.STREAM)
@settings.options(settings.CLIENT)
def stream(
    feed: str,
    columns: str | None,
    listen: str,
    batch_rows: int | None,
    max_connections: int,
    insecure: bool,
    server: str,
    timeout: float,
    **credentials: Any,
) -> None:
    """Stream a feed to whoever connects, until SIGTERM or SIGINT.

    Each connection is sent the feed once, as an Arrow IPC stream: what tensorflow_io's
    ArrowStreamDataset reads. Prints one line on stdout when it listens,
    "flightbridge: streaming FEED on ADDRESS".

    \b
    Examples:
      flightbridge stream --feed ratings --listen 127.0.0.1:8899 --batch-rows 1024
      flightbridge stream --feed ratings --columns user,rating --listen unix:///run/ratings.sock
    """  # noqa: D301 (click reads the backspace)
    from flightbridge.cli.serve import log_to_stderr, say_ready
    from flightbridge.cli.stop import StopSignals
    from flightbridge.config import parse_servers

    parse_servers(server, "--server")
    log_to_stderr("info")
    with StopSignals() as signals:  # before any thread starts: Arrow has some
        from flightbridge.credentials import export_credentials
        from flightbridge.streaming import StreamEndpoint

        export_credentials(credentials)
        try:
            endpoint = StreamEndpoint(
                server,
                feed,
                columns=columns.split(",") if columns is not None else None,
                batch_rows=batch_rows,
                listen=listen,
                max_streams=max_connections,
                timeout_s=timeout,
                insecure=insecure,
            )
        except PermissionDeniedError as error:
            # From the endpoint itself it is an option that is missing; the server's has a code.
            if listen in str(error):
                raise click.UsageError(str(error)) from error
            raise
        with endpoint:
            say_ready(f"flightbridge: streaming {feed} on {endpoint.address}\n")
            log.info("got %s, stopping", signals.wait())
