"""Every benchmark runs and reports in the agreed shape. No time is asserted here."""

import json
import os
import subprocess
import sys

import pytest

TIMEOUT_S = 240


def run(*args):
    return subprocess.run(
        [sys.executable, "-m", "flightbridge.cli", "bench", *args],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def bench(name, tmp_path, *args):
    out = tmp_path / f"{name}.json"
    done = run(name, "--quick", "--json", str(out), *args)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(out.read_text()), done.stdout


def check(report):
    assert set(report) == {"machine", "ceilings", "results"}
    assert report["machine"]["cores"] >= 1
    assert set(report["ceilings"]) == {"memcpy_gbps", "loopback_gbps"}
    assert all(value > 0 for value in report["ceilings"].values())
    for result in report["results"]:
        for key in ("gbps", "cpu_s_per_gb", "bytes", "batch_bytes", "streams", "batches_per_s"):
            assert result[key] > 0, (result["name"], key)
        assert 0 <= result["p50_ms"] <= result["p99_ms"]
        peer = result["peer"]
        if peer is not None:
            assert all(peer[key] > 0 for key in ("gbps", "ratio", "cpu_s_per_gb", "cpu_ratio"))
    return {result["name"]: result for result in report["results"]}


@pytest.mark.parametrize("name", ["put", "get"])
@pytest.mark.parametrize("streams", ["1", "2"])
def test_transport(tmp_path, name, streams):
    report, table = bench(name, tmp_path, "--streams", streams)
    results = check(report)
    ways = {name, f"{name} by Flight's calls", f"{name} same host", f"{name} same process"}
    assert set(results) == ways | {f"{name} stock Flight"}
    assert results[name]["peer"]["name"] == "stock Flight"
    assert results[name]["p50_ms"] > 0
    assert results[name]["streams"] == int(streams)
    for text in ("ceilings: memcpy", "CPU s/GB", "p99 ms", "stock Flight"):
        assert text in table


def test_no_peer(tmp_path):
    results = check(bench("put", tmp_path, "--no-peer")[0])
    assert results["put"]["peer"] is None


def test_rows_set_the_size(tmp_path):
    args = ("--rows", "40000", "--batch-rows", "10000", "--columns", "2", "--no-peer")
    results = check(bench("put", tmp_path, *args)[0])
    assert results["put"]["bytes"] == 40_000 * 12
    assert results["put"]["batch_bytes"] == 10_000 * 12


def test_a_running_server(tmp_path):
    import flightbridge

    with flightbridge.Server() as bridge:
        results = check(bench("get", tmp_path, "--uri", bridge.uri)[0])
        assert set(results) == {"get", "get by Flight's calls", "get stock Flight"}
        assert bridge.client().feeds() == []


@pytest.mark.tf
def test_tf(tmp_path):
    peers = ("--peers", "tfrecord,parquet,service")
    results = check(bench("tf", tmp_path, *peers)[0])
    generator, loop = "tf.data from_generator", ", in a loop"
    ours = {"tf op, same process", "tf op, server process"}
    in_loop = {f"tf op, same process{loop}", f"{generator}{loop}", f"ready tensors{loop}"}
    named = {"tfrecord": "TFRecord + parse_example", "parquet": "Parquet by pyarrow"}
    named["service"] = "tf.data service"
    beside = {f"{name}, beside {key}": peer for name in ours for key, peer in named.items()}
    assert set(results) == ours | {generator} | in_loop | set(named.values()) | set(beside)
    assert all(results[name]["peer"]["name"] == peer for name, peer in beside.items())
    assert all(results[name]["peer"]["name"] == generator for name in ours)
    assert results[f"tf op, same process{loop}"]["peer"]["name"] == generator + loop


@pytest.mark.tf
@pytest.mark.parametrize("values", ["strings", "lists"])
def test_tf_of_strings_and_lists(tmp_path, values):
    results = check(bench("tf", tmp_path, "--values", values, "--columns", "2")[0])
    assert results["tf op, same process"]["peer"]["name"] == "tf.data from_generator"


def test_peers_of_strings_are_refused(tmp_path):
    done = run("tf", "--values", "strings", "--peers", "parquet")
    assert done.returncode == 2
    assert "--peers with --values strings" in done.stderr


@pytest.mark.tf
def test_shuffle(tmp_path):
    results = check(bench("shuffle", tmp_path, "--batch-rows", "1024")[0])
    for place in ("same process", "server process"):
        assert results[f"tf op, full, {place}"]["peer"]["name"] == "numpy, full"
        assert results[f"tf op, window, {place}"]["peer"]["name"] == "numpy, window"
        assert results[f"tf op, unshuffled, {place}"]["peer"] is None
    assert len(results) == 8


@pytest.mark.tf
def test_step(tmp_path):
    results = check(bench("step", tmp_path)[0])
    assert len(results) == 5
    for name, result in results.items():
        peer = result["peer"]
        assert (peer is None) if name == "constant tensor" else peer["name"] == "constant tensor"


@pytest.mark.tf
def test_move(tmp_path):
    results = check(bench("move", tmp_path)[0])
    assert results["move"]["peer"]["name"] == "Parquet + from_generator"


@pytest.mark.tf
@pytest.mark.spark
@pytest.mark.parametrize("own_core", [(), ("--own-core",)], ids=["shared", "own core"])
def test_spark(tmp_path, own_core):
    if own_core and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core only")
    results = check(bench("spark", tmp_path, *own_core)[0])
    noop, ours = "spark noop", "spark to bridge"
    assert results[noop]["peer"] is None
    ways = (ours, f"{ours} over TCP", f"{ours} by Flight's calls")
    for name in (*ways, "Python writer", "spark to Parquet"):
        assert results[name]["peer"]["name"] == noop
    for peer in (f"{ours} over TCP", "spark to Parquet", "Python writer"):
        assert results[f"{ours}, beside {peer}"]["peer"]["name"] == peer
    assert results["bridge and an epoch"]["peer"]["name"] == "Parquet and an epoch"
    for rows in ("", ", 1% of rows"):
        read = results[f"bridge to spark{rows}"]
        assert read["peer"]["name"] == f"Parquet to spark{rows}"


def test_spill(tmp_path):
    report, table = bench("spill", tmp_path, "--folder", str(tmp_path))
    results = check(report)
    disk = {"spill put", "raw disk write", "spill get", "raw disk read"}
    assert set(results) == disk | {"epoch, full shuffle", "epoch in order"}
    assert results["spill put"]["peer"]["name"] == "raw disk write"
    assert results["spill get"]["peer"]["name"] == "raw disk read"
    assert results["epoch, full shuffle"]["peer"]["name"] == "epoch in order"
    assert results["spill put"]["memory_limit_bytes"] == 32 << 20
    assert results["spill put"]["peak_memory_bytes"] > 32 << 20, "the process alone takes more"
    assert "resident memory was at most" in table
    assert [path.name for path in tmp_path.iterdir()] == ["spill.json"], "nothing is left behind"


def test_json_to_stdout_is_only_json():
    done = run("put", "--quick", "--no-peer", "--json", "-")
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout))


def test_an_unwritable_report_is_refused_before_measuring(tmp_path):
    done = run("put", "--quick", "--json", str(tmp_path / "no" / "out.json"))
    assert done.returncode == 1
    assert done.stderr.startswith("flightbridge: error: ")
    assert done.stderr.count("\n") == 1
