"""Finds and loads the tf.data op that fits the installed TensorFlow."""

from __future__ import annotations

import atexit
import ctypes
import functools
import json
import os
import re
import threading
from pathlib import Path
from typing import Any

from flightbridge.errors import VersionMismatchError
from flightbridge.tf import build

RECORD = "tf_build.json"
"""Written by CMake beside the op: what it was built for."""

_load_lock = threading.Lock()


def record() -> dict[str, str]:
    """What the installed op was built for; empty where the build had no TensorFlow."""
    from flightbridge import _native

    path = _native.library_dir() / RECORD
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return {str(key): str(value) for key, value in found.items()}


def built_for() -> str:
    """The TensorFlow version of the installed op, for messages."""
    return record().get("tensorflow", "(none: it was absent at build time)")


def fits(facts: dict[str, str], tf: build.TensorFlow) -> bool:
    """Whether an op with this record can be loaded into this TensorFlow."""
    return (
        facts.get("tensorflow") == tf.version
        and facts.get("tensorflow_git") == tf.git_version
        and facts.get("cxx_standard") == tf.cxx_standard
        and tuple(sorted(facts.get("definitions", "").split())) == tf.definitions
    )


def installed_library() -> Path:
    """Where the build puts the op; need not exist."""
    from flightbridge import _native

    return _native.library_dir() / build.LIBRARY


def find(tf: build.TensorFlow) -> Path:
    """The op for this TensorFlow: the installed one, or one from the cache, built if need be.

    Raises:
        VersionMismatchError: There is none and it cannot be built.
    """
    built = build.cached_library(tf)
    if not built.exists() and fits(record(), tf) and installed_library().exists():
        return installed_library()
    return build.build(tf)  # also what somebody built by hand, which then goes first


def core() -> ctypes.CDLL:
    """The core, loaded before the op, which then needs no search path to find it.

    Raises:
        VersionMismatchError: The core and the op's sources disagree about the C ABI.
    """
    from flightbridge import _native

    library = ctypes.CDLL(str(_native.library_dir() / "libflightbridge.so"))
    header = (build.source_dir() / "flightbridge" / "c_api.h").read_text()
    match = re.search(r"^#define FB_ABI_VERSION (\d+)$", header, re.MULTILINE)
    wanted = int(match.group(1)) if match else -1
    found = int(library.fb_abi_version())
    if found != wanted:
        raise VersionMismatchError(
            f"libflightbridge.so has C ABI version {found}, but the tf.data op beside it needs "
            f"{wanted}: the installation is mixed up; run: "
            "pip install --force-reinstall flightbridge"
        )
    return library


def load() -> Any:
    """The module of the op's Python wrappers.

    Raises:
        VersionMismatchError: No op fits the installed TensorFlow and none can be built; the
            message names both versions and the command that builds one.
    """
    with _load_lock:
        return _load()


@functools.cache
def _load() -> Any:
    tf = build.TensorFlow.installed()
    core()
    path = find(tf)
    import tensorflow

    try:
        module = tensorflow.load_op_library(str(path))
    except (tensorflow.errors.OpError, OSError) as error:
        raise VersionMismatchError(
            f"the tf.data op {path} (built for TensorFlow {built_for()}) does not load into "
            f"TensorFlow {tf.version}: {error}. Rebuild it: {build.COMMAND}"
        ) from error
    # Readers have threads; they must be gone before the C++ runtime tears libraries down.
    owner = os.getpid()
    shut_down = ctypes.CDLL(str(path)).fb_tf_shut_down

    def at_exit() -> None:
        if os.getpid() == owner:  # a forked child has no such threads
            shut_down()

    atexit.register(at_exit)
    return module
