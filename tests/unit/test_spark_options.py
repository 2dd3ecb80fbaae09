import pickle

import pytest

from flightbridge.errors import (
    FailedPreconditionError,
    FeedExistsError,
    InvalidArgumentError,
    ResourceExhaustedError,
    SchemaMismatchError,
)
from flightbridge.spark import environment
from flightbridge.spark.failures import cause_of, original_errors
from flightbridge.spark.options import mode_of, parse_mode, parse_options

URI = "grpc://127.0.0.1:8815"


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ("append", "append"),
        ("Overwrite", "overwrite"),
        ("error", "errorifexists"),
        ("default", "errorifexists"),
        ("errorIfExists", "errorifexists"),
        ("IGNORE", "ignore"),
    ],
)
def test_modes_have_one_spelling(given, mode):
    assert parse_mode(given) == mode


@pytest.mark.parametrize("given", ["upsert", "", None, 3])
def test_other_modes_are_refused_by_value(given):
    with pytest.raises(InvalidArgumentError, match=r"is not a save mode: use one of .*append"):
        parse_mode(given)


def test_option_names_are_case_insensitive_and_the_mode_option_is_ours():
    options = parse_options(
        {"URI": URI, "Feed": "ratings", "timeout": "2.5", "mode": "ignore", "token": None}, "append"
    )
    assert (options.uri, options.feed, options.mode) == (URI, "ratings", "append")
    assert (options.timeout_s, options.token) == (2.5, None)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"uri": None}, r"option uri is missing: add \.option"),
        ({"feed": None}, r"option feed is missing: add \.option"),
        ({"feed": ""}, r"option feed='' is not a name: add"),
        ({"uri": "http://h:1"}, r"option uri='http://h:1'.*grpc://HOST:PORT"),
        ({"timeout": "soon"}, r"option timeout='soon' is not a time"),
        ({"timeout": "0"}, r"option timeout='0'"),
        ({"timeout": "nan"}, r"option timeout='nan'"),
        ({"timeout": "inf"}, r"option timeout='inf'"),
        ({"batch_size": "3"}, r"option batch_size='3' is not known .*uri, feed, token, timeout"),
        ({"path": "/x"}, r"option path='/x' is not known"),
    ],
)
def test_bad_options_are_refused_by_name_value_and_remedy(change, text):
    with pytest.raises(InvalidArgumentError, match=text):
        parse_options({"uri": URI, "feed": "ratings", **change}, "append")


@pytest.mark.parametrize(
    ("options", "overwrite", "mode"),
    [
        ({}, False, "append"),
        ({}, True, "overwrite"),
        ({"Mode": "errorifexists"}, False, "errorifexists"),
        ({"mode": "ignore"}, False, "ignore"),
        ({"mode": "overwrite"}, True, "overwrite"),
    ],
)
def test_recorded_mode_refines_sparks_flag(options, overwrite, mode):
    assert mode_of(options, overwrite) == mode


@pytest.mark.parametrize(("mode", "overwrite"), [("overwrite", False), ("ignore", True)])
def test_mode_option_that_contradicts_sparks_flag_is_refused(mode, overwrite):
    with pytest.raises(InvalidArgumentError, match=r"option mode=.*contradicts"):
        mode_of({"mode": mode}, overwrite)


def test_token_is_not_shown_but_travels():
    options = parse_options({"uri": URI, "feed": "f", "token": "s3cret"}, "append")
    assert "s3cret" not in repr(options)
    assert pickle.loads(pickle.dumps(options)).token == "s3cret"


