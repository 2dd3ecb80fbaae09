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


def test_input_context_is_a_shard(bridge):
    context = tf.distribute.InputContext(
        num_input_pipelines=4, input_pipeline_id=1, num_replicas_in_sync=4
    )
    dataset = flightbridge.tf.dataset(bridge, "plain", batch_size=500, columns="id", shard=context)
    assert list(ids(dataset)) == list(range(ROWS // 4, 2 * ROWS // 4))
    policy = dataset.options().experimental_distribute.auto_shard_policy
    assert policy == tf.data.experimental.AutoShardPolicy.OFF


def auto_shard_policy(dataset):
    return dataset.options().experimental_distribute.auto_shard_policy


def test_auto_sharding_is_set_whatever_else_a_pipeline_sets(bridge):
    policies = tf.data.experimental.AutoShardPolicy
    for columns in ("id", ["id", "list_int"]):  # with and without a map of our own behind the op
        whole = flightbridge.tf.dataset(bridge, "types", batch_size=10, columns=columns)
        mine = flightbridge.tf.dataset(
            bridge, "types", batch_size=10, columns=columns, shard=(0, 2)
        )
        assert auto_shard_policy(whole) == policies.DATA
        options = tf.data.Options()
        options.deterministic = False
        options.threading.private_threadpool_size = 2
        behind = mine.map(lambda x: x).prefetch(tf.data.AUTOTUNE).with_options(options)
        assert auto_shard_policy(behind) == policies.OFF
        assert behind.options().deterministic is False
        assert len(list(behind)) == 51


def test_dataset_fn_divides_the_global_batch(bridge):
    make = flightbridge.tf.dataset_fn(bridge, "plain", global_batch_size=400, columns="id")
    parts = []
    for pipeline in range(2):
        dataset = make(tf.distribute.InputContext(2, pipeline, num_replicas_in_sync=4))
        batches = [batch.numpy() for batch in dataset]
        assert {len(batch) for batch in batches[:-1]} == {100}
        assert auto_shard_policy(dataset) == tf.data.experimental.AutoShardPolicy.OFF
        parts.append(np.concatenate(batches))
    assert list(np.concatenate(parts)) == list(range(ROWS))
    with pytest.raises(errors.InvalidArgumentError, match=r"global_batch_size=400.*3 replicas"):
        make(tf.distribute.InputContext(1, 0, num_replicas_in_sync=3))
    for wrong in ({"batch_size": 3}, {"shard": (0, 2)}):
        with pytest.raises(errors.InvalidArgumentError, match=next(iter(wrong))):
            flightbridge.tf.dataset_fn(bridge, "plain", global_batch_size=4, **wrong)


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


def test_distributed(bridge):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    for shard, rows in ((None, ROWS), ((0, 2), ROWS // 2)):
        dataset = flightbridge.tf.dataset(
            bridge, "plain", batch_size=100, columns="id", shard=shard
        )
        parts = strategy.experimental_distribute_dataset(dataset)
        assert sum(int(tf.size(part)) for part in parts) == rows


def test_gradients_and_in_place_ops_leave_slabs_alone(bridge):
    # TensorFlow writes into a buffer that nobody else holds; a slab must not be seen twice.
    dataset = flightbridge.tf.dataset(bridge, "plain", batch_size=100, columns="float32", epochs=4)
    total = sum(float(tf.reduce_sum(batch * 2.0 + 1.0)) for batch in dataset)
    one = np.arange(ROWS) / 7
    np.testing.assert_allclose(total, 4 * np.sum(one * 2 + 1), rtol=1e-4)


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"batch_size": 0}, errors.InvalidArgumentError, ["batch_size=0"]),
        ({"columns": ["nope"]}, errors.FeedNotFoundError, ["'nope'", "id", "float32"]),
        ({"columns": []}, errors.InvalidArgumentError, ["columns=[]"]),
        ({"columns": ["id", "id"]}, errors.InvalidArgumentError, ["'id' twice"]),
        ({"columns": 7}, errors.InvalidArgumentError, ["columns=7"]),
        ({"columns": "id", "label": "id"}, errors.InvalidArgumentError, ["label='id'"]),
        ({"weight": "id"}, errors.InvalidArgumentError, ["weight='id' without label"]),
        ({"label": "id", "weight": "id"}, errors.InvalidArgumentError, ["weight='id'", "label"]),
        ({"label": "id", "weight": ["id"]}, errors.InvalidArgumentError, ["weight=['id']"]),
        ({"label": "id", "weight": "nope"}, errors.FeedNotFoundError, ["'nope'"]),
        ({"label": "nope"}, errors.FeedNotFoundError, ["'nope'"]),
        ({"feed": "missing"}, errors.FeedNotFoundError, ["missing"]),
        ({"shard": (3, 3)}, errors.InvalidArgumentError, ["index 3"]),
        ({"epochs": 0}, errors.InvalidArgumentError, ["epochs=0"]),
        ({"uri": "http://x:1"}, errors.InvalidArgumentError, ["http://x:1"]),
        ({"uri": 5}, errors.InvalidArgumentError, ["5"]),
        ({"reshuffle_each_iteration": 1}, errors.InvalidArgumentError, ["reshuffle"]),
    ],
)
def test_bad_arguments(bridge, kwargs, error, words):
    arguments = {"uri": bridge.uri, "feed": "plain", "batch_size": 10} | kwargs
    with pytest.raises(error) as caught:
        flightbridge.tf.dataset(arguments.pop("uri"), arguments.pop("feed"), **arguments)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("array", "remedy"),
    [
        (pa.array([1], pa.decimal128(10, 2)), "dtypes=.*float64"),
        (pa.nulls(1), "only nulls"),
        (pa.array([[1]], pa.list_view(pa.int8())), "cast it to list"),
        (pa.array([{}], pa.struct([])), "no fields"),
    ],
)
def test_unsupported_type_is_named(bridge, array, remedy):
    with bridge.client() as client:
        client.write("odd", pa.table({"good": [1], "bad": array}), mode="overwrite")
    with pytest.raises(errors.UnsupportedTypeError, match="'bad'.*" + remedy):
        flightbridge.tf.dataset(bridge, "odd", batch_size=1)
    rest = flightbridge.tf.dataset(bridge, "odd", batch_size=1, columns="good")
    assert list(ids(rest)) == [1]


