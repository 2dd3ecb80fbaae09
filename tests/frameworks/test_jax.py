"""``flightbridge.jax`` in a real JAX on two CPU devices: ``make test-jax``."""

import itertools
import os
import threading

import numpy as np
import pyarrow as pa
import pytest

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
jax = pytest.importorskip("jax", reason="the extra 'jax' is not installed: make test-jax")

import flightbridge.jax  # noqa: E402
from flightbridge import batches  # noqa: E402
from flightbridge.errors import (  # noqa: E402
    FailedPreconditionError,
    FeedNotFoundError,
    InvalidArgumentError,
    PositionMismatchError,
    UnsupportedTypeError,
)

ROWS = 1000


def make_table():
    ids = np.arange(ROWS)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "small": pa.array(ids, pa.int32()),
            "half": pa.array((ids % 7).astype(np.float16)),
            "odd": pa.array(ids % 2 == 1),
            "price": pa.array(ids / 2),
            "ratio": pa.array((ids / 4).astype(np.float32)),
            "pair": pa.array([[i, -i] for i in ids], pa.list_(pa.float32(), 2)),
            "tags": pa.array([list(range(i % 4)) for i in ids], pa.list_(pa.int32())),
        }
    )


@pytest.fixture(scope="module")
def bridge():
    with flightbridge.Server(memory_limit="256MiB") as server:
        with server.client() as client:
            client.write("all", make_table(), partition_rows=130)
            client.write("ids", make_table().select(["id"]), partition_rows=130)
            client.write("large", pa.table({"id": [0, -(2**31), 2**31 - 1, 2**31]}))
            client.write("words", pa.table({"id": [1], "word": ["a"]}))
        yield server


@pytest.fixture(params=[False, True], ids=["x32", "x64"])
def x64(request):
    jax.config.update("jax_enable_x64", request.param)
    yield request.param
    jax.config.update("jax_enable_x64", False)


def read(bridge, feed="ids", **settings):
    return flightbridge.jax.batches(bridge, feed, **{"batch_size": 64, **settings})


def ids_of(bridge, **settings):
    with read(bridge, **settings) as reader:
        return [row for element in reader for row in element["id"].tolist()]


def test_every_type(bridge, x64):
    got = {name: [] for name in make_table().schema.names}
    with read(bridge, "all") as reader:
        for element in reader:
            assert element["id"].dtype == (np.int64 if x64 else np.int32)
            for name, column in element.items():
                rows = column
                if isinstance(column, flightbridge.jax.Ragged):
                    splits = column.offsets.tolist()
                    values = column.values
                    rows = [values[a:b] for a, b in itertools.pairwise(splits)]
                got[name] += [row.tolist() for row in rows]
    assert got == make_table().to_pydict()


def test_elements_are_pytrees_that_jit_takes(bridge):
    @jax.jit
    def total(features, label):
        return sum(leaf.sum() for leaf in jax.tree.leaves(features)) + label.sum()

    with read(bridge, "all", columns=["small", "tags"], label="ratio") as reader:
        features, label = next(reader)
    assert total(features, label).shape == ()
    assert set(features) == {"small", "tags"} and label.shape == (64,)


def test_arrays_on_the_cpu_are_the_slab(bridge):
    place = flightbridge.jax._Placement(None)
    with batches.read(bridge.uri, "all", batch_size=100) as reader:
        for column in reader.next_native().columns:
            if column.dtype not in ("int64", "float64"):
                found = place(column.name, column).unsafe_buffer_pointer()
                assert found == np.asarray(column).ctypes.data, column.name


def test_arrays_outlive_the_reader(bridge):
    with read(bridge, "all", columns="small", slabs=1) as reader:
        kept = [next(reader) for _ in range(8)]
    assert np.concatenate(kept).tolist() == list(range(512))


def test_a_number_that_would_be_cut_is_refused_by_name(bridge):
    with read(bridge, "large", batch_size=3) as reader:
        assert next(reader)["id"].tolist() == [0, -(2**31), 2**31 - 1]
        with pytest.raises(InvalidArgumentError, match=r"'id' has 2147483648.*x64"):
            next(reader)


