"""String tensors, whose memory is used for later batches: what was handed out must never change."""

import gc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
import flightbridge.tf

pytestmark = [pytest.mark.tf, pytest.mark.filterwarnings("default")]
tf = pytest.importorskip("tensorflow")

BATCH = 64
# Around what fits into a tstring itself (22 bytes), what memory for others is kept, and far above.
LENGTHS = (0, 1, 21, 22, 23, 24, 47, 48, 200, 255, 256, 257, 600, 5_000)


def value(row):
    """Of a length that changes from batch to batch in every place of a batch."""
    length = LENGTHS[(row + row // BATCH) % len(LENGTHS)]
    return (b"%d." % row * (1 + length // 2))[:length]


@pytest.fixture(scope="module")
def server():
    rows = range(BATCH * 40 + 7)
    table = pa.table(
        {
            "id": pa.array(rows, pa.int64()),
            "s": pa.array([value(i) for i in rows], pa.binary()),
            "short": pa.array([value(i)[:22] for i in rows], pa.binary()),
            "tags": pa.array([[value(i + j) for j in range(i % 4)] for i in rows]),
        }
    )
    with flightbridge.Server() as server:
        with server.client() as client:
            client.write("strings", table, partition_rows=500)
        yield server


def dataset(server, **kwargs):
    return flightbridge.tf.dataset(server.uri, "strings", batch_size=BATCH, **kwargs)


def check(batch):
    ids = batch["id"].numpy()
    assert list(batch["s"].numpy()) == [value(i) for i in ids]
    assert list(batch["short"].numpy()) == [value(i)[:22] for i in ids]
    expected = [value(i + j) for i in ids for j in range(i % 4)]
    assert list(batch["tags"].values.numpy()) == expected


@pytest.mark.parametrize("shuffle", [False, 300, "full"])
def test_batches_one_after_the_other(server, shuffle):
    rows = 0
    for batch in dataset(server, shuffle=shuffle, epochs=3):
        check(batch)
        rows += len(batch["id"])
    assert rows == 3 * (BATCH * 40 + 7)


def test_all_batches_kept(server):
    batches = list(dataset(server, epochs=2))
    for batch in batches:
        check(batch)


def test_parts_outlive_their_batch(server):
    parts = []
    for batch in dataset(server, epochs=2):
        rows = tf.range(0, tf.shape(batch["id"])[0], 5)
        parts.append({"id": tf.gather(batch["id"], rows), "s": tf.gather(batch["s"], rows)})
        parts[-1]["slice"] = batch["s"][3:9]
        parts[-1]["sliced"] = batch["id"][3:9]
    gc.collect()
    for part in parts:
        assert list(part["s"].numpy()) == [value(i) for i in part["id"].numpy()]
        assert list(part["slice"].numpy()) == [value(i) for i in part["sliced"].numpy()]


@pytest.mark.parametrize("part", [lambda x: tf.split(x, 4)[1], lambda x: x[2:4]])
@pytest.mark.parametrize("column", ["s", "short"])
def test_a_slice_that_is_the_last_to_hold_its_tensor(server, column, part):
    """TensorFlow takes strings out of a tensor that nobody else has, and a slice that shares memory
    with its tensor looks like one when that is gone. It shares memory where the place is aligned:
    in rows of eight strings it always is."""

    def parts(batch):
        return {name: part(tf.reshape(batch[name], [-1, 8])) for name in ("id", column)}

    def check(batch):
        expected = [value(i)[: 22 if column == "short" else None] for i in flat(batch["id"])]
        assert flat(batch[column]) == expected

    ds = dataset(server, epochs=3, drop_remainder=True).map(parts)
    kept = list(ds)
    for batch in ds.batch(3):  # takes them, where it may
        check(batch)
    for batch in kept:
        check(batch)
    kept = batch = None
    gc.collect()
    for batch in ds.batch(3):
        check(batch)


def flat(tensor):
    return tensor.numpy().reshape(-1).tolist()


def test_rows_through_a_shuffle_buffer(server):
    rows = dataset(server, epochs=2, columns=["id", "s"]).unbatch().shuffle(1_000, seed=1)
    seen = 0
    for row in rows.prefetch(8).as_numpy_iterator():
        assert row["s"] == value(row["id"])
        seen += 1
    assert seen == 2 * (BATCH * 40 + 7)


def test_kernels_that_could_write_in_place(server):
    """String kernels may take an input for their output; ours is lent and must not be taken."""

    @tf.function
    def work(batch):
        text = batch["s"]
        upper = tf.strings.upper(text)
        joined = tf.strings.join([upper, text], separator="|")
        return {
            "id": batch["id"],
            "s": text,
            "both": joined,
            "where": tf.where(tf.strings.length(text) > 22, upper, text),
        }

    for batch in dataset(server, epochs=2).map(work).prefetch(4).as_numpy_iterator():
        expected = [value(i) for i in batch["id"]]
        assert list(batch["s"]) == expected
        assert list(batch["both"]) == [v.upper() + b"|" + v for v in expected]
        assert list(batch["where"]) == [v.upper() if len(v) > 22 else v for v in expected]


def test_several_iterators_and_batches_that_outlive_them(server):
    first, second = iter(dataset(server)), iter(dataset(server, shuffle=200))
    kept = []
    for _ in range(10):
        kept += [next(first), next(second)]
    del first, second
    gc.collect()
    again = list(dataset(server))
    for batch in kept + again:
        check(batch)


def test_memory_does_not_grow_with_what_was_long_once():
    """A long string in every other place, each in another batch: no place keeps that memory."""
    rows, batches, long = 512, 256, 100_000
    strings = np.full(rows * batches, b"short", object)
    strings[np.arange(batches) * (rows + 2)] = b"x" * long
    with flightbridge.Server() as server:
        with server.client() as client:
            client.write("long", pa.table({"s": pa.array(strings, pa.binary())}))
        before = 0
        for i, batch in enumerate(flightbridge.tf.dataset(server.uri, "long", batch_size=rows)):
            assert batch["s"].shape == (rows,)
            if i == 20:
                before = resident()
        grown = resident() - before
    assert grown < batches * long / 2  # kept, it would be all of it


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
