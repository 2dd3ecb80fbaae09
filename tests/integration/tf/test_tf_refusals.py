"""What flightbridge.tf.dataset refuses, and in which words."""

import pyarrow as pa
import pytest

import flightbridge
import flightbridge.tf
from flightbridge import errors

pytestmark = [pytest.mark.tf, pytest.mark.filterwarnings("default")]
tf = pytest.importorskip("tensorflow")


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
    assert [batch.numpy().tolist() for batch in rest] == [[1]]


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
