"""``flightbridge.tf.dataset``: arguments in, a checked tf.data source out."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flightbridge import selection
from flightbridge.descriptions import FeedState
from flightbridge.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    VersionMismatchError,
)
from flightbridge.reader_spec import POLICIES, make_spec
from flightbridge.tf import _elements

if TYPE_CHECKING:
    import tensorflow as tf

    from flightbridge.client import FeedInfo
    from flightbridge.column_options import Fill
    from flightbridge.server import Server
    from flightbridge.v1 import commands_pb2

FALLBACK_VARIABLE = "FLIGHTBRIDGE_TF_FALLBACK"
INFINITE = -1  # tf.data.INFINITE_CARDINALITY
DYNAMIC = POLICIES["dynamic"]
UNKNOWN = -2  # tf.data.UNKNOWN_CARDINALITY


def dataset(
    uri: str | Server,
    feed: str,
    *,
    batch_size: int,
    columns: str | Iterable[str] | None = None,
    label: str | Iterable[str] | None = None,
    weight: str | None = None,
    shuffle: bool | int | str | None = None,
    seed: int | None = None,
    epochs: int | None = 1,
    shard: tuple[int, int] | tf.distribute.InputContext | None = None,
    drop_remainder: bool = False,
    reshuffle_each_iteration: bool = True,
    prefetch: int | str | None = None,
    connections: int | None = None,
    slabs: int | None = None,
    token: str | None = None,
    tls_ca: str | os.PathLike[str] | None = None,
    tls_client_cert: str | os.PathLike[str] | None = None,
    tls_client_key: str | os.PathLike[str] | None = None,
    tls_override_hostname: str | None = None,
    timeout_s: float | None = None,
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
    position: bytes | None = None,
    follow: bool = False,
    follow_timeout_s: float | None = None,
    generation: int | None = None,
) -> tf.data.Dataset:
    """A ``tf.data.Dataset`` of batches of a committed feed.

    Batches are assembled, shuffled and read ahead by the native core; tensors of fixed-width
    columns are its buffers, not copies. The dataset is like any other: ``model.fit`` takes it,
    ``map``, ``take``, ``repeat`` and ``prefetch`` work, and ``tf.train.Checkpoint`` of an iterator
    saves a position of some hundred bytes from which another process continues at the exact next
    row. (A checkpoint of a pipeline with ``prefetch`` or ``shuffle`` behind the source holds
    their buffers too, unless ``tf.data.Options().experimental_symbolic_checkpoint`` is set.)

    Args:
        uri: The server, ``grpc://HOST:PORT`` or ``grpc+tls://HOST:PORT``, or a
            ``flightbridge.Server`` of this process.
        feed: The feed's name. It must be committed; what is committed now is what is read, and a
            feed that is replaced later is an error, never a mixture.
        batch_size: Rows per batch. The last batch of an epoch may be shorter.
        columns: None: all columns, as a dict. A list of names: a dict of these. One name: that
            tensor alone.
        label: Makes elements ``(features, label)``. One name: the label is a tensor. A list: a
            dict. Label columns are not among the features.
        weight: Makes elements ``(features, label, weight)``: the column of sample weights, which is
            not among the features. Keras' ``fit`` and ``evaluate`` weigh the loss with it.
        shuffle: None: the feed's order. True: a new order of all rows in every epoch. An int: rows
            are drawn from a window of that many.
        seed: Of the shuffle, 0 to 2**64 - 1. None is 0: the order is the same in every run,
            which is what makes positions restorable.
        epochs: Times the feed is read; None or -1: without end.
        shard: ``(i, n)``: part ``i`` of ``n`` only; which rows, ``policy`` says. A
            ``tf.distribute.InputContext``: the part of its pipeline. None: all rows.
        drop_remainder: Leave out a short last batch, so that the batch dimension is static.
        reshuffle_each_iteration: Each further iterator (Keras makes one per training epoch, so
            does ``repeat``) continues with the epoch after the last of the one before, so that
            ``fit(epochs=5)`` sees the same orders as ``dataset(epochs=5)``. False: every iterator
            gives the same order. Nothing without ``shuffle``.
        prefetch: Bytes of record batches read ahead, an int or text such as ``"64MiB"``.
        connections: Streams read at the same time.
        slabs: Assembled batches kept ready.
        token: Bearer token, where the server asks for one; None: ``FLIGHTBRIDGE_TOKEN``. It
            becomes part of the dataset's graph: do not publish a saved graph that holds it.
        tls_ca: For ``grpc+tls://``: PEM file of the CAs that may have signed the server's
            certificate; by default ``FLIGHTBRIDGE_TLS_CA``, else the system's list.
        tls_client_cert: PEM file of this client's certificate, for a server that asks for one; by
            default ``FLIGHTBRIDGE_TLS_CLIENT_CERT``.
        tls_client_key: PEM file of its key; by default ``FLIGHTBRIDGE_TLS_CLIENT_KEY``.
        tls_override_hostname: Name to look for in the server's certificate in place of the uri's.
        timeout_s: Deadline in seconds of every call to the server; default 60.
        transport: As in :func:`flightbridge.connect`.
        policy: How readers share the feed. ``"static"`` (default): ``shard`` is a run of rows, and
            shards are equal to one row. ``"static_partition"``: it is a set of whole partitions,
            shared out so that rows are about equal; no batch is cut. ``"off"``: every reader gets
            all rows, and ``shard`` only tells their shuffles apart. ``"dynamic"``: readers lease
            pieces of partitions, first come, first served, so that fast ones read more; what a
            dead one had goes to others. See "Dynamic sharding" in docs/tensorflow.md.
        uneven: What is done about shards of different sizes. ``"join"`` (default): nothing, a
            shard ends when its rows do; collective training that waits for every worker in every
            step then hangs or fails at the end of an epoch. ``"pad"``: every shard has as many
            rows as the largest, shorter ones repeat their own first rows. ``"drop"``: every shard
            has as many rows as the smallest. ``dataset.shard_stats`` counts both.
        group: For ``"dynamic"``: the name that readers sharing the feed have in common. The server
            keeps the group's epoch for a day, so give every run its own.
        split_rows: For ``"dynamic"``: rows of a piece at most, the same in all readers of a group.
            By default ``shuffle`` where it is a number, else about 8 MiB in whole batches.
        lease_timeout_s: For ``"dynamic"``: without a sign of life for that long, in seconds, a
            reader's pieces are given to others; by default 30.
        dtypes: Column to dtype. This and what follows: see
            :func:`flightbridge.column_options.column_options`.
        fill: Column to what stands in for its nulls.
        mask: Columns, or True for all, that get a mask.
        pad_to: Column to number of values: lists become dense.
        truncate: Columns whose lists lose what is beyond ``pad_to``.
        vectors: Column to size of its MLlib vectors.
        sparse: Columns of MLlib vectors that become ``tf.SparseTensor``.
        codes: Dictionary columns to be read as codes.
        position: Where the first iterator begins: from ``BatchReader.position()``,
            :func:`flightbridge.tf.saved_positions` or :func:`flightbridge.reshard`. Iterators after
            it go on as they would have after the one that was saved.
        follow: Read a feed that grows (mode ``stream``, or ``visible="partition"``) generation by
            generation, each shuffled and sharded by itself, and wait for the next one, until the
            feed is ended. No batch crosses the end of a generation.
        follow_timeout_s: For ``follow``: seconds that the next generation may take, by default an
            hour. Then, and no sooner, a server that is away is an error, too.
        generation: Without ``follow``: the last generation to read of a feed that grows. By
            default those that are there when the dataset is made.

    Returns:
        A dataset whose ``element_spec`` has ``batch_size`` as the first dimension where every
        batch has it (``drop_remainder``, or the rows divide evenly), else None. Its
        ``cardinality()`` is known, unless ``policy`` is ``"dynamic"`` or ``position`` is given,
        whose first iterator has fewer elements than later ones. Dtypes are those of
        the table in docs/tensorflow.md: integers, floats, bool and strings as they are, dates
        int32, times and timestamps int64, lists ``tf.RaggedTensor``, fixed-size lists 2-D, structs
        and maps dicts.

        Under ``tf.distribute``: with ``shard`` or ``policy``, auto-sharding is off. Without, it is
        by data: TensorFlow gives each worker every n-th batch, and all workers read all rows;
        prefer ``shard``, or :func:`flightbridge.tf.dataset_fn`.

    Raises:
        InvalidArgumentError: An argument has a wrong type or is out of range.
        FeedNotFoundError: No such feed or column; for a column, those of the feed are listed.
        UnsupportedTypeError: A column has no tensor type; the message says what to cast it to.
        PositionMismatchError: ``position`` is of another feed, schema, shard, seed or window.
        ServerUnavailableError: No server answers at ``uri``.
        VersionMismatchError: The op does not fit the installed TensorFlow and cannot be rebuilt.

        While iterating, failures are ``tf.errors`` with the core's message: ``UnavailableError``
        (server gone), ``DataLossError`` (checksum), ``FailedPreconditionError`` (the feed was
        replaced, or a position belongs to another feed, shard, seed or window).

    Example:
        >>> ds = flightbridge.tf.dataset(bridge.uri, "train", batch_size=1024, label="rating",
        ...                              shuffle=True, seed=7)
        >>> model.fit(ds, epochs=5)
    """
    if not isinstance(reshuffle_each_iteration, bool):
        raise InvalidArgumentError(
            f"reshuffle_each_iteration={reshuffle_each_iteration!r} is not a bool"
        )
    if policy is not None and str(policy).lower() == "dynamic" and not reshuffle_each_iteration:
        raise InvalidArgumentError(
            "reshuffle_each_iteration=False with policy='dynamic': a group reads every epoch once, "
            "so that a further iterator goes on with the next one; leave it out"
        )
    address: str = uri if isinstance(uri, str) else getattr(uri, "uri", uri)  # type: ignore[arg-type]
    spec = make_spec(
        address,
        feed,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        epochs=epochs,
        shard=_shard(shard),
        drop_remainder=drop_remainder,
        prefetch=prefetch,
        connections=connections,
        slabs=slabs,
        token=token,
        tls_ca=tls_ca,
        tls_client_cert=tls_client_cert,
        tls_client_key=tls_client_key,
        tls_override_hostname=tls_override_hostname,
        timeout_s=timeout_s,
        transport=transport,
        policy=policy,
        uneven=uneven,
        group=group,
        split_rows=split_rows,
        lease_timeout_s=lease_timeout_s,
        dtypes=dtypes,
        fill=fill,
        mask=mask,
        pad_to=pad_to,
        truncate=truncate,
        vectors=vectors,
        sparse=sparse,
        codes=codes,
        follow=follow,
        follow_timeout_s=follow_timeout_s,
        generation=generation,
    )
    import flightbridge

    with flightbridge.connect(
        address,
        token=token,
        tls_ca=tls_ca,
        tls_client_cert=tls_client_cert,
        tls_client_key=tls_client_key,
        tls_override_hostname=tls_override_hostname,
        timeout_s=timeout_s or 60.0,
        transport=transport,
    ) as client:
        info = client.feed(feed)
        schema = client.schema(feed)
    info = _as_read(spec, info)
    structure = selection.structure(list(schema.names), columns, label, weight)
    spec.columns.extend(_flat_names(structure))
    read = _elements.columns_of(schema, spec)
    stats = _shard_stats(spec, info)
    batch, cardinality = _batches(spec, stats)
    goes_on = (
        reshuffle_each_iteration and not follow and (spec.shuffle_window or spec.policy == DYNAMIC)
    )
    epochs_per_pass = spec.epochs if goes_on and spec.epochs > 0 else 0
    first_pass = 0
    if position is not None:
        first_pass = _first_pass(spec, position, epochs_per_pass)
        batch = batch if spec.drop_remainder else None
        cardinality = INFINITE if cardinality == INFINITE else UNKNOWN
    try:
        from flightbridge.tf import _source

        made = _source.make(
            spec.SerializeToString(),
            structure,
            read,
            batch=batch,
            cardinality=cardinality,
            epochs_per_pass=epochs_per_pass,
            already_sharded=shard is not None or policy is not None,
            start=position or b"",
            first_pass=first_pass,
            grows=follow,
        )
        made.shard_stats = stats
        return made
    except VersionMismatchError as error:
        if os.environ.get(FALLBACK_VARIABLE) != "1":
            raise
        warnings.warn(
            f"{error}\n{FALLBACK_VARIABLE}=1: falling back to Dataset.from_generator, which is "
            "many times slower, holds the GIL, and cannot save its position",
            RuntimeWarning,
            stacklevel=2,
        )
    from flightbridge.tf import _fallback

    made = _fallback.make(
        spec,
        structure,
        read,
        batch=batch,
        cardinality=cardinality,
        epochs_per_pass=epochs_per_pass,
        start=position or b"",
        first_pass=first_pass,
    )
    made.shard_stats = stats
    return made


def _as_read(spec: commands_pb2.ReaderSpec, info: FeedInfo) -> FeedInfo:
    """The part of the feed that every iterator reads, which ``spec`` then names."""
    if spec.follow:  # what is there now says nothing
        return dataclasses.replace(info, rows=0, partitions=())
    if not spec.generation and not (info.state == FeedState.OPEN and info.generations):
        spec.fingerprint = info.fingerprint
        return info
    spec.generation = spec.generation or info.generations[-1].generation
    last = next((g for g in info.generations if g.generation == spec.generation), None)
    if last is None:
        raise FailedPreconditionError(
            f"feed {info.feed!r} has no generation {spec.generation}: its last one is "
            f"{info.generations[-1].generation}; wait for it, or read fewer"
            if info.generations
            else f"feed {info.feed!r} does not grow: leave generation out"
        )
    spec.fingerprint = last.fingerprint
    partitions = tuple(p for p in info.partitions if p.generation <= last.generation)
    return dataclasses.replace(info, rows=sum(p.rows for p in partitions), partitions=partitions)


def _first_pass(spec: commands_pb2.ReaderSpec, position: bytes, epochs_per_pass: int) -> int:
    """The pass that ``position`` is in; refuses one that a reader of ``spec`` would refuse."""
    from flightbridge._native import _batches as native
    from flightbridge.resharding import parse_position

    begun = parse_position(position).epoch // epochs_per_pass if epochs_per_pass else 0
    trial = type(spec)()
    trial.CopyFrom(spec)
    trial.first_epoch = begun * epochs_per_pass
    reader = native.Reader(trial.SerializeToString())
    try:
        reader.seek(position)
    finally:
        reader.close()
    return int(begun)


def _shard(shard: Any) -> Any:
    if hasattr(shard, "input_pipeline_id"):  # tf.distribute.InputContext, without importing it
        return shard.input_pipeline_id, shard.num_input_pipelines
    return shard


def _flat_names(structure: Any) -> list[str]:
    # The order of tf.nest.flatten, in which a dict's keys are sorted: that of the op's outputs.
    if isinstance(structure, tuple):
        return [name for part in structure for name in _flat_names(part)]
    return sorted(structure) if isinstance(structure, dict) else [structure]


def _shard_stats(spec: commands_pb2.ReaderSpec, info: FeedInfo) -> dict[str, int]:
    """What ``BatchReader.stats()`` says of a reader of ``spec``."""
    from flightbridge._native import _batches as native

    if spec.policy == DYNAMIC:
        return {"feed_rows": info.rows, "own_rows": 0, "padded_rows": 0, "dropped_rows": 0}
    own, padded, dropped = native.shard_rows(
        [(p.partition, p.rows) for p in info.partitions],
        spec.shard,
        spec.num_shards,
        spec.policy,
        spec.uneven,
    )
    return {
        "feed_rows": info.rows,
        "own_rows": own,
        "padded_rows": padded,
        "dropped_rows": dropped,
    }


def _batches(spec: commands_pb2.ReaderSpec, stats: dict[str, int]) -> tuple[int | None, int]:
    """Rows of every batch (None: they vary), and batches of a pass (INFINITE: without end)."""
    if spec.policy == DYNAMIC or spec.follow:
        return (spec.batch_size if spec.drop_remainder else None), UNKNOWN
    rows = stats["own_rows"] + stats["padded_rows"] - stats["dropped_rows"]
    whole, rest = divmod(rows, spec.batch_size)
    per_epoch = whole + (1 if rest and not spec.drop_remainder else 0)
    static = spec.drop_remainder or (whole > 0 and rest == 0)
    endless = spec.epochs < 0 and per_epoch > 0  # an empty epoch ends even an endless reader
    cardinality = INFINITE if endless else per_epoch * max(spec.epochs, 0)
    return (spec.batch_size if static else None), cardinality
