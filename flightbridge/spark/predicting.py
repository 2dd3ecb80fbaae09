"""``flightbridge.spark.predict``: a DataFrame scored by a model, where its rows are."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flightbridge.errors import InvalidArgumentError, SchemaMismatchError, UnsupportedTypeError
from flightbridge.scoring.client import (
    DEFAULT_TIMEOUT_S,
    ModelAddress,
    describe,
    make_address,
)
from flightbridge.scoring.devices import check_device
from flightbridge.scoring.models import ModelRef, make_ref
from flightbridge.scoring.request import DEFAULT_BATCH_SIZE, ScoreRequest, make_request
from flightbridge.scoring.slices import conformed, groups, joined
from flightbridge.spark.environment import require_pyspark

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import StructType

    from flightbridge.column_options import Fill
    from flightbridge.scoring.scorer import Scorer


@dataclass(frozen=True)
class Predictor:
    """What a task does with its batches. Picklable: it travels to every executor.

    Attributes:
        ref: The model.
        request: What it is asked.
        schema: The columns that it reads, in Arrow types that no setting of a session changes.
        keep: The columns that stay beside the predictions.
        made: The columns of predictions.
        device: As in :func:`predict`.
    """

    ref: ModelRef
    request: ScoreRequest
    schema: pa.Schema
    keep: tuple[str, ...]
    made: pa.Schema
    device: str

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Scores one partition, ``batch_size`` rows at a time."""
        from flightbridge.scoring import cache, devices

        gpus, cpus = _of_task()
        devices.prepare(self.device, assigned=gpus, cpus=cpus)
        scorer = cache.scorer_of(self.ref, self.request, self.schema)
        if not scorer.output_schema.equals(self.made):
            raise SchemaMismatchError(
                f"model {self.ref.path!r} gives {_listed(scorer.output_schema)} on {os.uname()[1]} "
                f"where {_listed(self.made)} are expected: the executors must find the same model "
                "under this path as the driver, and schema= must be what it gives"
            )
        for pieces in groups(batches, self.request.batch_size):
            predictions = scorer.score([conformed(piece, scorer.schema) for piece in pieces])
            yield from joined([piece.select(list(self.keep)) for piece in pieces], predictions)


