import numpy as np
import pytest

from flightbridge.errors import InvalidArgumentError
from flightbridge.reader_spec import WHOLE_SHARD, make_spec
from flightbridge.v1 import commands_pb2

URI = "grpc://127.0.0.1:8815"


def test_defaults_read_everything_once_in_order():
    spec = make_spec(URI, "ratings", batch_size=128)
    assert spec == commands_pb2.ReaderSpec(
        uri=URI, feed="ratings", batch_size=128, epochs=1, shard=0, num_shards=1
    )


def test_every_setting_arrives():
    spec = make_spec(
        URI,
        "ratings",
        batch_size=np.int64(7),
        columns=("b", "a"),
        shuffle=1000,
        seed=2**64 - 1,
        epochs=None,
        shard=(2, 3),
        drop_remainder=True,
        prefetch="1MiB",
        connections=4,
        slabs=3,
        timeout_s=2,
        token="t",
        fingerprint=9,
        transport="flight",
    )
    assert spec == commands_pb2.ReaderSpec(
        uri=URI,
        feed="ratings",
        fingerprint=9,
        columns=["b", "a"],
        batch_size=7,
        drop_remainder=True,
        epochs=-1,
        shard=2,
        num_shards=3,
        shuffle_window=1000,
        seed=2**64 - 1,
        prefetch_bytes=1 << 20,
        connections=4,
        slabs=3,
        timeout_s=2.0,
        token="t",
        transport="flight",
    )


@pytest.mark.parametrize(
    ("shuffle", "window"),
    [(None, 0), (False, 0), (0, 0), (True, WHOLE_SHARD), (1, 1), (4096, 4096)],
)
def test_shuffle_windows(shuffle, window):
    assert make_spec(URI, "f", batch_size=1, shuffle=shuffle).shuffle_window == window


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 0}, "batch_size=0 is out of range: give an int from 1"),
        ({"batch_size": -3}, "batch_size=-3"),
        ({"batch_size": 2.5}, "batch_size=2.5 is not a whole number"),
        ({"batch_size": True}, "batch_size=True is not a whole number"),
        ({"batch_size": "9"}, "batch_size='9' is not a whole number"),
        ({"columns": "user"}, r"columns='user' is one str: give a list of names, \['user'\]"),
        ({"columns": []}, r"columns=\[\] reads nothing"),
        ({"columns": ["a", 3]}, "columns has 3"),
        ({"columns": ["a", "b", "a"]}, "columns names 'a' twice"),
        ({"shuffle": -1}, "shuffle=-1 is not a shuffle window: give 'full' or True"),
        ({"shuffle": 1.5}, "shuffle=1.5"),
        ({"shuffle": "yes"}, "shuffle='yes'"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**64}, "seed=18446744073709551616"),
        ({"epochs": 0}, "epochs=0 is not a number of epochs.*None"),
        ({"epochs": -2}, "epochs=-2"),
        ({"epochs": 1.0}, r"epochs=1\.0"),
        ({"epochs": True}, "epochs=True"),
        ({"shard": 3}, r"shard=3 is not a pair: give \(i, n\)"),
        ({"shard": (3, 3)}, r"shard=\(3, 3\): index 3 is not below the count 3"),
        ({"shard": (0, 0)}, "shard count=0"),
        ({"shard": (-1, 2)}, "shard index=-1"),
        ({"drop_remainder": 1}, "drop_remainder=1 is not a bool"),
        ({"prefetch": "lots"}, "prefetch='lots' is not a size"),
        ({"connections": 0}, "connections=0"),
        ({"slabs": 0}, "slabs=0"),
        ({"timeout_s": 0}, "timeout_s=0"),
        ({"timeout_s": float("nan")}, "timeout_s=nan"),
        ({"token": b"t"}, "token is a bytes"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(settings, words):
    with pytest.raises(InvalidArgumentError, match=words):
        make_spec(URI, "f", **{"batch_size": 1, **settings})


@pytest.mark.parametrize("uri", ["127.0.0.1:8815", "http://x:1", "grpc://x", "grpc://x:70000"])
def test_a_wrong_uri_is_named(uri):
    with pytest.raises(InvalidArgumentError, match="uri="):
        make_spec(uri, "f", batch_size=1)


def test_an_empty_feed_name_is_refused():
    with pytest.raises(InvalidArgumentError, match="feed=''"):
        make_spec(URI, "", batch_size=1)


def test_policies_and_uneven_shards_by_name():
    spec = make_spec(URI, "f", batch_size=1, policy="STATIC_partition", uneven="Pad", shard=(1, 2))
    assert spec.policy == commands_pb2.SHARD_POLICY_STATIC_PARTITION
    assert spec.uneven == commands_pb2.UNEVEN_SHARDS_PAD
    with pytest.raises(InvalidArgumentError, match="policy='random' is not known: give one of 'o"):
        make_spec(URI, "f", batch_size=1, policy="random")
    with pytest.raises(InvalidArgumentError, match="uneven=1 is not known: give one of 'join', 'p"):
        make_spec(URI, "f", batch_size=1, uneven=1)


def test_dynamic_needs_a_group_and_no_shard():
    spec = make_spec(
        URI, "f", batch_size=1, policy="dynamic", group="run", split_rows=9, lease_timeout_s=2
    )
    assert (spec.policy, spec.group) == (commands_pb2.SHARD_POLICY_DYNAMIC, "run")
    assert (spec.split_rows, spec.lease_timeout_s) == (9, 2.0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"policy": "dynamic"}, "group=None is not a group's name"),
        ({"policy": "dynamic", "group": "x" * 201}, "is not a group's name"),
        ({"policy": "dynamic", "group": "g", "shard": (0, 2)}, r"shard=\(0, 2\) with policy='dyn"),
        ({"policy": "dynamic", "group": "g", "uneven": "pad"}, "only when the epoch is over"),
        ({"policy": "dynamic", "group": "g", "split_rows": 0}, "split_rows=0"),
        ({"policy": "dynamic", "group": "g", "lease_timeout_s": 0.01}, "lease_timeout_s=0.01"),
        ({"group": "g"}, "group='g' is for policy='dynamic'"),
        ({"policy": "static", "split_rows": 5}, "split_rows=5 is for policy='dynamic'"),
        ({"lease_timeout_s": 5}, "lease_timeout_s=5 is for policy='dynamic'"),
    ],
)
def test_what_does_not_go_with_dynamic_is_refused_by_name(settings, words):
    with pytest.raises(InvalidArgumentError, match=words):
        make_spec(URI, "f", batch_size=1, **settings)
