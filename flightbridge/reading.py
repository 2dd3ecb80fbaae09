"""``flightbridge.read``: a feed, or some of it, as Arrow, pandas or numpy, without a loop."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flightbridge.client import connect
from flightbridge.errors import InvalidArgumentError, UnsupportedTypeError

if TYPE_CHECKING:
    from flightbridge.server import Server

FORMS = ("arrow", "pandas", "numpy", "batches")


def read(
    uri: str | Sequence[str] | Server,
    feed: str,
    *,
    columns: Sequence[str] | None = None,
    partitions: Sequence[int] | None = None,
    as_: str = "arrow",
    token: str | None = None,
    tls_ca: str | os.PathLike[str] | None = None,
    tls_client_cert: str | os.PathLike[str] | None = None,
    tls_client_key: str | os.PathLike[str] | None = None,
    tls_override_hostname: str | None = None,
    timeout_s: float = 60.0,
    transport: str = "auto",
) -> Any:
    """Reads a committed feed into memory, every batch verified, no value changed.

    Rows come by partition number, in each partition in the order in which they were written. For
    training, read :func:`flightbridge.batches.read`, which shuffles, shards and resumes.

    Args:
        uri: The server, ``grpc://HOST:PORT``, or several, or a ``flightbridge.Server``.
        feed: The feed's name.
        columns: Names, in the order wanted; None for all.
        partitions: Numbers, in the order wanted; None for all.
        as_: ``"arrow"``: a ``pyarrow.Table``. ``"pandas"``: a ``DataFrame``; columns of integers or
            bools that have nulls get pandas' nullable dtypes, since floats would round them.
            ``"numpy"``: a dict of arrays; a column with nulls is refused.
            ``"batches"``: an iterator of ``pyarrow.RecordBatch``, for feeds larger than memory.
        token: As in :func:`flightbridge.connect`, like all below.
        tls_ca: PEM file of CAs.
        tls_client_cert: PEM file of this client's certificate.
        tls_client_key: PEM file of its key.
        tls_override_hostname: Name to look for in the server's certificate.
        timeout_s: Deadline in seconds of connecting, of every call and of every wait.
        transport: How record batches travel.

    Raises:
        InvalidArgumentError: A setting is malformed, or a column has nulls (``"numpy"``).
        FeedNotFoundError: There is no such feed, column or partition.
        UnsupportedTypeError: ``as_="numpy"``, and a column is nested.
        DataLossError: Rows are missing or damaged.
        ServerUnavailableError: No server answers at ``uri``.
    """
    if as_ not in FORMS:
        raise InvalidArgumentError(f"as_={as_!r} is not one of {', '.join(map(repr, FORMS))}")
    client = connect(
        getattr(uri, "uri", uri),  # type: ignore[arg-type]
        token=token,
        tls_ca=tls_ca,
        tls_client_cert=tls_client_cert,
        tls_client_key=tls_client_key,
        tls_override_hostname=tls_override_hostname,
        timeout_s=timeout_s,
        transport=transport,
    )
    with client:  # a stream that is open keeps the connection
        stream = client.read(feed, columns=columns, partitions=partitions)
    if as_ == "batches":
        return _batches(stream)
    with stream:
        table = stream.read_all()
    if as_ == "pandas":
        return _to_pandas(table)
    return _to_numpy(table) if as_ == "numpy" else table


def _batches(stream: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    with stream:
        yield from stream


def _to_pandas(table: pa.Table) -> Any:
    import pandas as pd

    nullable = {
        pa.bool_(): pd.BooleanDtype(),
        **{
            getattr(pa, name.lower())(): getattr(pd, f"{name}Dtype")()
            for name in (f"{sign}nt{bits}" for sign in ("I", "UI") for bits in (8, 16, 32, 64))
        },
    }
    frame = table.to_pandas()
    for name, column in zip(table.schema.names, table.columns, strict=True):
        if column.null_count and column.type in nullable:
            frame[name] = column.to_pandas(types_mapper=nullable.get)
    return frame


def _to_numpy(table: pa.Table) -> dict[str, Any]:
    arrays = {}
    for name, column in zip(table.schema.names, table.columns, strict=True):
        if column.null_count:
            raise InvalidArgumentError(
                f"column {name!r} has {column.null_count} nulls, which numpy cannot hold: read it "
                "as_='arrow' or 'pandas', or leave it out with columns=[...]"
            )
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_fixed_size_list(kind) and not pa.types.is_nested(kind.value_type):
            flat = column.combine_chunks().flatten()
            if flat.null_count == 0:
                arrays[name] = flat.to_numpy(zero_copy_only=False).reshape(-1, kind.list_size)
                continue
        if pa.types.is_nested(kind):
            raise UnsupportedTypeError(
                f"column {name!r} has type {column.type}, which is no numpy array: read it "
                "as_='arrow' or 'pandas', or leave it out with columns=[...]"
            )
        arrays[name] = column.to_numpy()
    return arrays
