"""Models of each kind over record batches: what they read, what they make, what they refuse."""

import shutil
import sys
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from flightbridge.errors import (
    FailedPreconditionError,
    FeedNotFoundError,
    InvalidArgumentError,
    SchemaMismatchError,
    UnsupportedTypeError,
)
from flightbridge.scoring import cache
from flightbridge.scoring import models as model_files
from flightbridge.scoring.models import make_ref
from flightbridge.scoring.request import make_request
from flightbridge.scoring.slices import conformed, groups, joined

pytestmark = [
    pytest.mark.tf,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's
]

ROWS = 10


def rows() -> pa.RecordBatch:
    n = range(ROWS)
    return pa.record_batch(
        {
            "x": pa.array(n, pa.float32()),
            "f": pa.array([[i, 1, 2] for i in n], pa.list_(pa.float32(), 3)),
            "wide": pa.array(n, pa.float64()),
            "id": pa.array(n, pa.int64()),
            "text": pa.array([f"ü{i}" for i in n]),
            "lists": pa.array([list(range(i % 4)) for i in n], pa.list_(pa.int64())),
            "nulls": pa.array([None if i % 2 else i for i in n], pa.float32()),
            "pair": pa.array([{"a": float(i), "b": i} for i in n]),
        }
    )


def scorer_of(path, signature=None, modules=(), **request):
    return cache.scorer_of(
        make_ref(path, signature, modules), make_request(**request), rows().schema
    )


def score(path, signature=None, **request):
    scorer = scorer_of(path, signature, **request)
    return scorer.score([conformed(rows(), scorer.schema)]).to_pydict()


def test_keras_and_saved_model_agree(models):
    expected = {"prediction": [i + i + 1 + 2.0 for i in range(ROWS)]}
    assert score(models.keras) == expected
    assert score(models.exported) == expected
    assert score(models.exported, columns={"x": "x", "f": "f"}) == expected
    assert score(models.keras, columns={"x": "wide", "f": "f"}) == expected  # Keras casts it


def test_only_what_the_model_reads_is_asked_for(models):
    assert sorted(scorer_of(models.keras).schema.names) == ["f", "x"]
    scorer = scorer_of(models.exported, columns={"x": "wide", "f": "f"}, dtypes={"wide": "float32"})
    assert sorted(scorer.schema.names) == ["f", "wide"]


def test_options_make_of_columns_what_training_saw(models):
    filled = score(models.exported, columns={"x": "nulls", "f": "f"}, fill={"nulls": -1})
    assert filled["prediction"][:3] == [3.0, 3.0, 7.0]
    cut = {"pad_to": {"lists": 3}, "dtypes": {"lists": "float32"}}
    padded = score(models.exported, columns={"x": "x", "f": "lists"}, **cut)
    assert padded["prediction"] == [i + sum(range(i % 4)) for i in range(ROWS)]
    part = {"columns": {"x": "pair.a", "f": "f"}, "dtypes": {"pair.a": "float32"}}
    assert score(models.exported, **part)["prediction"][4] == 11.0


def test_strings_and_ragged_lists(models):
    text = score(models.text, outputs=["length", "upper"])
    assert text["upper"][3] == "Ü3"
    assert set(text["length"]) == {2}
    lists = score(models.ragged, columns={"lists": "lists"})
    assert lists["sum"] == [sum(range(i % 4)) for i in range(ROWS)]
    assert lists["twice"][3] == [0, 2, 4]
    assert lists["twice"][0] == []


def test_every_kind_of_output(models):
    refused = {"once", "complex", "fewer", "sparse"}
    known = set(scorer_of(models.kinds, "all", columns={"x": "id"}, outputs=["int8"])._specs)
    got = score(models.kinds, "all", columns={"x": "id"}, outputs=sorted(known - refused))
    for name in ("int8", "uint8", "uint32", "float16", "bfloat16", "float64"):
        assert got[name] == list(range(ROWS)), name
    assert got["uint64"] == [Decimal(i) for i in range(ROWS)]
    assert got["bool"][:2] == [True, False]
    assert got["matrix"][2] == [2, -2]
    assert got["cube"][2] == [[2, -2], [2, -2]]
    assert got["words"][:6] == [[], ["1"], ["2", "2"], [], ["4"], ["5", "5"]]


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("once", "one value, not one for each row"),
        ("complex", "complex64"),
        ("sparse", "sparse tensor"),
    ],
)
def test_outputs_that_are_no_column_are_refused_beforehand(models, output, says):
    with pytest.raises(UnsupportedTypeError, match=says) as caught:
        scorer_of(models.kinds, "all", columns={"x": "id"}, outputs=[output])
    assert repr(output) in str(caught.value)


