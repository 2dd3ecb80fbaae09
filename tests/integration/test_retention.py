"""Feeds that release their rows as readers confirm them, or go when nobody uses them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl
import pytest

import flightbridge
from flightbridge import batches, errors

ROWS = 4000
PARTITION = 1000
TABLE = pa.table({"id": np.arange(ROWS)})


@pytest.fixture
def bridge():
    with flightbridge.Server(memory_limit="256MiB") as server:
        yield server


@pytest.fixture(params=["local", "mapped", "channel", "flight"])
def transport(request):
    return request.param


def write(bridge, retention="once", **settings):
    with bridge.client() as client:
        return client.write("f", TABLE, partition_rows=PARTITION, retention=retention, **settings)


def released(bridge):
    with bridge.client() as client:
        return [p.partition for p in client.feed("f").partitions if p.released]


def ids(reader, count=-1):
    found = []
    for batch in reader:
        found += batch["id"].tolist()
        count -= 1
        if count == 0:
            break
    return found


def test_rows_go_as_positions_behind_them_are_confirmed(bridge, transport):
    assert write(bridge).retention == "once"
    before = bridge.status().memory_used_bytes
    settings = {"batch_size": 100, "transport": transport}
    with batches.read(bridge.uri, "f", **settings) as reader:
        first = ids(reader, 12)
        position = reader.position()
        more = ids(reader, 13)
        assert released(bridge) == [], "nothing goes by itself"
        reader.confirm(position)
        assert released(bridge) == [0], "what was handed out since may be needed again"
        reader.confirm()
        assert released(bridge) == [0, 1]
        reader.confirm(position)  # an earlier one, again
    assert bridge.status().memory_used_bytes < before
    # What is confirmed cannot be read again: not from a position before it, not from the start.
    for start, partition in ((position, 1), (None, 0)):
        with (
            batches.read(bridge.uri, "f", position=start, **settings) as reader,
            pytest.raises(
                errors.FailedPreconditionError,
                match=rf"partition {partition} of feed 'f' is released.*once",
            ),
        ):
            ids(reader)
    assert first + more == list(range(2500))


def test_a_restored_reader_finds_all_it_still_needs(bridge):
    write(bridge)
    with batches.read(bridge.uri, "f", batch_size=100) as reader:
        found = ids(reader, 17)
        position = reader.position()
        reader.confirm(position)
        ids(reader, 9)  # lost in a crash
    with batches.read(bridge.uri, "f", batch_size=100, position=position) as reader:
        found += ids(reader)
        reader.confirm()
    assert found == list(range(ROWS))
    assert released(bridge) == [0, 1, 2, 3]
    with bridge.client() as client:
        info = client.feed("f")
        assert (info.rows, info.confirmed_rows) == (ROWS, ROWS)
        client.drop("f")


@pytest.mark.parametrize("shuffle", [None, 700, True], ids=["plain", "window", "full"])
def test_shards_release_together(bridge, shuffle):
    write(bridge, "epochs=2")
    positions = []
    for shard in range(3):
        with batches.read(
            bridge.uri, "f", batch_size=64, shard=(shard, 3), shuffle=shuffle, epochs=2
        ) as reader:
            ids(reader, 10)
            reader.confirm()
            assert released(bridge) == [] or shard > 0, "the second epoch needs them"
            ids(reader)
            positions.append(reader.position())
    with bridge.client() as client:
        assert client.confirm_position(positions[0]).confirmed_rows == 1333
        assert client.confirm_position(positions[2]).confirmed_rows == 2667
        # Under a full order the shards share all partitions: none goes before all are done.
        assert released(bridge) == ([] if shuffle is True else [0, 3])
        assert client.confirm_position(positions[1]).released_partitions == 4


def test_dynamic_readers_release_what_they_completed(bridge):
    write(bridge)
    settings = {"batch_size": 50, "policy": "dynamic", "group": "g", "split_rows": 100}
    settings |= {"prefetch": 1, "slabs": 1}  # so that one does not lease all of it at once
    with (
        batches.read(bridge.uri, "f", **settings) as one,
        batches.read(bridge.uri, "f", **settings) as two,
    ):
        first = ids(one, 7)
        with ThreadPoolExecutor(2) as pool:  # the end of an epoch comes when both are done
            parts = list(pool.map(ids, (two, one)))
        assert sorted(first + parts[0] + parts[1]) == list(range(ROWS))
        assert parts[0], "the other one had some"
        one.confirm()
        with bridge.client() as client:
            done = client.feed("f").confirmed_rows
        assert 0 < done < ROWS
        two.confirm()
        assert released(bridge) == [0, 1, 2, 3]


def test_more_epochs_than_are_kept_are_refused_at_once(bridge):
    write(bridge)
    with pytest.raises(errors.InvalidArgumentError, match=r"epochs=2 .*retention=once"):
        batches.read(bridge.uri, "f", batch_size=10, epochs=2)
    with pytest.raises(errors.InvalidArgumentError, match=r"epochs=-1 .*retention=once"):
        batches.read(bridge.uri, "f", batch_size=10, epochs=None)


def test_plain_clients_are_told_that_rows_are_gone(bridge):
    write(bridge)
    with batches.read(bridge.uri, "f", batch_size=1000) as reader:
        ids(reader, 1)
        reader.confirm()
    with fl.connect(bridge.uri) as plain:
        info = plain.get_flight_info(fl.FlightDescriptor.for_path("f"))
        with pytest.raises(pa.ArrowInvalid, match="partition 0 of feed 'f' is released"):
            plain.do_get(info.endpoints[0].ticket).read_all()
        assert plain.do_get(info.endpoints[1].ticket).read_all().num_rows == PARTITION


def test_settings_are_checked(bridge):
    with pytest.raises(errors.InvalidArgumentError, match=r"retention='twice'.*epochs=N"):
        write(bridge, "twice")
    with pytest.raises(errors.InvalidArgumentError, match="ttl=-1"):
        write(bridge, ttl_s=-1)
    with bridge.client() as client, pytest.raises(errors.InvalidArgumentError, match="position"):
        client.confirm_position(b"\xff\xff")


def test_feeds_that_nobody_uses_go_after_their_time(bridge):
    assert write(bridge, "keep", ttl_s=0.5).ttl_s == 0.5
    # By Flight's call, as another process would list them.
    with flightbridge.connect(bridge.uri, transport="flight") as client:
        client.write("kept", TABLE)
        deadline = time.monotonic() + 60
        # Listing is no use of it; the store looks every few seconds.
        while "f" in {info.feed for info in client.feeds()}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert [info.feed for info in client.feeds()] == ["kept"]


SERVE = """
import sys, flightbridge
with flightbridge.Server(data_dir=sys.argv[1]) as bridge:
    print(bridge.uri, flush=True)
    sys.stdin.read()
"""


def test_a_killed_server_remembers_what_was_confirmed(tmp_path):
    command = [sys.executable, "-c", SERVE, str(tmp_path / "data")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as server:
        try:
            uri = server.stdout.readline().strip()
            with flightbridge.connect(uri) as client:
                client.write("f", TABLE, partition_rows=PARTITION, retention="once")
            with batches.read(uri, "f", batch_size=100) as reader:
                found = ids(reader, 25)
                position = reader.position()
                reader.confirm()
        finally:
            server.kill()
    with subprocess.Popen(command, **pipes) as server:
        try:
            uri = server.stdout.readline().strip()
            show = [sys.executable, "-m", "flightbridge.cli", "feeds", "show", "f", "--json"]
            done = subprocess.run(
                [*show, "--server", uri], capture_output=True, text=True, check=True, timeout=120
            )
            shown = json.loads(done.stdout)
            assert (shown["retention"], shown["confirmed_rows"]) == ("once", 2500)
            assert [p["released"] for p in shown["partitions"]] == [True, True, False, False]
            with batches.read(uri, "f", batch_size=100, position=position) as reader:
                found += ids(reader)
            assert found == list(range(ROWS))
        finally:
            server.kill()
