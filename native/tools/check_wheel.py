"""Install the newest wheel of DIR into a clean environment beside the same pyarrow, and use it.

The environment is kept in build/wheel-env; only the wheel itself is installed anew each time.
The program it runs writes a feed and reads it back through the server, the client and the native
reader, then asks the command line for its version and its findings.

Usage: check_wheel.py DIR
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pyarrow as pa

ENVIRONMENT = Path(__file__).parents[2] / "build" / "wheel-env"

PROGRAM = """
import pathlib
import pyarrow as pa
import flightbridge
import flightbridge._native
import flightbridge.spark
from flightbridge.batches import read

assert "wheel-env" in flightbridge.__file__, flightbridge.__file__
table = pa.table({"i": range(1000), "s": [f"row {i}" for i in range(1000)]})
with flightbridge.Server() as bridge, bridge.client() as client:
    client.write("feed", table)
    assert client.read_table("feed").equals(table)
    rows = sum(len(batch["i"]) for batch in read(bridge.uri, "feed", batch_size=64, columns=["i"]))
    assert rows == 1000, rows
assert flightbridge.spark.jar("4.0").stat().st_size > 1 << 20
sources = flightbridge._native.library_dir() / "src"
assert list(sources.rglob("*.cc")), f"the op's sources are not in {sources}"
print("wheel works:", flightbridge.__version__, "pyarrow", pa.__version__)
"""


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, cwd=ENVIRONMENT)


def main(directory: str) -> None:
    wheels = sorted(Path(directory).glob("flightbridge-*.whl"), key=lambda p: p.stat().st_mtime)
    if not wheels:
        raise SystemExit(f"no wheel in {directory}: run `make wheel` first")
    python = ENVIRONMENT / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if not python.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    run(*pip, f"pyarrow=={pa.__version__}", wheels[-1].resolve())
    run(*pip, "--force-reinstall", "--no-deps", wheels[-1].resolve())
    run(python, "-W", "error", "-c", PROGRAM)
    run(ENVIRONMENT / "bin" / "flightbridge", "--version")


if __name__ == "__main__":
    main(sys.argv[1])
