"""Positions inside TensorFlow checkpoints: found, re-sharded, confirmed."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
import flightbridge.tf
from flightbridge import errors

pytestmark = [pytest.mark.tf, pytest.mark.filterwarnings("default")]
tf = pytest.importorskip("tensorflow")

ROWS, PARTITION = 1_200, 100


@pytest.fixture
def server():
    with flightbridge.Server() as server:
        with server.client() as client:
            table = pa.table({"id": np.arange(ROWS)})
            client.write("kept", table, partition_rows=PARTITION)
            client.write("once", table, partition_rows=PARTITION, retention="once")
        yield server


def dataset(server, feed="kept", symbolic=True, prefetch=0, **settings):
    made = flightbridge.tf.dataset(server.uri, feed, batch_size=20, columns="id", **settings)
    options = tf.data.Options()
    options.experimental_symbolic_checkpoint = symbolic
    return (made.prefetch(prefetch) if prefetch else made).with_options(options)


def take(iterator, count=None):
    return [int(i) for batch in itertools.islice(iterator, count) for i in batch]


def write(iterator, directory, name="at"):
    return tf.train.Checkpoint(step=tf.Variable(1), data=iterator).write(str(directory / name))


def released(server, feed="once"):
    with server.client() as client:
        return [p.partition for p in client.feed(feed).partitions if p.released]


@pytest.mark.parametrize("shuffle", [None, 64, True], ids=["plain", "window", "full"])
def test_workers_go_on_as_more_and_fewer(server, tmp_path, shuffle):
    settings = {"shuffle": shuffle, "seed": 2}
    found, positions = [], None
    for step, shards in enumerate((3, 4, 2)):
        paths = []
        for shard in range(shards):
            data = dataset(
                server,
                shard=(shard, shards),
                prefetch=3,
                position=positions[shard] if positions else None,
                **settings,
            )
            iterator = iter(data)
            found += take(iterator, shard + 2)
            paths.append(write(iterator, tmp_path, f"{step}-{shard}"))
        saved = [flightbridge.tf.saved_positions(path) for path in paths]
        assert all(len(positions) == 1 for positions in saved)
        positions = flightbridge.reshard([p for each in saved for p in each.values()], 5)
        positions = flightbridge.reshard(positions, {3: 4, 4: 2, 2: 3}[shards])
    for shard in range(3):
        found += take(dataset(server, shard=(shard, 3), position=positions[shard], **settings))
    assert sorted(found) == list(range(ROWS))


def test_a_resharded_iterator_is_saved_and_restored(server, tmp_path):
    first = [iter(dataset(server, shuffle=True, shard=(shard, 2))) for shard in range(2)]
    for iterator in first:
        take(iterator, 5)
    paths = [write(iterator, tmp_path, f"at-{i}") for i, iterator in enumerate(first)]
    positions = flightbridge.reshard(
        [p for path in paths for p in flightbridge.tf.saved_positions(path).values()], 3
    )

    def resumed():
        return dataset(server, shuffle=True, shard=(2, 3), position=positions[2])

    data = resumed()
    whole, later = take(data), take(data)
    assert len(whole) == (ROWS - 200) // 3 + 1
    assert len(later) == ROWS // 3, "the epoch after it is that of three shards"
    for elements in (0, 1, 7, 17):
        iterator = iter(resumed())
        before = take(iterator, elements)
        path = write(iterator, tmp_path)
        again = resumed()
        restored = iter(again)
        tf.train.Checkpoint(data=restored).read(path).expect_partial()
        assert before + take(restored) == whole, elements
        assert take(again) == later, elements


def test_every_source_has_its_position(server, tmp_path):
    a, b = dataset(server), dataset(server, "once")
    iterator = iter(tf.data.Dataset.zip((a, b)).map(lambda x, y: x + y))
    take(iterator, 3)
    path = write(iterator, tmp_path)
    positions = flightbridge.tf.saved_positions(path)
    assert len(positions) == 2
    assert all("ITERATOR_STATE" in name and "FlightBridge" in name for name in positions)
    assert all(positions.values())
    unread = write(iter(dataset(server)), tmp_path, "unread")
    assert list(flightbridge.tf.saved_positions(unread).values()) == [b""]
    empty = tf.train.Checkpoint(step=tf.Variable(1)).write(str(tmp_path / "none"))
    assert flightbridge.tf.saved_positions(empty) == {}


@pytest.mark.parametrize(
    "behind",
    [
        lambda ds: ds.prefetch(4),
        lambda ds: ds.shuffle(3),
        lambda ds: ds.map(lambda x: x, num_parallel_calls=4),
    ],
    ids=["prefetch", "shuffle", "parallel_map"],
)
def test_rows_read_ahead_are_not_forgotten(server, tmp_path, behind):
    iterator = iter(behind(dataset(server, symbolic=False)))
    take(iterator, 2)
    path = write(iterator, tmp_path)
    with pytest.raises(errors.FailedPreconditionError, match="symbolic_checkpoint"):
        flightbridge.tf.saved_positions(path)
    assert len(flightbridge.tf.saved_positions(path, exact=False)) == 1


def test_what_is_no_checkpoint_is_named(server, tmp_path):
    with pytest.raises(errors.InvalidArgumentError, match="nowhere"):
        flightbridge.tf.saved_positions(tmp_path / "nowhere")
    empty = tf.train.Checkpoint(step=tf.Variable(1)).write(str(tmp_path / "none"))
    with pytest.raises(errors.InvalidArgumentError, match="holds no position"):
        flightbridge.tf.confirm_checkpoint(empty, server)


@pytest.mark.parametrize("symbolic", [True, False], ids=["symbolic", "full_state"])
def test_rows_go_as_checkpoints_do(server, tmp_path, symbolic):
    iterator = iter(dataset(server, "once", symbolic))
    manager = flightbridge.tf.CheckpointManager(
        tf.train.Checkpoint(data=iterator), tmp_path, max_to_keep=2, uri=server
    )
    found = take(iterator, 10)
    assert released(server) == [], "nothing goes by itself"
    manager.save()
    first = released(server)
    assert first[:1] == [0]
    if symbolic:
        assert first == [0, 1]
    found += take(iterator, 10)
    manager.save()
    assert released(server) == first, "the first checkpoint may be restored yet"
    found += take(iterator, 10)
    manager.save()  # and with it the first one goes
    assert len(released(server)) > len(first)
    take(iterator)  # lost in a crash
    # The older of the two that are kept is restored, and has all it needs.
    restored = iter(dataset(server, "once", symbolic))
    tf.train.Checkpoint(data=restored).restore(manager.checkpoints[0]).expect_partial()
    assert found[:400] + take(restored) == list(range(ROWS))


def test_a_server_that_is_away_does_not_stop_the_training(server, tmp_path):
    iterator = iter(dataset(server, "once"))
    take(iterator, 10)
    manager = flightbridge.tf.CheckpointManager(
        tf.train.Checkpoint(data=iterator),
        tmp_path,
        max_to_keep=1,
        uri="grpc://127.0.0.1:9",
        credentials={"timeout_s": 5},
    )
    with pytest.warns(RuntimeWarning, match=r"ckpt-1 could not be confirmed.*127.0.0.1:9"):
        assert manager.save()
    assert released(server) == []
    flightbridge.tf.confirm_checkpoint(manager.latest_checkpoint, server)
    assert released(server) == [0, 1]
