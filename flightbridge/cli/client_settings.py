"""The settings of commands that call a server, and of ``flightbridge stream``."""

from __future__ import annotations

import click

from flightbridge.cli.setting import DEFAULT_PORT, Setting

# How a client proves to the server who it is: for every command that calls one.
CREDENTIALS: tuple[Setting, ...] = (
    Setting(
        "--token-file",
        "FLIGHTBRIDGE_TOKEN_FILE",
        "none",
        "path",
        "File that holds the token to send and nothing else; FLIGHTBRIDGE_TOKEN is the token "
        "itself.",
    ),
    Setting(
        "--tls-ca",
        "FLIGHTBRIDGE_TLS_CA",
        "none",
        "path",
        "PEM file of the CAs that may have signed the server's certificate; default: the system's.",
    ),
    Setting(
        "--tls-client-cert",
        "FLIGHTBRIDGE_TLS_CLIENT_CERT",
        "none",
        "path",
        "PEM file of the certificate to show to a server that asks for one.",
    ),
    Setting(
        "--tls-client-key",
        "FLIGHTBRIDGE_TLS_CLIENT_KEY",
        "none",
        "path",
        "PEM file of its key, unencrypted.",
    ),
)

CLIENT: tuple[Setting, ...] = (
    Setting(
        "--server",
        "FLIGHTBRIDGE_SERVER",
        f"grpc://127.0.0.1:{DEFAULT_PORT}",
        "URI",
        "The server, grpc://HOST:PORT or grpc+tls://HOST:PORT, or all that feeds span, "
        "grpc://HOST:PORT,HOST:PORT.",
    ),
    Setting(
        "--timeout",
        "FLIGHTBRIDGE_TIMEOUT",
        "30",
        "seconds",
        "Deadline of every call, in seconds.",
        click.FloatRange(min=0, min_open=True, max=86400),
    ),
    *CREDENTIALS,
)

STREAM: tuple[Setting, ...] = (
    Setting(
        "--listen",
        "FLIGHTBRIDGE_STREAM_LISTEN",
        "127.0.0.1:0",
        "address",
        "HOST:PORT (port 0: any free one) or unix:///PATH. Anything but loopback needs --insecure.",
    ),
    Setting(
        "--batch-rows",
        "FLIGHTBRIDGE_STREAM_BATCH_ROWS",
        "none",
        "rows",
        "Rows of a record batch at most; none sends batches as they were written.",
        click.IntRange(min=1),
    ),
    Setting(
        "--max-connections",
        "FLIGHTBRIDGE_STREAM_MAX_CONNECTIONS",
        "16",
        "connections",
        "Connections served at the same time; others wait.",
        click.IntRange(1, 10_000),
    ),
    Setting(
        "--insecure",
        "FLIGHTBRIDGE_STREAM_INSECURE",
        "off",
        "flag",
        "Listen beyond loopback: whoever reaches the port can read the feed.",
        bool,
    ),
)
