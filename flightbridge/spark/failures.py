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
            return kind(re.sub(r"\s+SQLSTATE: \w+$", "", message).strip())
    if _NOT_INSTALLED.search(text):
        return errors.FailedPreconditionError(
            "Spark's Python workers cannot import flightbridge: install it for the Python that the "
            "driver and the executors run, or point them to this one with "
            f"PYSPARK_PYTHON={sys.executable} before the session starts"
        )
    return None


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
