"""What a reader is asked to do: every setting of a read, checked in one place.

:func:`make_spec` is what :mod:`flightbridge.batches` and :mod:`flightbridge.tf` share, so that a
setting means the same and fails with the same words everywhere.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from typing import Any, SupportsIndex

from flightbridge.column_options import Fill, column_options
from flightbridge.config import parse_bytes, parse_servers
from flightbridge.credentials import resolve
from flightbridge.errors import InvalidArgumentError
from flightbridge.v1 import commands_pb2

MAX_BATCH_ROWS = 1 << 30
"""Largest ``batch_size``, in rows."""

WHOLE_SHARD = -1
"""The shuffle window that holds every row of the shard."""

#: How record batches travel; see :func:`flightbridge.connect`.
TRANSPORTS = ("auto", "local", "mapped", "channel", "flight")
POLICIES = {
    "off": commands_pb2.SHARD_POLICY_OFF,
    "static": commands_pb2.SHARD_POLICY_STATIC,
    "static_partition": commands_pb2.SHARD_POLICY_STATIC_PARTITION,
    "dynamic": commands_pb2.SHARD_POLICY_DYNAMIC,
}
"""How readers share a feed. ``off``: each reads all of it. ``static``: each its own contiguous
rows, equal to one row. ``static_partition``: each its own whole partitions, about equal in rows.
``dynamic``: pieces of it, first come, first served."""

UNEVEN = {
    "join": commands_pb2.UNEVEN_SHARDS_JOIN,
    "pad": commands_pb2.UNEVEN_SHARDS_PAD,
    "drop": commands_pb2.UNEVEN_SHARDS_DROP,
}
"""What is done about shards of different sizes. ``join``: each ends when its rows end. ``pad``: all
are as long as the longest, shorter ones repeat their own first rows. ``drop``: all are as long as
the shortest."""


def make_spec(
    uri: str,
    feed: str,
    *,
    batch_size: int,
    columns: Iterable[str] | None = None,
    shuffle: bool | int | str | None = None,
    seed: int | None = None,
    epochs: int | None = 1,
    shard: tuple[int, int] | None = None,
    drop_remainder: bool = False,
    prefetch: int | str | None = None,
    connections: int | None = None,
    slabs: int | None = None,
    timeout_s: float | None = None,
    token: str | None = None,
    tls_ca: str | os.PathLike[str] | None = None,
    tls_client_cert: str | os.PathLike[str] | None = None,
    tls_client_key: str | os.PathLike[str] | None = None,
    tls_override_hostname: str | None = None,
    fingerprint: int = 0,
    transport: str = "auto",
    policy: str | None = None,
    uneven: str | None = None,
    group: str | None = None,
    split_rows: int | None = None,
    lease_timeout_s: float | None = None,
    dtypes: Mapping[str, Any] | None = None,
    fill: Mapping[str, Fill] | None = None,
    mask: bool | Iterable[str] = False,
    pad_to: Mapping[str, int] | None = None,
    truncate: Iterable[str] = (),
    vectors: Mapping[str, int] | None = None,
    sparse: Iterable[str] = (),
    codes: Iterable[str] = (),
    follow: bool = False,
    follow_timeout_s: float | None = None,
    generation: int | None = None,
) -> commands_pb2.ReaderSpec:
    """A checked ``ReaderSpec``.

    Args:
        uri: The server, ``grpc://HOST:PORT`` or ``grpc+tls://HOST:PORT``, or those that the feed
            spans, ``grpc://HOST:PORT,HOST:PORT``.
        feed: The feed's name.
        batch_size: Rows of a batch, from 1 to ``MAX_BATCH_ROWS``.
        columns: Columns to read, in output order. ``None``: all, in the feed's order.
        shuffle: ``None``, ``False`` or 0: the feed's own order. ``"full"`` or ``True``: a
            permutation of all rows of the shard. An int: a window of that many rows, drawn from
            all over the shard.
        seed: Of the shuffle, from 0 to 2**64 - 1. ``None`` is 0: the order is the same in every
            run, so that a saved position can be restored. Epochs differ in any case.
        epochs: Times the shard is read, at least 1; ``None`` or -1: without end.
        shard: ``(i, n)``, read part ``i`` of ``n``. ``None`` is ``(0, 1)``, all rows.
        drop_remainder: Leave out the last batch of an epoch when it is short.
        prefetch: Bytes of record batches read ahead, an int or text such as ``"64MiB"``.
        connections: Streams read at the same time, 1 to 64.
        slabs: Assembled batches kept ready, 1 to 1024.
        timeout_s: Deadline of every call, in seconds.
        token: Sent as ``authorization: Bearer ...``; ``None``: the environment variable
            ``FLIGHTBRIDGE_TOKEN``, where it is set.
        tls_ca: For ``grpc+tls://``: PEM file of the CAs that may have signed the server's
            certificate; by default ``FLIGHTBRIDGE_TLS_CA``, else the system's list.
        tls_client_cert: PEM file of this client's certificate, for a server that asks for one; by
            default ``FLIGHTBRIDGE_TLS_CLIENT_CERT``.
        tls_client_key: PEM file of its key; by default ``FLIGHTBRIDGE_TLS_CLIENT_KEY``.
        tls_override_hostname: Name to look for in the server's certificate in place of the uri's.
        fingerprint: Of the feed as it was when the dataset was made; 0 is not checked.
        transport: As in :func:`flightbridge.connect`.
        policy: How readers share the feed, a key of ``POLICIES``; ``None`` is ``"static"``.
        uneven: What is done about shards of different sizes, a key of ``UNEVEN``; ``None`` is
            ``"join"``.
        group: Under ``"dynamic"``: the readers of one name share the feed. 1 to 200 bytes.
        split_rows: Under ``"dynamic"``: rows of a piece at most; ``None`` leaves it to the core.
        lease_timeout_s: Under ``"dynamic"``: without a sign of life for that long, in seconds, a
            reader's pieces are given to others; ``None`` is 30.
        dtypes: Column to dtype. This and what follows: see
            :func:`flightbridge.column_options.column_options`.
        fill: Column to what stands in for its nulls.
        mask: Columns, or True for all, that get a mask.
        pad_to: Column to number of values: lists become dense.
        truncate: Columns whose lists lose what is beyond ``pad_to``.
        vectors: Column to size of its MLlib vectors.
        sparse: Columns of MLlib vectors that become sparse tensors.
        codes: Dictionary columns to be read as codes.
        follow: Read a feed that grows generation by generation, until it is ended.
        follow_timeout_s: Longest wait for the next generation, in seconds; ``None`` is an hour.
        generation: The last one to read of a feed that grows; ``None``: all that are there.

    Raises:
        InvalidArgumentError: A setting has a wrong type or is out of range; the message names
            the setting, the value and the remedy.
    """
    uri = parse_servers(uri)
    if not isinstance(feed, str) or not feed:
        raise InvalidArgumentError(f"feed={feed!r} is not a feed name: give a non-empty str")
    spec = commands_pb2.ReaderSpec(
        uri=uri,
        feed=feed,
        fingerprint=_integer("fingerprint", fingerprint, 0, 2**64 - 1),
        columns=_column_names(columns),
        batch_size=_integer("batch_size", batch_size, 1, MAX_BATCH_ROWS, " rows"),
        drop_remainder=_flag("drop_remainder", drop_remainder),
        epochs=_epochs(epochs),
        shuffle_window=_shuffle_window(shuffle),
        seed=0 if seed is None else _integer("seed", seed, 0, 2**64 - 1),
        transport=_transport(transport),
        options=column_options(
            dtypes=dtypes,
            fill=fill,
            mask=mask,
            pad_to=pad_to,
            truncate=truncate,
            vectors=vectors,
            sparse=sparse,
            codes=codes,
        ),
    )
    spec.shard, spec.num_shards = _shard(shard)
    if policy is not None:
        spec.policy = _choice("policy", policy, POLICIES)
    if uneven is not None:
        spec.uneven = _choice("uneven", uneven, UNEVEN)
    _set_leases(spec, shard, group, split_rows, lease_timeout_s)
    _set_growth(spec, follow, follow_timeout_s, generation)
    # 0 leaves the choice to the core.
    if prefetch is not None:
        spec.prefetch_bytes = min(parse_bytes(prefetch, "prefetch"), 2**62)
    if connections is not None:
        spec.connections = _integer("connections", connections, 1, 64)
    if slabs is not None:
        spec.slabs = _integer("slabs", slabs, 1, 1024)
    if timeout_s is not None:
        spec.timeout_s = _seconds("timeout_s", timeout_s)
    credentials = resolve(
        uri,
        token=token,
        tls_ca=tls_ca,
        tls_client_cert=tls_client_cert,
        tls_client_key=tls_client_key,
        tls_override_hostname=tls_override_hostname,
    )
    spec.token = credentials.token
    spec.tls_ca = credentials.tls_ca
    spec.tls_client_cert = credentials.tls_client_cert
    spec.tls_client_key = credentials.tls_client_key
    spec.tls_override_hostname = credentials.tls_override_hostname
    return spec


def _integer(name: str, value: SupportsIndex, low: int, high: int, unit: str = "") -> int:
    # A bool is an int to Python, and never meant as one; numpy integers are welcome.
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidArgumentError(
            f"{name}={value!r} is not a whole number: give an int from {low} to {high}{unit}"
        )
    number = operator.index(value)
    if not low <= number <= high:
        raise InvalidArgumentError(
            f"{name}={number} is out of range: give an int from {low} to {high}{unit}"
        )
    return number


def _set_leases(
    spec: commands_pb2.ReaderSpec,
    shard: tuple[int, int] | None,
    group: str | None,
    split_rows: int | None,
    lease_timeout_s: float | None,
) -> None:
    given = {"group": group, "split_rows": split_rows, "lease_timeout_s": lease_timeout_s}
    if spec.policy != commands_pb2.SHARD_POLICY_DYNAMIC:
        for name, value in given.items():
            if value is not None:
                raise InvalidArgumentError(
                    f"{name}={value!r} is for policy='dynamic': readers with shards of their own "
                    "lease nothing"
                )
        return
    if shard is not None:
        raise InvalidArgumentError(
            f"shard={shard!r} with policy='dynamic': there no reader has a shard, each gets what "
            "the others have not taken; leave shard out, or use policy='static'"
        )
    if spec.uneven in (commands_pb2.UNEVEN_SHARDS_PAD, commands_pb2.UNEVEN_SHARDS_DROP):
        raise InvalidArgumentError(
            "uneven='pad' or 'drop' with policy='dynamic': how many rows a reader gets is known "
            "only when the epoch is over; use uneven='join' or a static policy"
        )
    if not isinstance(group, str) or not 0 < len(group.encode()) <= 200:
        raise InvalidArgumentError(
            f"group={group!r} is not a group's name: policy='dynamic' needs one of 1 to 200 bytes, "
            "the same for all readers that share the feed and another for every run"
        )
    spec.group = group
    if split_rows is not None:
        spec.split_rows = _integer("split_rows", split_rows, 1, 2**31 - 1, " rows")
    if lease_timeout_s is not None:
        spec.lease_timeout_s = _seconds("lease_timeout_s", lease_timeout_s)
        if lease_timeout_s < 0.1:
            raise InvalidArgumentError(
                f"lease_timeout_s={lease_timeout_s!r} is out of range: give at least 0.1 seconds"
            )


def _set_growth(
    spec: commands_pb2.ReaderSpec,
    follow: bool,
    follow_timeout_s: float | None,
    generation: int | None,
) -> None:
    spec.follow = _flag("follow", follow)
    if generation is not None:
        spec.generation = _integer("generation", generation, 1, 2**62)
    if not follow:
        if follow_timeout_s is not None:
            raise InvalidArgumentError(
                f"follow_timeout_s={follow_timeout_s!r} is for follow=True: leave it out"
            )
        return
    if follow_timeout_s is not None:
        spec.follow_timeout_s = _seconds("follow_timeout_s", follow_timeout_s)
    if generation is not None:
        raise InvalidArgumentError(
            f"generation={generation!r} with follow=True, which has no last one: give one of them"
        )
    if spec.epochs != 1:
        raise InvalidArgumentError(
            f"epochs={spec.epochs} with follow=True: a feed that grows is followed once; leave "
            "epochs out, or read the generations that are there without follow"
        )
    if spec.policy == commands_pb2.SHARD_POLICY_DYNAMIC:
        raise InvalidArgumentError(
            "policy='dynamic' with follow=True: leases are of feeds that are committed; use "
            "policy='static'"
        )


def _choice(name: str, value: str, choices: dict[str, int]) -> int:
    found = choices.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise InvalidArgumentError(
            f"{name}={value!r} is not known: give one of {', '.join(map(repr, choices))}"
        )
    return found


def _transport(value: str) -> str:
    if value not in TRANSPORTS:
        raise InvalidArgumentError(f"transport={value!r} is not one of {', '.join(TRANSPORTS)}")
    return "" if value == "auto" else value


def _flag(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{name}={value!r} is not a bool: give True or False")
    return value


def _seconds(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgumentError(f"{name}={value!r} is not a number of seconds")
    if not 0 < value <= 86_400:
        raise InvalidArgumentError(
            f"{name}={value!r} is out of range: give seconds above 0, at most 86400"
        )
    return float(value)


def _column_names(columns: Iterable[str] | None) -> list[str]:
    if columns is None:
        return []
    if isinstance(columns, str):
        raise InvalidArgumentError(
            f"columns={columns!r} is one str: give a list of names, [{columns!r}]"
        )
    names = list(columns)
    if not names:
        raise InvalidArgumentError("columns=[] reads nothing: name a column, or leave it out")
    for name in names:
        if not isinstance(name, str) or not name:
            raise InvalidArgumentError(f"columns has {name!r}: give column names as str")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidArgumentError(f"columns names {repeated[0]!r} twice: name each column once")
    return names


def _epochs(epochs: int | None) -> int:
    if epochs is None or (epochs == -1 and not isinstance(epochs, bool)):
        return -1
    try:
        return _integer("epochs", epochs, 1, 2**62)
    except InvalidArgumentError:
        raise InvalidArgumentError(
            f"epochs={epochs!r} is not a number of epochs: give an int of at least 1, "
            "or None (or -1) to read without end"
        ) from None


def _shuffle_window(shuffle: bool | int | str | None) -> int:
    if shuffle is None or shuffle is False:
        return 0
    if shuffle is True or shuffle == "full":
        return WHOLE_SHARD
    wrong = InvalidArgumentError(
        f"shuffle={shuffle!r} is not a shuffle window: give 'full' or True for all rows of "
        "the shard, a number of rows such as 65536, or None for the feed's order"
    )
    if isinstance(shuffle, str):
        raise wrong
    try:
        return _integer("shuffle", shuffle, 0, 2**62, " rows")
    except InvalidArgumentError:
        raise wrong from None


def _shard(shard: tuple[int, int] | None) -> tuple[int, int]:
    if shard is None:
        return 0, 1
    try:
        index, count = shard
    except (TypeError, ValueError):
        raise InvalidArgumentError(
            f"shard={shard!r} is not a pair: give (i, n) with 0 <= i < n, such as (0, 4)"
        ) from None
    count = _integer("shard count", count, 1, 2**31 - 1)
    index = _integer("shard index", index, 0, 2**31 - 1)
    if index >= count:
        raise InvalidArgumentError(
            f"shard={(index, count)!r}: index {index} is not below the count {count}; "
            f"shards are numbered 0 to {count - 1}"
        )
    return index, count
