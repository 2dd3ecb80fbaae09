"""Spark types as Arrow types, the same whatever the session is set to.

Spark's own conversion follows the session: its time zone, large or small offsets, nullability of
the plan. A feed outlives the session, so its schema is fixed here instead: timestamps in UTC,
32-bit offsets, every column nullable (as Spark's file formats do). Batches are cast to it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flightbridge.errors import UnsupportedTypeError

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType

# A type's class name without "Type", in small letters -> what to do about it.
_REMEDIES = {
    "calendarinterval": "cast it to string, or split it into numeric columns with extract()",
    "yearmonthinterval": "cast it to string, or to int months with cast(... as int)",
    "variant": "cast it to a concrete type or to string, such as to_json(column)",
    "null": "cast it to a concrete type, such as cast(column as string)",
    "geography": "cast it to binary with st_asbinary(column)",
    "geometry": "cast it to binary with st_asbinary(column)",
    "udt": "select its fields as plain columns",
}
_SIMPLE = {
    "boolean": pa.bool_(),
    "byte": pa.int8(),
    "short": pa.int16(),
    "integer": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "char": pa.string(),
    "varchar": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "timestampntz": pa.timestamp("us"),
    "daytimeinterval": pa.duration("us"),
    "time": pa.time64("ns"),
}

# MLlib's vectors as Spark itself stores them: type 1 is dense, 0 sparse.
_VECTOR = pa.struct(
    [
        pa.field("type", pa.int8()),
        pa.field("size", pa.int32()),
        pa.field("indices", pa.list_(pa.field("element", pa.int32()))),
        pa.field("values", pa.list_(pa.field("element", pa.float64()))),
    ]
)
VECTOR_SIZE = "flightbridge.vector_size"
"""Metadata of a field of vectors: how long they are. Readers make tensors of that size."""


def arrow_schema(schema: StructType) -> pa.Schema:
    """The feed's Arrow schema for a Spark schema.

    Raises:
        UnsupportedTypeError: A column has a type that cannot cross, or two columns share a name;
            the message names the column and what to do.
    """
    repeated = [name for name, times in Counter(schema.names).items() if times > 1]
    if repeated:
        raise UnsupportedTypeError(
            f"column {repeated[0]!r} appears more than once: rename one of them with alias()"
        )
    if not schema.names:
        raise UnsupportedTypeError("the DataFrame has no columns: select at least one")
    return pa.schema([_arrow_field(f) for f in schema.fields])


def _arrow_field(field: Any) -> pa.Field:
    # MLlib's transformers note the size of the vectors that they make.
    size = ((field.metadata or {}).get("ml_attr") or {}).get("num_attrs")
    metadata = None
    if _kind(field.dataType) == "vector" and isinstance(size, int) and size > 0:
        metadata = {VECTOR_SIZE: str(size)}
    return pa.field(field.name, _arrow_type(field.dataType, field.name), metadata=metadata)


def _arrow_type(spark_type: DataType, path: str) -> pa.DataType:
    kind = _kind(spark_type)
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if kind == "vector":
        return _VECTOR
    shape: Any = spark_type
    if kind == "decimal":
        return pa.decimal128(shape.precision, shape.scale)
    if kind == "array":
        return pa.list_(pa.field("element", _arrow_type(shape.elementType, f"{path}[]")))
    if kind == "map":
        key = pa.field("key", _arrow_type(shape.keyType, f"{path}.key"), nullable=False)
        return pa.map_(key, pa.field("value", _arrow_type(shape.valueType, f"{path}.value")))
    if kind == "struct":
        return pa.struct(
            [pa.field(f.name, _arrow_type(f.dataType, f"{path}.{f.name}")) for f in shape.fields]
        )
    remedy = _REMEDIES.get(kind, "cast it to string or binary")
    raise UnsupportedTypeError(
        f"column {path!r} has Spark type {spark_type.simpleString()}, which a feed cannot hold: "
        f"{remedy}, or drop it"
    )


def _kind(spark_type: DataType) -> str:
    # By class name: the classes differ between Spark versions (TimeType, GeometryType).
    names = [cls.__name__ for cls in type(spark_type).__mro__]
    if "UserDefinedType" in names:
        return "vector" if names[0] == "VectorUDT" else "udt"
    return names[0].removesuffix("Type").lower()
