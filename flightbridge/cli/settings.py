"""Every setting of the command line: those of ``serve``, and by name those of other commands.

The commands build their options from these tables, the one place where they are defined, and a test
checks that docs/operations.md lists each of them with the same default.
"""

from __future__ import annotations

import click

from flightbridge.cli.client_settings import CLIENT, CREDENTIALS, STREAM
from flightbridge.cli.model_settings import SERVE_MODEL
from flightbridge.cli.setting import (
    DEFAULT_MODEL_PORT,
    DEFAULT_PORT,
    ControlPort,
    Setting,
    Size,
    options,
)

__all__ = [
    "CLIENT",
    "CREDENTIALS",
    "DEFAULT_MODEL_PORT",
    "DEFAULT_PORT",
    "SERVE",
    "SERVE_MODEL",
    "STREAM",
    "ControlPort",
    "Setting",
    "Size",
    "options",
]

SERVE: tuple[Setting, ...] = (
    Setting(
        "--host",
        "FLIGHTBRIDGE_SERVE_HOST",
        "127.0.0.1",
        "address",
        "Address to listen on. Anything but loopback needs TLS and a token file, or --insecure.",
    ),
    Setting(
        "--port",
        "FLIGHTBRIDGE_SERVE_PORT",
        str(DEFAULT_PORT),
        "port",
        "Port of the Flight service; 0 takes any free port.",
        click.IntRange(0, 65535),
    ),
    Setting(
        "--data-dir",
        "FLIGHTBRIDGE_SERVE_DATA_DIR",
        "none",
        "path",
        "Directory that keeps feeds across restarts; made when missing. Without it feeds live in "
        "memory.",
    ),
    Setting(
        "--memory-limit",
        "FLIGHTBRIDGE_SERVE_MEMORY_LIMIT",
        "1GiB",
        "bytes",
        "Memory for feeds, such as 512MiB or 8GiB. Without --data-dir a put beyond it waits, and "
        "is then refused; with it, feeds are files and this much of them is kept in memory.",
        Size(),
    ),
    Setting(
        "--spill-limit",
        "FLIGHTBRIDGE_SERVE_SPILL_LIMIT",
        "none",
        "bytes",
        "Disk for feeds in --data-dir, such as 500GiB; a put beyond it waits, and is then refused. "
        "Without it only the disk limits them.",
        Size(),
    ),
    Setting(
        "--put-wait",
        "FLIGHTBRIDGE_SERVE_PUT_WAIT",
        "30",
        "seconds",
        "How long a put waits for room where memory or disk is full, before it is refused.",
        click.FloatRange(min=0, max=86400),
    ),
    Setting(
        "--job-ttl",
        "FLIGHTBRIDGE_SERVE_JOB_TTL",
        "3600",
        "seconds",
        "A write job that nobody works on for so long is aborted.",
        click.FloatRange(min=1, max=365 * 86400),
    ),
    Setting(
        "--max-batch-bytes",
        "FLIGHTBRIDGE_SERVE_MAX_BATCH_BYTES",
        "256MiB",
        "bytes",
        "A larger record batch is refused.",
        Size(),
    ),
    Setting(
        "--max-streams",
        "FLIGHTBRIDGE_SERVE_MAX_STREAMS",
        "1024",
        "count",
        "Puts and gets at the same time; one more is refused.",
        click.IntRange(min=1),
    ),
    Setting(
        "--max-feeds",
        "FLIGHTBRIDGE_SERVE_MAX_FEEDS",
        "10000",
        "count",
        "Feeds, open ones included; a write of one more is refused.",
        click.IntRange(min=1),
    ),
    Setting(
        "--token-file",
        "FLIGHTBRIDGE_SERVE_TOKEN_FILE",
        "none",
        "path",
        "File with the tokens that callers need and what each may do; read again when it changes. "
        "Without it whoever can connect may do everything.",
    ),
    Setting(
        "--tls-cert",
        "FLIGHTBRIDGE_SERVE_TLS_CERT",
        "none",
        "path",
        "PEM file with the server's certificate chain: the server then speaks TLS only.",
    ),
    Setting(
        "--tls-key",
        "FLIGHTBRIDGE_SERVE_TLS_KEY",
        "none",
        "path",
        "PEM file with the key of --tls-cert, unencrypted.",
    ),
    Setting(
        "--tls-client-ca",
        "FLIGHTBRIDGE_SERVE_TLS_CLIENT_CA",
        "none",
        "path",
        "PEM file of the CAs that must have signed every client's certificate.",
    ),
    Setting(
        "--peers",
        "FLIGHTBRIDGE_SERVE_PEERS",
        "none",
        "URI",
        "The servers that feeds may span, grpc+tls://HOST:PORT,HOST:PORT, spelled as clients spell "
        "them, this one included. They ask one another. Without it, any that a writer names; "
        "needed with --peer-token-file.",
    ),
    Setting(
        "--peer-token-file",
        "FLIGHTBRIDGE_SERVE_PEER_TOKEN_FILE",
        "none",
        "path",
        "File that holds the token to show to --peers and nothing else; it needs the scope peer "
        "there. A server with --token-file needs it for feeds that span several.",
    ),
    Setting(
        "--peer-tls-ca",
        "FLIGHTBRIDGE_SERVE_PEER_TLS_CA",
        "none",
        "path",
        "PEM file of the CAs that may have signed the certificates of --peers; default: the "
        "system's. Where they ask for one, the server shows them --tls-cert.",
    ),
    Setting(
        "--ready-file",
        "FLIGHTBRIDGE_SERVE_READY_FILE",
        "none",
        "path",
        "File that appears with the server's URI once calls are served, and goes when they are "
        "not.",
    ),
    Setting(
        "--control-port",
        "FLIGHTBRIDGE_SERVE_CONTROL_PORT",
        "0",
        "port",
        "Port of grpc.health.v1 and of the status service; 0 takes any free port (it is logged), "
        "none turns it off.",
        ControlPort(),
    ),
    Setting(
        "--data-port",
        "FLIGHTBRIDGE_SERVE_DATA_PORT",
        "0",
        "port",
        "Port where FlightBridge's own clients put and get record batches without gRPC; 0 takes "
        "any free port, none turns it off.",
        ControlPort(),
    ),
    Setting(
        "--grace",
        "FLIGHTBRIDGE_SERVE_GRACE",
        "5",
        "seconds",
        "How long running calls may go on after the first SIGTERM or SIGINT, in seconds.",
        click.FloatRange(min=0, max=3600),
    ),
    Setting(
        "--end-with-stdin",
        "FLIGHTBRIDGE_SERVE_END_WITH_STDIN",
        "off",
        "flag",
        "Stop, as on SIGTERM, when standard input ends: for a parent that keeps a pipe to it open, "
        "and takes the server along however it ends itself.",
        bool,
    ),
    Setting(
        "--log-level",
        "FLIGHTBRIDGE_SERVE_LOG_LEVEL",
        "info",
        "level",
        "What goes to stderr: debug, info, warning or error.",
        click.Choice(["debug", "info", "warning", "error"]),
    ),
    Setting(
        "--insecure",
        "FLIGHTBRIDGE_SERVE_INSECURE",
        "off",
        "flag",
        "Listen beyond loopback without TLS or without tokens: whoever reaches the port can read, "
        "write and drop every feed.",
        bool,
    ),
)
