"""``flightbridge serve``: the server as a process of its own."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flightbridge.cli import settings

if TYPE_CHECKING:
    from flightbridge.server import Server

log = logging.getLogger("flightbridge.serve")


@dataclass(frozen=True)
class ServeOptions:
    """The values of :data:`flightbridge.cli.settings.SERVE`."""

    host: str
    port: int
    data_dir: str | None
    memory_limit: int
    spill_limit: int | None
    put_wait: float
    job_ttl: float
    max_batch_bytes: int
    max_streams: int
    max_feeds: int
    token_file: str | None
    tls_cert: str | None
    tls_key: str | None
    tls_client_ca: str | None
    peers: str | None
    peer_token_file: str | None
    peer_tls_ca: str | None
    ready_file: str | None
    control_port: int
    data_port: int
    grace: float
    end_with_stdin: bool
    log_level: str
    insecure: bool


@click.command()
@settings.options(settings.SERVE)
def serve(**values: object) -> None:
    """Run the server until SIGTERM or SIGINT.

    Prints one line on stdout when calls are served, "flightbridge: serving grpc://HOST:PORT", and
    logs on stderr. The first SIGTERM or SIGINT lets running calls finish within --grace and ends
    with exit code 0; the second ends at once. Every option can also be set by its environment
    variable.

    \b
    Examples:
      flightbridge serve
      flightbridge serve --port 0 --ready-file /run/flightbridge.uri
      flightbridge serve --host 0.0.0.0 --tls-cert tls.crt --tls-key tls.key --token-file tokens
      flightbridge serve --host 0.0.0.0 --insecure --data-dir /data --memory-limit 16GiB
    """  # noqa: D301 (click reads the backspace)
    run(ServeOptions(**values))  # type: ignore[arg-type]


def run(options: ServeOptions) -> None:
    """Serves until a signal; raises FlightBridgeError or OSError where it cannot start."""
    from flightbridge.cli.ready import ReadyFile
    from flightbridge.cli.stop import StopSignals

    log_to_stderr(options.log_level)
    with StopSignals() as signals:  # before any thread starts
        if options.end_with_stdin:
            signals.stop_with_stdin()
        ready = ReadyFile(Path(options.ready_file)) if options.ready_file is not None else None
        bridge = _start(options)
        try:
            if not signals.stopping:
                if ready is not None:
                    ready.announce(bridge.uri)
                say_ready(f"flightbridge: serving {bridge.uri}\n")
            log.info("got %s, stopping (grace %g s)", signals.wait(), options.grace)
        finally:
            if ready is not None:
                ready.remove()
            bridge.stop(grace_s=options.grace)
    log.info("stopped")


def _start(options: ServeOptions) -> Server:
    from flightbridge.config import format_bytes
    from flightbridge.errors import PermissionDeniedError
    from flightbridge.server import Server

    try:
        bridge = Server(
            host=options.host,
            port=options.port,
            data_dir=options.data_dir,
            memory_limit=options.memory_limit,
            spill_limit=options.spill_limit,
            put_wait_s=options.put_wait,
            job_ttl_s=options.job_ttl,
            max_batch_bytes=options.max_batch_bytes,
            control_port=None if options.control_port < 0 else options.control_port,
            max_streams=options.max_streams,
            max_feeds=options.max_feeds,
            token_file=options.token_file,
            tls_cert=options.tls_cert,
            tls_key=options.tls_key,
            tls_client_ca=options.tls_client_ca,
            peers=options.peers,
            peer_token_file=options.peer_token_file,
            peer_tls_ca=options.peer_tls_ca,
            insecure=options.insecure,
            data_port=None if options.data_port < 0 else options.data_port,
        )
    except PermissionDeniedError as error:
        # A host or port that needs another option, not something that failed.
        raise click.UsageError(str(error)) from error
    log.info(
        "pid %d, memory limit %s, feeds in %s, control port %s",
        os.getpid(),
        format_bytes(options.memory_limit),
        options.data_dir or "memory (they end with this process: set --data-dir to keep them)",
        bridge.control_uri or "off",
    )
    if options.insecure and options.token_file is None:
        log.warning("--insecure: no token; whoever reaches %s has it all", bridge.uri)
    elif options.insecure and options.tls_cert is None:
        log.warning("--insecure: no TLS; whoever sees the way to %s can read tokens", bridge.uri)
    return bridge


def say_ready(line: str) -> None:
    """Writes the one line of a server to stdout, if anybody has it open."""
    # Straight to the descriptor: nothing stays buffered that could fail again at the exit.
    if sys.stdout is None:  # started with stdout closed (>&-): nobody wants it
        return
    try:
        os.write(sys.stdout.fileno(), line.encode())
    except OSError as error:
        log.warning("nobody reads the ready line on stdout: %s", error.strerror)


def log_to_stderr(level: str) -> None:
    """Sends log records of this level and above to stderr."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
