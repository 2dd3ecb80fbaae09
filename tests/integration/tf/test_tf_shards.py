"""Parts of a feed for each of several readers, and what tf.distribute is told about them."""

import numpy as np
import pytest

import flightbridge
import flightbridge.tf
from flightbridge import errors

pytestmark = [pytest.mark.tf, pytest.mark.filterwarnings("default")]
tf = pytest.importorskip("tensorflow")

ROWS = 1_003


def ids(dataset):
    return np.concatenate([batch.numpy() for batch in dataset] or [np.array([], np.int64)])


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


def test_distributed(bridge):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    for shard, rows in ((None, ROWS), ((0, 2), ROWS // 2)):
        dataset = flightbridge.tf.dataset(
            bridge, "plain", batch_size=100, columns="id", shard=shard
        )
        parts = strategy.experimental_distribute_dataset(dataset)
        assert sum(int(tf.size(part)) for part in parts) == rows


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
