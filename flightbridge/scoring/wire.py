"""What a model server and its clients say to one another, besides Arrow.

One ``DoExchange`` is one stream of rows: its descriptor's command is a request
(:mod:`flightbridge.scoring.request`), record batches go up, and for each of them one of predictions
comes down, of as many rows. The action :data:`DESCRIBE` says beforehand what that would give.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.flight

from flightbridge import errors
from flightbridge.errors import FlightBridgeError, InvalidArgumentError
from flightbridge.scoring.request import ScoreRequest, decode

_TAIL = re.compile(r"\. (Detail: |gRPC client debug context:)")  # what Arrow and gRPC add

DESCRIBE = "flightbridge.v1.DescribeModel"

_REPLIES: dict[str, type[Exception]] = {
    "UNAUTHENTICATED": pa.flight.FlightUnauthenticatedError,
    "PERMISSION_DENIED": pa.flight.FlightUnauthorizedError,
    "UNAVAILABLE": pa.flight.FlightUnavailableError,
    "DEADLINE_EXCEEDED": pa.flight.FlightTimedOutError,
    "CANCELLED": pa.flight.FlightCancelledError,
}
# Of messages that come from gRPC itself.
_CAUSES: list[tuple[type[Exception], type[FlightBridgeError]]] = [
    (pa.flight.FlightUnavailableError, errors.ServerUnavailableError),
    (pa.flight.FlightTimedOutError, errors.DeadlineExceededError),
    (pa.flight.FlightUnauthenticatedError, errors.UnauthenticatedError),
    (pa.flight.FlightUnauthorizedError, errors.PermissionDeniedError),
    (pa.flight.FlightCancelledError, errors.CancelledError),
]


def reply(error: FlightBridgeError) -> Exception:
    """The error as Flight sends it; its code stands before the message."""
    kind = _REPLIES.get(error.code_name, pa.flight.FlightServerError)
    made: Exception = kind(f"[{error.code_name}] {error}")
    return made


def cause_of(error: Exception, uri: str) -> FlightBridgeError:
    """The error that a server has sent, or what is wrong with the way to it."""
    text = _TAIL.split(str(error), maxsplit=1)[0]
    found = errors.from_wire(text)
    if type(found) is not FlightBridgeError:
        return found
    for kind, cause in _CAUSES:
        if isinstance(error, kind):
            return cause(f"model server {uri}: {text}")
    return FlightBridgeError(f"model server {uri}: {text}")


@dataclass(frozen=True)
class Description:
    """What a request would give.

    Attributes:
        title: The model, for messages.
        inputs: Names of its inputs; None where they have none.
        reads: The columns that it reads, of those that were offered.
        outputs: The column of each output.
        made: The columns of predictions.
    """

    title: str
    inputs: tuple[str, ...] | None
    reads: tuple[str, ...] = ()
    outputs: dict[str, str] | None = None
    made: pa.Schema | None = None

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(
            {
                "title": self.title,
                "inputs": self.inputs,
                "reads": self.reads,
                "outputs": self.outputs,
                "schema": None if self.made is None else _schema_text(self.made),
            }
        ).encode()

    @staticmethod
    def parse(body: bytes) -> Description:
        """What :meth:`encode` has made."""
        said = json.loads(body)
        return Description(
            title=said["title"],
            inputs=None if said["inputs"] is None else tuple(said["inputs"]),
            reads=tuple(said["reads"]),
            outputs=said["outputs"],
            made=None if said["schema"] is None else _schema_of(said["schema"]),
        )


def encode_question(request: ScoreRequest, schema: pa.Schema) -> bytes:
    """Body of :data:`DESCRIBE`: the request, and the columns that could be sent."""
    said = {"request": json.loads(request.encode()), "schema": _schema_text(schema)}
    return json.dumps(said).encode()


def decode_question(body: bytes) -> tuple[ScoreRequest, pa.Schema] | None:
    """The question; None where the body is empty, which asks for the model's inputs alone.

    Raises:
        InvalidArgumentError: It is no question.
    """
    if not body:
        return None
    try:
        said: dict[str, Any] = json.loads(body)
        request, schema = json.dumps(said["request"]).encode(), _schema_of(said["schema"])
    except (ValueError, TypeError, KeyError, RecursionError, OSError, pa.ArrowException) as error:
        raise InvalidArgumentError(
            f"the body of {DESCRIBE} ({len(body)} bytes) is not JSON with a request and a schema "
            "(an IPC message in base64)"
        ) from error
    return decode(request), schema


def _schema_text(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def _schema_of(text: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text, validate=True)))
