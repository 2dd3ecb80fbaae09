"""Links that delay, cut up, reset and damage calls (rows 23 and 24).

Every call may be repeated, and is, until it is answered; the oracle is the multiset of rows.
"""

from __future__ import annotations

import collections
import random
import threading
import uuid

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
from flightbridge import batches
from flightbridge.client import Client
from flightbridge.errors import (
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    FeedNotFoundError,
    FlightBridgeError,
    ServerUnavailableError,
)

from .proxy import DOWN, HOST, UP, Proxy, Weather
from .server_node import Node, free_port

TRANSPORTS = ("channel", "flight")
ROWS = 1 << 17  # of a partition: 1 MiB
PARTITIONS = 3
AWAY = (ServerUnavailableError, DeadlineExceededError, CancelledError)
DAMAGED = (*AWAY, DataLossError)


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path / "data", memory_limit="64MiB", data_port=free_port())
    yield made
    made.close()


@pytest.fixture
def proxy(node):
    with Proxy([node.port, node.settings["data_port"]]) as made:
        yield made


def uri_of(node: Node) -> str:
    return f"grpc://{HOST}:{node.port}"


def repeated(call, again=AWAY, seen: list[FlightBridgeError] | None = None):
    """Until it is answered; the errors meanwhile go into ``seen``."""
    for _ in range(500):
        try:
            return call()
        except again as error:
            if seen is not None:
                seen.append(error)
    raise AssertionError("it is never answered")


def part(job: int, partition: int) -> pa.RecordBatch:
    begin = (job * PARTITIONS + partition) * ROWS
    return pa.record_batch({"id": pa.array(np.arange(begin, begin + ROWS), pa.int64())})


SCHEMA = part(0, 0).schema


