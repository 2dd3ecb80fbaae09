"""``bench tf`` beside ``ArrowStreamDataset``, which only this environment has."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.tf
try:
    import tensorflow_io.arrow  # noqa: F401
except Exception:
    pytest.skip("no tensorflow_io for this TensorFlow: make test-classic", allow_module_level=True)


def test_arrowstream_is_a_peer(tmp_path):
    command = [sys.executable, "-m", "flightbridge.cli", "bench", "tf", "--quick", "--no-peer"]
    command += ["--peers", "arrowstream", "--json", str(tmp_path / "report.json")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stderr
    results = json.loads((tmp_path / "report.json").read_text())["results"]
    beside = {r["name"]: r["peer"]["name"] for r in results if "beside" in r["name"]}
    assert beside == {
        f"tf op, {place} process, beside arrowstream": "ArrowStreamDataset"
        for place in ("same", "server")
    }
    assert all(result["batches_per_s"] > 0 for result in results)
