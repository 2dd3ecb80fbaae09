"""Feeds that span three server processes, which are killed at every point of a write and a read.

The oracle: the multiset of rows that readers see is that of what was committed.
"""

from __future__ import annotations

import concurrent.futures
import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.flight as fl
import pytest

import flightbridge
import flightbridge.batches
from flightbridge.errors import FeedNotFoundError, FlightBridgeError, ServerUnavailableError

from .cluster import PARTITIONS, ROWS, SCHEMA, Cluster, Job, check, check_spread, rows_of


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    yield made
    made.close()


def test_a_feed_spans_the_servers_of_a_list(cluster):
    with cluster.connect() as client:
        info = Job(client, "feed").put_all().commit()
        assert info.rows == PARTITIONS * ROWS
        assert info.servers == tuple(sorted(cluster.uris))
        check_spread(info, cluster)
        check(client, "feed")
        assert client.schema("feed") == SCHEMA
        assert [feed.feed for feed in client.feeds()] == ["feed"]
        some = client.read_table("feed", partitions=[7, 2, 11, 2])
        expected = [row for p in (7, 2, 11, 2) for row in rows_of(p)["id"].to_pylist()]
        assert some["id"].to_pylist() == expected
    ports = ",".join(f"127.0.0.1:{node.port}" for node in cluster.nodes)
    uri = f"grpc://{ports}"
    with flightbridge.connect(uri) as client:
        assert client.feed("feed") == info
        client.write("feed", pa.table({"id": range(6000, 6010)}), mode="append")
        check(client, "feed", PARTITIONS * ROWS + 10)
        client.drop("feed")
        with pytest.raises(FeedNotFoundError):
            client.feed("feed")
        Job(client, "feed").put_all().commit()
        check(client, "feed")


def test_plain_clients_are_told_all_endpoints_by_any_server(cluster):
    with cluster.connect() as client:
        Job(client, "feed").put_all().commit()
        fingerprint = client.feed("feed").fingerprint
    for node in cluster.nodes:
        with fl.connect(node.uri) as plain:
            info = plain.get_flight_info(fl.FlightDescriptor.for_path("feed"))
            assert info.total_records == PARTITIONS * ROWS
            assert plain.get_schema(fl.FlightDescriptor.for_path("feed")).schema == SCHEMA
        seen = []
        for endpoint in info.endpoints:
            (location,) = endpoint.locations
            with fl.connect(location) as holder:
                seen += holder.do_get(endpoint.ticket).read_all()["id"].to_pylist()
        assert seen == list(range(PARTITIONS * ROWS))
        with flightbridge.connect(node.uri) as one:
            assert one.feed("feed").fingerprint == fingerprint
            with pytest.raises(FlightBridgeError, match="connect to all its servers"):
                one.read_table("feed")


def test_readers_read_from_all_servers_in_the_order_of_one(cluster):
    with cluster.connect() as client, flightbridge.Server() as single:
        Job(client, "feed").put_all().commit()
        with single.client() as alone:
            Job(alone, "feed").put_all().commit()
        orders = []
        for uri in (",".join(cluster.uris), single.uri):
            with flightbridge.batches.read(uri, "feed", batch_size=64, shuffle=True) as reader:
                orders.append([int(i) for batch in reader for i in batch["id"]])
        assert orders[0] == orders[1]
        assert sorted(orders[0]) == list(range(PARTITIONS * ROWS))


def test_command_line_takes_the_list(cluster):
    with cluster.connect() as client:
        Job(client, "feed").put_all().commit()
    command = [sys.executable, "-m", "flightbridge.cli", "feeds", "ls", "--json", "--server"]
    done = subprocess.run(
        [*command, ",".join(cluster.uris)], capture_output=True, text=True, timeout=120, check=True
    )
    (listed,) = json.loads(done.stdout)
    assert (listed["feed"], listed["rows"]) == ("feed", PARTITIONS * ROWS)


