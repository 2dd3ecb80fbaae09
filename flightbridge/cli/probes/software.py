"""Probes of software: versions, the native core, the tf.data op, Java."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from flightbridge import __version__
from flightbridge.cli.probes import FAIL, OK, WARN, Finding, Probe
from flightbridge.cli.probes.child import try_command, try_python
from flightbridge.cli.probes.machine import cuda_devices

_LOAD_TIMEOUT_S = 120.0  # TensorFlow on a cold, slow disk
JAVA_NEEDED = 17  # Spark 4

# Distribution -> what it is needed for, and whether nothing works without it.
_PACKAGES = {
    "pyarrow": ("everything", True),
    "numpy": ("everything", True),
    "protobuf": ("everything", True),
    "grpcio": ("the control port of the server", True),
    "grpcio-health-checking": ("the control port of the server", True),
    "tensorflow": ("flightbridge.tf: pip install 'flightbridge[tensorflow]'", False),
    "pyspark": ("flightbridge.spark: pip install 'flightbridge[spark]'", False),
    "pandas": ("Spark's Arrow path: pip install 'flightbridge[spark]'", False),
}


def version_of(distribution: str) -> str | None:
    """The installed version, without importing it."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> Iterator[Finding]:
    """FlightBridge, Python and the packages it stands on."""
    yield Finding("flightbridge", OK, __version__)
    python = platform.python_version()
    yield Finding("python", OK, f"{python} ({sys.executable})")
    for name, (purpose, needed) in _PACKAGES.items():
        found = version_of(name)
        if found is not None:
            yield Finding(name, OK, found)
        elif needed:
            yield Finding(name, FAIL, "not installed", f"pip install {name}; needed for {purpose}")
        else:
            yield Finding(name, WARN, "not installed", f"only needed for {purpose}")
    pandas = version_of("pandas")
    if pandas is not None and version_of("pyspark") is not None and int(pandas.split(".")[0]) >= 3:
        yield Finding(
            "pandas for Spark",
            WARN,
            pandas,
            "pyspark supports pandas below 3: pip install 'pandas<3'",
        )


def native_core() -> Iterator[Finding]:
    """Whether the core is built, matches the installed pyarrow, and loads."""
    package = Path(__file__).parents[2] / "_native"
    built = try_python(
        "import flightbridge._native as n; from flightbridge._native import _build_info as b\n"
        "print('built for pyarrow', b.PYARROW_VERSION, 'by', b.COMPILER, b.BUILD_TYPE)",
        _LOAD_TIMEOUT_S,
    )
    if not built.ok:
        yield Finding(
            "native core",
            FAIL,
            _without_class(built.text),
            "make build (in a checkout), or "
            "pip install --force-reinstall --no-binary flightbridge flightbridge",
        )
        return
    yield Finding("native core", OK, f"{built.text}; pyarrow {version_of('pyarrow')} found")
    guarded = try_python(
        "from flightbridge._native._server import checks_incoming_ipc as c; print(c())",
        _LOAD_TIMEOUT_S,
    )
    if guarded.ok and guarded.text.strip() == "True":
        yield Finding(
            "IPC guard", OK, "messages from outside are checked before Arrow decodes them"
        )
    else:
        yield Finding(
            "IPC guard",
            WARN,
            "this build of Arrow has no place for the check before its decoder",
            "use the pyarrow wheel that FlightBridge was built for, or let only clients that you "
            "trust connect: a malformed message can end the server",
        )
    loads = try_python(
        "import flightbridge.server, flightbridge.client\n"
        "with flightbridge.server.Server() as bridge:\n"
        "    with bridge.client() as client: client.status()",
        _LOAD_TIMEOUT_S,
    )
    if loads.ok:
        yield Finding("server and client", OK, "an embedded server started and answered")
    else:
        yield Finding(
            "server and client",
            FAIL,
            _without_class(loads.text),
            f"rebuild: make build (in a checkout); the modules are in {package}",
        )


_TF_CODE = """
import json, os
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from flightbridge.tf import diagnose
facts = diagnose()
if facts["op_path"]:
    import tensorflow as tf
    tf.load_op_library(facts["op_path"])
print(json.dumps(facts))
"""


def tensorflow_op() -> Iterator[Finding]:
    """Whether the tf.data op matches the installed TensorFlow and loads; GPUs that it sees."""
    if version_of("tensorflow") is None:
        return
    outcome = try_python(_TF_CODE, _LOAD_TIMEOUT_S)
    if not outcome.ok:
        yield Finding(
            "tf.data op",
            FAIL,
            _without_class(outcome.text),
            "rebuild it for the installed TensorFlow: make build (in a checkout), or "
            "pip install --force-reinstall --no-binary flightbridge flightbridge",
        )
        return
    facts = json.loads(outcome.text.splitlines()[-1])
    if facts["problem"] is None:
        built_for, found = facts["built_for"], facts["tensorflow"]
        yield Finding("tf.data op", OK, f"built for tensorflow {built_for}, loads in {found}")
    else:
        # With a compiler it builds itself at the first use; without one it cannot.
        can_build = facts["tensorflow"] is not None and facts["compiler"] is not None
        yield Finding(
            "tf.data op", WARN if can_build else FAIL, facts["problem"], facts["remedy"] or ""
        )
    if facts["gpus"] == 0 and cuda_devices() is not None:
        yield Finding(
            "tensorflow gpu",
            WARN,
            f"TensorFlow sees none of: {cuda_devices()}",
            "pip install 'tensorflow[and-cuda]', and check CUDA_VISIBLE_DEVICES",
        )


def java() -> Iterator[Finding]:
    """Java for Spark: JAVA_HOME first, as Spark does, then PATH."""
    needed = version_of("pyspark") is not None
    home = os.environ.get("JAVA_HOME", "")
    remedy = (
        f"install Java {JAVA_NEEDED} or later (a JRE is enough) and point JAVA_HOME at it; "
        "Spark Connect clients do not need it"
    )
    program = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    where = f"JAVA_HOME={home}" if home else "PATH"
    worst = FAIL if needed else WARN
    if program is None:
        yield Finding("java", worst, "not found on PATH, and JAVA_HOME is not set", remedy)
        return
    outcome = try_command([program, "-version"], 30)
    if not outcome.ok:
        yield Finding("java", worst, f"{outcome.text} ({where})", remedy)
        return
    major = java_major(outcome.text)
    text = f"{outcome.text.splitlines()[0]} ({where})"
    if major is None or major < JAVA_NEEDED:
        yield Finding("java", worst, text, f"Spark 4 needs Java {JAVA_NEEDED} or later: {remedy}")
    else:
        yield Finding("java", OK, text)


def java_major(text: str) -> int | None:
    """Java's feature release out of ``java -version``: 17 of ``17.0.15``, 8 of ``1.8.0_402``."""
    match = re.search(r'version "(\d+)(?:\.(\d+))?', text)
    if match is None:
        return None
    first = int(match.group(1))
    return int(match.group(2)) if first == 1 and match.group(2) else first


def _without_class(line: str) -> str:
    # "flightbridge.errors.VersionMismatchError: text" -> "text"
    return re.sub(r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception): ", "", line)


PROBES: list[Probe] = [versions, native_core, tensorflow_op, java]