def test_an_output_with_other_rows_is_an_error(models):
    with pytest.raises(InvalidArgumentError, match=r"'fewer'.* 9 rows for 10"):
        score(models.kinds, "all", columns={"x": "id"}, outputs=["fewer"])


def test_a_schema_chooses_types_and_names(models):
    def typed(kind, **more):
        schema = pa.schema([("score", kind)])
        return score(models.exported, schema=schema, **more)["score"][1]

    assert typed(pa.float64()) == 5.0
    assert typed(pa.int32()) == 5
    assert typed(pa.list_(pa.float32())) == [5.0]
    assert typed(pa.float32(), outputs={"prediction": "score"}) == 5.0
    with pytest.raises(InvalidArgumentError, match=r"'prediction'.*2 nested arrays|dimensions"):
        typed(pa.list_(pa.list_(pa.float32())))
    raw = pa.schema([("raw", pa.binary())])
    assert score(models.text, schema=raw)["raw"][0] == "ü0".encode() + b"\xff"
    with pytest.raises(InvalidArgumentError, match=r"'raw'.*binary"):
        score(models.text, outputs=["raw"])
    with pytest.raises(InvalidArgumentError, match=r"schema has 'nope'"):
        score(models.text, schema=pa.schema([("nope", pa.int64()), ("raw", pa.binary())]))


def test_a_type_that_does_not_hold_the_values_is_an_error(models):
    schema = pa.schema([("y", pa.int8())])
    big = pa.record_batch({"x": pa.array([80, 300], pa.int64())})
    scorer = cache.scorer_of(
        make_ref(models.kinds, "all", ()),
        make_request(outputs={"int64": "y"}, schema=schema),
        big.schema,
    )
    with pytest.raises(InvalidArgumentError, match=r"'int64'.*int8.*wider"):
        scorer.score([big])


@pytest.mark.parametrize(
    ("request_", "error", "says"),
    [
        ({"columns": {"x": "x"}}, SchemaMismatchError, ["'f'", "given no column"]),
        ({"columns": {"x": "gone", "f": "f"}}, SchemaMismatchError, ["'gone'", "'wide'"]),
        ({"columns": {"z": "x"}}, InvalidArgumentError, ["'z'", "'f', 'x'"]),
        ({"columns": "x"}, InvalidArgumentError, ["columns='x'", "'f', 'x'"]),
        (
            {"columns": {"x": "wide", "f": "f"}},
            SchemaMismatchError,
            ["'wide'", "float64", "dtypes={'wide': 'float32'}"],
        ),
        (
            {"columns": {"x": "text", "f": "f"}},
            SchemaMismatchError,
            ["'text'", "string", "in Spark"],
        ),
        ({"columns": {"x": "x", "f": "x"}}, SchemaMismatchError, ["'f'", "[?, 3]", "[?]"]),
        ({"columns": {"x": "x", "f": "lists"}}, SchemaMismatchError, ["'lists'", "pad_to"]),
        ({"columns": {"x": "pair", "f": "f"}}, SchemaMismatchError, ["'pair'", "'pair.a'"]),
        ({"outputs": ["nope"]}, InvalidArgumentError, ["'nope'", "'prediction'"]),
        ({"fill": {"nope": 1}}, FeedNotFoundError, ["'nope'", "f, x"]),
    ],
)
def test_what_does_not_fit_is_refused_by_name(models, request_, error, says):
    with pytest.raises(error) as caught:
        scorer_of(models.exported, **request_)
    for part in [*says, "adder"] if error is SchemaMismatchError else says:
        assert part in str(caught.value)


def test_keras_refuses_in_words_that_name_the_columns(models):
    with pytest.raises(SchemaMismatchError, match=r"adder\.keras.*'pair\.a'.*dtypes="):
        scorer_of(models.keras, columns={"x": "x", "f": "pair.a"})


