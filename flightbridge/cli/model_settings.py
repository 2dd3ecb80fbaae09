"""The settings of ``flightbridge serve-model``."""

from __future__ import annotations

import click

from flightbridge.cli.setting import DEFAULT_MODEL_PORT, ControlPort, Setting, Size

SERVE_MODEL: tuple[Setting, ...] = (
    Setting(
        "--host",
        "FLIGHTBRIDGE_MODEL_HOST",
        "127.0.0.1",
        "address",
        "Address to listen on. Anything but loopback needs TLS and a token file, or --insecure.",
    ),
    Setting(
        "--port",
        "FLIGHTBRIDGE_MODEL_PORT",
        str(DEFAULT_MODEL_PORT),
        "port",
        "Port of the Flight service; 0 takes any free port.",
        click.IntRange(0, 65535),
    ),
    Setting(
        "--name",
        "FLIGHTBRIDGE_MODEL_NAME",
        "none",
        "name",
        "What tokens call the model; by default the last part of its path, without suffix.",
    ),
    Setting(
        "--signature",
        "FLIGHTBRIDGE_MODEL_SIGNATURE",
        "none",
        "name",
        "Signature of a SavedModel; by default serving_default, or the only one there is.",
    ),
    Setting(
        "--modules",
        "FLIGHTBRIDGE_MODEL_MODULES",
        "none",
        "names",
        "Python modules to import first, separated by commas: those with a model's own layers.",
    ),
    Setting(
        "--max-batch-bytes",
        "FLIGHTBRIDGE_MODEL_MAX_BATCH_BYTES",
        "64MiB",
        "bytes",
        "A larger record batch is refused, as are options that make larger tensors of a batch.",
        Size(),
    ),
    Setting(
        "--max-streams",
        "FLIGHTBRIDGE_MODEL_MAX_STREAMS",
        "64",
        "count",
        "Exchanges at the same time; one more is refused.",
        click.IntRange(min=1),
    ),
    Setting(
        "--idle-timeout",
        "FLIGHTBRIDGE_MODEL_IDLE_TIMEOUT",
        "300",
        "seconds",
        "How long a client may neither send nor take anything before its connection is ended.",
        click.FloatRange(min=0, min_open=True, max=86400),
    ),
    Setting(
        "--token-file",
        "FLIGHTBRIDGE_MODEL_TOKEN_FILE",
        "none",
        "path",
        "File with the tokens that callers need, as of serve; they need the scope read on --name. "
        "Without it whoever can connect may score.",
    ),
    Setting(
        "--tls-cert",
        "FLIGHTBRIDGE_MODEL_TLS_CERT",
        "none",
        "path",
        "PEM file with the server's certificate chain: the server then speaks TLS only.",
    ),
    Setting(
        "--tls-key",
        "FLIGHTBRIDGE_MODEL_TLS_KEY",
        "none",
        "path",
        "PEM file with the key of --tls-cert, unencrypted.",
    ),
    Setting(
        "--tls-client-ca",
        "FLIGHTBRIDGE_MODEL_TLS_CLIENT_CA",
        "none",
        "path",
        "PEM file of the CAs that must have signed every client's certificate.",
    ),
    Setting(
        "--ready-file",
        "FLIGHTBRIDGE_MODEL_READY_FILE",
        "none",
        "path",
        "File that appears with the server's URI once calls are served, and goes when they are "
        "not.",
    ),
    Setting(
        "--control-port",
        "FLIGHTBRIDGE_MODEL_CONTROL_PORT",
        "0",
        "port",
        "Port of grpc.health.v1; 0 takes any free port (it is logged), none turns it off.",
        ControlPort(),
    ),
    Setting(
        "--grace",
        "FLIGHTBRIDGE_MODEL_GRACE",
        "5",
        "seconds",
        "How long running batches may go on after the first SIGTERM or SIGINT, in seconds.",
        click.FloatRange(min=0, max=3600),
    ),
    Setting(
        "--log-level",
        "FLIGHTBRIDGE_MODEL_LOG_LEVEL",
        "info",
        "level",
        "What goes to stderr: debug, info, warning or error.",
        click.Choice(["debug", "info", "warning", "error"]),
    ),
    Setting(
        "--insecure",
        "FLIGHTBRIDGE_MODEL_INSECURE",
        "off",
        "flag",
        "Listen beyond loopback without TLS or without tokens: whoever reaches the port can score.",
        bool,
    ),
)