def test_sharded_over_devices(bridge):
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("rows",))
    assert mesh.size == 2
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
    want = ids_of(bridge, shuffle=True)
    with read(bridge, shuffle=True, device=rows, ahead=3, batch_size=100) as reader:
        got = []
        for taken, element in enumerate(reader, 1):
            assert element["id"].sharding == rows
            got += element["id"].tolist()
            if taken == 4:
                saved = reader.position()  # of what was handed out, not of what is on its way
    assert got == want
    later = {"shuffle": True, "device": jax.devices()[1], "position": saved}
    assert ids_of(bridge, **later) == want[400:]


@pytest.mark.parametrize("ahead", [0, 1, 5])
@pytest.mark.parametrize("taken", [0, 1, 16, 20, 32])
def test_every_break_point(bridge, taken, ahead):
    settings = {
        "shuffle": 200,
        "epochs": 2,
        "first_epoch": 3,
        "ahead": ahead,
        "device": jax.devices()[1],
    }
    want = ids_of(bridge, **settings)
    with read(bridge, **settings) as reader:
        got = [row for _ in range(taken) for row in next(reader)["id"].tolist()]
        saved = reader.position()
    assert got + ids_of(bridge, **settings, position=saved) == want


def test_epochs_follow_each_other(bridge):
    both = ids_of(bridge, shuffle=True, epochs=2)
    assert both[:ROWS] == ids_of(bridge, shuffle=True)
    assert both[ROWS:] == ids_of(bridge, shuffle=True, first_epoch=1)


def test_mistakes_are_named(bridge):
    with pytest.raises(InvalidArgumentError, match="ahead=-1"):
        read(bridge, ahead=-1)
    with pytest.raises(InvalidArgumentError, match="shufle"):
        read(bridge, shufle=True)
    with pytest.raises(FeedNotFoundError, match="price"):
        read(bridge, columns=["price"])
    with pytest.raises(UnsupportedTypeError, match=r"'word'.*leave it out"):
        read(bridge, "words")
    with read(bridge, shuffle=True) as reader:
        next(reader)
        saved = reader.position()
    with pytest.raises(PositionMismatchError, match="seed"):
        read(bridge, shuffle=True, seed=5, position=saved)


def test_a_feed_that_is_written_again_is_refused_by_its_fingerprint(bridge):
    with bridge.client() as client:
        client.write("again", pa.table({"x": pa.array(range(10), pa.int32())}))
        with flightbridge.jax.batches(bridge, "again", batch_size=4) as first:
            known = first.fingerprint
        with flightbridge.jax.batches(bridge, "again", batch_size=4, fingerprint=known) as second:
            assert second.fingerprint == known
        client.write("again", pa.table({"x": pa.array(range(9), pa.int32())}), mode="overwrite")
        with pytest.raises(FailedPreconditionError, match="changed since"):
            flightbridge.jax.batches(bridge, "again", batch_size=4, fingerprint=known)


def grow(client, feed, begin, rows):
    table = pa.table({"id": pa.array(range(begin, begin + rows), pa.int64())})
    client.write(feed, table, mode="stream", partition_rows=30)


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_a_followed_feed_is_read_as_it_grows(bridge, ahead):
    feed = f"grows_{ahead}"
    settings = {
        "feed": feed,
        "follow": True,
        "shuffle": 50,
        "ahead": ahead,
        "device": jax.devices()[1],
        "follow_timeout_s": 60,
    }
    with bridge.client() as client:
        grow(client, feed, 0, 100)
        seen, saved = [], []
        with read(bridge, **settings) as reader:
            for _ in range(2):  # what is there is handed out, though there is nothing behind it
                seen += next(reader)["id"].tolist()
                saved.append((len(seen), reader.position()))
            writer = threading.Timer(0.2, grow, (client, feed, 100, 70))
            writer.start()
            for _ in range(2):
                seen += next(reader)["id"].tolist()
                saved.append((len(seen), reader.position()))
            writer.join(60)
            client.end_feed(feed)
            assert next(reader, None) is None
            saved.append((len(seen), reader.position()))
            known = reader.fingerprint
        assert sorted(seen[:100]) == list(range(100))
        assert sorted(seen[100:]) == list(range(100, 170))
        for rows, position in saved:
            assert seen[:rows] + ids_of(bridge, **settings, position=position) == seen
        assert ids_of(bridge, **settings, fingerprint=known) == seen
        client.drop(feed)
        grow(client, feed, 0, 5)
        with pytest.raises(FailedPreconditionError, match="changed since"):
            read(bridge, **settings, fingerprint=known)
