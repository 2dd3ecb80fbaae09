"""doctor answers whatever is broken."""

import json

import pytest

from flightbridge.cli import main
from flightbridge.cli.probes import FAIL, OK, WARN, Finding, machine, run_probes, software
from flightbridge.cli.probes.child import Outcome, try_command, try_python


def call(capsys, *args):
    with pytest.raises(SystemExit) as stopped:
        main(args)
    return stopped.value.code, capsys.readouterr().out


@pytest.fixture
def findings(monkeypatch):
    made = [Finding("a", OK, "fine"), Finding("b", WARN, "slow", "do this")]
    monkeypatch.setattr("flightbridge.cli.probes.all_probes", lambda: [lambda: made])
    return made


def test_warnings_are_not_failures(capsys, findings):
    code, out = call(capsys, "doctor")
    assert code == 0
    assert "WARN  b  slow" in out
    assert "-> do this" in out
    assert "1 OK, 1 WARN, 0 FAIL" in out


def test_a_failure_is_exit_code_1_and_in_the_json(capsys, findings):
    findings.append(Finding("c", FAIL, "broken", "do that"))
    code, out = call(capsys, "doctor", "--json")
    assert code == 1
    report = json.loads(out)
    assert report["ok"] is False
    assert report["findings"][2] == {
        "name": "c",
        "status": "FAIL",
        "found": "broken",
        "remedy": "do that",
    }


def test_a_probe_that_raises_becomes_a_warning():
    def broken_probe():
        raise KeyError("x")

    (found,) = run_probes([broken_probe])
    assert (found.name, found.status) == ("broken probe", WARN)
    assert "KeyError" in found.found


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "21" 2023-09-19', 21),
        ("no java here", None),
    ],
)
def test_java_major(text, major):
    assert software.java_major(text) == major


def test_no_java_fails_with_what_to_do(monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(software, "version_of", lambda _: "4.1.0")
    (found,) = software.java()
    assert found.status == FAIL
    assert "install Java 17" in found.remedy


def test_java_home_that_holds_no_java(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr(software, "version_of", lambda _: "4.1.0")
    (found,) = software.java()
    assert found.status == FAIL
    assert f"JAVA_HOME={tmp_path}" in found.found


def test_old_java_without_spark_only_warns(monkeypatch):
    monkeypatch.setattr(
        software, "try_command", lambda *_: Outcome(True, 'openjdk version "11.0.2"')
    )
    monkeypatch.setattr(software, "version_of", lambda _: None)
    monkeypatch.setenv("JAVA_HOME", "/opt/java")
    (found,) = software.java()
    assert found.status == WARN


def test_missing_packages(monkeypatch):
    monkeypatch.setattr(software, "version_of", lambda _: None)
    by_name = {found.name: found for found in software.versions()}
    assert by_name["pyarrow"].status == FAIL
    assert by_name["tensorflow"].status == WARN
    assert list(software.tensorflow_op()) == []


def test_a_core_that_does_not_load_names_the_build(monkeypatch):
    said = (
        "flightbridge.errors.VersionMismatchError: built for pyarrow 1 but pyarrow 2 is installed"
    )
    monkeypatch.setattr(software, "try_python", lambda *_: Outcome(False, said))
    (found,) = software.native_core()
    assert (found.status, found.found) == (FAIL, "built for pyarrow 1 but pyarrow 2 is installed")
    assert "make build" in found.remedy


def test_a_crash_is_an_outcome():
    outcome = try_python("import os; os.abort()", 60)
    assert not outcome.ok
    assert "SIGABRT" in outcome.text


def test_a_hang_is_an_outcome():
    outcome = try_python("import threading; threading.Event().wait()", 0.5)
    assert outcome == Outcome(False, "no answer within 0.5 s")


def test_a_missing_program_is_an_outcome():
    assert try_command(["/no/such/program"], 5) == Outcome(False, "/no/such/program: not found")


@pytest.mark.parametrize(
    ("text", "cores"), [("200000 100000\n", 2.0), ("max 100000\n", None), ("", None)]
)
def test_cpu_quota(text, cores):
    assert machine._cpu_quota(text) == cores


def test_pinned_memory_with_a_gpu_needs_a_higher_limit(monkeypatch):
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (8 << 20, 8 << 20))
    monkeypatch.setattr(machine, "_has_capability", lambda _: False)
    (with_gpu,) = machine.pinned_memory(gpu_present=True)
    (without,) = machine.pinned_memory(gpu_present=False)
    assert (with_gpu.status, without.status) == (WARN, OK)
    assert "ulimit -l" in with_gpu.remedy


def test_a_driver_that_does_not_answer_warns(monkeypatch):
    monkeypatch.setattr(
        machine, "_cuda", lambda: Outcome(False, "cuInit failed with CUDA error 803")
    )
    monkeypatch.setattr("shutil.which", lambda _: None)
    found = next(iter(machine.gpu()))
    assert found.status == WARN
    assert "803" in found.found


@pytest.mark.parametrize("probe", machine.PROBES, ids=lambda probe: probe.__name__)
def test_machine_probes_answer_here(probe):
    found = list(probe())
    assert found
    assert all(item.status in (OK, WARN, FAIL) and item.found for item in found)
    assert all(item.remedy for item in found if item.status != OK)


def tf_facts(**changes):
    facts = {"built_for": "2.21.0", "tensorflow": "2.21.0", "op_path": "/op.so", "gpus": 0}
    facts |= {"compiler": "g++", "problem": None, "remedy": None}
    return Outcome(True, "a warning on stdout\n" + json.dumps(facts | changes))


@pytest.mark.parametrize(
    ("outcome", "status", "text"),
    [
        (tf_facts(), OK, "built for tensorflow 2.21.0, loads in 2.21.0"),
        (tf_facts(problem="built for 2.20", remedy="build it"), WARN, "built for 2.20"),
        (tf_facts(problem="no headers", remedy="g++", compiler=None), FAIL, "no headers"),
        (Outcome(False, "crashed with SIGSEGV: x"), FAIL, "SIGSEGV"),
    ],
)
def test_tensorflow_op(monkeypatch, outcome, status, text):
    monkeypatch.setattr(software, "version_of", lambda _: "2.21.0")
    monkeypatch.setattr(software, "try_python", lambda *_: outcome)
    monkeypatch.setattr(software, "cuda_devices", lambda: None)
    (found,) = software.tensorflow_op()
    assert found.status == status
    assert text in found.found
    assert bool(found.remedy) == (status != OK)


def test_a_gpu_that_tensorflow_does_not_see(monkeypatch):
    monkeypatch.setattr(software, "version_of", lambda _: "2.21.0")
    monkeypatch.setattr(software, "try_python", lambda *_: tf_facts())
    monkeypatch.setattr(software, "cuda_devices", lambda: "1 x Fast GPU")
    assert [found.status for found in software.tensorflow_op()] == [OK, WARN]
