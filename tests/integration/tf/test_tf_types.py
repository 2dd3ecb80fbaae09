"""Nested, masked, padded and converted columns in tf.data: specs, values, checkpoints, fallback."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
import flightbridge.tf
from flightbridge import errors
from flightbridge.tf import _op

pytestmark = [pytest.mark.tf, pytest.mark.filterwarnings("default")]
tf = pytest.importorskip("tensorflow")

ROWS = 97
VECTOR = pa.struct(
    {
        "type": pa.int8(),
        "size": pa.int32(),
        "indices": pa.list_(pa.int32()),
        "values": pa.list_(pa.float64()),
    }
)


def vector(i):
    if i % 2:
        return {"type": 0, "size": 4, "indices": [i % 4], "values": [float(i)]}
    return {"type": 1, "size": None, "indices": None, "values": [i, 0.0, 1.0, -i]}


def nested_table():
    r = range(ROWS)
    return pa.table(
        {
            "id": pa.array(r, pa.int64()),
            "deep": pa.array([[[str(j)] * (j % 3) for j in range(i % 4)] for i in r]),
            "boxes": pa.array(
                [[[i, j] for j in range(i % 3)] for i in r], pa.list_(pa.list_(pa.int32(), 2))
            ),
            "s": pa.array(
                [{"z": i, "a": {"y": str(i), "x": [i] * (i % 3)}} for i in r],
            ),
            "m": pa.array(
                [[(str(j), j / 2) for j in range(i % 3)] for i in r],
                pa.map_(pa.string(), pa.float64()),
            ),
            "people": pa.array([[{"age": j, "name": "n" * j} for j in range(i % 4)] for i in r]),
            "maybe": pa.array([None if i % 5 == 0 else i for i in r]),
            "maybe_list": pa.array([None if i % 7 == 0 else [i] * (i % 4) for i in r]),
            "v": pa.array([vector(i) for i in r], VECTOR),
            "price": pa.array([Decimal(i) / 4 for i in r], pa.decimal128(20, 4)),
            "t": pa.array([dt.datetime(1970, 1, 1) + i * dt.timedelta(seconds=1.5) for i in r]),
        }
    )


@pytest.fixture(scope="module")
def bridge():
    with flightbridge.Server() as server:
        with server.client() as client:
            client.write("nested", nested_table(), partition_rows=40)
        yield server


OPTIONS = {
    "dtypes": {"price": tf.float64, "t": "float64", "v": np.float32, "s.z": tf.bfloat16},
    "fill": {"maybe": -1, "maybe_list": 0},
    "mask": ["maybe", "maybe_list"],
    "pad_to": {"maybe_list": 3},
    "vectors": {"v": 4},
}


def make(bridge, **options):
    return flightbridge.tf.dataset(bridge, "nested", **{"batch_size": 10, **OPTIONS, **options})


def ragged(dtype, rank=1, inner=(), batch=None):
    return tf.RaggedTensorSpec([batch] + [None] * rank + list(inner), dtype, rank, tf.int64)


def specs(batch=None):
    def dense(dtype, *shape):
        return tf.TensorSpec([batch, *shape], dtype)

    return {
        "id": dense(tf.int64),
        "deep": ragged(tf.string, 2, batch=batch),
        "boxes": ragged(tf.int32, 1, [2], batch),
        "s": {
            "z": dense(tf.bfloat16),
            "a": {"y": dense(tf.string), "x": ragged(tf.int64, batch=batch)},
        },
        "m": {"keys": ragged(tf.string, batch=batch), "values": ragged(tf.float64, batch=batch)},
        "people": {"age": ragged(tf.int64, batch=batch), "name": ragged(tf.string, batch=batch)},
        "maybe": dense(tf.int64),
        "maybe_mask": dense(tf.bool),
        "maybe_list": dense(tf.int64, 3),
        "maybe_list_mask": dense(tf.bool, 3),
        "v": dense(tf.float32, 4),
        "price": dense(tf.float64),
        "t": dense(tf.float64),
    }


def text(value):
    return [text(v) for v in value] if isinstance(value, list) else value.encode()


def padded(values):
    return ((values or []) + [0, 0, 0])[:3]


def row_of(i):
    row = nested_table().slice(i, 1).to_pylist()[0]
    sparse = dict(zip(row["v"]["indices"] or [], row["v"]["values"], strict=False))
    return {
        "id": i,
        "deep": text(row["deep"]),
        "boxes": row["boxes"],
        "s": {"z": float(i), "a": {"y": str(i).encode(), "x": row["s"]["a"]["x"]}},
        "m": {"keys": text([k for k, _ in row["m"]]), "values": [v for _, v in row["m"]]},
        "people": {
            "age": [p["age"] for p in row["people"]],
            "name": text([p["name"] for p in row["people"]]),
        },
        "maybe": -1 if row["maybe"] is None else row["maybe"],
        "maybe_mask": row["maybe"] is not None,
        "maybe_list": padded(row["maybe_list"]),
        "maybe_list_mask": [j < len(row["maybe_list"] or []) for j in range(3)],
        "v": [sparse.get(j, 0.0) for j in range(4)] if i % 2 else row["v"]["values"],
        "price": i / 4,
        "t": i * 1.5,
    }


def plain(tensor):
    if isinstance(tensor, tf.SparseTensor):
        tensor = tf.sparse.to_dense(tensor)
    return tensor.to_list() if isinstance(tensor, tf.RaggedTensor) else tensor.numpy().tolist()


def rows_of(element):
    """An element's rows, each a nested dict of Python values."""
    if not isinstance(element, dict):
        return plain(element)
    parts = {key: rows_of(value) for key, value in element.items()}
    count = len(next(iter(parts.values())))
    return [{key: part[i] for key, part in parts.items()} for i in range(count)]


