"""Writes what CMake must know of the installed TensorFlow; run at configure time.

Importing TensorFlow takes seconds, so the answer is kept until another version is installed.

Usage: query_tensorflow.py OUTPUT_DIR
Writes OUTPUT_DIR/tensorflow.cmake, and exits with 3 where no TensorFlow is installed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path

NOT_INSTALLED = 3


def installed() -> tuple[str, str] | None:
    """Version and directory of the installed TensorFlow, without importing it."""
    found = importlib.util.find_spec("tensorflow")
    if found is None or not found.submodule_search_locations:
        return None
    try:
        version = importlib.metadata.version("tensorflow")
    except importlib.metadata.PackageNotFoundError:  # tensorflow-cpu, vendor builds
        version = "unknown"
    return version, found.submodule_search_locations[0]


def query() -> dict[str, str]:
    """The facts, from TensorFlow itself."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    flags = [f.lstrip("-") for f in tf.sysconfig.get_compile_flags() if not f.startswith("-I")]
    standard = next((f for f in flags if f.startswith("std=")), "std=c++17")
    framework = next(f for f in tf.sysconfig.get_link_flags() if f.startswith("-l:"))
    return {
        "TENSORFLOW_VERSION": tf.version.VERSION,
        "TENSORFLOW_GIT_VERSION": tf.version.GIT_VERSION,
        "TENSORFLOW_INCLUDE_DIR": tf.sysconfig.get_include(),
        "TENSORFLOW_LIBRARY": str(Path(tf.sysconfig.get_lib()) / framework.removeprefix("-l:")),
        "TENSORFLOW_CXX_STANDARD": standard.removeprefix("std=c++"),
        "TENSORFLOW_DEFINITIONS": ";".join(f[1:] for f in flags if f.startswith("D")),
    }


def main(output_dir: str) -> int:
    """Writes the file unless it already speaks of this TensorFlow."""
    here = installed()
    if here is None:
        return NOT_INSTALLED
    output = Path(output_dir) / "tensorflow.cmake"
    key = f"# TensorFlow {here[0]} in {here[1]}\n"
    if output.exists() and output.read_text().startswith(key):
        return 0
    lines = [f'set({name} "{value}")\n' for name, value in query().items()]
    output.write_text(key + "".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
