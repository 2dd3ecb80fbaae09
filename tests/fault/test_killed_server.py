"""A server that is killed at every point of a write (rows 1, 2 and 3), and one that fails there.

The oracle: the multiset of (partition, row id) that readers see is that of what was committed.
"""

from __future__ import annotations

import collections
import contextlib
import random
import threading
import uuid

import pyarrow as pa
import pytest

import flightbridge
from flightbridge.client import AttemptRef, Client
from flightbridge.descriptions import FeedState
from flightbridge.errors import FeedNotFoundError, FlightBridgeError, ServerUnavailableError

from .cluster import Cluster
from .cluster import Job as SpanJob
from .cluster import check as check_span
from .server_node import Node, until_it_answers

PARTITIONS = 4
BATCHES = 6
ROWS = 2000  # of a batch
SCHEMA = pa.schema([("partition", pa.int32()), ("id", pa.int64())])


def part_of(partition: int) -> list[pa.RecordBatch]:
    first = partition * BATCHES * ROWS
    return [
        pa.record_batch(
            [
                pa.array([partition] * ROWS, pa.int32()),
                pa.array(range(begin, begin + ROWS), pa.int64()),
            ],
            schema=SCHEMA,
        )
        for begin in range(first, first + BATCHES * ROWS, ROWS)
    ]