def put(client: Client, job_id: str, job: int, partition: int, attempt: int):
    with client.open_put("f", job_id, partition, attempt, SCHEMA) as stream:
        for begin in range(0, ROWS, ROWS // 8):
            stream.write(part(job, partition).slice(begin, ROWS // 8))
        return stream.finish()


def append(client: Client, job: int, again=AWAY) -> None:
    job_id = uuid.uuid4().hex
    attempts = iter(range(1000))
    repeated(lambda: client.begin_write("f", job_id, "append", SCHEMA))
    refs = [
        repeated(lambda p=p: put(client, job_id, job, p, next(attempts)), again)
        for p in range(PARTITIONS)
    ]
    done = repeated(lambda: client.commit_write("f", job_id, refs))
    assert repeated(lambda: client.commit_write("f", job_id, refs)).feed_id == done.feed_id


def ids(client: Client, feed: str = "f") -> np.ndarray:
    return np.sort(client.read_table(feed)["id"].to_numpy())


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "weather",
    [
        Weather(reset_every=400_000, resets=25),
        Weather(piece=3000, delay_s=0.0005),
        Weather(piece=20_000, delay_s=0.001, reset_every=1_000_000, resets=10),
    ],
    ids=["resets", "pieces", "both"],
)
def test_every_call_may_be_repeated(node, proxy, transport, weather):
    proxy.weather = Weather(**vars(weather))
    with flightbridge.connect(uri_of(node), transport=transport, timeout_s=30) as client:
        for job in range(2):
            append(client, job)
            found = repeated(lambda: ids(client))
            assert np.array_equal(found, np.arange((job + 1) * PARTITIONS * ROWS))
        assert proxy.resets > 0 or not weather.resets
        busy = node.port if transport == "flight" else node.settings["data_port"]
        assert proxy.passed[busy, UP] > 2 * PARTITIONS * ROWS * 8
        assert proxy.passed[busy, DOWN] > 2 * PARTITIONS * ROWS * 8
    with flightbridge.connect(node.uri) as direct:
        assert np.array_equal(ids(direct), np.arange(2 * PARTITIONS * ROWS))
        direct.drop("f")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_reader_goes_on_at_the_next_row_after_a_reset(node, proxy, transport):
    with flightbridge.connect(node.uri) as client:
        append(client, 0)
    settings = {"batch_size": 500, "shuffle": 5000, "seed": 4, "prefetch": "256KiB"}
    with batches.read(node.uri, "f", **settings) as reader:
        wanted = [row for batch in reader for row in batch["id"].tolist()]
    proxy.weather = Weather(reset_every=300_000, resets=12)
    found: list[int] = []
    state = {"position": None}

    def read_on() -> None:
        with batches.read(
            uri_of(node), "f", transport=transport, timeout_s=30, **state, **settings
        ) as reader:
            for batch in reader:
                found.extend(batch["id"].tolist())
                state["position"] = reader.position()

    repeated(read_on)
    assert found == wanted
    assert proxy.resets > 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_readers_that_share_a_feed_read_each_row_once_through_resets(node, proxy, transport):
    with flightbridge.connect(node.uri) as client:
        append(client, 0)
    settings = {
        "batch_size": 500,
        "policy": "dynamic",
        "group": "g",
        "split_rows": 2000,
        "lease_timeout_s": 120,
        "prefetch": "64KiB",
        "transport": transport,
        "timeout_s": 30,
    }
    proxy.weather = Weather(reset_every=100_000, resets=20)
    found: list[list[int]] = [[], []]
    failed: list[BaseException] = []

    def share(mine: list[int]) -> None:
        state = {"position": None}

        def read_on() -> None:
            with batches.read(uri_of(node), "f", **state, **settings) as reader:
                for batch in reader:
                    mine.extend(batch["id"].tolist())
                    state["position"] = reader.position()

        try:
            repeated(read_on)
        except BaseException as error:
            failed.append(error)

    readers = [threading.Thread(target=share, args=(mine,)) for mine in found]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(200)
        assert not reader.is_alive()
    assert not failed
    counts = collections.Counter(found[0] + found[1])
    assert counts == collections.Counter(range(PARTITIONS * ROWS))
    assert proxy.resets > 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_stream_whose_very_end_is_lost_has_every_row_once(node, proxy, transport):
    with flightbridge.connect(node.uri) as client:
        append(client, 0)
    port = node.port if transport == "flight" else node.settings["data_port"]
    settings = {"batch_size": ROWS, "connections": 1, "prefetch": "16MiB", "transport": transport}

    def read() -> None:
        with batches.read(uri_of(node), "f", **settings) as reader:
            assert sum(len(batch["id"]) for batch in reader) == PARTITIONS * ROWS

    read()
    whole = proxy.longest[port, DOWN]
    assert whole > PARTITIONS * ROWS * 8
    for short in (1, 8, 88, 200):
        before = proxy.resets
        proxy.cut(port, DOWN, whole - short)
        read()
        # What HTTP/2 adds differs a little from one time to the next.
        assert proxy.resets == before + 1 or transport == "flight"


def test_a_put_whose_answer_is_lost_is_staged_once(node, proxy):
    port = node.settings["data_port"]

    def write() -> None:
        with flightbridge.connect(uri_of(node), transport="channel", timeout_s=30) as client:
            append(client, 0)

    write()
    whole = {way: proxy.longest[port, way] for way in (UP, DOWN)}
    # Lost before the server has said it, and on its way.
    node.restart(attempt_after_journal="sleep:300")
    for number, (way, short) in enumerate([(UP, 0), (DOWN, 1), (DOWN, 60)]):
        proxy.cut(port, way, whole[way] - short)
        write()
        assert proxy.resets == number + 1
    with flightbridge.connect(node.uri) as client:
        counts = collections.Counter(client.read_table("f")["id"].to_pylist())
    assert counts == collections.Counter(dict.fromkeys(range(PARTITIONS * ROWS), 4))


def test_an_answer_about_leases_that_is_lost_costs_no_lease(node, proxy):
    with flightbridge.connect(node.uri) as client:
        append(client, 0)
    settings = {
        "batch_size": 500,
        "policy": "dynamic",
        "split_rows": 2000,
        "lease_timeout_s": 120,
        "prefetch": "64KiB",
        "timeout_s": 30,
    }
    # Rows come over the Unix socket: what passes while they are read is calls for leases.
    for lost in range(5):
        with batches.read(uri_of(node), "f", group=f"g{lost}", **settings) as reader:
            found = next(reader)["id"].tolist()
            for number, batch in enumerate(reader):
                if number % 200 == 50:
                    proxy.cut(node.port, DOWN)
                found += batch["id"].tolist()
            assert reader.stats()["lost_leases"] == 0
        assert found == list(range(PARTITIONS * ROWS))
    assert proxy.resets > 5


# ---- row 24 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_flipped_bit_on_the_way_in_is_never_stored(node, proxy, transport):
    rng = random.Random(24)
    told = 0
    with flightbridge.connect(uri_of(node), transport=transport, timeout_s=30) as client:
        for number in range(12):
            # Behind the first calls, inside the rows.
            proxy.flip(UP, rng.randrange(100_000, ROWS * 8))
            job_id = uuid.uuid4().hex
            repeated(lambda job_id=job_id: client.begin_write("f", job_id, "overwrite", SCHEMA))
            try:
                refs = [put(client, job_id, number, 0, 0)]
            except FlightBridgeError as error:  # also what breaks the frames
                told += isinstance(error, DataLossError)
                if number == 0:
                    with pytest.raises(FeedNotFoundError):
                        repeated(lambda: client.read_table("f"))
                refs = [repeated(lambda j=job_id, n=number: put(client, j, n, 0, 1))]
            assert proxy.flips == number + 1
            repeated(lambda j=job_id, r=refs: client.commit_write("f", j, r))
            assert np.array_equal(repeated(lambda: ids(client)), part(number, 0)["id"].to_numpy())
            proxy.reset_all()  # offsets begin anew
    assert told > 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_flipped_bit_on_the_way_out_is_never_handed_out(node, proxy, transport):
    with flightbridge.connect(node.uri) as client:
        append(client, 0)
    rng = random.Random(42)
    told = 0
    wanted = np.arange(PARTITIONS * ROWS)
    with flightbridge.connect(uri_of(node), transport=transport, timeout_s=30) as client:
        for number in range(12):
            proxy.flip(DOWN, rng.randrange(100_000, ROWS * 8))
            errors: list[FlightBridgeError] = []
            assert np.array_equal(repeated(lambda: ids(client), DAMAGED, errors), wanted)
            told += any(isinstance(error, DataLossError) for error in errors)
            assert proxy.flips == number + 1
            proxy.reset_all()
    assert told > 0
