"""Facts about the machine and the software that a figure is worth nothing without."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from flightbridge import __version__

_PACKAGES = ("pyarrow", "numpy", "tensorflow", "pyspark", "grpcio")


def cpu_model(cpuinfo: str) -> str:
    """The processor's name out of the text of /proc/cpuinfo; ``unknown`` where it has none."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware") and value.strip():
            return " ".join(value.split())
    return "unknown"


def total_memory(meminfo: str) -> int:
    """Bytes of memory out of the text of /proc/meminfo; 0 where it does not say."""
    for line in meminfo.splitlines():
        key, _, value = line.partition(":")
        words = value.split()
        if key == "MemTotal" and words and words[0].isdigit():
            return int(words[0]) * 1024
    return 0


def machine_facts() -> dict[str, Any]:
    """Processor, cores this process may use, memory, system, versions, and the time in UTC."""
    return {
        "cpu": cpu_model(_read("/proc/cpuinfo")),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": total_memory(_read("/proc/meminfo")),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "flightbridge": __version__,
        **{name: _version(name) for name in _PACKAGES},
        "measured_at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