def test_no_server():
    with pytest.raises(errors.ServerUnavailableError):
        flightbridge.tf.dataset("grpc://127.0.0.1:9", "x", batch_size=1, timeout_s=2)


def test_replaced_feed_is_refused(bridge):
    with bridge.client() as client:
        client.write("changing", pa.table({"id": [1, 2]}), mode="overwrite")
        dataset = flightbridge.tf.dataset(bridge, "changing", batch_size=1)
        assert len(list(dataset)) == 2
        client.write("changing", pa.table({"id": [1, 3]}), mode="overwrite")
    with pytest.raises(tf.errors.FailedPreconditionError, match="changing"):
        list(dataset)


def test_null_is_an_error_with_its_place(bridge):
    with bridge.client() as client:
        client.write("nulls", pa.table({"v": pa.array([1, 2, None, 4])}), mode="overwrite")
    dataset = flightbridge.tf.dataset(bridge, "nulls", batch_size=2)
    iterator = iter(dataset)
    assert next(iterator)["v"].numpy().tolist() == [1, 2]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"'v'.*2"):
        next(iterator)


@pytest.mark.parametrize(
    ("policy", "uneven", "rows"),
    [
        (None, None, [334, 334, 335]),
        ("static", "pad", [335, 335, 335]),
        ("static", "drop", [334, 334, 334]),
        ("static_partition", "join", [400, 400, 203]),
        ("static_partition", "pad", [400, 400, 400]),
        ("static_partition", "drop", [203, 203, 203]),
        ("off", "pad", [1003, 1003, 1003]),
    ],
)
def test_policies_say_how_many_rows_and_batches_there_are(bridge, policy, uneven, rows):
    for shard, expected in enumerate(rows):
        dataset = flightbridge.tf.dataset(
            bridge.uri,
            "types",
            batch_size=100,
            columns="id",
            shard=(shard, 3),
            policy=policy,
            uneven=uneven,
        )
        sizes = [int(batch.shape[0]) for batch in dataset]
        assert sum(sizes) == expected
        assert dataset.cardinality() == len(sizes)
        stats = dataset.shard_stats
        assert stats["own_rows"] + stats["padded_rows"] - stats["dropped_rows"] == expected
