"""DataFrames scored by real Spark: where the rows are, as training saw them, each row once."""

import datetime as dt
import os
from collections import Counter

import pyarrow as pa
import pytest

import flightbridge.spark
from flightbridge.errors import (
    InvalidArgumentError,
    SchemaMismatchError,
    ServerUnavailableError,
    UnsupportedTypeError,
)
from flightbridge.spark.failures import original_errors

pytestmark = [
    pytest.mark.spark,
    pytest.mark.tf,
    pytest.mark.slow,  # every worker imports TensorFlow
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's
]


def numbers(spark, rows=1000, partitions=4):
    return spark.range(0, rows, 1, partitions).selectExpr(
        "id", "cast(id as float) as x", "array(cast(id as float), 1f, 2f) as f"
    )


def expected(rows):
    return {i: i + i + 3.0 for i in range(rows)}


def test_every_row_is_scored_once(spark, models):
    scored = flightbridge.spark.predict(
        numbers(spark), models.keras, columns={"x": "x", "f": "f"}, pad_to={"f": 3}, batch_size=7
    )
    assert scored.columns == ["id", "x", "f", "prediction"]
    assert scored.schema["prediction"].dataType.simpleString() == "float"
    rows = scored.collect()
    assert {row.id: row.prediction for row in rows} == expected(1000)
    assert Counter(row.id for row in rows) == Counter(range(1000))
    assert all(row.f == [row.id, 1, 2] for row in rows)


def test_one_can_go_on_with_it_like_with_any_dataframe(classic_session, models):
    spark = classic_session
    scored = flightbridge.spark.predict(
        numbers(spark), str(models.keras), pad_to={"f": 3}, keep=["id"], outputs={"prediction": "y"}
    )
    assert scored.columns == ["id", "y"]
    best = scored.where("y > 100").groupBy().agg({"y": "max", "*": "count"}).collect()
    assert sorted(best[0]) == [951, 2001.0]
    only = flightbridge.spark.predict(numbers(spark), models.keras, pad_to={"f": 3}, keep=[])
    assert only.columns == ["prediction"]
    assert sorted(row.prediction for row in only.collect()) == sorted(expected(1000).values())


def test_mllib_vectors_strings_and_lists(classic_session, models):
    from pyspark.ml.feature import VectorAssembler

    df = classic_session.range(50).selectExpr(
        "id", "cast(id as float) as x", "concat('ü', id) as text", "sequence(0, id % 4) as lists"
    )
    df = VectorAssembler(inputCols=["id", "id", "x"], outputCol="v").transform(df)
    by_vector = flightbridge.spark.predict(
        df, models.exported, columns={"x": "x", "f": "v"}, dtypes={"v": "float32"}
    )
    assert [row.prediction for row in by_vector.orderBy("id").collect()] == [
        4.0 * i for i in range(50)
    ]
    assert {row.v.size for row in by_vector.select("v").collect()} == {3}
    both = flightbridge.spark.predict(by_vector, models.ragged, keep=["text"])
    assert [field.dataType.simpleString() for field in both.schema] == [
        "string",
        "bigint",
        "array<bigint>",
    ]
    text = flightbridge.spark.predict(both, models.text, outputs=["length", "upper"])
    [row] = text.where("text = 'ü7'").collect()
    assert (row.sum, row.twice, row.length, row.upper) == (6, [0, 2, 4, 6], 2, "Ü7")


@pytest.mark.parametrize("large", ["false", "true"], ids=["small-offsets", "large-offsets"])
def test_every_kind_of_output_reaches_spark(classic_session, models, large):
    spark = classic_session
    names = ["bool", "int8", "uint8", "uint32", "uint64", "bfloat16", "float64"]
    names += ["matrix", "cube", "words"]
    setting = "spark.sql.execution.arrow.useLargeVarTypes"
    before = spark.conf.get(setting)
    spark.conf.set(setting, large)
    try:
        scored = flightbridge.spark.predict(
            spark.range(5).withColumnRenamed("id", "x"),
            models.kinds,
            signature="all",
            outputs=names,
        )
        types = {f.name: f.dataType.simpleString() for f in scored.schema}
        [row] = scored.where("x = 4").collect()
    finally:
        spark.conf.set(setting, before)
    assert types["uint32"] == "bigint"
    assert types["uint64"] == "decimal(20,0)"
    assert types["cube"] == "array<array<bigint>>"
    assert types["words"] == "array<string>"
    assert (row.bool, row.int8, row.uint8, row.uint64, row.bfloat16) == (True, 4, 4, 4, 4.0)
    assert (row.matrix, row.cube, row.words) == ([4, -4], [[4, -4], [4, -4]], ["4"])


