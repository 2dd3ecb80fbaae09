"""Checks of certificates and keys before anything is opened with them.

gRPC says nothing useful about a key that does not match or a certificate that has expired on its
own side, so both are tried out here, with Python's own TLS and without a socket.
"""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path

from flightbridge.errors import InvalidArgumentError

# OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
_NOT_YET_VALID = 9
_EXPIRED = 10

_CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----[\x00-\x7f]*?-----END CERTIFICATE-----", re.DOTALL
)


def check_pair(cert_setting: str, cert: str, key_setting: str, key: str) -> None:
    """Checks that a certificate and a key can be read, belong together and are valid today.

    Args:
        cert_setting: The setting's name, for errors.
        cert: Path of the certificate chain, PEM.
        key_setting: The key's setting.
        key: Path of the unencrypted private key, PEM.

    Raises:
        InvalidArgumentError: They do not; the message names the setting and the file.
    """
    text = check_certificates(cert_setting, cert)
    _read(key_setting, key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(cert, key, password=lambda: "")
    except ssl.SSLError as error:
        if "KEY_VALUES_MISMATCH" in str(error):
            raise InvalidArgumentError(
                f"{key_setting} {key} is not the key of the certificate in {cert_setting} {cert}: "
                "name the key that the certificate was made with"
            ) from error
        raise InvalidArgumentError(
            f"{key_setting} {key} holds no private key that can be used: give an unencrypted "
            f"private key in PEM form ({error.reason or error})"
        ) from error
    except OSError as error:
        raise _cannot_read(f"{cert_setting} {cert} or {key_setting} {key}", error) from error
    _check_dates(server, text, f"{cert_setting} {cert}")


def check_certificates(setting: str, path: str) -> str:
    """The certificates of a PEM file, at least one and all of them well-formed, as PEM text.

    Raises:
        InvalidArgumentError: The file cannot be read, or a certificate in it cannot be parsed.
    """
    # Only the certificates: such files hold comments and keys, too.
    text = "\n".join(_CERTIFICATE.findall(_read(setting, path)))
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:  # ValueError: there is none
        why = getattr(error, "reason", None) or error
        raise InvalidArgumentError(
            f"{setting} {path} holds no certificate in PEM form that can be parsed "
            f"({why}): name a file with -----BEGIN CERTIFICATE-----"
        ) from error
    return text


def _read(setting: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="latin-1")
    except OSError as error:
        raise _cannot_read(f"{setting} {os.fspath(path)}", error) from error


def _cannot_read(what: str, error: OSError) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{what} cannot be read: {error.strerror or error}; name a PEM file that this process may "
        "read"
    )


def _check_dates(server: ssl.SSLContext, certificates: str, what: str) -> None:
    # A handshake in memory with a client that trusts this very certificate: it looks at the dates.
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cadata=certificates)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server)
    there = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):  # two round trips are enough
        try:
            here.do_handshake()
            return
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError as error:
            if error.verify_code == _EXPIRED:
                raise InvalidArgumentError(
                    f"{what} has expired: every peer would refuse it, renew it"
                ) from error
            if error.verify_code == _NOT_YET_VALID:
                raise InvalidArgumentError(
                    f"{what} is not valid yet: look at its dates and at this machine's clock"
                ) from error
            return  # what else is wrong with it is for the peer to judge
        try:
            there.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            return
