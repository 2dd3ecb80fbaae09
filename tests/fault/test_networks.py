"""Links that are cut, in one direction or both, and slow ones (rows 19 to 22).

The server runs in a network namespace of its own. Skipped where that is not allowed.
"""

from __future__ import annotations

import threading
import uuid

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
from flightbridge import batches
from flightbridge.client import Client
from flightbridge.errors import CancelledError, DeadlineExceededError, ServerUnavailableError

from .link import Link
from .reader_process import ReaderProcess
from .server_node import Node, until_it_answers

pytestmark = pytest.mark.slow

TRANSPORTS = ("channel", "flight")
ROWS = 20_000
PATIENT_S = 100
AWAY = (ServerUnavailableError, DeadlineExceededError, CancelledError)
SCHEMA = pa.schema([("id", pa.int64())])
DYNAMIC = {
    "batch_size": 50,
    "policy": "dynamic",
    "group": "g",
    "split_rows": 100,
    "prefetch": 1,
    "slabs": 1,
    "lease_timeout_s": 3,
    "timeout_s": 20,
}


@pytest.fixture
def link():
    with Link() as made:
        yield made


@pytest.fixture
def node(link, tmp_path):
    made = Node(
        tmp_path / "data", inside=link.inside, host=link.far, insecure=True, memory_limit="64MiB"
    )
    yield made
    made.close()


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


def connect(node: Node, transport: str, timeout_s: float) -> Client:
    return until_it_answers(
        lambda: flightbridge.connect(node.uri, transport=transport, timeout_s=timeout_s)
    )


def rows(begin: int, count: int) -> pa.RecordBatch:
    return pa.record_batch([pa.array(np.arange(begin, begin + count))], schema=SCHEMA)


def write(node: Node, count: int) -> None:
    with connect(node, "auto", PATIENT_S) as client:
        client.write("f", pa.table({"id": np.arange(count)}), partition_rows=1500)


def fill(put: flightbridge.client.PutStream) -> None:
    for _ in range(1000):
        put.write(rows(0, 100_000))


def check(node: Node, count: int) -> None:
    with connect(node, "auto", PATIENT_S) as client:
        found = until_it_answers(lambda: client.read_table("f"))["id"].to_numpy()
    assert np.array_equal(np.sort(found), np.arange(count))


def test_a_put_over_a_link_that_is_cut_and_healed_goes_on(link, node, transport):
    job = uuid.uuid4().hex
    with connect(node, transport, PATIENT_S) as client:
        client.begin_write("f", job, "append", SCHEMA)
        with client.open_put("f", job, 0, 0, SCHEMA) as put:
            put.write(rows(0, 100_000))
            link.cut()
            refs: list[flightbridge.client.AttemptRef] = []
            failed: list[BaseException] = []

            def go_on() -> None:
                try:
                    for begin in range(100_000, 500_000, 100_000):
                        put.write(rows(begin, 100_000))
                    refs.append(put.finish())
                except BaseException as error:
                    failed.append(error)

            writer = threading.Thread(target=go_on)
            writer.start()
            writer.join(1)
            assert writer.is_alive()  # held up by the link
            link.heal()
            writer.join(PATIENT_S + 60)
            assert not writer.is_alive() and not failed
        client.commit_write("f", job, refs)
    check(node, 500_000)


def test_a_put_over_a_link_that_stays_cut_fails_and_its_task_is_done_again(link, node, transport):
    job = uuid.uuid4().hex
    with connect(node, transport, 2) as client:
        client.begin_write("f", job, "append", SCHEMA)
        with client.open_put("f", job, 0, 0, SCHEMA) as put:
            put.write(rows(0, 100_000))
            link.cut()
            with pytest.raises(AWAY):
                fill(put)
        with pytest.raises(AWAY):
            client.commit_write("f", job, [])
        with pytest.raises(AWAY):
            client.read_table("f")
        link.heal()
    with connect(node, transport, PATIENT_S) as client:
        with client.open_put("f", job, 0, 1, SCHEMA) as put:
            put.write(rows(0, 100_000))
            ref = put.finish()
        client.commit_write("f", job, [ref])
    check(node, 100_000)


def test_a_read_over_a_link_that_is_cut_goes_on_at_the_next_row(link, node, transport):
    count = 1_000_000
    write(node, count)
    settings = {"batch_size": 1000, "shuffle": 5000, "seed": 2, "prefetch": "64KiB"}
    with batches.read(node.uri, "f", **settings) as reader:
        wanted = [row for batch in reader for row in batch["id"].tolist()]
    found: list[int] = []
    with batches.read(node.uri, "f", transport=transport, timeout_s=2, **settings) as reader:
        found += next(reader)["id"].tolist()
        link.cut()
        with pytest.raises(AWAY):
            found.extend(row for batch in reader for row in batch["id"].tolist())
        position = reader.position()
    link.heal()
    with until_it_answers(
        lambda: batches.read(node.uri, "f", timeout_s=PATIENT_S, position=position, **settings)
    ) as reader:
        found += [row for batch in reader for row in batch["id"].tolist()]
    assert found == wanted


@pytest.mark.parametrize("way", ["both", "in", "out"])
def test_a_consumer_that_is_cut_off_for_longer_than_its_lease_is_fenced(link, node, tmp_path, way):
    write(node, ROWS)
    with (
        ReaderProcess(node.uri, tmp_path / "a", **DYNAMIC) as far,
        ReaderProcess(node.uri, tmp_path / "b", inside=link.inside, **DYNAMIC) as near,
    ):
        before = far.take(7)  # three splits, and half of another
        while far.stats["reported_splits"] < 3:
            assert far.take(0) == []
        link.cut(way)
        taken = near.rest()  # ends only when every split has been read
        link.heal(way)
        after = far.rest()
        assert after == []  # what it had read ahead, and what it had not, is the other's now
        assert far.stats["lost_leases"] == 1
        assert sorted(set(taken)) == sorted(taken)
        assert set(before) | set(taken) == set(range(ROWS))
        # Read again is what it had handed out and not reported.
        assert len(set(taken) & set(before)) == 50
        far.close()
        near.close()


def test_a_slow_link_makes_progress_and_loses_no_lease(link, node, tmp_path):
    count = 100_000  # 800 kB: more seconds than a lease
    link.slow_down("1mbit")
    write(node, count)
    settings = {**DYNAMIC, "lease_timeout_s": 5, "split_rows": 1000, "timeout_s": PATIENT_S}
    with ReaderProcess(node.uri, tmp_path / "a", **settings) as reader:
        found = reader.rest()
        assert reader.stats["lost_leases"] == 0
        reader.close()
    assert found == list(range(count))
