import inspect

import pytest

from flightbridge import errors

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, errors.FlightBridgeError) and cls is not errors.FlightBridgeError
]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_also_has_a_builtin_cousin(cls):
    cousins = [base for base in cls.__mro__ if base.__module__ == "builtins"]
    assert any(base not in (Exception, BaseException, object) for base in cousins)


@pytest.mark.parametrize("cls", [c for c in CLASSES if c is not errors.VersionMismatchError])
def test_code_and_wire_name_lead_back_to_the_class(cls):
    assert type(errors.from_code(cls.code, "m")) is cls
    wired = errors.from_wire(f"Flight returned an error: [{cls.code_name}] feed 'x' is gone")
    assert type(wired) is cls
    assert "feed 'x' is gone" in str(wired)


def test_unknown_code_is_still_ours():
    assert type(errors.from_code(999, "m")) is errors.FlightBridgeError
    assert type(errors.from_wire("no tag here")) is errors.FlightBridgeError
    assert type(errors.from_wire("[NEWER_CODE] m")) is errors.FlightBridgeError


def test_native_codes_match():
    """error.h, c_api.h and errors.py list the same codes."""
    import re
    from pathlib import Path

    header = Path(__file__).parents[2] / "native" / "include" / "flightbridge" / "c_api.h"
    found = dict(re.findall(r"FB_([A-Z_]+) = (\d+)", header.read_text().split("fb_code;")[0]))
    found.pop("OK")
    ours = {c.code_name: c.code for c in CLASSES if c is not errors.VersionMismatchError}
    assert {k: int(v) for k, v in found.items() if k != "INTERNAL"} == ours
