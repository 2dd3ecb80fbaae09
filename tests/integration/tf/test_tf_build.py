"""Finding, refusing and rebuilding the op where TensorFlow is another one."""

import json
import shutil
import subprocess
import sys

import pytest

import flightbridge.tf
from flightbridge import errors
from flightbridge.tf import _op, build

pytestmark = [pytest.mark.tf, pytest.mark.filterwarnings("default")]
pytest.importorskip("tensorflow")


@pytest.fixture
def other_tensorflow(monkeypatch):
    """As if the op had been built for TensorFlow 1.99.0."""
    monkeypatch.setattr(_op, "record", lambda: {"tensorflow": "1.99.0"})


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path))
    return tmp_path


def test_installed_op_is_recorded_and_fits(cache):
    tf = build.TensorFlow.installed()
    assert _op.record()["tensorflow"] == tf.version
    assert _op.fits(_op.record(), tf)
    assert _op.find(tf) == _op.installed_library()


@pytest.mark.parametrize("field", ["tensorflow", "tensorflow_git", "definitions", "cxx_standard"])
def test_any_differing_fact_is_a_mismatch(field):
    assert not _op.fits(_op.record() | {field: "other"}, build.TensorFlow.installed())


def test_no_compiler_names_versions_and_command(other_tensorflow, cache, monkeypatch):
    monkeypatch.setattr(build, "compiler", lambda: None)
    tf = build.TensorFlow.installed()
    with pytest.raises(errors.VersionMismatchError) as caught:
        _op.find(tf)
    for word in ("1.99.0", tf.version, "python -m flightbridge.tf.build", "compiler"):
        assert word in str(caught.value)


def test_failing_compiler_is_quoted(other_tensorflow, cache, monkeypatch, tmp_path):
    script = tmp_path / "cxx"
    script.write_text("#!/bin/sh\necho 'dataset_op.cc:1: fatal error: no such luck' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    with pytest.raises(errors.VersionMismatchError, match="no such luck"):
        _op.find(build.TensorFlow.installed())
    assert not list(tmp_path.rglob("*.so"))


def test_unusable_cache_is_named(other_tensorflow, monkeypatch):
    monkeypatch.setenv(build.CACHE_VARIABLE, "/proc/nowhere")
    with pytest.raises(errors.VersionMismatchError, match=r"/proc/nowhere.*FLIGHTBRIDGE_CACHE"):
        _op.find(build.TensorFlow.installed())


def test_missing_op_raises_unless_the_fallback_is_chosen(
    bridge, other_tensorflow, cache, monkeypatch
):
    monkeypatch.setattr(build, "compiler", lambda: None)
    monkeypatch.setattr(_op, "load", _op._load.__wrapped__)  # what a new process would do
    with pytest.raises(errors.VersionMismatchError):
        flightbridge.tf.dataset(bridge, "types", batch_size=10)
    monkeypatch.setenv("FLIGHTBRIDGE_TF_FALLBACK", "1")
    with pytest.warns(RuntimeWarning, match="from_generator"):
        slow = flightbridge.tf.dataset(bridge, "types", batch_size=10, label="id")
    monkeypatch.undo()
    fast = flightbridge.tf.dataset(bridge, "types", batch_size=10, label="id")
    assert slow.element_spec == fast.element_spec
    assert int(slow.cardinality()) == int(fast.cardinality())
    for a, b in zip(slow, fast, strict=True):
        assert set(a[0]) == set(b[0])
        for name in a[0]:
            left, right = a[0][name], b[0][name]
            same = (
                left.to_list() == right.to_list()
                if hasattr(left, "to_list")
                else (left.numpy() == right.numpy()).all()
            )
            assert same, name


def test_diagnose_tells_of_the_mismatch(other_tensorflow, cache):
    facts = flightbridge.tf.diagnose()
    assert facts["abi_match"] is False
    assert "1.99.0" in facts["problem"]
    assert build.COMMAND in facts["remedy"]


def test_diagnose_is_content_with_the_installed_op(cache):
    facts = flightbridge.tf.diagnose()
    assert facts["abi_match"] is True
    assert facts["problem"] is None
    assert facts["op_path"] == str(_op.installed_library())


REBUILT = """
import flightbridge, pyarrow as pa
from flightbridge.tf import _op
_op.record = lambda: {"tensorflow": "1.99.0"}
import flightbridge.tf
with flightbridge.Server() as bridge:
    with bridge.client() as client:
        client.write("f", pa.table({"id": [1, 2, 3]}))
    ds = flightbridge.tf.dataset(bridge, "f", batch_size=2, columns="id")
    print([batch.numpy().tolist() for batch in ds])
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
def test_rebuilt_once_into_the_cache_and_works(cache):
    runs = [
        subprocess.run(
            [sys.executable, "-c", REBUILT], capture_output=True, text=True, timeout=240, check=True
        )
        for _ in range(2)
    ]
    assert [run.stdout.strip() for run in runs] == ["[[1, 2], [3]]"] * 2
    assert runs[0].stderr.count("building the tf.data op") == 1
    assert runs[1].stderr.count("building the tf.data op") == 0
    assert len(list(cache.rglob("*.so"))) == 1


def test_record_is_plain_json():
    text = (_op.installed_library().parent / _op.RECORD).read_text()
    assert set(json.loads(text)) >= {"tensorflow", "definitions", "flightbridge"}
