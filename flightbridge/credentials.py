"""What a client shows to a server and asks of it: token and TLS files.

Each comes from an argument or, by default, from the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flightbridge.errors import InvalidArgumentError

TOKEN_VARIABLE = "FLIGHTBRIDGE_TOKEN"
"""Environment variable with the token of every connection that is given none."""

TLS_VARIABLES = {
    "tls_ca": "FLIGHTBRIDGE_TLS_CA",
    "tls_client_cert": "FLIGHTBRIDGE_TLS_CLIENT_CERT",
    "tls_client_key": "FLIGHTBRIDGE_TLS_CLIENT_KEY",
}
"""Environment variables with the TLS files of every connection that is given none."""


@dataclass(frozen=True)
class Credentials:
    """Checked settings of a connection; empty text stands for none.

    Attributes:
        token: Sent as ``authorization: Bearer``.
        tls_ca: PEM file of the CAs that may have signed the server's certificate; none: the
            system's.
        tls_client_cert: PEM file of this client's certificate, where the server asks for one.
        tls_client_key: PEM file of its key.
        tls_override_hostname: Name to look for in the server's certificate in place of the uri's.
    """

    token: str = ""
    tls_ca: str = ""
    tls_client_cert: str = ""
    tls_client_key: str = ""
    tls_override_hostname: str = ""

    def __repr__(self) -> str:  # a token never reaches a log
        return f"Credentials(token={'***' if self.token else ''!r}, tls_ca={self.tls_ca!r})"


def resolve(
    uri: str,
    *,
    token: str | None = None,
    tls_ca: str | os.PathLike[str] | None = None,
    tls_client_cert: str | os.PathLike[str] | None = None,
    tls_client_key: str | os.PathLike[str] | None = None,
    tls_override_hostname: str | None = None,
) -> Credentials:
    """The credentials for a server: what is given, else what the environment says.

    The environment's TLS files count for ``grpc+tls://`` only.

    Raises:
        InvalidArgumentError: A setting has a wrong type, a file cannot be used, or TLS settings
            are given for a ``grpc://`` server.
    """
    given = {
        "tls_ca": tls_ca,
        "tls_client_cert": tls_client_cert,
        "tls_client_key": tls_client_key,
        "tls_override_hostname": tls_override_hostname,
    }
    found = {name: _text(name, value) for name, value in given.items() if value is not None}
    secret = token_or_default(token)
    if not uri.startswith("grpc+tls://"):
        for name, value in found.items():
            if value:
                raise InvalidArgumentError(
                    f"{name}={value!r} is given for {uri}, which is plain text: write grpc+tls:// "
                    "in the uri, or leave it out"
                )
        return Credentials(token=secret)
    for name, variable in TLS_VARIABLES.items():
        if name not in found:
            found[name] = os.environ.get(variable, "")
    credentials = Credentials(token=secret, **found)
    _check_files(credentials)
    return credentials


def token_or_default(token: str | None) -> str:
    """The token to send: the one given, else that of the environment; empty for none.

    Raises:
        InvalidArgumentError: ``token`` is neither a str nor None.
    """
    if token is None:
        return os.environ.get(TOKEN_VARIABLE, "")
    if not isinstance(token, str):
        raise InvalidArgumentError(f"token is a {type(token).__name__}: give a str")
    return token


def read_token(path: str | os.PathLike[str]) -> str:
    """The token in a file that holds nothing else, as Docker and Kubernetes mount secrets.

    Raises:
        InvalidArgumentError: The file cannot be read, or is not one word.
    """
    try:
        words = Path(path).read_text(encoding="ascii").split()
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
        raise InvalidArgumentError(
            f"--token-file {os.fspath(path)}: cannot be read: {why}"
        ) from error
    if len(words) != 1:
        raise InvalidArgumentError(
            f"--token-file {os.fspath(path)}: holds {len(words)} words: it must hold the token "
            "to send and nothing else"
        )
    return words[0]


def export_credentials(options: Mapping[str, str | None]) -> None:
    """Makes command line options the defaults of every connection of this process.

    Args:
        options: Values by parameter name, as :data:`flightbridge.cli.settings.CREDENTIALS` has
            them; a None leaves the environment as it is.
    """
    if (path := options.get("token_file")) is not None:
        os.environ[TOKEN_VARIABLE] = read_token(path)
    for name, variable in TLS_VARIABLES.items():
        if (path := options.get(name)) is not None:
            os.environ[variable] = path


def _text(name: str, value: str | os.PathLike[str]) -> str:
    if not isinstance(value, (str, os.PathLike)):
        raise InvalidArgumentError(f"{name} is a {type(value).__name__}: give a str")
    return os.fsdecode(value)


def _check_files(credentials: Credentials) -> None:
    from flightbridge import tls

    cert, key = credentials.tls_client_cert, credentials.tls_client_key
    if bool(cert) != bool(key):
        there, missing = ("cert", "key") if cert else ("key", "cert")
        raise InvalidArgumentError(
            f"tls_client_{there} is set and tls_client_{missing} is not: give both, or neither"
        )
    if credentials.tls_ca:
        tls.check_certificates("tls_ca", credentials.tls_ca)
    if cert:
        tls.check_pair("tls_client_cert", cert, "tls_client_key", key)
