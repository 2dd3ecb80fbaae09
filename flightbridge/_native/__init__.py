"""The compiled core.

Importing this package loads pyarrow first (the core links the libarrow inside it) and refuses,
before anything native is loaded, a pyarrow that the core was not built for: its C++ ABI changes
with every major version, and loading the wrong one would crash.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pyarrow as pa
import pyarrow.flight

from flightbridge.errors import VersionMismatchError


def _check_build() -> None:
    try:
        from flightbridge._native import _build_info as build
    except ImportError as error:
        raise VersionMismatchError(
            "the native core of flightbridge is not built in this environment; build it with: "
            "make build (in a checkout) or pip install --force-reinstall flightbridge"
        ) from error
    built, found = build.PYARROW_VERSION, pa.__version__
    if built.split(".")[0] != found.split(".")[0]:
        raise VersionMismatchError(
            f"flightbridge was built for pyarrow {built} but pyarrow {found} is installed; "
            f"either: pip install 'pyarrow=={built.split('.')[0]}.*'  or rebuild flightbridge: "
            "make build (in a checkout) or "
            "pip install --force-reinstall --no-binary flightbridge flightbridge"
        )


def library_dir() -> Path:
    """Directory of ``libflightbridge.so``."""
    # Not Path(__file__).parent: an editable install keeps the compiled files elsewhere.
    spec = importlib.util.find_spec("flightbridge._native._build_info")
    assert spec is not None and spec.origin is not None  # checked at import
    return Path(spec.origin).parent


_check_build()
