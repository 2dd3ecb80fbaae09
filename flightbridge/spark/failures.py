"""Spark's errors turned back into the FlightBridge error that caused them.

What a data source raises on the driver or in a task reaches the user as text inside an exception
of Spark's, Python traceback included. Here the text becomes the original class again, raised from
Spark's exception so that nothing is lost.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from flightbridge import errors

# The last line of a Python traceback: "flightbridge.errors.FeedExistsError: text".
_RAISED = re.compile(r"flightbridge\.errors\.(\w+): (.*)")
# What the connector raises: "io.flightbridge.BridgeException: [CODE] text", where Connect writes
# "(io.flightbridge.BridgeException) [CODE] text". The innermost cause comes last.
_RAISED_IN_JVM = re.compile(r"io\.flightbridge\.BridgeException\W{1,3}(\[[A-Z_]+\] [^\n]*)")
_NOT_INSTALLED = re.compile(
    r"No module named '?flightbridge|\[DATA_SOURCE_NOT_FOUND\][^\n]*\bflightbridge\b"
)


def cause_of(error: BaseException) -> errors.FlightBridgeError | None:
    """The FlightBridge error inside one of Spark's, or None if there is none."""
    text = str(error)
    found = _RAISED.findall(text)
    if found:
        name, message = found[-1]
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, errors.FlightBridgeError):
            return kind(_without_state(message))
    coded = _RAISED_IN_JVM.findall(text)
    if coded:
        return errors.from_wire(_without_state(coded[-1]))
    if _NOT_INSTALLED.search(text):
        return errors.FailedPreconditionError(
            "Spark's Python workers cannot import flightbridge: install it for the Python that the "
            "driver and the executors run, or point them to this one with "
            f"PYSPARK_PYTHON={sys.executable} before the session starts"
        )
    return None


def _without_state(message: str) -> str:
    return re.sub(r"\s+SQLSTATE: \w+$", "", message).strip()


@contextmanager
def original_errors() -> Iterator[None]:
    """Raises the FlightBridge error that is the cause of a Spark error, where there is one."""
    try:
        yield
    except errors.FlightBridgeError:
        raise
    except Exception as error:
        cause = cause_of(error)
        if cause is None:
            raise
        raise cause from error
