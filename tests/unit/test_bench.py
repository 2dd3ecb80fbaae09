"""The pure parts of the benchmarks: statistics, pairing, facts, data."""

import os
import subprocess
import sys
import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightbridge.bench import cpu, data, machine
from flightbridge.bench.model import Report, Sample, summarize
from flightbridge.bench.pairing import measure
from flightbridge.bench.processes import spawned
from flightbridge.bench.stats import median, paired_ratio, percentile
from flightbridge.bench.streams import each_timed, timed
from flightbridge.errors import FailedPreconditionError

finite = st.floats(min_value=1e-6, max_value=1e6)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([1.0], 99, 1.0),
        ([1.0, 2.0, 3.0], 50, 2.0),
        ([4.0, 1.0, 3.0, 2.0], 50, 2.5),
        ([0.0, 10.0], 99, 9.9),
        (list(map(float, range(101))), 99, 99.0),
        ([5.0, 1.0], 0, 1.0),
        ([5.0, 1.0], 100, 5.0),
    ],
)
def test_percentile(values, percent, expected):
    assert percentile(values, percent) == pytest.approx(expected)


@given(st.lists(finite, min_size=1), st.floats(0, 100), st.floats(0, 100))
def test_percentile_stays_in_range_and_never_falls(values, one, other):
    low, high = sorted((one, other))
    slack = 1e-9 * max(values)
    assert min(values) - slack <= percentile(values, low) <= percentile(values, high) + slack
    assert percentile(values, high) <= max(values) + slack


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], -1), ([1.0], 101)])
def test_percentile_refuses(values, percent):
    with pytest.raises(ValueError, match="percent"):
        percentile(values, percent)


def test_paired_ratio_is_of_pairs_not_of_medians():
    # The machine slows down threefold half-way; within each pair we are twice as fast.
    assert paired_ratio([6.0, 2.0, 2.0], [3.0, 1.0, 1.0]) == pytest.approx(2.0)
    assert median([6.0, 2.0, 2.0]) == 2.0


@given(st.lists(st.tuples(finite, finite), min_size=1))
def test_paired_ratio_of_a_side_with_itself_is_one(pairs):
    own = [pair[0] for pair in pairs]
    assert paired_ratio(own, own) == pytest.approx(1.0)


@pytest.mark.parametrize(("ours", "peers"), [([1.0], []), ([], []), ([1.0], [0.0])])
def test_paired_ratio_refuses(ours, peers):
    with pytest.raises(ValueError):  # noqa: PT011
        paired_ratio(ours, peers)


def test_measure_takes_turns_and_leaves_the_warm_up_out():
    order = []

    def side(name):
        def run():
            order.append(name)
            return Sample(1.0, len(order), 1, 0.5)

        return run

    noted = []
    samples = measure(
        {"a": side("a"), "b": side("b")}, 2, warmup=1, note=lambda name, _: noted.append(name)
    )
    assert order == ["a", "b"] * 3
    assert noted == ["a", "b"] * 2
    assert [sample.bytes for sample in samples["a"]] == [3, 5]


def test_measure_refuses_no_rounds():
    with pytest.raises(ValueError, match="repeat=0"):
        measure({}, 0)


def test_summary_with_a_peer():
    ours = [Sample(1.0, 2 * 10**9, 4, 1.0, (1.0, 3.0)), Sample(2.0, 2 * 10**9, 4, 1.0, (2.0,))]
    peers = [Sample(2.0, 2 * 10**9, 4, 3.0), Sample(4.0, 2 * 10**9, 4, 3.0)]
    result = summarize("x", ours, streams=2, peer_name="p", peer_samples=peers)
    assert result.gbps == pytest.approx(1.5)
    assert result.cpu_s_per_gb == pytest.approx(0.5)
    assert (result.p50_ms, result.batch_bytes, result.runs) == (2.0, 5 * 10**8, 2)
    assert result.peer is not None
    assert result.peer.ratio == pytest.approx(2.0)
    assert result.peer.cpu_ratio == pytest.approx(3.0)
    shape = Report({"cpu": "?"}, {"memcpy_gbps": 1.0, "loopback_gbps": 1.0}, [result]).to_json()
    assert list(shape) == ["machine", "ceilings", "results"]
    assert shape["results"][0]["peer"]["name"] == "p"


