"""Every error FlightBridge raises on purpose.

Each class also inherits the built-in error that a caller would expect, so ``except ValueError``
and ``except FlightBridgeError`` both work. Messages name the setting or object, the value and the
remedy. The native core reports a code; :func:`from_code` is the one place that turns it into one
of these classes.
"""

from __future__ import annotations


class FlightBridgeError(Exception):
    """Base of all FlightBridge errors."""

    code: int = 13
    code_name: str = "INTERNAL"


class InvalidArgumentError(FlightBridgeError, ValueError):
    """An argument or setting is outside what is allowed."""

    code = 3
    code_name = "INVALID_ARGUMENT"


class DeadlineExceededError(FlightBridgeError, TimeoutError):
    """A call did not finish within its deadline."""

    code = 4
    code_name = "DEADLINE_EXCEEDED"


class FeedNotFoundError(FlightBridgeError, LookupError):
    """No such feed, partition or column."""

    code = 5
    code_name = "NOT_FOUND"


class FeedExistsError(FlightBridgeError, FileExistsError):
    """The feed exists and the write mode does not allow that."""

    code = 6
    code_name = "ALREADY_EXISTS"


class PermissionDeniedError(FlightBridgeError, PermissionError):
    """The token does not allow this call."""

    code = 7
    code_name = "PERMISSION_DENIED"


class ResourceExhaustedError(FlightBridgeError, MemoryError):
    """The server is out of memory or disk space for feeds, or a limit was passed."""

    code = 8
    code_name = "RESOURCE_EXHAUSTED"


class FailedPreconditionError(FlightBridgeError, RuntimeError):
    """The object is not in a state that allows this call."""

    code = 9
    code_name = "FAILED_PRECONDITION"


class ServerUnavailableError(FlightBridgeError, ConnectionError):
    """The server cannot be reached, or went away."""

    code = 14
    code_name = "UNAVAILABLE"


class DataLossError(FlightBridgeError, OSError):
    """Data arrived or was found damaged: a checksum or a count disagrees."""

    code = 15
    code_name = "DATA_LOSS"


class UnauthenticatedError(FlightBridgeError, PermissionError):
    """The call carried no valid token."""

    code = 16
    code_name = "UNAUTHENTICATED"


class CancelledError(FlightBridgeError, RuntimeError):
    """The call was cancelled."""

    code = 1
    code_name = "CANCELLED"


class SchemaMismatchError(FlightBridgeError, ValueError):
    """A schema differs from that of the feed."""

    code = 100
    code_name = "SCHEMA_MISMATCH"


class UnsupportedTypeError(FlightBridgeError, TypeError):
    """A column's type cannot be handled; the message says what to cast it to."""

    code = 101
    code_name = "UNSUPPORTED_TYPE"


class PositionMismatchError(FlightBridgeError, ValueError):
    """A saved position belongs to another feed, schema, shard or shuffle order."""

    code = 102
    code_name = "POSITION_MISMATCH"


class VersionMismatchError(FlightBridgeError, ImportError):
    """The native core was built for other versions than the installed ones."""

    code_name = "VERSION_MISMATCH"


_BY_CODE: dict[int, type[FlightBridgeError]] = {
    cls.code: cls for cls in FlightBridgeError.__subclasses__() if "code" in vars(cls)
}
_BY_NAME: dict[str, type[FlightBridgeError]] = {
    cls.code_name: cls for cls in FlightBridgeError.__subclasses__()
}


def from_code(code: int, message: str) -> FlightBridgeError:
    """The error for a native code (``flightbridge::Code``, ``fb_code``)."""
    return _BY_CODE.get(code, FlightBridgeError)(message)


def from_wire(message: str) -> FlightBridgeError:
    """The error for a server's message, which starts with ``[CODE_NAME]``.

    For code that talks to a server through plain pyarrow Flight.
    """
    if "[" in message:
        name, closed, rest = message.partition("[")[2].partition("]")
        if closed and name in _BY_NAME:
            return _BY_NAME[name](rest.strip())
    return FlightBridgeError(message)