def test_models_that_are_not_there(models, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.txt").write_text("x")
    (tmp_path / "broken.keras").write_text("x")
    for path, says in {
        tmp_path / "gone": "does not exist",
        tmp_path / "empty": "saved_model.pb",
        tmp_path / "model.txt": ".keras",
        tmp_path / "broken.keras": "cannot be loaded",
    }.items():
        with pytest.raises(InvalidArgumentError, match=says) as caught:
            scorer_of(path)
        assert str(path) in str(caught.value)
    with pytest.raises(InvalidArgumentError, match=r"'nope'.*'all', 'pairs', 'picky'"):
        scorer_of(models.kinds, "nope")
    with pytest.raises(InvalidArgumentError, match=r"signature='x'.*Keras"):
        scorer_of(models.keras, "x")
    with pytest.raises(SchemaMismatchError, match="exactly 2 rows"):
        scorer_of(models.kinds, "pairs", columns={"x": "id"})


def test_nulls_and_failures_of_the_model_name_where(models):
    with pytest.raises(InvalidArgumentError, match=r"'nulls' has a null at row 1.*fill"):
        score(models.exported, columns={"x": "nulls", "f": "f"})
    scorer = cache.scorer_of(
        make_ref(models.kinds, "picky", ()),
        make_request(),
        pa.schema([("x", pa.int64())]),
    )
    with pytest.raises(InvalidArgumentError, match=r"kinds.*'picky'.*failed on a batch of 1 rows"):
        scorer.score([pa.record_batch({"x": pa.array([90], pa.int64())})])


def test_a_model_of_ones_own(models, tmp_path, make_doubler, monkeypatch):
    path, log = tmp_path / "own.keras", tmp_path / "log"
    make_doubler(path, log)
    with pytest.raises(InvalidArgumentError, match=r"columns=\[...\]"):
        scorer_of(path)
    columns = ["x", "y"]
    table = rows().rename_columns([*rows().schema.names[:-1], "y"])
    table = table.set_column(7, "y", pa.array([0.5] * ROWS, pa.float32()))
    scorer = cache.scorer_of(
        make_ref(path, None, ()), make_request(columns=columns, outputs=["sum"]), table.schema
    )
    assert scorer.score([conformed(table, scorer.schema)])["sum"][3].as_py() == 3.5
    with pytest.raises(FailedPreconditionError, match=r"'fb_no_such'.*addArtifacts"):
        scorer_of(path, modules=["fb_no_such"])


def test_a_model_is_loaded_once_until_it_changes(models, tmp_path, monkeypatch):
    path = tmp_path / "copy"
    shutil.copytree(models.exported, path)
    loads = []
    load = model_files.load
    monkeypatch.setattr(model_files, "load", lambda ref: loads.append(ref) or load(ref))
    first = scorer_of(path)
    assert scorer_of(path) is first
    assert scorer_of(path, batch_size=3) is not first
    assert len(loads) == 1
    shutil.rmtree(path)
    shutil.copytree(models.kinds, path)
    assert scorer_of(path, "all", columns={"x": "id"}, outputs=["int8"]) is not first
    assert len(loads) == 2
    again = scorer_of(path, "all", columns={"x": "id"}, outputs=["int8"])
    assert again.output_schema.names == ["int8"]
    assert len(loads) == 2


def test_without_tensorflow_the_error_says_where(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(FailedPreconditionError, match=r"TensorFlow cannot be imported by.*pip"):
        model_files.load(make_ref(models.exported, None, ()))


def test_batches_are_cut_and_joined_without_losing_a_row():
    data = pa.record_batch({"x": pa.array(range(100))})
    batches = [data.slice(0, 7), data.slice(7, 0), data.slice(7, 1), data.slice(8, 92)]
    for size in (1, 3, 8, 40, 1000):
        found, sizes = [], []
        for pieces in groups(batches, size):
            sizes.append(sum(p.num_rows for p in pieces))
            ids = pa.concat_arrays([p.column("x") for p in pieces])
            predicted = pa.record_batch({"y": pa.array(ids.to_numpy() * 2)})
            for batch in joined(pieces, predicted):
                assert batch.schema.names == ["x", "y"]
                found.extend(batch.to_pylist())
        assert found == [{"x": i, "y": 2 * i} for i in range(100)]
        assert all(n == size for n in sizes[:-1])
        assert sizes[-1] <= size
    assert list(groups([], 3)) == []


def test_large_batches_come_back_in_order(models):
    n = 20_000
    data = pa.record_batch(
        {
            "x": pa.array(np.arange(n, dtype=np.float32)),
            "f": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(3 * n, np.float32)), 3),
        }
    )
    scorer = cache.scorer_of(make_ref(models.exported, None, ()), make_request(), data.schema)
    got = [
        value
        for pieces in groups(data.to_batches() if hasattr(data, "to_batches") else [data], 999)
        for value in scorer.score(pieces)["prediction"].to_pylist()
    ]
    assert got == list(range(n))
