"""policy='dynamic' against a real server: readers share the feed, and every row is read once."""

import itertools
import threading

import numpy as np
import pyarrow as pa
import pytest

from flightbridge import batches
from flightbridge.errors import FailedPreconditionError, PositionMismatchError

ROWS = 10_000


@pytest.fixture(params=["local", "mapped", "channel", "flight"])
def transport(request):
    return request.param


@pytest.fixture
def feed(client):
    client.write("f", pa.table({"id": np.arange(ROWS)}), partition_rows=1000)
    return "f"


@pytest.fixture
def read(bridge, feed):
    def open_reader(**settings):
        wanted = {"batch_size": 64, "policy": "dynamic", "group": "g", "split_rows": 150}
        return batches.read(bridge.uri, feed, **{**wanted, **settings})

    return open_reader


def ids_of(reader, count=None):
    found = []
    for batch in itertools.islice(reader, count):
        found += batch["id"].tolist()
    return found


@pytest.mark.parametrize("shuffle", [None, True])
def test_readers_share_every_epoch(bridge, read, transport, shuffle):
    parts = [[] for _ in range(4)]
    failures = []

    def work(part):
        try:
            with read(epochs=3, shuffle=shuffle, seed=5, prefetch=1, transport=transport) as reader:
                part += ids_of(reader)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(itertools.chain(*parts)) == sorted(list(range(ROWS)) * 3)
    assert bridge.status().open_leases == 0


def test_one_reader_is_counted(read, bridge):
    with read(epochs=2) as reader:
        assert ids_of(reader, 3) == list(range(192))
        assert bridge.status().open_leases == 1
        ids_of(reader)
        stats = reader.stats()
    assert stats["splits"] == 70  # ten partitions of 1000 rows, in pieces of at most 150
    assert stats["completed_splits"] == 140
    assert stats["lost_leases"] == 0


def test_a_late_reader_hears_that_the_epoch_is_over(read):
    with read() as reader:
        assert len(ids_of(reader)) == ROWS
    with read() as reader:
        assert ids_of(reader) == []
    with read(group="another") as reader:
        assert len(ids_of(reader)) == ROWS


def test_a_closed_reader_is_followed_at_the_exact_row(read):
    with read() as reader:
        found = ids_of(reader, 11)
    with read() as reader:
        found += ids_of(reader)
    assert found == list(range(ROWS))


@pytest.mark.parametrize("shuffle", [None, True])
@pytest.mark.parametrize("stop_after", [0, 1, 7, 60, 158])
def test_a_position_continues_at_the_exact_next_row(read, shuffle, stop_after):
    settings = {"epochs": 2, "shuffle": shuffle}
    with read(group="whole", **settings) as reader:
        want = ids_of(reader)
    with read(**settings) as reader:
        found = ids_of(reader, stop_after)
        saved = reader.position()
        ids_of(reader, 5)  # after the checkpoint: never happened
    with read(**settings, position=saved) as reader:
        found += ids_of(reader)
    assert found == want
    assert len(saved) < 200


def test_positions_and_settings_that_differ_are_refused_by_name(read):
    with read() as reader:
        ids_of(reader, 1)
        saved = reader.position()
        other = read(split_rows=70)
        with pytest.raises(
            FailedPreconditionError, match="split_rows=150, this reader asks for sp"
        ):
            next(other)
        other.close()
    with pytest.raises(PositionMismatchError, match="split_rows=150, this reader has split_rows=7"):
        read(split_rows=70, position=saved)


def test_an_epoch_that_was_left_is_refused_by_name(bridge, read, feed):
    with read(lease_timeout_s=0.2) as reader:
        ids_of(reader, 3)
    with read(lease_timeout_s=0.2, epochs=2) as reader:
        ids_of(reader, 3)
    tf = pytest.importorskip("tensorflow")
    import flightbridge.tf

    dataset = flightbridge.tf.dataset(
        bridge.uri,
        feed,
        batch_size=64,
        policy="dynamic",
        group="left",
        split_rows=150,
        lease_timeout_s=0.2,
    )
    for _ in dataset.take(3):
        pass
    with pytest.raises(tf.errors.FailedPreconditionError, match="was left in epoch 0"):
        for _ in dataset:
            pass
