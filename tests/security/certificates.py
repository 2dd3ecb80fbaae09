"""A certificate authority for tests, made by the openssl command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def _openssl(*args: str | Path) -> None:
    done = subprocess.run(
        ["openssl", *map(str, args)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Pair:
    """PEM files of a certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates; files lie in `directory`."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.ca = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        _openssl(
            "req", "-x509", *_CURVE, "-keyout", self._key, "-out", self.ca, "-days", "2",
            "-subj", f"/CN={name}",
        )  # fmt: skip

    def issue(self, name: str, subjects: str = "DNS:localhost,IP:127.0.0.1", days: int = 1) -> Pair:
        """A certificate for these subject names; with days=-1 it has expired."""
        pair = Pair(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        request = self.directory / f"{name}.csr"
        _openssl(
            "req", *_CURVE, "-keyout", pair.key, "-out", request, "-subj", f"/CN={name}",
            "-addext", f"subjectAltName={subjects}",
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key, "-CAcreateserial",
            "-days", days, "-copy_extensions", "copy", "-out", pair.cert,
        )  # fmt: skip
        return pair
