"""tf.distribute and the tf.data service over real clusters: each row once, on the right worker."""

import json
import socket

import pytest

from .stories import Story, run

pytestmark = [pytest.mark.tf, pytest.mark.slow]
pytest.importorskip("tensorflow")

ROWS = 1_003


def ports(count):
    """Free ones: all are held until all are known."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def test_mirrored(bridge):
    (told,) = run(
        Story(f"""
        cpus = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(
            cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

        def read(data):
            # Rows of each replica in each step.
            return [[part.numpy().tolist() for part in strategy.experimental_local_results(x)]
                    for x in data]

        whole = flightbridge.tf.dataset("{bridge.uri}", "plain", batch_size=100, columns="id")
        tell(whole=read(strategy.experimental_distribute_dataset(whole)))
        tell(own=read(strategy.distribute_datasets_from_function(flightbridge.tf.dataset_fn(
            "{bridge.uri}", "plain", global_batch_size=100, columns="id", shuffle=True))))

        import keras
        names = ["x0", "x1", "x2", "x3"]
        with strategy.scope():
            inputs = {{name: keras.Input((), name=name) for name in names}}
            x = keras.ops.stack([inputs[name] for name in names], axis=1)
            model = keras.Model(inputs, keras.layers.Dense(1)(x))
            model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
        data = flightbridge.tf.dataset("{bridge.uri}", "regression", batch_size=128, label="y")
        tell(losses=model.fit(data, epochs=3, verbose=0).history["loss"])
        """)
    )
    for name in ("whole", "own"):
        steps = told[name]
        assert sorted(row for step in steps for part in step for row in part) == list(range(ROWS))
        assert all([len(part) for part in step] == [50, 50] for step in steps[:-1]), name
    assert told["losses"][-1] < told["losses"][0]


def workers(story, count=2, **environment):
    addresses = [f"127.0.0.1:{port}" for port in ports(count)]
    return run(
        *(
            Story(
                story,
                TF_CONFIG=json.dumps(
                    {
                        "cluster": {"worker": addresses},
                        "task": {"type": "worker", "index": index},
                    }
                ),
                **environment,
            )
            for index in range(count)
        )
    )


@pytest.mark.parametrize("uneven", ["join", "pad", "drop"])
def test_multi_worker_mirrored(bridge, uneven):
    # 1003 rows in batches of 83 a worker: the shards of 501 and 502 rows have 7 batches each.
    told = workers(f"""
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        data = strategy.distribute_datasets_from_function(flightbridge.tf.dataset_fn(
            "{bridge.uri}", "plain", global_batch_size=166, columns="id", uneven="{uneven}",
            shuffle=64))

        @tf.function
        def step(ids):
            return strategy.run(lambda x: tf.cast(tf.size(x), tf.int64), args=(ids,))

        mine, together = [], []
        for ids in data:
            mine.append(strategy.experimental_local_results(ids)[0].numpy().tolist())
            together.append(int(strategy.reduce("SUM", step(ids), axis=None)))
        tell(mine=mine, together=together)
    """)
    parts = [[row for batch in each["mine"] for row in batch] for each in told]
    assert told[0]["together"] == told[1]["together"]
    rows = {"join": [501, 502], "pad": [502, 502], "drop": [501, 501]}[uneven]
    assert [len(part) for part in parts] == rows
    assert sum(told[0]["together"]) == sum(rows)
    assert not set(parts[0]) & set(parts[1])
    assert len({len(each["mine"]) for each in told}) == 1
    if uneven == "join":
        assert sorted(parts[0] + parts[1]) == list(range(ROWS))


def test_multi_worker_fit_with_tf_keras(bridge):
    pytest.importorskip("tf_keras")
    told = workers(
        f"""
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        names = ["x0", "x1", "x2", "x3"]
        with strategy.scope():
            inputs = {{name: tf.keras.Input((1,), name=name) for name in names}}
            x = tf.keras.layers.Concatenate()([inputs[name] for name in names])
            model = tf.keras.Model(inputs, tf.keras.layers.Dense(1)(x))
            model.compile(optimizer=tf.keras.optimizers.SGD(0.05), loss="mse")
        columns = lambda x, y: ({{name: x[name][:, None] for name in names}}, y)

        # A worker's own shard in parts of one replica, and a whole dataset that TensorFlow shards.
        make = flightbridge.tf.dataset_fn(
            "{bridge.uri}", "regression", global_batch_size=128, label="y", shuffle=True)
        own = strategy.distribute_datasets_from_function(lambda context: make(context).map(columns))
        whole = flightbridge.tf.dataset(
            "{bridge.uri}", "regression", batch_size=128, label="y").map(columns)
        losses = model.fit(own, epochs=2, steps_per_epoch=16, verbose=0).history["loss"]
        losses += model.fit(whole, epochs=1, verbose=0).history["loss"]
        tell(losses=losses, weights=[w.ravel().tolist() for w in model.get_weights()])
        """,
        TF_USE_LEGACY_KERAS="1",
    )
    assert told[0]["weights"] == told[1]["weights"]
    assert told[0]["losses"] == told[1]["losses"]
    assert told[0]["losses"][-1] < told[0]["losses"][0]


def test_a_whole_dataset_is_shared_out_by_batches(bridge):
    told = workers(f"""
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        data = flightbridge.tf.dataset("{bridge.uri}", "plain", batch_size=100, columns="id")
        mine = []
        for ids in strategy.experimental_distribute_dataset(data):
            mine += strategy.experimental_local_results(ids)[0].numpy().tolist()
        tell(mine=mine)
    """)
    assert sorted(told[0]["mine"] + told[1]["mine"]) == list(range(ROWS))


# Workers and parameter server are servers of one process: real gRPC, real per-worker datasets.
CLUSTER = """
def in_process_cluster(workers, servers):
    import socket
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers + servers)]
    at = [f"127.0.0.1:{each.getsockname()[1]}" for each in held]
    for each in held:
        each.close()
    spec = tf.train.ClusterSpec({"worker": at[:workers], "ps": at[workers:]})
    config = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=workers + 1)
    keep = [tf.distribute.Server(spec, job_name=job, task_index=i, config=config,
                                 protocol="grpc", start=True)
            for job in ("worker", "ps") for i in range(len(spec.job_tasks(job)))]
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, rpc_layer="grpc")
    return tf.distribute.ParameterServerStrategy(resolver), keep
