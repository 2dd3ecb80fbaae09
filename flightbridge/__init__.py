"""FlightBridge: Arrow Flight data exchange between Spark and TensorFlow.

Four ways in:

* ``flightbridge.tf.dataset(uri, feed, batch_size=...)`` gives a ``tf.data.Dataset``;
* ``flightbridge.read(uri, feed)`` gives a table; :mod:`flightbridge.batches`, ``torch`` and ``jax``
  are for training loops;
* ``flightbridge.Server()`` or ``flightbridge serve`` runs the server;
* ``flightbridge bench`` measures it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flightbridge import errors
from flightbridge.errors import FlightBridgeError

if TYPE_CHECKING:
    from flightbridge.client import Client, connect
    from flightbridge.reading import read
    from flightbridge.resharding import reshard
    from flightbridge.scoring.client import score
    from flightbridge.server import Server

__version__ = "0.1.0"
__all__ = [
    "Client",
    "FlightBridgeError",
    "Server",
    "__version__",
    "connect",
    "errors",
    "read",
    "reshard",
    "score",
]

_LAZY = {
    "Client": "flightbridge.client",
    "connect": "flightbridge.client",
    "read": "flightbridge.reading",
    "Server": "flightbridge.server",
    "reshard": "flightbridge.resharding",
    "score": "flightbridge.scoring.client",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that `flightbridge doctor` and error classes work where the native core does not.
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
