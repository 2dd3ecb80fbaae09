"""Values, structure and element_spec of flightbridge.tf.dataset."""

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
import flightbridge.batches
import flightbridge.tf
from flightbridge import errors

pytestmark = [pytest.mark.tf, pytest.mark.filterwarnings("default")]
tf = pytest.importorskip("tensorflow")

ROWS = 1_003
DTYPES = {
    "id": tf.int64,
    "bool": tf.bool,
    "int8": tf.int8,
    "int16": tf.int16,
    "int32": tf.int32,
    "uint8": tf.uint8,
    "uint16": tf.uint16,
    "uint32": tf.uint32,
    "uint64": tf.uint64,
    "float16": tf.float16,
    "float32": tf.float32,
    "float64": tf.float64,
    "date32": tf.int32,
    "time32": tf.int32,
    "timestamp": tf.int64,
    "duration": tf.int64,
    "string": tf.string,
    "large_string": tf.string,
    "binary": tf.string,
    "fixed_binary": tf.string,
    "dictionary": tf.string,
}
STORAGE = {"date32": "int32", "time32": "int32", "timestamp": "int64", "duration": "int64"}


def expected_spec(name, batch):
    if name == "fixed_list":
        return tf.TensorSpec([batch, 3], tf.float32)
    if name in ("list_int", "list_string", "large_list"):
        dtype = {"list_int": tf.int32, "list_string": tf.string, "large_list": tf.float64}[name]
        return tf.RaggedTensorSpec([batch, None], dtype, 1, tf.int64)
    return tf.TensorSpec([batch], DTYPES[name])


def expected_values(table, name):
    column = table[name].combine_chunks()
    if name == "fixed_list":
        return column.flatten().to_numpy().reshape(-1, 3)
    if name in STORAGE:
        column = column.cast(STORAGE[name])
    values = column.to_pylist()
    if name.startswith(("list", "large_list")):
        return [[v.encode() if isinstance(v, str) else v for v in row] for row in values]
    return [v.encode() if isinstance(v, str) else v for v in values]


def ids(dataset):
    return np.concatenate([batch.numpy() for batch in dataset] or [np.array([], np.int64)])


@pytest.mark.parametrize(("batch_size", "drop", "batch"), [(64, False, None), (64, True, 64)])
def test_every_type(bridge, types_table, batch_size, drop, batch):
    dataset = flightbridge.tf.dataset(bridge, "types", batch_size=batch_size, drop_remainder=drop)
    assert isinstance(dataset, tf.data.Dataset)
    assert dataset.element_spec == {n: expected_spec(n, batch) for n in types_table.column_names}
    rows = ROWS // batch_size * batch_size if drop else ROWS
    assert int(dataset.cardinality()) == -(-rows // batch_size)
    seen = {name: [] for name in types_table.column_names}
    elements = 0
    for element in dataset:
        elements += 1
        for name, tensor in element.items():
            assert dataset.element_spec[name].is_compatible_with(tensor)
            ragged = isinstance(tensor, tf.RaggedTensor)
            seen[name].extend(tensor.to_list() if ragged else tensor.numpy())
    assert elements == int(dataset.cardinality())
    for name in types_table.column_names:
        np.testing.assert_equal(
            [list(v) if isinstance(v, np.ndarray) else v for v in seen[name]],
            [
                list(v) if isinstance(v, np.ndarray) else v
                for v in expected_values(types_table, name)[:rows]
            ],
            err_msg=name,
        )


def test_batch_dimension_is_static_where_it_divides(bridge):
    # 4096 rows in batches of 1024: no batch is short, so the shape says so.
    even = flightbridge.tf.dataset(bridge, "regression", batch_size=1024, columns="y")
    assert even.element_spec == tf.TensorSpec([1024], tf.float32)
    uneven = flightbridge.tf.dataset(
        bridge, "regression", batch_size=1024, columns="y", shard=(0, 3)
    )
    assert uneven.element_spec == tf.TensorSpec([None], tf.float32)


def test_structures(bridge):
    def spec(**kwargs):
        return flightbridge.tf.dataset(bridge, "types", batch_size=8, **kwargs).element_spec

    f32, i64 = tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int64)
    ragged = tf.RaggedTensorSpec([None, None], tf.int32, 1, tf.int64)
    assert spec(columns="float32") == f32
    assert spec(columns="list_int") == ragged
    assert spec(columns=["float32"]) == {"float32": f32}
    assert list(spec(columns=["id", "float32"])) == ["id", "float32"]
    assert spec(columns=["id"], label="float32") == ({"id": i64}, f32)
    assert spec(columns=["id", "float32"], label="float32") == ({"id": i64}, f32)
    assert spec(columns="list_int", label="id") == (ragged, i64)
    assert spec(columns=["id"], label=["float32"]) == ({"id": i64}, {"float32": f32})
    features, label = spec(label="id")
    assert "id" not in features
    assert len(features) == 24
    assert label == i64


