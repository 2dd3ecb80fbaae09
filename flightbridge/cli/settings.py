"""Every setting of the command line: option, environment variable, default, type and unit.

The one place they are defined. The commands build their options from these tables, and a test
checks that docs/operations.md lists each of them with the same default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flightbridge.errors import InvalidArgumentError

F = TypeVar("F", bound=Callable[..., Any])

# click 8.5 made it generic, in the stubs and at run time; older ones are not.
if TYPE_CHECKING:
    _ParamType = click.ParamType[int]
else:
    _ParamType = click.ParamType

DEFAULT_PORT = 8815
DEFAULT_MODEL_PORT = 8820


class Size(_ParamType):
    """Bytes, written as a number or with a unit: ``512MiB``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The size in bytes."""
        from flightbridge.config import parse_bytes

        try:
            return parse_bytes(value, param.opts[0] if param is not None else "size")
        except InvalidArgumentError as error:
            self.fail(str(error), param, ctx)


class ControlPort(_ParamType):
    """A port number, 0 for any free port, or ``none`` (given on as -1)."""

    name = "port|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The port; -1 for none."""
        if value == -1 or str(value).strip().lower() == "none":
            return -1
        try:
            port = int(value)
        except ValueError:
            port = -1
        if not 0 <= port <= 65535:
            self.fail(
                f"{value!r} is not a port: give 0..65535 (0: any free port), or none", param, ctx
            )
        return port


@dataclass(frozen=True)
class Setting:
    """One setting. `default` and `unit` are as a reader of the docs sees them."""

    option: str
    env: str
    default: str
    unit: str
    help: str
    type: Any = str
    required: bool = False

    @property
    def parameter(self) -> str:
        """The Python name of the option's value."""
        return self.option.lstrip("-").replace("-", "_")

    def apply(self, function: F) -> F:
        """Adds the option to a click command's function."""
        is_flag = self.type is bool
        wanted: dict[str, Any] = {"is_flag": True} if is_flag else {"type": self.type}
        has_default = not is_flag and self.default != "none"
        wanted["default"] = False if is_flag else (self.default if has_default else None)
        decorate = click.option(
            self.option,
            envvar=self.env,
            required=self.required,
            show_default=has_default,
            show_envvar=True,
            help=self.help,
            **wanted,
        )
        return decorate(function)


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


def options(settings: tuple[Setting, ...]) -> Callable[[F], F]:
    """A decorator that adds the options of a table, in its order."""

    def decorate(function: F) -> F:
        for setting in reversed(settings):
            function = setting.apply(function)
        return function

    return decorate
