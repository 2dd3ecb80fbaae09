"""Builds the tf.data op for the installed TensorFlow: ``python -m flightbridge.tf.build``.

The wheel brings an op built for one TensorFlow. Another one needs another op, because
TensorFlow's C++ ABI changes with every version; it is built once from the sources in the wheel
and kept in a cache directory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import flightbridge
from flightbridge.errors import VersionMismatchError

COMMAND = "python -m flightbridge.tf.build"
LIBRARY = "libflightbridge_tf.so"
CACHE_VARIABLE = "FLIGHTBRIDGE_CACHE"
BUILD_TIMEOUT_S = 600


@dataclasses.dataclass(frozen=True)
class TensorFlow:
    """What an op's binary depends on."""

    version: str
    git_version: str
    definitions: tuple[str, ...]  # without -D, such as _GLIBCXX_USE_CXX11_ABI=1
    cxx_standard: str
    include_dir: Path
    framework: Path  # libtensorflow_framework.so.2

    @classmethod
    def installed(cls) -> TensorFlow:
        """The TensorFlow of this process; imports it.

        Raises:
            VersionMismatchError: TensorFlow is not installed or cannot be imported.
        """
        try:
            import tensorflow as tf
        except ImportError as error:
            raise VersionMismatchError(
                "flightbridge.tf needs TensorFlow, which cannot be imported "
                f"({error}): pip install 'flightbridge[tensorflow]'"
            ) from error
        flags = [flag.lstrip("-") for flag in tf.sysconfig.get_compile_flags()]
        library = next(f for f in tf.sysconfig.get_link_flags() if f.startswith("-l:"))
        return cls(
            version=tf.version.VERSION,
            git_version=tf.version.GIT_VERSION,
            definitions=tuple(sorted(flag[1:] for flag in flags if flag.startswith("D"))),
            cxx_standard=next((f[7:] for f in flags if f.startswith("std=c++")), "17"),
            include_dir=Path(tf.sysconfig.get_include()),
            framework=Path(tf.sysconfig.get_lib()) / library.removeprefix("-l:"),
        )


def source_dir() -> Path:
    """Where the op's sources and the core's C header are installed."""
    from flightbridge import _native

    return _native.library_dir() / "src"


def cached_library(tf: TensorFlow) -> Path:
    """Where the op for this TensorFlow is kept; need not exist.

    The path holds everything the binary depends on, so no two builds can be taken for each other.
    """
    digest = hashlib.sha256(repr((tf.git_version, tf.definitions, tf.cxx_standard)).encode())
    for source in sorted(source_dir().rglob("*.[ch]*")):
        digest.update(source.read_bytes())
    root = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "flightbridge")
    name = f"tf-{tf.version}-{digest.hexdigest()[:12]}-{flightbridge.__version__}"
    return root / name / LIBRARY


def compiler() -> str | None:
    """``$CXX``, or the first C++ compiler found."""
    chosen = os.environ.get("CXX")
    if chosen:
        return chosen
    return next(
        (found for name in ("g++", "c++", "clang++") if (found := shutil.which(name))), None
    )


def compile_command(cxx: str, tf: TensorFlow, output: Path) -> list[str]:
    """The one command that makes the op."""
    from flightbridge import _native

    return [
        *shlex.split(cxx),
        f"-std=c++{tf.cxx_standard}",
        *("-O2", "-fPIC", "-shared", "-DNDEBUG", "-fvisibility=hidden"),
        *(f"-D{definition}" for definition in tf.definitions),
        f"-I{source_dir()}",
        *("-isystem", str(tf.include_dir)),
        str(source_dir() / "dataset_op.cc"),
        *("-o", str(output)),
        str(_native.library_dir() / "libflightbridge.so"),
        str(tf.framework),
        *("-Wl,--no-undefined", "-Wl,--exclude-libs,ALL"),
    ]


def build(tf: TensorFlow, *, force: bool = False) -> Path:
    """The op for this TensorFlow out of the cache, built there when missing.

    Processes that need it at the same time wait for the one that builds it.

    Raises:
        VersionMismatchError: There is no compiler, or the build fails.
    """
    library = cached_library(tf)
    if library.exists() and not force:
        return library
    cxx = compiler()
    if cxx is None:
        raise _failed(tf, "no C++ compiler was found (set CXX, or: apt-get install g++)")
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with _lock(library.with_suffix(".lock"), tf):
            if force or not library.exists():
                _compile(cxx, tf, library)
    except OSError as error:
        raise _failed(
            tf,
            f"the cache directory {library.parent} is not usable ({error}); set {CACHE_VARIABLE}",
        ) from error
    return library


def _compile(cxx: str, tf: TensorFlow, library: Path) -> None:
    print(
        f"flightbridge: building the tf.data op for TensorFlow {tf.version} in {library.parent} "
        "(once, about 20 s)",
        file=sys.stderr,
        flush=True,
    )
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        output = Path(scratch) / LIBRARY
        command = compile_command(cxx, tf, output)
        try:
            subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S
            )
        except subprocess.CalledProcessError as error:
            lines = [line for line in str(error.stderr).splitlines() if "error" in line.lower()]
            first = lines[0] if lines else f"exit code {error.returncode}"
            raise _failed(tf, f"{cxx} says: {first}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _failed(tf, f"{cxx} failed: {error}") from error
        output.replace(library)  # atomic: nobody ever loads half a library


@contextlib.contextmanager
def _lock(path: Path, tf: TensorFlow) -> Iterator[None]:
    deadline = time.monotonic() + BUILD_TIMEOUT_S
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _failed(tf, f"another process holds {path}") from None
                time.sleep(0.2)
        yield  # closing the file unlocks it


def _failed(tf: TensorFlow, why: str) -> VersionMismatchError:
    from flightbridge.tf._op import built_for

    return VersionMismatchError(
        f"the tf.data op was built for TensorFlow {built_for()}, TensorFlow {tf.version} is "
        f"installed, and building one for it failed: {why}. To try again: {COMMAND}"
    )


def main() -> int:
    """Builds the op, whatever the cache holds, and prints its path."""
    try:
        print(build(TensorFlow.installed(), force=True))
    except VersionMismatchError as error:
        if isinstance(error.__cause__, subprocess.CalledProcessError):
            print(
                shlex.join(error.__cause__.cmd), error.__cause__.stderr, sep="\n", file=sys.stderr
            )
        print(f"flightbridge: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
