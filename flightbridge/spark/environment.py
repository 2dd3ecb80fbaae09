"""What Spark needs on this machine, and what to do about what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from flightbridge.errors import FailedPreconditionError

MIN_JAVA = 17
_INSTALL_JAVA = (
    f"install Java {MIN_JAVA} or later (on Debian: apt-get install openjdk-17-jre-headless) and, "
    "if it is not on PATH, set JAVA_HOME to its folder"
)
_INSTALL_PYSPARK = "pip install 'flightbridge[spark]'"
_PROBE_TIMEOUT_S = 20


def require_pyspark() -> None:
    """Checks that pyspark can be imported.

    Raises:
        FailedPreconditionError: It is not installed; the message names the extra to install.
    """
    if importlib.util.find_spec("pyspark") is None:
        raise FailedPreconditionError(
            f"pyspark is not installed in {sys.executable}: {_INSTALL_PYSPARK}"
        )


def require_python_writer() -> None:
    """Checks that the installed pyspark has data sources in Python that take Arrow batches.

    Raises:
        FailedPreconditionError: It has none.
    """
    require_pyspark()
    try:
        from pyspark.sql.datasource import DataSourceArrowWriter  # noqa: F401
    except ImportError as error:
        raise FailedPreconditionError(
            f"the Python writer needs Spark 4.1 and here is {_version('pyspark')}: start the "
            "session with flightbridge.spark.configure(builder), which writes from the JVM"
        ) from error


def find_java() -> str:
    """Path of the Java that Spark will start: ``$JAVA_HOME/bin/java``, else ``java`` on PATH.

    Raises:
        FailedPreconditionError: There is none; the message says how to get one.
    """
    home = os.environ.get("JAVA_HOME")
    if home:
        java = Path(home) / "bin" / "java"
        if os.access(java, os.X_OK):
            return str(java)
        raise FailedPreconditionError(
            f"JAVA_HOME={home} has no bin/java: set JAVA_HOME to a Java {MIN_JAVA} folder, "
            "or unset it to use the java on PATH"
        )
    found = shutil.which("java")
    if found is None:
        raise FailedPreconditionError(f"Spark needs Java and none was found: {_INSTALL_JAVA}")
    return found


def java_version(java: str) -> int:
    """Major version of a Java executable, such as 17.

    Raises:
        FailedPreconditionError: It does not run or prints no version.
    """
    try:
        shown = subprocess.run(
            [java, "-version"],
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=True,
        ).stderr
    except (OSError, subprocess.SubprocessError) as error:
        raise FailedPreconditionError(f"{java} does not run ({error}): {_INSTALL_JAVA}") from error
    match = re.search(r'version "(?:1\.)?(\d+)', shown)
    if match is None:
        raise FailedPreconditionError(
            f"{java} -version printed no version ({shown.strip()[:80]!r}): {_INSTALL_JAVA}"
        )
    return int(match.group(1))


def require_java() -> str:
    """Path of a Java that Spark can use.

    Raises:
        FailedPreconditionError: There is none, or it is too old.
    """
    java = find_java()
    version = java_version(java)
    if version < MIN_JAVA:
        raise FailedPreconditionError(
            f"{java} is Java {version}, Spark 4 needs {MIN_JAVA}: {_INSTALL_JAVA}"
        )
    return java


def diagnose() -> dict[str, Any]:
    """What Spark would find here; never raises.

    Returns:
        ``pyspark`` (version or None), ``connect`` (bool: Spark Connect's client is usable),
        ``java`` (path or None), ``java_version`` (major or None), ``worker_python`` (what executors
        will start), and ``problems``: a list of ``{"problem", "remedy"}``.
    """
    problems: list[dict[str, str]] = []
    pyspark = _version("pyspark")
    if pyspark is None:
        problems.append({"problem": "pyspark is not installed", "remedy": _INSTALL_PYSPARK})
    java: str | None = None
    version: int | None = None
    try:
        java = find_java()
        version = java_version(java)
        require_java()
    except FailedPreconditionError as error:
        problem, _, remedy = str(error).rpartition(": ")
        problems.append({"problem": problem, "remedy": remedy})
    worker = os.environ.get("PYSPARK_PYTHON", "python3")
    if pyspark is not None and not _imports_flightbridge(worker):
        problems.append(
            {
                "problem": f"executors would run {worker}, which cannot import flightbridge",
                "remedy": f"export PYSPARK_PYTHON={sys.executable} before the session starts, or "
                f"install flightbridge for {worker}",
            }
        )
    return {
        "pyspark": pyspark,
        "connect": all(_version(name) for name in ("grpcio", "grpcio-status", "pandas")),
        "java": java,
        "java_version": version,
        "worker_python": shutil.which(worker) or worker,
        "problems": problems,
    }


def _imports_flightbridge(python: str) -> bool:
    try:
        done = subprocess.run(
            [python, "-c", "import flightbridge"],
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
