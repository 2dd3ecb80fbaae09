"""Tokens and certificates for three servers that a feed spans."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from .cluster import Cluster

CLIENT_TOKEN = "token-of-a-client-0123456789"
PEER_TOKEN = "token-of-a-server-0123456789"
CREDENTIALS = ("tokens", "tls", "mtls and tokens")


def _certificates() -> Any:
    # Each directory of tests is a package of its own.
    path = Path(__file__).parents[1] / "security/certificates.py"
    spec = importlib.util.spec_from_file_location("fault_certificates", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


Authority = _certificates().Authority


def write_secret(path: Path, text: str) -> Path:
    """In one step, so that a server reads the old text or the new one."""
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)
    return path


def secured(root: Path, kind: str, **settings: Any) -> Cluster:
    """Three servers with what is in `kind`. Their peer token lies in ``root / "peer-token"``."""
    credentials: dict[str, str] = {}
    if "tls" in kind:
        authority = Authority(root, "ca")
        server = authority.issue("server")
        settings |= {"tls_cert": server.cert, "tls_key": server.key, "peer_tls_ca": authority.ca}
        credentials |= {"tls_ca": str(authority.ca)}
        if "mtls" in kind:
            client = authority.issue("client")
            settings |= {"tls_client_ca": authority.ca}
            credentials |= {"tls_client_cert": str(client.cert), "tls_client_key": str(client.key)}
    if "tokens" in kind:
        lines = f"{CLIENT_TOKEN} read:*,write:*,admin:* client\n{PEER_TOKEN} peer:* server\n"
        settings |= {
            "token_file": write_secret(root / "tokens", lines),
            "peer_token_file": write_secret(root / "peer-token", f"{PEER_TOKEN}\n"),
        }
        credentials |= {"token": CLIENT_TOKEN}
    texts = {k: str(v) if isinstance(v, Path) else v for k, v in settings.items()}
    return Cluster(root, credentials=credentials, **texts)
