"""The control port: an ordinary gRPC server beside the Flight port.

It serves ``grpc.health.v1.Health`` for the services ``""`` and ``"flightbridge"``, and
``flightbridge.v1.Coordinator``, for probes, operators and launchers. It runs on threads of
Python's and is never in the way of data. Health needs no token; status follows the tokens of the
Flight port.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from flightbridge.errors import FailedPreconditionError, FlightBridgeError
from flightbridge.v1 import coordinator_pb2, coordinator_pb2_grpc

HEALTH_SERVICES = ("", "flightbridge")
_THREADS = 4
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class _Coordinator(coordinator_pb2_grpc.CoordinatorServicer):  # type: ignore[misc]  # untyped: generated
    def __init__(self, status: Callable[[str], bytes], feeds: Callable[[str], list[bytes]]) -> None:
        self._status = status
        self._feeds = feeds

    def GetStatus(  # noqa: N802  (the name is the protocol's)
        self, request: Any, context: grpc.ServicerContext
    ) -> coordinator_pb2.GetStatusResponse:
        given = dict(context.invocation_metadata()).get("authorization", "")
        # A header may come as bytes; as text it is compared like every other.
        authorization = given.decode("latin-1") if isinstance(given, bytes) else str(given)
        response = coordinator_pb2.GetStatusResponse()
        try:
            response.server.ParseFromString(self._status(authorization))
            feeds = self._feeds(authorization) if request.include_feeds else []
        except FlightBridgeError as error:
            code = getattr(grpc.StatusCode, error.code_name, grpc.StatusCode.INTERNAL)
            context.abort(code, f"[{error.code_name}] {error}")
        for encoded in feeds:
            response.feeds.add().ParseFromString(encoded)
        return response


def _credentials(cert: str, key: str, client_ca: str) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(Path(key).read_bytes(), Path(cert).read_bytes())],
        root_certificates=Path(client_ca).read_bytes() if client_ca else None,
        require_client_auth=bool(client_ca),
    )


class ControlServer:
    """Serves health and status until stopped. Thread-safe; no call blocks but :meth:`stop`.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 picks a free one.
        status: Gives an encoded ``flightbridge.v1.ServerStatus`` for the value of an
            ``authorization`` header, or raises what the caller is to be told. None: health alone.
        feeds: Gives encoded ``flightbridge.v1.FeedInfo`` messages, likewise.
        tls: Paths of certificate, key and client CA, as the Flight port has them; empty without.

    Raises:
        FailedPreconditionError: The port is in use.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        status: Callable[[str], bytes] | None = None,
        feeds: Callable[[str], list[bytes]] | None = None,
        tls: tuple[str, str, str] = ("", "", ""),
    ) -> None:
        self._health = health.HealthServicer()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(_THREADS, thread_name_prefix="flightbridge-control"),
            # Without it two servers would share a port, and each would get half of the calls.
            options=[("grpc.so_reuseport", 0)],
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if status is not None and feeds is not None:
            coordinator_pb2_grpc.add_CoordinatorServicer_to_server(
                _Coordinator(status, feeds), self._server
            )
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.port: int = (
                self._server.add_secure_port(address, _credentials(*tls))
                if tls[0]
                else self._server.add_insecure_port(address)
            )
        except RuntimeError as error:
            raise FailedPreconditionError(
                f"control port {address} cannot be opened, most likely because it is in use: "
                "choose another one (--control-port 0 picks a free one)"
            ) from error
        scheme = "grpc+tls" if tls[0] else "grpc"
        self.uri = f"{scheme}://{address.rpartition(':')[0]}:{self.port}"
        self._server.start()
        self._set(_SERVING)

    def _set(self, state: Any) -> None:
        for service in HEALTH_SERVICES:
            self._health.set(service, state)

    def draining(self) -> None:
        """Report NOT_SERVING from now on, so that probes send nobody here any more."""
        self._set(_NOT_SERVING)

    def stop(self, grace_s: float = 1.0) -> None:
        """Stop serving; running calls get ``grace_s`` seconds. Idempotent."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait(timeout=grace_s + 5.0)