def test_columns_beside_the_predictions_stay_as_they_are(spark, models):
    df = spark.sql(
        "select id as x, named_struct('t', timestamp_ntz'2024-01-01 00:00:00', 'l', array(id)) s, "
        "map('k', 1.5D) m, cast(1.25 as decimal(10, 2)) d, interval '1' day iv, "
        "cast(null as string) nothing, date'2024-02-03' day from range(3)"
    )
    scored = flightbridge.spark.predict(df, models.kinds, signature="all", outputs=["int32"])
    assert [(f.name, f.dataType) for f in scored.schema][:-1] == [
        (f.name, f.dataType) for f in df.schema
    ]
    kept = [row.asDict(recursive=True) for row in scored.orderBy("x").collect()]
    assert [row.pop("int32") for row in kept] == [0, 1, 2]
    assert kept == [row.asDict(recursive=True) for row in df.orderBy("x").collect()]
    assert kept[0]["iv"] == dt.timedelta(days=1)


def test_with_a_schema_the_driver_loads_nothing(classic_session, models, monkeypatch):
    spark = classic_session
    from flightbridge.scoring import models as model_files

    def fail(ref):
        raise AssertionError(f"{ref} was loaded on the driver")

    monkeypatch.setattr(model_files, "load", fail)
    df = numbers(spark, rows=10, partitions=1)
    for schema in ("score double", score_schema()):
        scored = flightbridge.spark.predict(df, models.keras, schema=schema, pad_to={"f": 3})
        assert {row.id: row.score for row in scored.collect()} == expected(10)
    wrong = flightbridge.spark.predict(df, models.keras, schema="a int, b int", pad_to={"f": 3})
    with (
        pytest.raises(InvalidArgumentError, match=r"schema has 'a'.*'prediction'"),
        original_errors(),
    ):
        wrong.collect()


def score_schema():
    from pyspark.sql.types import DoubleType, StructField, StructType

    return StructType([StructField("score", DoubleType())])


def test_what_cannot_work_is_refused_before_any_job(spark, models, tmp_path):
    df = numbers(spark, rows=10).selectExpr("*", "interval '1' month as iv", "cast(x as int) as n")

    def refused(error, *says, model=models.exported, **settings):
        with pytest.raises(error) as caught:
            flightbridge.spark.predict(df, model, **settings)
        for part in says:
            assert part in str(caught.value)

    refused(InvalidArgumentError, "gone", "does not exist", model=tmp_path / "gone")
    refused(InvalidArgumentError, "signature='no'", "'serving_default'", signature="no")
    refused(SchemaMismatchError, "'f'", "pad_to={'f': n}")
    refused(SchemaMismatchError, "'m'", "'x', 'f'", columns={"x": "m", "f": "f"})
    refused(SchemaMismatchError, "'id'", "int64", "dtypes=", columns={"x": "id", "f": "f"})
    refused(UnsupportedTypeError, "'iv'", "cast", columns={"x": "iv", "f": "f"})
    refused(UnsupportedTypeError, "'iv'", columns={"x": "iv", "f": "f"}, schema="prediction float")
    refused(InvalidArgumentError, "keep has 'no'", keep=["no"], pad_to={"f": 3})
    refused(InvalidArgumentError, "keep='x'", keep="x")
    refused(
        InvalidArgumentError, "'x' is there already", outputs={"prediction": "x"}, pad_to={"f": 3}
    )
    refused(InvalidArgumentError, "'iv' cannot stay", "keep=[...]", pad_to={"f": 3})
    refused(InvalidArgumentError, "device='tpu'", device="tpu", pad_to={"f": 3}, keep=["id"])
    refused(InvalidArgumentError, "batch_size=0", batch_size=0)
    with pytest.raises(InvalidArgumentError, match="'x' appears more than once"):
        flightbridge.spark.predict(df.selectExpr("x", "x"), models.exported)


def test_errors_in_tasks_say_what_training_would_have_said(classic_session, models):
    spark = classic_session
    df = numbers(spark, rows=10, partitions=1).selectExpr("id", "f", "if(id = 7, null, x) as x")
    scored = flightbridge.spark.predict(df, models.exported, pad_to={"f": 3})
    with (
        pytest.raises(InvalidArgumentError, match=r"'x' has a null at row .*fill="),
        original_errors(),
    ):
        scored.collect()
    filled = flightbridge.spark.predict(df, models.exported, pad_to={"f": 3}, fill={"x": 0})
    assert {row.id: row.prediction for row in filled.collect()} == {**expected(10), 7: 10.0}
    picky = flightbridge.spark.predict(
        spark.range(80, 100, 1, 1).withColumnRenamed("id", "x"), models.kinds, signature="picky"
    )
    with (
        pytest.raises(InvalidArgumentError, match=r"'picky'.*failed on a batch of"),
        original_errors(),
    ):
        picky.collect()