def test_a_server_killed_during_ingest_goes_on_where_it_was(cluster):
    with cluster.connect() as client:
        first = Job(client, "before").put_all().commit()
        job = Job(client, "feed")
        for partition in range(PARTITIONS // 2):
            job.put(partition)
        half = job.open(PARTITIONS // 2, 0)
        half.write(rows_of(PARTITIONS // 2))
        for node in cluster.nodes:
            node.kill()
            node.start()
        cluster.wait_for(client)
        # The writer still has all of it, and sends it to the server that lost it.
        job.refs[PARTITIONS // 2] = half.finish()
        for partition in range(PARTITIONS // 2 + 1, PARTITIONS):
            job.put(partition, attempt=100)
        job.commit()
        check(client, "feed")
        assert client.feed("before") == first
        check(client, "before")


@pytest.mark.parametrize("mode", ["overwrite", "append"])
def test_a_server_killed_before_the_decision_follows_it_when_it_is_back(cluster, mode):
    with cluster.connect() as client:
        before = Job(client, "feed").put_all().commit()
        victim = cluster.holder(before, cluster.home_of("feed"))
        start = PARTITIONS * ROWS if mode == "append" else 0
        job = Job(client, "feed", mode, start).put_all()
        victim.kill()
        job.commit()  # the home decides; the victim is not told
        lost = [p.partition for p in client.feed("feed").partitions if p.server == victim.uri]
        with pytest.raises(ServerUnavailableError) as error:
            client.read_table("feed")
        assert victim.uri in str(error.value)
        assert ", ".join(map(str, lost)) in str(error.value)
        victim.start()
        cluster.wait_for(client)
        check(client, "feed", PARTITIONS * ROWS * (2 if mode == "append" else 1))


def test_the_home_killed_before_the_decision_decides_when_it_is_back(cluster):
    with cluster.connect() as client:
        before = Job(client, "feed").put_all().commit()
        home = cluster.home_of("feed")
        job = Job(client, "feed", "append", PARTITIONS * ROWS).put_all()
        home.kill()
        with pytest.raises(ServerUnavailableError):
            job.commit()
        with pytest.raises(ServerUnavailableError):
            client.feed("feed")
        home.start()
        cluster.wait_for(client)
        assert client.feed("feed").feed_id == before.feed_id
        check(client, "feed")
        committed = job.commit()
        assert job.commit().feed_id == committed.feed_id
        check(client, "feed", 2 * PARTITIONS * ROWS)


def test_all_killed_after_the_decision_agree_when_they_are_back(cluster):
    with cluster.connect() as client:
        before = Job(client, "feed").put_all().commit()
        home = cluster.home_of("feed")
        others = [node for node in cluster.nodes if node is not home]
        job = Job(client, "feed", "append", PARTITIONS * ROWS).put_all()
        for node in others:
            node.kill()
        job.commit()
        home.kill()
        for node in others:
            node.start()
        # The others are in doubt, and say nothing that their home has not decided.
        with flightbridge.connect(others[0].uri) as one, pytest.raises(ServerUnavailableError):
            one.feed("feed")
        home.start()
        cluster.wait_for(client)
        assert client.feed("feed").rows == 2 * before.rows
        check(client, "feed", 2 * PARTITIONS * ROWS)


def test_a_server_killed_while_reading_is_named_and_its_return_makes_the_feed_whole(cluster):
    with cluster.connect() as client:
        info = Job(client, "feed").put_all().commit()
        victim = cluster.holder(info, cluster.home_of("feed"))
        others = [p.partition for p in info.partitions if p.server != victim.uri]
        own = next(p.partition for p in info.partitions if p.server == victim.uri)
        # More than can be on its way when the server dies.
        big = Job(client, "big")
        batch = pa.record_batch({"id": pa.array(range(1 << 18), pa.int64())})
        with big.open(0, 0) as put:
            for _ in range(64):
                put.write(batch)
            big.refs[0] = put.finish()
        big.commit()
        holder = next(n for n in cluster.nodes if n.uri == client.feed("big").partitions[0].server)
        # Over a socket: what is mapped is there also when its server is not.
        with (
            cluster.connect(transport="channel", timeout_s=2) as remote,
            remote.read("big") as reader,
        ):
            reader.read_next_batch()
            holder.kill()
            with pytest.raises(ServerUnavailableError, match=holder.uri):
                reader.read_all()
        holder.start()
        cluster.wait_for(client)
        victim.kill()
        with pytest.raises(ServerUnavailableError, match=victim.uri):
            client.read_table("feed", partitions=[own])
        assert client.read_table("feed", partitions=others).num_rows == len(others) * ROWS
        victim.start()
        cluster.wait_for(client)
        check(client, "feed")


def test_a_job_is_not_begun_where_a_server_is_away(cluster):
    cluster.nodes[1].kill()
    with cluster.connect() as client:
        with pytest.raises(ServerUnavailableError, match=cluster.nodes[1].uri):
            Job(client, "feed")
        cluster.nodes[1].start()
        cluster.wait_for(client)
        Job(client, "feed").put_all().commit()
        check(client, "feed")


def shared_by_readers(cluster, readers: int = 3) -> list[int]:
    """What dynamic readers of one group get together, each on a thread of its own."""

    def work(_) -> list[int]:
        with flightbridge.batches.read(
            ",".join(cluster.uris),
            "feed",
            batch_size=64,
            policy="dynamic",
            group="g",
            split_rows=90,
            prefetch=1,
            timeout_s=60,
            **cluster.credentials,
        ) as reader:
            return [int(i) for batch in reader for i in batch["id"]]

    with concurrent.futures.ThreadPoolExecutor(readers) as pool:
        return sorted(row for part in pool.map(work, range(readers)) for row in part)


def test_dynamic_readers_lease_from_the_home_and_read_from_all(cluster):
    with cluster.connect() as client:
        Job(client, "feed").put_all().commit()
        assert shared_by_readers(cluster) == list(range(PARTITIONS * ROWS))
        home = cluster.home_of("feed")
    # A client of one server is told where the leases are.
    other = next(node for node in cluster.nodes if node is not home)
    with pytest.raises(FlightBridgeError, match="connect to all its servers"):
        for _ in flightbridge.batches.read(
            other.uri, "feed", batch_size=64, policy="dynamic", group="g"
        ):
            pass


def test_a_dynamic_reader_goes_on_from_its_position_when_the_home_is_back(cluster):
    with cluster.connect() as client:
        Job(client, "feed").put_all().commit()
        home = cluster.home_of("feed")

        def reader(saved: bytes | None):
            return flightbridge.batches.read(
                ",".join(cluster.uris), "feed", position=saved, batch_size=50, policy="dynamic",
                group="g", split_rows=50, prefetch=1, lease_timeout_s=2, timeout_s=60,
            )  # fmt: skip

        with reader(None) as first:
            seen = [int(i) for i in next(first)["id"]]
            saved = first.position()
        home.restart()  # it has forgotten the leases
        cluster.wait_for(client)
        with reader(saved) as second:
            seen += [int(i) for batch in second for i in batch["id"]]
        assert sorted(seen) == list(range(PARTITIONS * ROWS))