@dataclass(frozen=True)
class RemotePredictor:
    """As :class:`Predictor`, for a model that a server has. Needs no TensorFlow."""

    address: ModelAddress
    request: ScoreRequest
    schema: pa.Schema
    keep: tuple[str, ...]
    made: pa.Schema

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Sends one partition to the server, a few batches at a time."""
        from flightbridge.scoring.client import exchange

        yield from exchange(self.address, self.request, self.schema, batches, list(self.keep))


def predict(
    df: DataFrame,
    model: str | os.PathLike[str] | None = None,
    *,
    uri: Any = None,
    columns: str | Iterable[str] | Mapping[str, str] | None = None,
    outputs: Iterable[str] | Mapping[str, str] | None = None,
    keep: Iterable[str] | None = None,
    schema: str | StructType | None = None,
    signature: str | None = None,
    batch_size: int = DEFAULT_BATCH_SIZE,
    device: str = "auto",
    modules: Sequence[str] = (),
    dtypes: Mapping[str, Any] | None = None,
    fill: Mapping[str, Fill] | None = None,
    mask: bool | Iterable[str] = False,
    pad_to: Mapping[str, int] | None = None,
    truncate: Iterable[str] = (),
    vectors: Mapping[str, int] | None = None,
    sparse: Iterable[str] = (),
    codes: Iterable[str] = (),
    token: str | None = None,
    tls_ca: str | os.PathLike[str] | None = None,
    tls_client_cert: str | os.PathLike[str] | None = None,
    tls_client_key: str | os.PathLike[str] | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> DataFrame:
    """The DataFrame with a model's predictions as further columns.

    Runs with Spark's own tasks, on classic and Connect sessions, and is lazy like any
    transformation. Columns become the tensors that :func:`flightbridge.tf.dataset` makes of them
    with the same options. A Python worker loads the model once, and keeps it for later tasks and
    jobs. See docs/spark.md.

    Args:
        df: The rows to score.
        model: Path of a SavedModel's directory, or of a Keras model's ``.keras`` or ``.h5`` file,
            which driver and executors all find there.
        uri: In place of ``model``: a server that ``flightbridge serve-model`` runs, ``grpc://HOST:
            PORT``, which driver and executors all reach. They need no TensorFlow then, and
            ``signature``, ``modules`` and ``device`` are the server's.
        columns: Which columns the model is given. None: for each of its inputs the column of that
            name. A name: its only input. A dict: input to column, where the names differ; a column
            may also be ``"column.field"`` or ``"column_mask"``. For a model whose inputs have no
            names (a subclassed Keras model): a list makes a dict of tensors, a name a bare tensor.
        outputs: Outputs to keep, or a dict from output to column. None: all of them. An output
            without a name of its own is called ``prediction``.
        keep: Columns that stay beside the predictions; None: all.
        schema: Types of the predictions, such as ``"prediction float"``; None: the driver loads the
            model and sees. With it nothing is loaded, or checked, before the tasks run.
        signature: Of a SavedModel; None: ``serving_default``, or the only one there is.
        batch_size: Rows that the model is given at a time, at most.
        device: ``"auto"``: the GPU that Spark has assigned to the task, else the CPU; ``"cpu"``;
            ``"gpu"``: also where Spark assigns none.
        modules: Python modules to import before the model is loaded, such as those with its own
            Keras layers.
        dtypes: Column to dtype, as in :func:`flightbridge.tf.dataset`, like all below.
        fill: Column to what stands in for its nulls; a null without it or ``mask`` is an error.
        mask: Columns that get a mask, called ``x_mask``.
        pad_to: Column to number of values: lists become dense.
        truncate: Columns whose lists lose what is beyond ``pad_to``.
        vectors: Column to size of its MLlib vectors, where their column does not say.
        sparse: Columns of MLlib vectors that become sparse tensors.
        codes: Dictionary columns to be read as codes. Spark has none.
        token: With ``uri``: bearer token; None: the driver's ``FLIGHTBRIDGE_TOKEN``.
        tls_ca: With ``uri``, as the next two: PEM file that driver and executors find under one
            path; by default the driver's ``FLIGHTBRIDGE_TLS_CA`` and its like.
        tls_client_cert: PEM file of this client's certificate.
        tls_client_key: PEM file of its key.
        timeout_s: With ``uri``: deadline in seconds of every wait for the server.

    Raises:
        InvalidArgumentError: An argument is malformed, or there is no such model or signature.
        SchemaMismatchError: An input has no column, or one that does not fit; the message names
            column, model and remedy.
        UnsupportedTypeError: A column has no tensor form, or an output no type of Spark's.
        FailedPreconditionError: pyspark is missing; or TensorFlow is, on the driver, and there is
            no ``schema``.
        ServerUnavailableError: No server answers at ``uri``.

        What goes wrong in a task reaches the action that runs the DataFrame, inside an exception of
        Spark's.
    """
    require_pyspark()
    names = _checked_names(df, keep)
    request = make_request(
        columns=columns,
        outputs=outputs,
        batch_size=batch_size,
        dtypes=dtypes,
        fill=fill,
        mask=mask,
        pad_to=pad_to,
        truncate=truncate,
        vectors=vectors,
        sparse=sparse,
        codes=codes,
    )
    readable, unreadable = _arrow_fields(df.schema)
    if (model is None) == (uri is None):
        raise InvalidArgumentError(
            f"model={model!r} and uri={uri!r}: give the one or the other, a saved model's path or "
            "a model server"
        )
    if uri is not None:
        for name, value in {"signature": signature, "modules": tuple(modules) or None}.items():
            if value is not None:
                raise InvalidArgumentError(
                    f"{name}={value!r} is given with uri={uri!r}: it is a setting of the server's"
                )
        if schema is not None:
            request = replace(request, schema=_made_by_schema(df, schema))
        address = make_address(
            uri,
            timeout_s=timeout_s,
            token=token,
            tls_ca=tls_ca,
            tls_client_cert=tls_client_cert,
            tls_client_key=tls_client_key,
        )
        with _unreadable_first(unreadable):
            said = describe(address, request, readable)
        made = said.made if said.made is not None else pa.schema([])
        request = replace(request, outputs=said.outputs)
        reads = pa.schema([readable.field(name) for name in said.reads])
        remote = RemotePredictor(address, request, reads, names, made)
        return _applied(df, remote, names, reads, made, unreadable)
    ref = make_ref(model or "", signature, modules)
    if schema is None:
        scorer = _loaded(ref, request, readable, unreadable)
        reads, made = scorer.schema, scorer.output_schema
        request = replace(request, outputs=scorer.outputs)  # so that their order is settled
    else:
        made = _made_by_schema(df, schema)
        request = replace(request, schema=made)
        reads = _asked(request, readable, unreadable, ref)
    predictor = Predictor(ref, request, reads, names, made, check_device(device))
    return _applied(df, predictor, names, reads, made, unreadable)


def _checked_names(df: DataFrame, keep: Iterable[str] | None) -> tuple[str, ...]:
    repeated = [name for name, times in Counter(df.columns).items() if times > 1]
    if repeated:
        raise InvalidArgumentError(
            f"column {repeated[0]!r} appears more than once: rename one of them with alias()"
        )
    if keep is None:
        return tuple(df.columns)
    if isinstance(keep, str):
        raise InvalidArgumentError(f"keep={keep!r} is one str: give a list of names, [{keep!r}]")
    names = tuple(dict.fromkeys(keep))
    for name in names:
        if name not in df.columns:
            raise InvalidArgumentError(
                f"keep has {name!r}, which is not among the columns "
                f"{', '.join(map(repr, df.columns))}"
            )
    return names


def _arrow_fields(schema: StructType) -> tuple[pa.Schema, dict[str, UnsupportedTypeError]]:
    """The columns that a model could be given, and of the others why it cannot."""
    from pyspark.sql.types import StructType

    from flightbridge.spark.types import arrow_schema

    fields: list[pa.Field] = []
    refused: dict[str, UnsupportedTypeError] = {}
    for field in schema.fields:
        try:
            fields.extend(arrow_schema(StructType([field])))
        except UnsupportedTypeError as error:
            refused[field.name] = error
    return pa.schema(fields), refused


def _loaded(
    ref: ModelRef,
    request: ScoreRequest,
    readable: pa.Schema,
    unreadable: Mapping[str, UnsupportedTypeError],
) -> Scorer:
    """The model, loaded here to see what it reads and makes."""
    from flightbridge.scoring import cache

    with _unreadable_first(unreadable):
        return cache.scorer_of(ref, request, readable)


@contextlib.contextmanager
def _unreadable_first(unreadable: Mapping[str, UnsupportedTypeError]) -> Iterator[None]:
    """Says of a column that is missing why it was left out."""
    try:
        yield
    except SchemaMismatchError as error:
        for name, why in unreadable.items():
            if repr(name) in str(error):
                raise why from error
        raise


def _asked(
    request: ScoreRequest,
    readable: pa.Schema,
    unreadable: Mapping[str, UnsupportedTypeError],
    ref: ModelRef,
) -> pa.Schema:
    """The columns that a model may read that has not been looked at: all, where none are named."""
    from flightbridge.scoring.columns import read_columns

    if request.columns is None:
        return readable
    names = [request.columns] if isinstance(request.columns, str) else request.columns.values()
    for name in names:
        if name in unreadable:
            raise unreadable[name]
    found = read_columns(list(names), readable, f"model {ref.path!r}")
    return pa.schema([readable.field(name) for name in found])


def _made_by_schema(df: DataFrame, schema: str | StructType) -> pa.Schema:
    from flightbridge.spark.types import arrow_schema

    if isinstance(schema, str):
        schema = df.sparkSession.createDataFrame([], schema).schema
    if not hasattr(schema, "fields"):
        raise InvalidArgumentError(
            f"schema={schema!r} is no schema: give text such as 'prediction float', or a StructType"
        )
    return arrow_schema(schema)


def _applied(
    df: DataFrame,
    function: Any,
    keep: Sequence[str],
    reads: pa.Schema,
    made: pa.Schema,
    unreadable: Mapping[str, UnsupportedTypeError],
) -> DataFrame:
    from pyspark.errors import PySparkNotImplementedError
    from pyspark.sql.types import StructField, StructType

    for name in made.names:
        if name in keep:
            raise InvalidArgumentError(
                f"column {name!r} is there already, and an output of the model has its name: "
                f"rename that, outputs={{{name!r}: 'other'}}, or leave the column out, keep=[...]"
            )
    needed = [*keep, *(name for name in reads.names if name not in keep)]
    source = df.select(*(f"`{name.replace('`', '``')}`" for name in needed))
    types = {field.name: field for field in df.schema.fields}
    predicted = [StructField(field.name, spark_type(field.type)) for field in made]
    try:
        return source.mapInArrow(
            function, StructType([*(types[name] for name in keep), *predicted])
        )
    except PySparkNotImplementedError as error:
        for name in keep:
            if name in unreadable:
                raise InvalidArgumentError(
                    f"column {name!r} cannot stay beside the predictions, since Spark hands its "
                    f"type ({types[name].dataType.simpleString()}) to no Python: leave it out with "
                    "keep=[...], or cast it to string"
                ) from error
        raise


def spark_type(kind: pa.DataType) -> Any:
    """Spark's type for a column of predictions."""
    from pyspark.sql import types

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return types.ArrayType(spark_type(kind.value_type))
    if pa.types.is_decimal(kind):
        return types.DecimalType(kind.precision, kind.scale)
    simple = {
        pa.bool_(): types.BooleanType(),
        pa.int8(): types.ByteType(),
        pa.int16(): types.ShortType(),
        pa.int32(): types.IntegerType(),
        pa.int64(): types.LongType(),
        pa.float32(): types.FloatType(),
        pa.float64(): types.DoubleType(),
        pa.string(): types.StringType(),
        pa.binary(): types.BinaryType(),
    }
    if kind not in simple:
        raise UnsupportedTypeError(
            f"a prediction cannot have Arrow type {kind}: give numbers, strings, binary or arrays "
            "of them in schema="
        )
    return simple[kind]


def _of_task() -> tuple[list[str], int | None]:
    """Addresses of the GPUs and number of CPUs that Spark has given to this task."""
    from pyspark import TaskContext

    context = TaskContext.get()
    if context is None:
        return [], None
    gpu = context.resources().get("gpu")
    return ([] if gpu is None else list(gpu.addresses)), context.cpus()


def _listed(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name!r} {field.type}" for field in schema)
