"""Retention of feeds that span three server processes, which are killed at every point of it.

Readers confirm at the feed's home. The others ask it, and free what it says; what nobody confirmed
stays, whoever died.
"""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

import flightbridge
from flightbridge import batches
from flightbridge.errors import (
    FailedPreconditionError,
    FeedNotFoundError,
    InvalidArgumentError,
    ServerUnavailableError,
)

from .cluster import PARTITIONS, ROWS, Cluster, Job, check
from .secured import CREDENTIALS, secured

ALL = list(range(PARTITIONS * ROWS))


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    yield made
    made.close()


def read(cluster, **settings):
    wanted = {"batch_size": 64, "timeout_s": 60, **cluster.credentials, **settings}
    return batches.read(",".join(cluster.uris), "feed", **wanted)


def ids(reader, count=-1) -> list[int]:
    found: list[int] = []
    for batch in reader:
        found += [int(i) for i in batch["id"]]
        count -= 1
        if count == 0:
            break
    return found


def held(cluster) -> dict[str, int]:
    """Bytes of rows on each server."""
    found = {}
    for node in cluster.nodes:
        with cluster.connect(node.uri) as one:
            status = one.status()
            found[node.uri] = status.memory_used_bytes + status.disk_used_bytes
    return found


def until(condition, what: str, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        # A server that was killed takes a moment.
        with contextlib.suppress(ServerUnavailableError):
            if condition():
                return
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def until_nothing_is_held(cluster) -> None:
    until(lambda: not any(held(cluster).values()), "a server keeps rows that all have confirmed")


def released(client) -> set[int]:
    return {part.partition for part in client.feed("feed").partitions if part.released}


def read_to_the_end(cluster, **settings) -> bytes:
    """A position behind all of the feed."""
    with read(cluster, **settings) as reader:
        assert sorted(ids(reader)) == ALL
        return reader.position()


@pytest.mark.parametrize("shuffle", [None, 700, True], ids=["plain", "window", "full"])
def test_all_servers_free_what_the_shards_confirmed(cluster, shuffle):
    with cluster.connect() as client:
        info = Job(client, "feed", retention="epochs=2").put_all().commit()
        assert info.retention == "epochs=2"
        before = held(cluster)
        seen = []
        for shard in range(3):
            with read(cluster, shard=(shard, 3), shuffle=shuffle, epochs=2) as reader:
                seen += ids(reader, 5)
                reader.confirm()
                if shard == 0:
                    assert client.feed("feed").confirmed_rows == 0, "the second epoch needs them"
                seen += ids(reader)
                if shard < 2:
                    reader.confirm()
                    assert len(released(client)) < PARTITIONS
                else:
                    position = reader.position()
        assert sorted(seen) == sorted(2 * ALL)
        if shuffle is True:  # each of them has some of every partition
            assert (released(client), held(cluster)) == (set(), before)
        result = client.confirm_position(position)
        assert result.released_partitions == PARTITIONS
        assert client.confirm_position(position) == result
        after = client.feed("feed")
        assert released(client) == set(range(PARTITIONS))
        assert (after.confirmed_rows, after.rows) == (len(ALL), len(ALL))
        assert (after.feed_id, after.fingerprint) == (info.feed_id, info.fingerprint)
        until_nothing_is_held(cluster)
        with pytest.raises(FailedPreconditionError, match=r"'feed' is released.*epochs=2"):
            client.read_table("feed")
        client.drop("feed")


def test_dynamic_readers_release_what_they_completed(cluster):
    with cluster.connect() as client:
        Job(client, "feed", retention="once").put_all().commit()
        settings = {"policy": "dynamic", "group": "g", "split_rows": 90, "prefetch": 1, "slabs": 1}
        with read(cluster, **settings) as one, read(cluster, **settings) as two:
            first = ids(one, 5)
            with ThreadPoolExecutor(2) as pool:  # the end of an epoch comes when both are done
                parts = list(pool.map(ids, (two, one)))
            assert sorted(first + parts[0] + parts[1]) == ALL
            one.confirm()
            assert client.feed("feed").confirmed_rows < len(ALL)
            two.confirm()
        assert released(client) == set(range(PARTITIONS))
        until_nothing_is_held(cluster)


def test_a_reader_goes_on_from_what_it_confirmed_when_all_were_killed(cluster):
    with cluster.connect() as client:
        Job(client, "feed", retention="once").put_all().commit()
        with read(cluster) as reader:
            seen = ids(reader, 40)
            saved = reader.position()
            reader.confirm()
            ids(reader, 9)  # lost with the reader
        before = released(client)
        assert before == {i for i in range(PARTITIONS) if (i + 1) * ROWS <= len(seen)} != set()
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.start()
        cluster.wait_for(client)
        assert released(client) == before
        with read(cluster, position=saved) as reader:
            seen += ids(reader)
            reader.confirm()
        assert sorted(seen) == ALL
        until_nothing_is_held(cluster)


def test_a_server_that_was_away_frees_its_part_when_it_is_back(cluster):
    with cluster.connect() as client:
        info = Job(client, "feed", retention="once").put_all().commit()
        victim = cluster.holder(info, cluster.home_of("feed"))
        position = read_to_the_end(cluster)
        victim.kill()
        assert client.confirm_position(position).released_partitions == PARTITIONS
        others = [node.uri for node in cluster.nodes if node is not victim]

        def freed(uri: str) -> bool:
            with cluster.connect(uri) as one:
                status = one.status()
                return status.memory_used_bytes + status.disk_used_bytes == 0

        until(lambda: all(freed(uri) for uri in others), "a server waits for one that is away")
        victim.start()
        until_nothing_is_held(cluster)


@pytest.mark.parametrize("point", ["confirm_before_journal", "confirm_after_journal"])
def test_a_server_killed_while_it_frees_its_part_frees_it_when_it_is_back(cluster, point):
    with cluster.connect() as client:
        info = Job(client, "feed", retention="once").put_all().commit()
        victim = cluster.holder(info, cluster.home_of("feed"))
        victim.restart(**{point: "crash"})
        cluster.wait_for(client)
        client.confirm_position(read_to_the_end(cluster))
        victim.wait_killed()  # when it was told
        victim.start()
        until_nothing_is_held(cluster)
        victim.restart()
        cluster.wait_for(client)
        assert released(client) == set(range(PARTITIONS))


def test_the_home_killed_after_the_confirmation_tells_the_others_when_it_is_back(cluster):
    with cluster.connect() as client:
        Job(client, "feed", retention="once").put_all().commit()
        home = cluster.home_of("feed")
        position = read_to_the_end(cluster)
        client.confirm_position(position)
        home.kill()
        home.start()
        cluster.wait_for(client)
        assert released(client) == set(range(PARTITIONS))
        until_nothing_is_held(cluster)


@pytest.mark.parametrize("point", ["confirm_before_journal", "confirm_after_journal"])
def test_the_home_killed_within_the_confirmation_has_all_of_it_or_none(cluster, point):
    with cluster.connect() as client:
        Job(client, "feed", retention="once").put_all().commit()
        home = cluster.home_of("feed")
        home.restart(**{point: "crash"})
        cluster.wait_for(client)
        position = read_to_the_end(cluster)
        with pytest.raises(ServerUnavailableError):
            client.confirm_position(position)
        home.wait_killed()
        home.start()
        cluster.wait_for(client)
        if point == "confirm_before_journal":
            assert released(client) == set()
            check(client, "feed")
            client.confirm_position(position)
        assert released(client) == set(range(PARTITIONS))
        until_nothing_is_held(cluster)


def test_what_is_dropped_at_the_home_only_goes_everywhere(cluster):
    with cluster.connect() as client:
        Job(client, "feed", retention="once").put_all().commit()
        home = cluster.home_of("feed")
        with cluster.connect(home.uri) as one:
            one.drop("feed")  # as a client does that then dies
        until_nothing_is_held(cluster)
        # Written again at once: the parts of before do not take those of now with them.
        Job(client, "feed", retention="once").put_all().commit()
        with cluster.connect(home.uri) as one:
            one.drop("feed")
        Job(client, "feed", retention="once").put_all().commit()
        check(client, "feed")
        read_to_the_end(cluster)


def test_a_feed_goes_when_no_server_used_it_for_its_ttl(cluster):
    with cluster.connect() as client:
        # Somewhere else than at home, where the feed is dropped.
        info = Job(client, "feed").put_all().commit()
        home = cluster.home_of("feed")
        partition = next(part.partition for part in info.partitions if part.server != home.uri)
        client.drop("feed")
        # More than can be on its way, so that the stream stays open.
        batch = pa.record_batch({"id": pa.array(range(1 << 18), pa.int64())})
        job = Job(client, "feed", ttl_s=5)
        with job.open(partition, 0) as put:
            for _ in range(32):
                put.write(batch)
            job.refs[partition] = put.finish()
        job.commit()
        # Over a socket: what is mapped is there also when its server has let it go.
        with cluster.connect(transport="channel") as remote, remote.read("feed") as reader:
            reader.read_next_batch()
            time.sleep(16)  # several times its ttl, and the servers look every few seconds
            assert client.feed("feed").rows == 32 << 18
            assert reader.read_all().num_rows == 31 << 18

        def gone() -> bool:
            try:
                client.feed("feed")
            except FeedNotFoundError:
                return True
            return False

        until(gone, "the feed is not dropped")
        until_nothing_is_held(cluster)


def test_settings_are_those_of_feeds_on_one_server(cluster):
    with cluster.connect() as client:
        Job(client, "feed", retention="once").put_all().commit()
        with pytest.raises(FailedPreconditionError, match="it has retention=once"):
            Job(client, "feed", "append", retention="epochs=3")
        Job(client, "feed", "append", PARTITIONS * ROWS).put_all().commit()
        check(client, "feed", 2 * PARTITIONS * ROWS)
        with pytest.raises(InvalidArgumentError, match=r"epochs=2 .*retention=once"):
            read(cluster, epochs=2)
        with read(cluster) as reader:
            ids(reader, 1)
            reader.confirm()
        with pytest.raises(FailedPreconditionError, match="readers have confirmed rows"):
            Job(client, "feed", "append")
        with pytest.raises(InvalidArgumentError, match="visible=partition is for feeds on one"):
            Job(client, "other", visible="partition", retention="once")
    # Positions are confirmed with all servers, as all else is done with the feed.
    other = next(node for node in cluster.nodes if node is not cluster.home_of("feed"))
    with (
        flightbridge.connect(other.uri) as one,
        read(cluster) as reader,
        pytest.raises(FailedPreconditionError, match="connect to all its servers"),
    ):
        one.confirm_position(reader.position())


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_servers_with_credentials_ask_one_another(tmp_path, monkeypatch, kind):
    for name in ("TOKEN", "TLS_CA", "TLS_CLIENT_CERT", "TLS_CLIENT_KEY"):
        monkeypatch.delenv(f"FLIGHTBRIDGE_{name}", raising=False)
    with contextlib.closing(secured(tmp_path, kind)) as cluster, cluster.connect() as client:
        Job(client, "feed", retention="once").put_all().commit()
        with read(cluster) as reader:
            assert sorted(ids(reader)) == ALL
            reader.confirm()
        until_nothing_is_held(cluster)
        assert released(client) == set(range(PARTITIONS))