def test_structures_hold_their_values(bridge, types_table):
    # tf.data sorts a dict's keys, so names that are not in order would show a mix-up.
    dataset = flightbridge.tf.dataset(
        bridge, "types", batch_size=ROWS, columns=["string", "list_int", "id"], label="float64"
    )
    features, label = dataset.get_single_element()
    np.testing.assert_array_equal(features["id"], types_table["id"])
    assert features["list_int"].to_list() == types_table["list_int"].to_pylist()
    assert list(features["string"].numpy()) == expected_values(types_table, "string")
    np.testing.assert_array_equal(label, types_table["float64"])


def test_zero_copy_tensors_outlive_their_iterator(bridge):
    batches = list(flightbridge.tf.dataset(bridge, "plain", batch_size=10, columns="id"))
    assert len(batches) == 101
    np.testing.assert_array_equal(np.concatenate(batches), np.arange(ROWS))


@pytest.mark.parametrize("shuffle", [None, True, 64])
@pytest.mark.parametrize("shards", [1, 3])
def test_shards_and_epochs_hold_each_row_once(bridge, shuffle, shards):
    seen = []
    for index in range(shards):
        dataset = flightbridge.tf.dataset(
            bridge,
            "plain",
            batch_size=50,
            columns="id",
            shuffle=shuffle,
            epochs=2,
            shard=(index, shards),
        )
        part = ids(dataset)
        assert len(list(dataset)) == int(dataset.cardinality())
        if shuffle is None:
            first = index * ROWS // shards
            assert list(part[: len(part) // 2]) == list(range(first, first + len(part) // 2))
        else:
            assert list(part[: len(part) // 2]) != list(part[len(part) // 2 :])
        seen.extend(part)
    assert sorted(seen) == sorted(list(range(ROWS)) * 2)


def test_orders_depend_on_seed_alone(bridge):
    def order(seed):
        return list(
            ids(
                flightbridge.tf.dataset(
                    bridge, "plain", batch_size=33, columns="id", shuffle=True, seed=seed
                )
            )
        )

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(None) == order(0)


def test_each_iterator_gives_the_next_epoch(bridge):
    def make(**kwargs):
        return flightbridge.tf.dataset(
            bridge, "plain", batch_size=100, columns="id", shuffle=True, seed=3, **kwargs
        )

    three_epochs = list(ids(make(epochs=3)))
    once = make()
    assert list(np.concatenate([ids(once) for _ in range(3)])) == three_epochs
    assert list(ids(make().repeat(3))) == three_epochs
    fixed = make(reshuffle_each_iteration=False)
    assert list(ids(fixed)) == list(ids(fixed)) == three_epochs[:ROWS]


def test_endless(bridge):
    dataset = flightbridge.tf.dataset(bridge, "plain", batch_size=100, columns="id", epochs=None)
    assert int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY
    assert len(ids(dataset.take(25))) == 2 * ROWS + 300


def test_empty_feed(bridge):
    for epochs in (1, None):
        dataset = flightbridge.tf.dataset(bridge, "empty", batch_size=4, epochs=epochs)
        assert int(dataset.cardinality()) == 0
        assert list(dataset) == []


def test_behaves_as_a_dataset(bridge):
    dataset = flightbridge.tf.dataset(bridge, "plain", batch_size=100, columns="id")
    assert len(dataset) == 11
    assert len(ids(dataset.repeat(2))) == 2 * ROWS
    assert list(ids(dataset.skip(10))) == [1000, 1001, 1002]
    assert list(ids(dataset.take(1))) == list(range(100))
    assert list(ids(dataset.shard(2, 1))[:100]) == list(range(100, 200))
    assert list(ids(dataset.unbatch().batch(7).prefetch(2))) == list(range(ROWS))
    assert "FlightBridge" in str(dataset) or "Dataset" in str(dataset)

    @tf.function
    def total():
        result = tf.constant(0, tf.int64)
        for batch in dataset:
            result += tf.reduce_sum(batch)
        return result

    assert int(total()) == int(total()) == sum(range(ROWS))


def test_made_inside_a_function(bridge):
    @tf.function
    def first():
        return next(iter(flightbridge.tf.dataset(bridge, "plain", batch_size=5, columns="id")))

    assert first().numpy().tolist() == [0, 1, 2, 3, 4]


def test_parallel_iterators(bridge):
    dataset = flightbridge.tf.dataset(bridge, "plain", batch_size=64, columns="id")
    for a, b in zip(dataset, dataset, strict=True):
        np.testing.assert_array_equal(a, b)


def test_over_the_socket(bridge):
    dataset = flightbridge.tf.dataset(
        bridge.uri,
        "types",
        batch_size=100,
        columns=["id", "string"],
        transport="flight",
        connections=2,
        prefetch="1MiB",
        slabs=2,
        timeout_s=20,
    )
    np.testing.assert_array_equal(
        np.concatenate([element["id"] for element in dataset]), np.arange(ROWS)
    )


def test_skipped_rows_are_not_fetched():
    rows = 200_000
    with flightbridge.Server() as server:
        with server.client() as client:
            client.write("long", pa.table({"id": np.arange(rows)}), partition_rows=10_000)

        def fetched(dataset):
            before = server.status().bytes_got
            return list(ids(dataset)), server.status().bytes_got - before

        for shuffle in (None, 5_000):
            dataset = flightbridge.tf.dataset(
                server.uri,
                "long",
                batch_size=1_000,
                columns="id",
                transport="flight",
                shuffle=shuffle,
                reshuffle_each_iteration=False,
                epochs=2,
            )
            whole, everything = fetched(dataset)
            for count in (1, 150, 390, 399, 400, 500):
                rest, some = fetched(dataset.skip(count))
                assert rest == whole[count * 1_000 :], (shuffle, count)
                if count >= 150:
                    assert some < everything * 0.75, (shuffle, count)
            assert list(ids(dataset.skip(390).repeat(2))) == 2 * whole[390_000:]
            # In the middle of an iteration rows are read, and left out.
            assert list(ids(dataset.take(3).concatenate(dataset.skip(398)))) == (
                whole[:3_000] + whole[398_000:]
            )


@pytest.mark.parametrize("drop_remainder", [False, True])
def test_skip_is_as_if_read(bridge, drop_remainder):
    for settings in ({}, {"epochs": 3}, {"shuffle": 64, "epochs": 2}, {"shard": (1, 3)}):
        dataset = flightbridge.tf.dataset(
            bridge,
            "plain",
            batch_size=90,
            columns="id",
            drop_remainder=drop_remainder,
            reshuffle_each_iteration=False,
            **settings,
        )
        whole = [batch.numpy().tolist() for batch in dataset]
        for count in range(len(whole) + 2):
            rest = [batch.numpy().tolist() for batch in dataset.skip(count)]
            assert rest == whole[count:], (settings, count)


def test_autotune_goes_through_the_source(bridge):
    dataset = flightbridge.tf.dataset(bridge, "plain", batch_size=10, columns="id", epochs=20)
    options = tf.data.Options()
    options.autotune.enabled = True
    tuned = dataset.map(lambda x: x * 2, num_parallel_calls=tf.data.AUTOTUNE)
    tuned = tuned.prefetch(tf.data.AUTOTUNE).with_options(options)
    assert tuned.cardinality() == 20 * 101
    assert list(ids(tuned)) == [2 * i for i in range(ROWS)] * 20


def test_begins_at_a_position(bridge):
    settings = {"shuffle": True, "seed": 4, "shard": (1, 2)}
    with flightbridge.batches.read(bridge.uri, "plain", batch_size=20, **settings) as reader:
        before = [int(i) for _ in range(3) for i in next(reader)["id"]]
        position = reader.position()
    fresh = flightbridge.tf.dataset(bridge, "plain", batch_size=20, columns="id", **settings)
    first, second = list(ids(fresh)), list(ids(fresh))
    resumed = flightbridge.tf.dataset(
        bridge, "plain", batch_size=20, columns="id", position=position, **settings
    )
    assert resumed.cardinality() == tf.data.UNKNOWN_CARDINALITY
    assert before + list(ids(resumed)) == first
    assert list(ids(resumed)) == second, "the iterator after it reads the next epoch"
    with pytest.raises(errors.PositionMismatchError, match="seed=4"):
        flightbridge.tf.dataset(
            bridge, "plain", batch_size=20, position=position, **settings | {"seed": 5}
        )
    with pytest.raises(errors.InvalidArgumentError, match="damaged"):
        flightbridge.tf.dataset(bridge, "plain", batch_size=20, position=b"x", **settings)


def test_gradients_and_in_place_ops_leave_slabs_alone(bridge):
    # TensorFlow writes into a buffer that nobody else holds; a slab must not be seen twice.
    dataset = flightbridge.tf.dataset(bridge, "plain", batch_size=100, columns="float32", epochs=4)
    total = sum(float(tf.reduce_sum(batch * 2.0 + 1.0)) for batch in dataset)
    one = np.arange(ROWS) / 7
    np.testing.assert_allclose(total, 4 * np.sum(one * 2 + 1), rtol=1e-4)
