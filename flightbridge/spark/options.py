"""The options of a write to a feed, checked before Spark does any work.

| option    | meaning                                             | default       |
| --------- | --------------------------------------------------- | ------------- |
| `uri`     | the bridge, `grpc://HOST:PORT`                      | required      |
| `feed`    | the feed to write                                   | required      |
| `token`   | the bearer token, where the bridge asks for one     | driver's `FLIGHTBRIDGE_TOKEN` |
| `tls_ca`  | PEM file of the CAs of a `grpc+tls://` bridge       | `FLIGHTBRIDGE_TLS_CA` |
| `tls_client_cert`, `tls_client_key` | PEM files, where the bridge asks for a certificate | \
`FLIGHTBRIDGE_TLS_CLIENT_CERT`, `_KEY` |
| `timeout` | seconds that one call to the bridge may take        | 60            |
| `visible` | `job`, or `partition`: readers see each partition once it is written | `job` |
| `retention` | `keep`, `once` or `epochs=N`: when rows may go, see docs/protocol.md | `keep` |
| `ttl`     | seconds without use after which the feed is dropped  | never         |
| `mode`    | set by `save()`; not for users                      | `errorifexists` |

The Java connector has more, which docs/spark.md lists; the Python writer refuses those by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flightbridge.config import parse_servers
from flightbridge.credentials import token_or_default
from flightbridge.errors import InvalidArgumentError
from flightbridge.retention import parse_retention

if TYPE_CHECKING:
    from flightbridge.client import Client

FORMAT = "flightbridge"
PYTHON_FORMAT = "flightbridge_python"
"""The Python writer by a name of its own, for sessions where ``FORMAT`` is the connector."""
CONNECTOR_ONLY = ("batch_bytes", "shards", "shuffle", "seed", "transport")
MODES = ("errorifexists", "append", "overwrite", "ignore")
DEFAULT_TIMEOUT_S = 60.0
VISIBLE = ("job", "partition")
_TLS = ("tls_ca", "tls_client_cert", "tls_client_key")
_KNOWN = ("uri", "feed", "token", "timeout", "visible", "retention", "ttl", *_TLS)
_MODE = "mode"


@dataclass(frozen=True)
class WriteOptions:
    """Where a write goes and how. Small, picklable, the same on driver and executors."""

    uri: str
    feed: str
    mode: str
    token: str | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    visible: str = "job"
    retention: str | None = None
    ttl_s: float | None = None
    tls_ca: str | None = None
    tls_client_cert: str | None = None
    tls_client_key: str | None = None

    def connect(self) -> Client:
        """A new connection to the bridge, in the process that asks for it."""
        from flightbridge.client import connect

        return connect(
            self.uri,
            token=self.token,
            tls_ca=self.tls_ca,
            tls_client_cert=self.tls_client_cert,
            tls_client_key=self.tls_client_key,
            timeout_s=self.timeout_s,
        )

    def __repr__(self) -> str:  # a token never reaches a log
        token = "None" if self.token is None else "'***'"
        return (
            f"WriteOptions(uri={self.uri!r}, feed={self.feed!r}, mode={self.mode!r}, "
            f"token={token}, timeout_s={self.timeout_s}, visible={self.visible!r}, "
            f"retention={self.retention!r}, ttl_s={self.ttl_s})"
        )


def parse_mode(value: Any) -> str:
    """The save mode under its one spelling; ``error`` and ``default`` are ``errorifexists``.

    Raises:
        InvalidArgumentError: Not one of Spark's four save modes.
    """
    mode = value.lower() if isinstance(value, str) else value
    if mode in ("error", "default"):
        return "errorifexists"
    if mode not in MODES:
        raise InvalidArgumentError(
            f"mode={value!r} is not a save mode: use one of {_listed(MODES)}"
        )
    return str(mode)


def parse_options(options: Mapping[str, Any], mode: str) -> WriteOptions:
    """Options as Spark hands them over (text, names in any case), checked one by one.

    Raises:
        InvalidArgumentError: An option is unknown, missing or malformed; the message names it.
    """
    given = {str(name).lower(): value for name, value in options.items() if value is not None}
    given.pop(_MODE, None)
    for name in given:
        if name in CONNECTOR_ONLY:
            raise InvalidArgumentError(
                f"option {name}={given[name]!r} is the Java connector's, and here the Python "
                "writer is used: remove it, or start the session with "
                "flightbridge.spark.configure(builder)"
            )
        if name not in _KNOWN:
            raise InvalidArgumentError(
                f"option {name}={given[name]!r} is not known to the {FORMAT} format: "
                f"remove it, or use one of {_listed(_KNOWN)}"
            )
    uri, feed = (_required(given, name) for name in ("uri", "feed"))
    uri = parse_servers(uri, "option uri")
    visible = str(given.get("visible", "job")).lower()
    if visible not in VISIBLE:
        raise InvalidArgumentError(
            f"option visible={given['visible']!r} is not known: use one of {_listed(VISIBLE)}"
        )
    retention, ttl = given.get("retention"), given.get("ttl")
    parse_retention(retention, ttl, "option ")
    return WriteOptions(
        uri=uri,
        feed=feed,
        mode=parse_mode(mode),
        # The driver's environment counts: executors get what it chose.
        token=str(given["token"]) if "token" in given else token_or_default(None) or None,
        timeout_s=_seconds(given.get("timeout", DEFAULT_TIMEOUT_S)),
        visible=visible,
        retention=retention,
        ttl_s=None if ttl is None else float(ttl),
        **{name: str(given[name]) for name in _TLS if name in given},
    )


def mode_of(options: Mapping[str, Any], overwrite: bool) -> str:
    """The mode a writer was asked for: Spark's own flag, refined by what ``save()`` recorded.

    Spark passes only ``append`` and ``overwrite`` on to a Python data source; the option carries
    the other two (see :mod:`flightbridge.spark.save_modes`).

    Raises:
        InvalidArgumentError: The option contradicts Spark's flag.
    """
    recorded = {str(name).lower(): value for name, value in options.items()}.get(_MODE)
    if recorded is None:
        return "overwrite" if overwrite else "append"
    mode = parse_mode(recorded)
    if (mode == "overwrite") != overwrite:
        raise InvalidArgumentError(
            f"option mode={recorded!r} contradicts the save mode: leave the option out and "
            f'choose the mode with .mode("{mode}")'
        )
    return mode


def _required(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        example = "grpc://127.0.0.1:8815" if name == "uri" else "ratings"
        shown = " is missing" if name not in given else f"={value!r} is not a name"
        raise InvalidArgumentError(f'option {name}{shown}: add .option("{name}", "{example}")')
    return value


def _seconds(value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise InvalidArgumentError(
            f"option timeout={value!r} is not a time: give seconds above zero, such as 60"
        )
    return seconds


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