"""


@pytest.mark.parametrize("shuffle", [None, True], ids=["plain", "shuffled"])
def test_parameter_server(bridge, shuffle):
    (told,) = run(
        Story(
            CLUSTER
            + f"""
strategy, keep = in_process_cluster(2, 1)
coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
with strategy.scope():
    total = tf.Variable(0, dtype=tf.int64)

def per_worker():
    return strategy.distribute_datasets_from_function(flightbridge.tf.dataset_fn(
        "{bridge.uri}", "plain", global_batch_size=20, columns="id", policy="dynamic",
        group="ps {shuffle}", split_rows=40, shuffle={shuffle}))

iterator = iter(coordinator.create_per_worker_dataset(per_worker))

@tf.function
def step(iterator):
    element = iterator.get_next_as_optional()
    if element.has_value():
        ids = element.get_value()
        total.assign_add(tf.reduce_sum(ids))
        return ids
    return tf.zeros([0], tf.int64)

# More steps than there are batches, in whatever way two workers share the rows.
results = [coordinator.schedule(step, args=(iterator,)) for _ in range(100)]
coordinator.join()
tell(ids=[i for result in results for i in result.fetch().tolist()], total=int(total.numpy()))
"""
        )
    )
    assert sorted(told["ids"]) == list(range(ROWS))
    assert told["total"] == sum(range(ROWS))


SERVICE = """
service = tf.data.experimental.service
dispatcher = service.DispatchServer()
address = dispatcher.target.split("://")[1]
worker = lambda: service.WorkerServer(service.WorkerConfig(dispatcher_address=address))
"""


def test_data_service(bridge):
    (told,) = run(
        Story(
            SERVICE
            + f"""
def read(data, policy=service.ShardingPolicy.OFF):
    data = data.apply(service.distribute(policy, dispatcher.target))
    return [i for batch in data for i in batch.numpy().tolist()]

def make(**settings):
    return flightbridge.tf.dataset("{bridge.uri}", "plain", batch_size=50, columns="id", **settings)

one = worker()
tell(alone=read(make(shard=(1, 2))), behind=read(make().map(lambda x: x + 0).prefetch(2)))
data = make()
number = service.register_dataset(dispatcher.target, data)
tell(registered=[i for batch in service.from_dataset_id(
    service.ShardingPolicy.OFF, dispatcher.target, number, data.element_spec)
    for i in batch.numpy().tolist()])
two = worker()
tell(off=read(make()))
try:
    tell(dynamic=read(make(), service.ShardingPolicy.DYNAMIC))
except tf.errors.OpError as error:
    tell(dynamic=str(error))
"""
        )
    )
    assert told["alone"] == list(range(ROWS // 2, ROWS))
    assert told["behind"] == told["registered"] == list(range(ROWS))
    # Every worker runs the whole dataset.
    assert sorted(told["off"]) == sorted([*range(ROWS), *range(ROWS)])
    assert isinstance(told["dynamic"], str), told["dynamic"]


def test_data_service_workers_that_lease_share_the_rows(bridge):
    host = Story("""
        flightbridge.tf.load_op()
        dispatcher = tf.data.experimental.service.DispatchServer()
        worker = tf.data.experimental.service.WorkerServer(
            tf.data.experimental.service.WorkerConfig(
                dispatcher_address=dispatcher.target.split("://")[1]))
        print("AT " + dispatcher.target, flush=True)
        worker.join()
    """)
    other = None
    try:
        target = host.first_line("AT ")
        other = Story(f"""
            flightbridge.tf.load_op()
            worker = tf.data.experimental.service.WorkerServer(
                tf.data.experimental.service.WorkerConfig(
                    dispatcher_address="{target}".split("://")[1]))
            print("READY", flush=True)
            worker.join()
        """)
        other.first_line("READY")
        (told,) = run(
            Story(f"""
            data = flightbridge.tf.dataset(
                "{bridge.uri}", "plain", batch_size=50, columns="id",
                policy="dynamic", group="service", split_rows=60)
            data = data.apply(tf.data.experimental.service.distribute(
                tf.data.experimental.service.ShardingPolicy.OFF, "{target}"))
            tell(ids=[i for batch in data for i in batch.numpy().tolist()])
            """)
        )
    finally:
        host.kill()
        if other is not None:
            other.kill()
    assert sorted(told["ids"]) == list(range(ROWS))
