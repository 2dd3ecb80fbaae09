"""Parsing of the values that users write: sizes, URIs, counts.

Every error names the setting, the value and the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from flightbridge.errors import InvalidArgumentError

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
    "k": 2**10,
    "m": 2**20,
    "g": 2**30,
    "t": 2**40,
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")
_URI = re.compile(r"grpc(?:\+tcp|\+tls)?://(\[[0-9a-fA-F:.]+\]|[^/:\s\[\]]+):(\d{1,5})/?")


def parse_bytes(value: int | str, name: str = "size") -> int:
    """A size in bytes from an int or from text such as ``"512MiB"``, ``"2 GB"`` or ``"64k"``.

    Args:
        value: A whole number of bytes, or a number with a unit. KiB, MiB, GiB and TiB (and the
            short k, m, g and t) are powers of 1024; KB, MB, GB and TB are powers of 1000.
        name: The setting's name, for the error.

    Raises:
        InvalidArgumentError: The value is not a size, or is not above zero.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InvalidArgumentError(
            f"{name}={value!r} is not a size: give bytes as an int, or text such as '512MiB'"
        )
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        unit = _UNITS.get(match.group(2).lower()) if match else None
        if match is None or unit is None:
            raise InvalidArgumentError(
                f"{name}={value!r} is not a size: write a number and a unit, such as '512MiB' "
                "(units: B, KB, MB, GB, TB, KiB, MiB, GiB, TiB)"
            )
        size = int(float(match.group(1)) * unit)
    else:
        size = value
    if size <= 0:
        raise InvalidArgumentError(f"{name}={value!r} must be above zero, such as '512MiB'")
    return size


def format_bytes(size: int | float) -> str:
    """A size for people: ``"512 B"``, ``"1.5 MiB"``."""
    if abs(size) < 1024:
        return f"{size:.0f} B"
    scaled = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        scaled /= 1024
        if abs(scaled) < 1024:
            return f"{scaled:.1f} {unit}"
    return f"{scaled / 1024:.1f} TiB"


def parse_servers(uri: str | Sequence[str], name: str = "uri") -> str:
    """The servers of ``grpc://HOST:PORT,HOST:PORT,...``, or of a list of URIs, as one URI.

    A feed spans the servers of such a list; the scheme of the first holds for those without one.

    Raises:
        InvalidArgumentError: A part is no server's URI, or the list is empty or names one twice.
    """
    if not isinstance(uri, Sequence) or not all(isinstance(part, str) for part in uri):
        raise InvalidArgumentError(
            f"{name}={uri!r} is neither a server address nor a list of them: write "
            "grpc://HOST:PORT, such as grpc://127.0.0.1:8815"
        )
    text = uri if isinstance(uri, str) else ",".join(uri)
    scheme, separator, _ = text.partition("://")
    servers = [
        part if "://" in part else f"{scheme}{separator}{part}"
        for part in (piece.strip() for piece in text.split(","))
    ]
    if len(servers) == 1:
        parse_uri(text, name)
        return text
    seen: set[tuple[str, int]] = set()
    for server in servers:
        address = parse_uri(server, name)
        if address in seen:
            raise InvalidArgumentError(f"{name}={uri!r} names {server} twice: name each once")
        seen.add(address)
    return ",".join(servers)


def parse_uri(uri: str, name: str = "uri") -> tuple[str, int]:
    """Host and port of a server's address; an IPv6 host is written in brackets.

    The address is ``grpc://HOST:PORT``, or ``grpc+tls://HOST:PORT`` for a server with TLS.

    Raises:
        InvalidArgumentError: The text is not such a URI, or the port is outside 1..65535.
    """
    match = _URI.fullmatch(uri) if isinstance(uri, str) else None
    if match is None:
        raise InvalidArgumentError(
            f"{name}={uri!r} is not a server address: write grpc://HOST:PORT, "
            "such as grpc://127.0.0.1:8815, or grpc+tls://HOST:PORT for a server with TLS"
        )
    port = int(match.group(2))
    if not 1 <= port <= 65535:
        raise InvalidArgumentError(f"{name}={uri!r}: port {port} is not in 1..65535")
    return match.group(1).strip("[]"), port
