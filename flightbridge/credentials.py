"""What a client shows to a server: the token, from an argument, the environment or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from flightbridge.errors import InvalidArgumentError

TOKEN_VARIABLE = "FLIGHTBRIDGE_TOKEN"
"""Environment variable with the token of every connection that is given none."""


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
