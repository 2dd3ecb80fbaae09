"""The arrows of docs/architecture.md: who may know whom."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "flightbridge"
NATIVE = ROOT / "native"

# package -> what its files must never import
FORBIDDEN = {
    "launcher": ["flightbridge.recovery", "flightbridge.cli"],
    "recovery": ["flightbridge.launcher", "flightbridge.cli"],
    "spark": ["tensorflow", "tf_keras", "keras", "flightbridge.tf", "flightbridge.cli"],
    "tf": ["pyspark", "flightbridge.spark", "flightbridge.cli"],
    "scoring": ["pyspark", "flightbridge.spark", "flightbridge.cli"],
    "bench": ["flightbridge.cli"],
    "v1": ["flightbridge.cli"],
    "_native": ["flightbridge.cli", "tensorflow", "pyspark"],
    "": ["flightbridge.cli", "tensorflow", "pyspark"],  # modules at the top of the package
}

# folder of native/src -> the folders it may include from (besides itself and public headers)
MAY_INCLUDE = {
    "common": set(),
    "segment": {"common"},
    "feed": {"segment", "common"},
    "channel": {"segment", "common"},
    "lease": {"plan", "common"},
    # client: to ask other servers
    "deal": {"feed", "plan", "segment", "common"},
    "server": {"channel", "client", "deal", "feed", "lease", "plan", "segment", "common"},
    "plan": {"common"},
    "client": {"channel", "feed", "segment", "common"},
    "batch": {"plan", "channel", "client", "feed", "segment", "common"},
}


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def python_files(package: str) -> list[Path]:
    return (
        sorted(PACKAGE.glob("*.py")) if package == "" else sorted((PACKAGE / package).rglob("*.py"))
    )


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_python_arrows(package):
    for path in python_files(package):
        for name in imports_of(path):
            for banned in FORBIDDEN[package]:
                assert name != banned and not name.startswith(banned + "."), (
                    f"{path.relative_to(ROOT)} imports {name}"
                )


def test_spark_and_scoring_load_no_tensorflow():
    """Where executors and clients of a model server need none, importing must not load it."""
    code = (
        "import sys, flightbridge.spark\n"
        "import flightbridge.scoring.slices, flightbridge.scoring.request\n"
        "import flightbridge.scoring.models, flightbridge.scoring.devices\n"
        "import flightbridge.scoring.cache\n"
        "assert not {'tensorflow', 'keras', 'tf_keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_native_arrows():
    checked = 0
    for path in sorted((NATIVE / "src").rglob("*.[ch]*")):
        folder = path.relative_to(NATIVE / "src").parts[0]
        for include in re.findall(r'#include "([a-z_]+)/', path.read_text()):
            if include in ("flightbridge", folder):
                continue
            assert include in MAY_INCLUDE[folder], f"{path.relative_to(ROOT)} includes {include}/"
            checked += 1
    assert checked > 0


def test_storage_knows_no_flight():
    for folder in ("segment", "feed", "plan", "lease", "deal"):
        for path in (NATIVE / "src" / folder).rglob("*.[ch]*"):
            assert "arrow/flight" not in path.read_text(), path.relative_to(ROOT)


def test_tf_op_sees_no_arrow():
    for path in (NATIVE / "tf").rglob("*.[ch]*"):
        for include in re.findall(r'#include ["<]([^">]+)', path.read_text()):
            assert not include.startswith(("arrow/", "grpc", "google/protobuf", "protozero/")), (
                include
            )
            if include.startswith("flightbridge/"):
                assert include in ("flightbridge/c_api.h", "flightbridge/export.h"), include


def test_bindings_see_only_public_headers_or_batch():
    for path in (NATIVE / "bindings").glob("*.pyx"):
        for header in re.findall(r'extern from "([^"]+)"', path.read_text()):
            assert not header.startswith(("segment/", "feed/", "server/", "client/")), (
                path.name,
                header,
            )


def test_every_thread_of_the_core_starts_without_signals():
    started = re.compile(r"std::j?thread\s*(\w+\s*)?[({]\s*[^;)}\s]|std::async|pthread_create")
    for path in sorted((NATIVE / "src").rglob("*.[hc]*")):
        if path.name != "thread.h":
            found = started.search(path.read_text())
            assert not found, f"{path}: {found[0]}: use StartThread() of common/thread.h"