def test_summary_without_a_peer_says_null():
    assert summarize("x", [Sample(1.0, 10, 1, 0.1)], streams=1).to_json()["peer"] is None


def test_facts_of_the_machine():
    facts = machine.machine_facts()
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > 0
    assert facts["pyarrow"] == pa.__version__


def test_facts_parsed_from_text():
    assert machine.cpu_model("processor : 0\nmodel name\t: Fast  CPU\n") == "Fast CPU"
    assert machine.cpu_model("") == "unknown"
    assert machine.total_memory("MemTotal:  1024 kB\n") == 1 << 20
    assert machine.total_memory("") == 0


def test_processor_time_of_another_process_grows():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        try:
            deadline = time.monotonic() + 60
            while cpu.process_cpu_s(child.pid) < 0.05:
                assert time.monotonic() < deadline
            ticks = cpu._ticks(child.pid) / cpu._TICKS_PER_S
            assert ticks == pytest.approx(cpu.process_cpu_s(child.pid), abs=1.0)
        finally:
            child.kill()


def test_processor_time_of_an_ended_process():
    with subprocess.Popen(["true"]) as child:
        child.wait()
    with pytest.raises(ProcessLookupError):
        cpu.process_cpu_s(child.pid)


def test_stat_with_spaces_in_the_name():
    stat = "12 (a ) b) R 1 2 3 4 5 6 7 8 9 10 111 22 0 0\n"
    assert cpu.parse_stat_ticks(stat) == 133


def test_mixed_batches():
    batches = data.mixed_batches(100_000, 1000, 12)
    assert sum(batch.nbytes for batch in batches) >= 100_000
    assert {batch.num_rows for batch in batches} == {1000}
    kinds = [str(field.type) for field in batches[0].schema]
    assert kinds[:3] == ["int64", "float", "int32"]
    assert len(kinds) == 12


@pytest.mark.parametrize(
    ("values", "kind"), [("strings", "string"), ("lists", "list<item: int32>")]
)
def test_batches_of_strings_and_lists(values, kind):
    batches = data.mixed_batches(100_000, 1000, 3, values=values)
    assert sum(batch.nbytes for batch in batches) >= 100_000
    for batch in batches:
        batch.validate(full=True)
        assert [str(field.type) for field in batch.schema] == [kind] * 3


def test_ratings_batches_cover_every_row():
    batches = data.ratings_batches(2_500, 1_000)
    assert [batch.num_rows for batch in batches] == [1000, 1000, 500]
    for batch in batches:
        batch.validate(full=True)


@pytest.mark.parametrize("streams", [1, 2, 7])
def test_deal_gives_every_stream_something(streams):
    batches = data.mixed_batches(1, 8, 1) * 3
    dealt = data.deal(batches, streams)
    assert len(dealt) == streams
    assert all(dealt)


@pytest.mark.parametrize("streams", [1, 3])
def test_timed_runs_all_streams_between_before_and_after(streams):
    done = []

    def stream(own):
        own.append(1.5)
        done.append("stream")

    sample = timed(
        [stream] * streams,
        pids=[os.getpid()],
        moved_bytes=10,
        moved_batches=streams,
        before=lambda: done.append("before"),
        after=lambda: done.append("after"),
    )
    assert done == ["before", *["stream"] * streams, "after"]
    assert sample.latencies_ms == (1.5,) * streams
    assert sample.seconds > 0


@pytest.mark.parametrize("streams", [1, 2])
def test_timed_passes_on_the_error_of_a_stream(streams):
    def stream(own):
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        timed([stream] * streams, pids=[os.getpid()], moved_bytes=1, moved_batches=1)


def test_each_timed_times_each():
    latencies = []
    assert list(each_timed(iter("abc"), latencies)) == ["a", "b", "c"]
    assert len(latencies) == 3


def test_spawned_ends_with_the_block():
    code = "print('ready 7', flush=True); import threading; threading.Event().wait()"
    with spawned([sys.executable, "-c", code], "ready ") as server:
        assert server.line == "ready 7"
        pid = server.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_spawned_says_why_a_server_did_not_start():
    code = "import sys; sys.exit('no luck')"
    with (
        pytest.raises(FailedPreconditionError, match="no luck"),
        spawned([sys.executable, "-c", code], "ready "),
    ):
        pass