def test_a_model_that_another_host_does_not_have_is_named(connect_session, models, tmp_path):
    scored = flightbridge.spark.predict(
        numbers(connect_session, rows=10, partitions=1),
        tmp_path / "elsewhere",
        schema="prediction float",
    )
    with (
        pytest.raises(InvalidArgumentError, match=r"elsewhere.*does not exist on .*executor"),
        original_errors(),
    ):
        scored.collect()


def test_a_worker_loads_the_model_once(classic_session, models, make_doubler, tmp_path):
    path, log = tmp_path / "own.keras", tmp_path / "loads"
    make_doubler(path, log)
    classic_session.sparkContext.addPyFile(str(models.root / "fb_own_layers.py"))
    df = numbers(classic_session, rows=400, partitions=16).selectExpr("id", "x", "x as y")
    settings = {"columns": ["x", "y"], "modules": ["fb_own_layers"], "schema": "double float"}

    def processes(batches):
        for batch in batches:
            yield pa.record_batch({"pid": pa.array([os.getpid()] * batch.num_rows)})

    used = set()
    for _ in range(2):  # the second job finds what the first has loaded
        scored = flightbridge.spark.predict(df, path, outputs=["double"], **settings)
        assert {row.id: row.double for row in scored.collect()} == {i: 2.0 * i for i in range(400)}
        ran = scored.mapInArrow(processes, "pid bigint")
        used |= {row.pid for row in ran.collect()}
    loads = log.read_text().split()
    assert len(loads) == len(set(loads)), "a worker has loaded the model twice"
    assert len(loads) < 16, "as many loads as a job has tasks"
    assert used


def test_a_retried_task_scores_its_rows_again_and_once(classic_session, models):
    def fail_once(batches):
        from pyspark import TaskContext

        context = TaskContext.get()
        for batch in batches:
            yield batch
            if context.partitionId() == 1 and context.attemptNumber() == 0:
                raise RuntimeError("on purpose, behind the first batch")

    setting = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = classic_session.conf.get(setting)
    classic_session.conf.set(setting, "50")
    try:
        df = numbers(classic_session).mapInArrow(fail_once, numbers(classic_session).schema)
        scored = flightbridge.spark.predict(df, models.exported, pad_to={"f": 3}, batch_size=64)
        assert Counter((row.id, row.prediction) for row in scored.collect()) == Counter(
            expected(1000).items()
        )
    finally:
        classic_session.conf.set(setting, before)


def test_predictions_go_into_a_feed(connect_session, models, bridge, client):
    scored = flightbridge.spark.predict(
        numbers(connect_session),
        models.exported,
        pad_to={"f": 3},
        keep=["id"],
        outputs={"prediction": "y"},
    )
    flightbridge.spark.write(scored, bridge, "scored")
    table = client.read_table("scored")
    assert dict(zip(*(table[name].to_pylist() for name in ("id", "y")), strict=True)) == expected(
        1000
    )


def test_a_model_server_scores_for_tasks(spark, models):
    from flightbridge.scoring.server import ModelServer

    with ModelServer(models.exported) as server:
        settings = {"uri": server.uri, "pad_to": {"f": 3}, "keep": ["id"], "batch_size": 64}
        scored = flightbridge.spark.predict(numbers(spark), **settings)
        assert scored.columns == ["id", "prediction"]
        rows = scored.collect()
        assert Counter((row.id, row.prediction) for row in rows) == Counter(expected(1000).items())
        typed = flightbridge.spark.predict(
            numbers(spark, rows=10), uri=server, schema="y double", pad_to={"f": 3}
        )
        assert {row.id: row.y for row in typed.collect()} == expected(10)
        for settings, error, says in [
            ({"columns": {"x": "id", "f": "f"}}, SchemaMismatchError, "dtypes="),
            ({"columns": {"x": "gone", "f": "f"}}, SchemaMismatchError, "'gone'"),
            ({"signature": "x"}, InvalidArgumentError, "server's"),
            ({"model": models.keras}, InvalidArgumentError, "the one or the other"),
            ({"timeout_s": 0}, InvalidArgumentError, "timeout_s=0"),
        ]:
            with pytest.raises(error, match=says):
                flightbridge.spark.predict(
                    numbers(spark), **{"uri": server.uri, "pad_to": {"f": 3}, **settings}
                )
        nulls = numbers(spark, rows=10, partitions=1).selectExpr(
            "id", "f", "if(id = 7, null, x) as x"
        )
        failing = flightbridge.spark.predict(nulls, uri=server.uri, pad_to={"f": 3})
        with pytest.raises(InvalidArgumentError, match=r"'x' has a null"), original_errors():
            failing.collect()
    with pytest.raises(ServerUnavailableError):
        flightbridge.spark.predict(numbers(spark), uri=server.uri, timeout_s=20)
    with pytest.raises(InvalidArgumentError, match="the one or the other"):
        flightbridge.spark.predict(numbers(spark))