def all_rows(dataset):
    return [row for element in dataset for row in rows_of(element)]


EXPECTED = [row_of(i) for i in range(ROWS)]


@pytest.mark.parametrize("drop", [False, True])
def test_values_and_specs(bridge, drop):
    dataset = make(bridge, drop_remainder=drop)
    assert dataset.element_spec == specs(10 if drop else None)
    for element in dataset:
        tf.nest.map_structure(
            lambda spec, tensor: spec.is_compatible_with(tensor) or pytest.fail(f"{spec}"),
            dataset.element_spec,
            element,
        )
    assert all_rows(dataset) == EXPECTED[: 90 if drop else ROWS]


def test_shuffled(bridge):
    rows = all_rows(make(bridge, shuffle=True))
    order = [row["id"] for row in rows]
    assert order != sorted(order)
    assert rows == [EXPECTED[i] for i in order]


def test_plain_structs_are_dicts(bridge):
    spec = specs()["s"]["z"]
    dataset = make(
        bridge,
        columns=["s", "id"],
        dtypes={"s.z": "bfloat16"},
        fill={},
        mask=(),
        pad_to={},
        vectors={},
    )
    assert dataset.element_spec["s"]["z"] == spec
    assert list(dataset.element_spec) == ["s", "id"]


def test_labels_and_bare_columns(bridge):
    none = {"dtypes": None, "fill": None, "mask": False, "pad_to": None, "vectors": None}
    dataset = make(bridge, columns="deep", label="m", **none)
    assert dataset.element_spec == (specs()["deep"], specs()["m"])
    features, label = next(iter(dataset))
    assert features.to_list() == [row["deep"] for row in EXPECTED[:10]]
    assert rows_of(label) == [row["m"] for row in EXPECTED[:10]]
    bare = make(bridge, columns="maybe", **{**none, "fill": {"maybe": 3}})
    assert bare.element_spec == tf.TensorSpec([None], tf.int64)
    with pytest.raises(errors.InvalidArgumentError, match=r"'maybe'.*list of columns"):
        make(bridge, columns="maybe", **{**none, "mask": ["maybe"]})
    with pytest.raises(errors.InvalidArgumentError, match=r"'maybe'.*list of columns"):
        make(bridge, columns=["id"], label="maybe", **{**none, "mask": True})


@pytest.mark.parametrize("drop", [False, True])
def test_sparse_vectors(bridge, drop):
    dataset = make(
        bridge,
        columns=["id", "v"],
        sparse=["v"],
        vectors={"v": 4},
        dtypes={},
        fill={},
        mask=(),
        pad_to={},
        drop_remainder=drop,
    )
    batch = 10 if drop else None
    assert dataset.element_spec["v"] == tf.SparseTensorSpec([batch, 4], tf.float64)
    element = next(iter(dataset))
    assert plain(element["v"]) == [row["v"] for row in EXPECTED[:10]]
    dense = tf.keras.layers.Dense(2, dtype="float64")
    assert dense(element["v"]).shape == (10, 2)
    rebatched = dataset.unbatch().batch(7)
    assert plain(next(iter(rebatched))["v"]) == [row["v"] for row in EXPECTED[:7]]


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("breaks", [0, 1, 5, 9])
def test_checkpoints(bridge, tmp_path, symbolic, breaks):
    options = tf.data.Options()
    options.experimental_symbolic_checkpoint = symbolic

    def iterator():
        return iter(make(bridge, shuffle=20, seed=5).prefetch(2).with_options(options))

    whole = [rows_of(element) for element in iterator()]
    first = iterator()
    for number in range(breaks):
        assert rows_of(next(first)) == whole[number]
    path = tf.train.Checkpoint(it=first).save(str(tmp_path / "c"))
    second = iterator()
    tf.train.Checkpoint(it=second).restore(path)
    assert [rows_of(element) for element in second] == whole[breaks:]


def test_the_fallback_gives_the_same(bridge, monkeypatch):
    def broken():
        raise errors.VersionMismatchError("no op fits")

    monkeypatch.setattr(_op, "load", broken)
    monkeypatch.setenv("FLIGHTBRIDGE_TF_FALLBACK", "1")
    with pytest.warns(RuntimeWarning, match="falling back"):
        dataset = make(bridge)
    assert all_rows(dataset) == EXPECTED
    with pytest.warns(RuntimeWarning, match="falling back"):
        sparse = make(bridge, sparse=["v"])
    assert rows_of({"v": next(iter(sparse))["v"]}) == [{"v": row["v"]} for row in EXPECTED[:10]]


def test_a_null_is_an_error_unless_told_otherwise(bridge):
    none = {"dtypes": None, "fill": None, "mask": False, "pad_to": None, "vectors": None}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"'maybe'.* row 0 .*fill={'maybe'"):
        list(make(bridge, columns=["maybe"], **none))


def test_unsupported_columns_fail_when_the_dataset_is_made(bridge):
    with pytest.raises(errors.UnsupportedTypeError, match=r"'v'.*vectors="):
        make(bridge, vectors={})
    with pytest.raises(errors.UnsupportedTypeError, match=r"'price'.*dtypes="):
        make(bridge, dtypes={})