def expected(times: int = 1) -> collections.Counter[tuple[int, int]]:
    rows = range(PARTITIONS * BATCHES * ROWS)
    return collections.Counter({(row // (BATCHES * ROWS), row): times for row in rows})


def seen(client: Client) -> collections.Counter[tuple[int, int]]:
    table = until_it_answers(lambda: client.read_table("f"))
    columns = (table[name].to_pylist() for name in SCHEMA.names)
    return collections.Counter(zip(*columns, strict=True))


class Job:
    """A write job whose tasks are tried again, each time as another attempt, as Spark does it."""

    def __init__(self, client: Client, mode: str = "errorifexists", visible: str = "job") -> None:
        self.client, self.id = client, uuid.uuid4().hex
        self.refs: dict[int, AttemptRef] = {}
        self.attempts = 0
        client.begin_write("f", self.id, mode, SCHEMA, visible=visible)

    def attempt(self, partition: int, attempt: int, between=lambda batch: None) -> None:
        with self.client.open_put("f", self.id, partition, attempt, SCHEMA) as put:
            for number, batch in enumerate(part_of(partition)):
                between(number)
                put.write(batch)
            self.refs[partition] = put.finish()

    def task(self, partition: int, between=lambda batch: None) -> None:
        """Attempts until one is staged; only the first is disturbed."""

        def once() -> None:
            number, self.attempts = self.attempts, self.attempts + 1
            self.attempt(partition, number, between if number == first else lambda batch: None)

        first = self.attempts
        until_it_answers(once)

    def tasks(self, *partitions: int) -> None:
        for partition in partitions or range(PARTITIONS):
            self.task(partition)

    def commit(self) -> flightbridge.client.FeedInfo:
        return self.client.commit_write("f", self.id, self.refs.values())


@contextlib.contextmanager
def brought_back(node: Node):
    """Waits for the server's own death and starts it again, while the body calls it."""
    back: list[BaseException | None] = []

    def bring_back() -> None:
        try:
            node.wait_killed()
            node.start()
            back.append(None)
        except BaseException as error:
            back.append(error)

    watcher = threading.Thread(target=bring_back)
    watcher.start()
    try:
        yield
    finally:
        watcher.join(120)
    assert back == [None]


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path / "data", memory_limit="64MiB")
    yield made
    made.close()


@pytest.fixture(params=["mapped", "channel", "flight"])
def client(request, node):
    with flightbridge.connect(node.uri, transport=request.param, timeout_s=30) as connected:
        yield connected


@pytest.fixture
def any_client(node):
    with flightbridge.connect(node.uri, timeout_s=30) as connected:
        yield connected


def assert_nothing_left(node: Node, client: Client) -> None:
    """Everything that the feed and its attempts took is given back when it is dropped."""
    assert until_it_answers(client.status).open_puts == 0
    client.drop("f")
    node.restart()
    status = until_it_answers(client.status)
    assert (status.feeds, status.disk_used_bytes, node.segment_files()) == (0, 0, [])


def test_killed_during_ingest(node, client):
    rng = random.Random(13)
    job = Job(client)
    for partition in range(PARTITIONS):
        fatal = rng.randrange(1, BATCHES)
        job.task(partition, lambda number, fatal=fatal: number == fatal and node.restart())
    assert client.feeds() == []
    job.commit()
    assert seen(client) == expected()
    assert_nothing_left(node, client)


@pytest.mark.parametrize("point", ["attempt_before_journal", "attempt_after_journal"])
def test_killed_between_the_last_row_and_its_ack(node, client, point):
    job = Job(client)
    job.tasks(0, 1)
    node.restart(**{point: "crash"})
    until_it_answers(client.status)
    with brought_back(node):
        job.task(2)
    # The same attempt once more, as a client sends it that has not seen the ack.
    until_it_answers(lambda: job.attempt(2, job.refs[2].attempt))
    job.task(3)
    assert client.feeds() == []
    job.commit()
    assert seen(client) == expected()
    assert_nothing_left(node, client)


@pytest.mark.parametrize("point", ["attempt_before_journal", "attempt_after_journal"])
def test_killed_while_a_feed_is_written_and_read(node, client, point):
    job = Job(client, visible="partition")
    job.tasks(0, 1)
    before = seen(client)
    node.restart(**{point: "crash"})
    assert seen(client) == before  # what was visible stays visible
    with brought_back(node):
        job.task(2)
    job.task(3)
    assert seen(client) == expected()
    assert client.feed("f").state == FeedState.OPEN
    job.commit()
    assert client.feed("f").state == FeedState.COMMITTED
    assert seen(client) == expected()


@pytest.mark.parametrize("mode", ["errorifexists", "overwrite", "append", "visible"])
@pytest.mark.parametrize(
    "point", ["commit_before_journal", "commit_before_fsync", "commit_after_fsync"]
)
def test_killed_during_the_commit(node, any_client, mode, point):
    client = any_client
    old = None
    if mode in ("overwrite", "append"):
        job = Job(client)
        job.tasks()
        old = job.commit()
    job = Job(client, visible="partition") if mode == "visible" else Job(client, mode)
    job.tasks()
    node.restart(**{point: "crash"})
    until_it_answers(client.status)
    with pytest.raises(ServerUnavailableError):
        job.commit()
    node.wait_killed()
    node.start()
    # All or nothing: what was there before, or what the job is to make.
    state = until_it_answers(lambda: committed(client))
    if point == "commit_before_journal":
        assert state == (old.feed_id if old else None)
    if point == "commit_after_fsync":
        assert state not in (None, old.feed_id if old else None)
    times = 2 if mode == "append" else 1
    if state is not None:
        assert seen(client) == expected(times if old is None or state != old.feed_id else 1)
    done = job.commit()
    assert state in (done.feed_id, old.feed_id if old else None)
    assert job.commit().feed_id == done.feed_id
    assert seen(client) == expected(times)
    node.restart()
    assert until_it_answers(lambda: client.feed("f")).feed_id == done.feed_id
    assert seen(client) == expected(times)
    assert_nothing_left(node, client)


def committed(client: Client) -> bytes | None:
    """The id of the feed's committed content."""
    with contextlib.suppress(FeedNotFoundError):
        info = client.feed("f")
        return info.feed_id if info.state == FeedState.COMMITTED else None
    return None


@pytest.mark.parametrize("point", ["attempt_before_journal", "attempt_after_journal"])
def test_an_attempt_that_could_not_be_recorded_is_not_acknowledged(node, client, point):
    job = Job(client)
    job.tasks(0, 1, 3)
    node.restart(**{point: "error"})
    until_it_answers(client.status)
    with pytest.raises(FlightBridgeError, match=r"failpoint attempt\."):
        job.attempt(2, 100)
    lost = AttemptRef(2, 100, BATCHES * ROWS, BATCHES, 0, 0)
    with pytest.raises(FlightBridgeError, match="attempt 100"):
        client.commit_write("f", job.id, [*job.refs.values(), lost])
    node.restart()
    until_it_answers(client.status)
    job.task(2)
    job.commit()
    assert seen(client) == expected()


def test_a_commit_that_could_not_be_recorded_shows_nothing_and_can_be_repeated(node, any_client):
    client = any_client
    job = Job(client)
    job.tasks()
    node.restart(commit_before_journal="error")
    until_it_answers(client.status)
    for _ in range(2):
        with pytest.raises(FlightBridgeError, match=r"failpoint commit\."):
            job.commit()
        assert committed(client) is None
    node.restart()
    until_it_answers(client.status)
    job.commit()
    assert seen(client) == expected()


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    yield made
    for member in made.nodes:
        member.close()


@pytest.mark.parametrize(
    "point", ["commit_before_journal", "commit_before_fsync", "commit_after_fsync"]
)
def test_the_home_of_a_feed_killed_during_its_decision(cluster, point):
    with cluster.connect() as client:
        SpanJob(client, "before").put_all().commit()
        SpanJob(client, "feed").put_all().commit()
        job = SpanJob(client, "feed", "append", start=6000).put_all()
        home = cluster.home_of("feed")
        home.restart(**{point: "crash"})
        cluster.wait_for(client)
        with pytest.raises(ServerUnavailableError):
            job.commit()
        home.wait_killed()
        home.start()
        cluster.wait_for(client)
        done = job.commit()
        assert job.commit().feed_id == done.feed_id
        check_span(client, "feed", 12_000)


def test_a_server_killed_while_it_follows_a_decision(cluster):
    with cluster.connect() as client:
        before = SpanJob(client, "feed").put_all().commit()
        job = SpanJob(client, "feed", "append", start=6000).put_all()
        victim = cluster.holder(before, cluster.home_of("feed"))
        victim.restart(resolve_before_journal="crash")
        cluster.wait_for(client)
        job.commit()  # the home decides, and tells the victim
        victim.wait_killed()
        victim.start()
        cluster.wait_for(client)
        check_span(client, "feed", 12_000)
