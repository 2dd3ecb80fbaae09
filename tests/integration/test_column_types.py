"""Random nested columns, with nulls, slices and offsets, against pyarrow's own reading of them."""

import itertools
import string

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flightbridge
from flightbridge import batches

LEAVES = {
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.uint8(): st.integers(0, 255),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(string.ascii_letters + "äß€", max_size=20),
    pa.large_binary(): st.binary(max_size=20),
    pa.string_view(): st.text(string.ascii_letters, max_size=20),
}
leaf_types = st.sampled_from(list(LEAVES))


def nest(inner):
    return st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        st.builds(pa.list_, inner, st.integers(1, 3)),
        st.builds(lambda a, b: pa.struct({"a": a, "b": b}), inner, inner),
        st.builds(pa.map_, st.sampled_from([pa.string(), pa.int32()]), inner),
    )


types = st.recursive(leaf_types, nest, max_leaves=3)


def values_of(kind, nulls):
    if kind in LEAVES:
        strategy = LEAVES[kind]
    elif pa.types.is_fixed_size_list(kind):
        n = kind.list_size
        strategy = st.lists(values_of(kind.value_type, nulls), min_size=n, max_size=n)
    elif pa.types.is_map(kind):
        key = values_of(kind.key_type, False)
        strategy = st.lists(st.tuples(key, values_of(kind.item_type, nulls)), max_size=3)
    elif pa.types.is_struct(kind):
        strategy = st.fixed_dictionaries({f.name: values_of(f.type, nulls) for f in kind})
    else:
        strategy = st.lists(values_of(kind.value_type, nulls), max_size=3)
    return st.one_of(st.none(), strategy) if nulls else strategy


def expected(kind, value, path=()):
    """Of a to_pylist() value: what is filled for nulls, and for each leaf its nested values."""
    if pa.types.is_struct(kind):
        return {
            k: v
            for field in kind
            for k, v in expected(
                field.type, None if value is None else value[field.name], (*path, field.name)
            ).items()
        }
    if pa.types.is_map(kind):
        pairs = value or []
        return gathered(kind.key_type, [k for k, _ in pairs], (*path, "keys")) | gathered(
            kind.item_type, [v for _, v in pairs], (*path, "values")
        )
    if pa.types.is_fixed_size_list(kind):
        return gathered(kind.value_type, [None] * kind.list_size if value is None else value, path)
    if kind not in LEAVES:
        return gathered(kind.value_type, value or [], path)
    if value is not None:
        return {path: value}
    if kind == pa.large_binary():
        return {path: b""}
    return {path: "" if "string" in str(kind) else False if kind == pa.bool_() else 0}


def gathered(kind, items, path):
    each = [expected(kind, item, path) for item in items]
    return {leaf: [e[leaf] for e in each] for leaf in expected(kind, None, path)}


def leaves_of(value, path=()):
    if isinstance(value, dict):
        return {
            k: v for name, part in value.items() for k, v in leaves_of(part, (*path, name)).items()
        }
    return {path: as_list(value)}


def as_list(value):
    if isinstance(value, batches.Ragged):
        inner, splits = as_list(value.values), value.row_splits
        return [inner[a:b] for a, b in itertools.pairwise(splits)]
    return value.to_numpy().tolist() if isinstance(value, batches.BytesArray) else value.tolist()


@pytest.fixture(scope="module")
def bridge():
    with flightbridge.Server() as server:
        yield server


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_nested_columns_are_read_as_pyarrow_reads_them(bridge, data):
    kind = data.draw(types)
    nulls = data.draw(st.booleans())
    rows = data.draw(st.lists(values_of(kind, nulls), min_size=1, max_size=12))
    begin = data.draw(st.integers(0, len(rows) - 1))
    table = pa.table({"x": pa.array(rows, kind), "n": pa.array(range(len(rows)))}).slice(begin)
    with bridge.client() as client:
        client.write("random", table, mode="overwrite", partition_rows=5)
    found: dict = {}
    order = []
    with batches.read(
        bridge.uri, "random", batch_size=4, shuffle=data.draw(st.booleans()), mask=["x"]
    ) as reader:
        for batch in reader:
            order += batch["n"].tolist()
            columns = {k: batch[k] for k in batch if k in ("x", "x_mask")}
            for leaf, values in leaves_of(columns).items():
                found.setdefault(leaf, []).extend(values)
    wanted = [expected(kind, rows[i], ("x",)) for i in order]
    for leaf in wanted[0]:
        assert found[leaf] == [row[leaf] for row in wanted]
    if not nulls:
        assert "0" not in repr([v for k, v in found.items() if k[-1].endswith("_mask")])
        assert "False" not in repr([v for k, v in found.items() if k[-1].endswith("_mask")])