CLASSIC = """An exception was thrown from the Python worker:
Traceback (most recent call last):
  File "/x/source.py", line 20, in write
    raise FeedExistsError("feed 'f' exists: use mode='append'")
flightbridge.errors.FeedExistsError: feed 'f' exists: use mode='append'
"""
CONNECT = """[PYTHON_EXCEPTION] Thrown from the Python worker: Traceback (most recent
  File "/x/source.py", line 1, in write
flightbridge.errors.InvalidArgumentError: first

During handling of the above exception, another exception occurred:
flightbridge.errors.SchemaMismatchError: column 'a' is int32 SQLSTATE: 38000

JVM stacktrace:
org.apache.spark.api.python.PythonException"""
JVM_CLASSIC = """An error occurred while calling o89.save.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 1.0 failed
\tat org.apache.spark.scheduler.DAGScheduler.failJobAndIndependentStages(DAGScheduler.scala:1)
Caused by: io.flightbridge.BridgeException: [RESOURCE_EXHAUSTED] 3 MiB do not fit
\tat io.flightbridge.client.ChannelPutStream.write(ChannelPutStream.java:99)"""
JVM_CONNECT = "(io.flightbridge.BridgeException) [ALREADY_EXISTS] feed 'f' exists SQLSTATE: XXKCM"


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (CLASSIC, FeedExistsError, "feed 'f' exists: use mode='append'"),
        (CONNECT, SchemaMismatchError, "column 'a' is int32"),
        (JVM_CLASSIC, ResourceExhaustedError, "3 MiB do not fit"),
        (JVM_CONNECT, FeedExistsError, "feed 'f' exists"),
        ("ModuleNotFoundError: No module named 'flightbridge'", FailedPreconditionError, None),
        (
            "[DATA_SOURCE_NOT_FOUND] Failed to find the data source: flightbridge.",
            FailedPreconditionError,
            None,
        ),
    ],
)
def test_the_cause_is_found_in_sparks_text(text, kind, message):
    found = cause_of(RuntimeError(text))
    assert type(found) is kind
    if message is None:
        assert "PYSPARK_PYTHON=" in str(found)
    else:
        assert str(found) == message


@pytest.mark.parametrize(
    "text", ["ZeroDivisionError: x", "flightbridge.errors.Nothing: x", "flightbridge.errors.Any: x"]
)
def test_other_errors_pass_unchanged(text):
    error = RuntimeError(text)
    with pytest.raises(RuntimeError) as caught, original_errors():
        raise error
    assert caught.value is error


def test_the_cause_is_raised_from_sparks_error():
    error = RuntimeError(CLASSIC)
    with pytest.raises(FeedExistsError) as caught, original_errors():
        raise error
    assert caught.value.__cause__ is error


# ---- what Spark needs on a machine --------------------------------------------------------------


def fake_java(folder, version):
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    java.chmod(0o755)
    return folder


def test_java_home_without_java_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(FailedPreconditionError, match=f"JAVA_HOME={tmp_path} has no bin/java"):
        environment.find_java()


def test_no_java_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FailedPreconditionError, match=r"install Java 17 .*JAVA_HOME"):
        environment.find_java()
    report = environment.diagnose()
    assert report["java"] is None
    assert any("JAVA_HOME" in problem["remedy"] for problem in report["problems"])


@pytest.mark.parametrize(("shown", "major"), [("1.8.0_402", 8), ("17.0.15", 17), ("21", 21)])
def test_java_versions_are_read(tmp_path, shown, major):
    home = fake_java(tmp_path / "jdk", shown)
    assert environment.java_version(str(home / "bin" / "java")) == major


def test_java_that_is_too_old_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "jdk", "11.0.2")))
    with pytest.raises(FailedPreconditionError, match=r"Java 11, Spark 4 needs 17"):
        environment.require_java()


def test_java_that_does_not_run_is_reported(monkeypatch, tmp_path):
    home = fake_java(tmp_path / "jdk", "17")
    (home / "bin" / "java").write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert any("does not run" in p["problem"] for p in environment.diagnose()["problems"])


def test_worker_python_without_flightbridge_is_reported(monkeypatch, tmp_path):
    pytest.importorskip("pyspark")
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setenv("PYSPARK_PYTHON", str(python))
    remedies = [
        p["remedy"] for p in environment.diagnose()["problems"] if "executors" in p["problem"]
    ]
    assert len(remedies) == 1
    assert remedies[0].startswith("export PYSPARK_PYTHON=")


def test_missing_pyspark_names_the_extra(monkeypatch):
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FailedPreconditionError, match=r"pip install 'flightbridge\[spark\]'"):
        environment.require_pyspark()
