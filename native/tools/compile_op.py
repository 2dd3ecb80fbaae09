"""Compiles and links the tf.data op against a TensorFlow that is not installed.

Usage: compile_op.py BUILD_DIR VERSION...

TensorFlow before 2.18 wants another numpy than the rest, so an environment of its own and a second
build of the core (`make test-classic`). Whether the op builds with it can be seen from its wheel's
headers and library alone; both are kept in BUILD_DIR.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = "tensorflow/libtensorflow_framework.so.2"
# What tf.sysconfig.get_compile_flags() says, of 2.15 to 2.21 alike.
FLAGS = ["-std=c++17", "-D_GLIBCXX_USE_CXX11_ABI=1", "-DEIGEN_MAX_ALIGN_BYTES=64"]


def fetch(version: str, directory: Path) -> None:
    """Puts the headers and the library of that version below `directory`."""
    if (directory / LIBRARY).exists():
        return
    print(f"== headers of TensorFlow {version}", flush=True)
    wheels = directory / "wheel"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary", ":all:", "--python-version", "3.11"),
            *("--platform", "manylinux_2_17_x86_64", "--platform", "manylinux2014_x86_64"),
            *("-d", str(wheels), f"tensorflow-cpu=={version}"),
        ],
        check=True,
    )
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if n.startswith("tensorflow/include/")]
        archive.extractall(directory, [*names, LIBRARY])  # the library last: it says "complete"
    wheel.unlink()


def compile_op(version: str, directory: Path) -> None:
    """Builds the op as flightbridge.tf.build does, with no symbol left open."""
    import flightbridge

    native = Path(flightbridge.__file__).parent / "_native"
    native = next(p for p in (native, *_installed()) if (p / "libflightbridge.so").exists())
    subprocess.run(
        [
            *("c++", *FLAGS, "-O0", "-fPIC", "-shared", "-o", str(directory / "op.so")),
            *("-isystem", str(directory / "tensorflow/include"), f"-I{ROOT / 'native/include'}"),
            str(ROOT / "native/tf/dataset_op.cc"),
            *(str(directory / LIBRARY), str(native / "libflightbridge.so")),
            *("-Wl,--no-undefined", "-Wl,--allow-shlib-undefined"),
        ],
        check=True,
    )
    print(f"the op builds with TensorFlow {version}", flush=True)


def _installed() -> list[Path]:
    """Where an editable install has its compiled parts."""
    return [Path(p) / "flightbridge/_native" for p in sys.path]


def main(build_dir: str, *versions: str) -> int:
    if platform.machine() != "x86_64":
        print("skipped: tensorflow-cpu has wheels for x86_64 only")
        return 0
    for version in versions:
        directory = Path(build_dir) / f"tensorflow-{version}"
        directory.mkdir(parents=True, exist_ok=True)
        fetch(version, directory)
        compile_op(version, directory)
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