def test_a_null_anywhere_in_a_row_is_named(bridge):
    table = pa.table({"s": [{"a": [1, 2]}, {"a": [3]}, {"a": [4, None]}]})
    with bridge.client() as client:
        client.write("nulls", table, mode="overwrite")
    with batches.read(bridge.uri, "nulls", batch_size=2) as reader:
        assert as_list(next(reader)["s"]["a"]) == [[1, 2], [3]]
        with pytest.raises(flightbridge.errors.InvalidArgumentError, match=r"'s\.a'.* row 2 "):
            next(reader)


NUMBERS = [pa.int8(), pa.int64(), pa.uint16(), pa.float16(), pa.float32(), pa.float64(), pa.bool_()]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("kind", NUMBERS, ids=str)
def test_numbers_become_other_numbers(bridge, kind, shuffle):
    n = 1000
    numbers = np.arange(n) % 2 == 0 if kind == pa.bool_() else (np.arange(n) % 100)
    plain = pa.array(numbers).cast(kind) if kind != pa.float16() else pa.array(np.float16(numbers))
    lists = pa.ListArray.from_arrays(pa.array(np.arange(0, n + 1, 5), pa.int32()), plain)
    fixed = pa.FixedSizeListArray.from_arrays(plain, 5)
    table = pa.table({"x": plain.slice(0, n // 5), "l": lists, "f": fixed})
    with bridge.client() as client:
        client.write("numbers", table, mode="overwrite", partition_rows=70)
    kinds = ["float16", "bfloat16", "float32", "float64"]
    if not pa.types.is_floating(kind):
        kinds += ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]

    def read(dtypes):
        options = {"dtypes": dtypes, "batch_size": 30, "shuffle": shuffle}
        with batches.read(bridge.uri, "numbers", **options) as reader:
            parts = list(reader)
        x = np.concatenate([p["x"] for p in parts])
        lists = np.concatenate([p["l"].values for p in parts])
        return x, lists, np.concatenate([p["f"] for p in parts])

    plain_arrays = read(None)
    for dtype in kinds:
        for before, after in zip(plain_arrays, read(dict.fromkeys("xlf", dtype)), strict=True):
            assert after.dtype.name == dtype
            np.testing.assert_array_equal(after.astype(np.float64), before.astype(np.float64))


def test_a_number_that_does_not_fit_is_named(bridge):
    table = pa.table({"x": pa.array([1, 2, 300, None], pa.int64())})
    with bridge.client() as client:
        client.write("narrow", table, mode="overwrite")
    options = {"dtypes": {"x": np.int8}, "fill": {"x": -1}, "batch_size": 2}
    with batches.read(bridge.uri, "narrow", **options) as reader:
        assert next(reader)["x"].tolist() == [1, 2]
        with pytest.raises(flightbridge.errors.InvalidArgumentError, match=r"'x'.* row 2 .*fit"):
            next(reader)


@pytest.mark.parametrize(
    "kind",
    [pa.decimal32(9, 2), pa.decimal64(18, 2), pa.decimal128(38, 2), pa.decimal256(76, 2)],
    ids=str,
)
def test_decimals_are_what_is_asked_for(bridge, kind):
    texts = ["1.25", "-0.01", "1234567.89", "0.00"]
    table = pa.table(
        {"x": pa.array(texts).cast(pa.decimal128(38, 2)).cast(kind), "l": pa.array([[0]] * 4)}
    )
    with bridge.client() as client:
        client.write("decimals", table, mode="overwrite")
    with pytest.raises(flightbridge.errors.UnsupportedTypeError, match=r"'x'.*dtypes=.*'float64'"):
        batches.read(bridge.uri, "decimals", batch_size=4)
    for shuffle in (False, True):
        for dtype, wanted in [("float64", list(map(float, texts))), ("string", texts)]:
            options = {"dtypes": {"x": dtype}, "shuffle": shuffle, "columns": ["x"]}
            with batches.read(bridge.uri, "decimals", batch_size=4, **options) as reader:
                found = as_list(next(reader)["x"])
            assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize(
    ("kind", "ticks", "seconds"),
    [
        (pa.timestamp("us", "Europe/Berlin"), 1_500_000, 1.5),
        (pa.timestamp("ns"), -250_000_000, -0.25),
        (pa.date32(), 2, 172_800.0),
        (pa.date64(), 86_400_000, 86_400.0),
        (pa.time32("ms"), 1_250, 1.25),
        (pa.time64("ns"), 500_000_000, 0.5),
        (pa.duration("s"), 7, 7.0),
    ],
    ids=str,
)
def test_times_are_ticks_or_seconds(bridge, kind, ticks, seconds):
    storage = pa.int32() if kind in (pa.date32(), pa.time32("ms")) else pa.int64()
    with bridge.client() as client:
        client.write(
            "times", pa.table({"t": pa.array([ticks], storage).cast(kind)}), mode="overwrite"
        )
    with batches.read(bridge.uri, "times", batch_size=1) as reader:
        assert next(reader)["t"].tolist() == [ticks]
    with batches.read(bridge.uri, "times", batch_size=1, dtypes={"t": "float64"}) as reader:
        assert next(reader)["t"].tolist() == [seconds]
    with pytest.raises(flightbridge.errors.InvalidArgumentError, match=r"'float64' .seconds."):
        batches.read(bridge.uri, "times", batch_size=1, dtypes={"t": "float32"})


def test_lists_are_padded_cut_and_masked(bridge):
    rows = [[1, 2, 3], [], None, [4, None], [5, 6, 7, 8]]
    texts = [None if row is None else [None if v is None else str(v) for v in row] for row in rows]
    table = pa.table({"x": rows, "t": texts})
    with bridge.client() as client:
        client.write("lists", table, mode="overwrite")

    def read(**options):
        with batches.read(bridge.uri, "lists", batch_size=5, **options) as reader:
            return next(reader)

    both = {"x": 3, "t": 3}
    batch = read(pad_to=both, truncate=both, fill={"x": -1, "t": "?"}, mask=True)
    assert batch["x"].tolist() == [[1, 2, 3], [-1] * 3, [-1] * 3, [4, -1, -1], [5, 6, 7]]
    assert batch["t"].to_numpy().tolist()[3:] == [["4", "?", "?"], ["5", "6", "7"]]
    for mask in (batch["x_mask"], batch["t_mask"]):
        assert mask.sum(axis=1).tolist() == [3, 0, 0, 1, 3]
    with pytest.raises(flightbridge.errors.InvalidArgumentError, match=r"'x'.*list of 4 .* row 4 "):
        read(pad_to=both, fill={"x": 0, "t": ""})


def vector(*values):
    return {"type": 1, "size": None, "indices": None, "values": list(values)}


def sparse(size, indices, values):
    return {"type": 0, "size": size, "indices": indices, "values": values}


VECTOR = pa.struct(
    {
        "type": pa.int8(),
        "size": pa.int32(),
        "indices": pa.list_(pa.int32()),
        "values": pa.list_(pa.float64()),
    }
)


@pytest.mark.parametrize("shuffle", [False, True])
def test_vectors_are_dense_or_sparse(bridge, shuffle):
    rows = [vector(1, 2, 3), sparse(3, [2], [9]), sparse(3, [], []), vector(0, 0, 7), None]
    table = pa.table({"v": pa.array(rows, VECTOR), "n": range(5)})
    with bridge.client() as client:
        client.write("vectors", table, mode="overwrite", partition_rows=2)
    dense = np.array([[1, 2, 3], [0, 0, 9], [0, 0, 0], [0, 0, 7], [-1, -1, -1]], np.float64)
    options = {"batch_size": 5, "vectors": {"v": 3}, "shuffle": shuffle}
    for dtype in ("float64", "float32"):
        more = {"dtypes": {"v": dtype}, "fill": {"v": -1}}
        with batches.read(bridge.uri, "vectors", mask=["v"], **more, **options) as reader:
            batch = next(reader)
        assert batch["v"].dtype == dtype
        np.testing.assert_array_equal(batch["v"], dense[batch["n"]])
        assert batch["v_mask"].all(axis=1).tolist() == (batch["n"] != 4).tolist()
        with batches.read(bridge.uri, "vectors", sparse=["v"], **more, **options) as reader:
            batch = next(reader)
        found = np.zeros(batch["v"].dense_shape)
        found[tuple(batch["v"].indices.T)] = batch["v"].values
        wanted = dense[batch["n"]]
        wanted[batch["n"] == 4] = 0
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (vector(1), "another size"),
        (sparse(4, [0], [1]), "another size"),
        (sparse(2, [1, 0], [1, 1]), "indices"),
        (sparse(2, [2], [1]), "indices"),
        (sparse(2, [0], []), "numbers"),
        ({**vector(1, 2), "type": 3}, "kind"),
    ],
    ids=str,
)
def test_a_vector_that_is_wrong_is_named(bridge, row, fault):
    table = pa.table({"v": pa.array([vector(1, 2), row], VECTOR)})
    with bridge.client() as client:
        client.write("wrong", table, mode="overwrite")
    for asked in ((), ["v"]):
        reader = batches.read(bridge.uri, "wrong", batch_size=2, vectors={"v": 2}, sparse=asked)
        message = f"'v'.*{fault}.* row 1 "
        with reader, pytest.raises(flightbridge.errors.InvalidArgumentError, match=message):
            next(reader)


def test_vectors_have_the_size_that_the_feed_notes(bridge):
    field = pa.field("v", VECTOR, metadata={"flightbridge.vector_size": "2"})
    noted = pa.table({"v": pa.array([vector(1, 2)], VECTOR)}).cast(pa.schema([field]))
    with bridge.client() as client:
        client.write("noted", noted, mode="overwrite")
        client.write("unnoted", noted.cast(pa.schema([pa.field("v", VECTOR)])), mode="overwrite")
    with batches.read(bridge.uri, "noted", batch_size=1) as reader:
        assert next(reader)["v"].tolist() == [[1, 2]]
    with pytest.raises(flightbridge.errors.UnsupportedTypeError, match=r"'v'.*vectors={'v': n}"):
        batches.read(bridge.uri, "unnoted", batch_size=1)


def test_dictionaries_are_values_or_codes(bridge):
    one = pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int16()), ["a", "b"])
    other = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int16()), ["b", "a"])
    with bridge.client() as client:
        client.write("one", pa.table({"d": one}), mode="overwrite")
        client.write("two", pa.table({"d": one.slice(0, 2)}), mode="overwrite")
        client.write("two", pa.table({"d": other}), mode="append")
    with batches.read(bridge.uri, "one", batch_size=3, fill={"d": "?"}) as reader:
        assert list(next(reader)["d"]) == ["b", "a", "?"]
    with batches.read(bridge.uri, "one", batch_size=3, codes=["d"], fill={"d": -1}) as reader:
        codes = next(reader)["d"]
    assert codes.dtype == np.int16
    assert codes.tolist() == [1, 0, -1]
    with batches.read(bridge.uri, "two", batch_size=4) as reader:
        assert list(next(reader)["d"]) == ["b", "a", "a", "b"]
    reader = batches.read(bridge.uri, "two", batch_size=4, codes=["d"])
    message = r"'d'.*dictionaries"
    with reader, pytest.raises(flightbridge.errors.SchemaMismatchError, match=message):
        next(reader)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fill": {"y": 0}}, "'y', but no such column is read; read are: x, s"),
        ({"dtypes": {"x": "float"}}, "'float'} is not known: give one of"),
        ({"dtypes": {"s": "int32"}}, "'s': 'int32'}: the column has type string"),
        ({"fill": {"x": "a"}}, "no whole number|no number"),
        ({"fill": {"x": 1.5}}, "no whole number"),
        ({"fill": {"s": 3}}, "no str or bytes"),
        ({"pad_to": {"x": 3}}, "pad_to names column 'x'"),
        ({"truncate": ["x"]}, "truncate names column 'x'"),
        ({"sparse": ["x"]}, "sparse names column 'x'"),
        ({"vectors": {"x": 3}}, "vectors names column 'x'"),
        ({"codes": ["x"]}, "codes names column 'x'"),
        ({"mask": ["x"], "columns": ["x", "x_mask"]}, "'x_mask', as another"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_refused_at_once(bridge, options, message):
    table = pa.table({"x": [1], "s": ["a"], "x_mask": [True]})
    with bridge.client() as client:
        client.write("options", table, mode="overwrite")
    errors = (flightbridge.errors.InvalidArgumentError, flightbridge.errors.FeedNotFoundError)
    with pytest.raises(errors, match=message):
        batches.read(bridge.uri, "options", batch_size=1, **{"columns": ["x", "s"], **options})
