"""Feeds as batches of numpy arrays, without TensorFlow.

:func:`read` gives the same rows in the same order as :func:`flightbridge.tf.dataset` with the same
settings: both stand on the native reader. Arrays lie in the reader's slabs, nothing is copied; a
slab is recycled when the last array over it is gone.

    >>> with flightbridge.batches.read(uri, "ratings", batch_size=1024, shuffle=True) as reader:
    ...     for batch in reader:
    ...         train(batch["user"], batch["rating"])
    ...         saved = reader.position()

    >>> reader = flightbridge.batches.read(
    ...     uri, "ratings", batch_size=1024, shuffle=True, position=saved
    ... )

Native columns also speak DLPack: ``torch.from_dlpack(column)``, ``jax.dlpack.from_dlpack(column)``
over ``BatchReader.next_native().columns``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flightbridge import column_tree
from flightbridge._native import _batches
from flightbridge.batch_values import BytesArray, Ragged, Sparse, Value, bfloat16, to_numpy
from flightbridge.closing import Closing
from flightbridge.column_options import Fill
from flightbridge.errors import InvalidArgumentError
from flightbridge.reader_spec import POLICIES, UNEVEN, make_spec
from flightbridge.resharding import parse_position

if TYPE_CHECKING:
    from flightbridge.v1 import commands_pb2

__all__ = [
    "BatchReader",
    "BytesArray",
    "Ragged",
    "Sparse",
    "from_position",
    "read",
    "slab_stats",
    "to_numpy",
]

Element = dict[str, Any]
"""Columns by name: a value, or a dict of fields where the column is a struct or a map."""


def read(
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
    prefetch: int | str | None = "64MiB",
    connections: int | None = None,
    slabs: int | None = None,
    timeout_s: float | None = None,
    token: str | None = None,
    tls_ca: str | os.PathLike[str] | None = None,
    tls_client_cert: str | os.PathLike[str] | None = None,
    tls_client_key: str | os.PathLike[str] | None = None,
    tls_override_hostname: str | None = None,
    transport: str = "auto",
    position: bytes | None = None,
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
) -> BatchReader:
    """Opens a feed for reading: one that is committed, or what there is of one that grows.

    Args:
        uri: The server, ``grpc://HOST:PORT`` or ``grpc+tls://HOST:PORT``.
        feed: The feed's name.
        batch_size: Rows of a batch.
        columns: Columns to read, in this order; ``None``: all.
        shuffle: ``None``: feed order. ``True``: all rows of the shard are permuted, which keeps
            the whole shard in memory (in this process's memory, unless the server runs in it).
            An int: a window of that many rows, drawn from all over the shard, is kept and
            permuted.
        seed: Of the shuffle; ``None`` is 0. Equal seeds give equal orders; epochs always differ.
        epochs: Times the shard is read; ``None``: without end. Batches never cross epochs.
        shard: ``(i, n)``, part ``i`` of ``n``: global rows ``[i*N//n, (i+1)*N//n)`` of ``N``,
            unless ``policy`` says otherwise.
        drop_remainder: Leave out an epoch's last batch when it is short.
        prefetch: Bytes of record batches read ahead.
        connections: Streams read at the same time; by default two, and one where the server is
            in this process.
        slabs: Assembled batches kept ready; by default 8.
        timeout_s: Deadline of every call, in seconds; by default 60.
        token: Sent as ``authorization: Bearer ...``; ``None``: the environment variable
            ``FLIGHTBRIDGE_TOKEN``, where it is set.
        tls_ca: For ``grpc+tls://``: PEM file of the CAs that may have signed the server's
            certificate; by default ``FLIGHTBRIDGE_TLS_CA``, else the system's list.
        tls_client_cert: PEM file of this client's certificate, for a server that asks for one; by
            default ``FLIGHTBRIDGE_TLS_CLIENT_CERT``.
        tls_client_key: PEM file of its key; by default ``FLIGHTBRIDGE_TLS_CLIENT_KEY``.
        tls_override_hostname: Name to look for in the server's certificate in place of the uri's.
        transport: As in :func:`flightbridge.connect`.
        position: What :meth:`BatchReader.position` returned, here or in another process, to
            continue at the exact next row. The batch size may differ.
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
            has as many rows as the smallest. :meth:`BatchReader.stats` counts both.
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
        sparse: Columns of MLlib vectors that become :class:`Sparse`.
        codes: Dictionary columns to be read as codes.
        follow: Read a feed that grows (mode ``stream``, or ``visible="partition"``) generation by
            generation, each shuffled and sharded by itself, and wait for the next one, until the
            feed is ended. No batch crosses the end of a generation.
        follow_timeout_s: For ``follow``: seconds that the next generation may take, by default an
            hour. Then, and no sooner, a server that is away is an error, too.
        generation: Without ``follow``: the last generation to read of a feed that grows. By
            default those that are there now.

    Returns:
        An iterator of ``dict[str, value]``. With ``rows`` the batch's row count, a value is

        - ``ndarray [rows]`` of the column's own type for bool, ints and floats; of ``int32`` for
          date32 and time32; of ``int64`` for date64, time64, timestamp and duration, in the
          column's unit;
        - ``ndarray [rows, k]`` for fixed-size lists of ``k`` of those;
        - :class:`BytesArray` of ``rows`` values for strings and binary;
        - :class:`Ragged` for lists of any of those;
        - a dict of the fields for structs, and of ``"keys"`` and ``"values"`` for maps.

        Dictionary columns come as their values.

    Raises:
        InvalidArgumentError: A setting is wrong. While reading: a column has a null.
        FeedNotFoundError: There is no such feed, or no such column.
        UnsupportedTypeError: A column has a type without a tensor form.
        PositionMismatchError: ``position`` is of another feed, shard or order.
        ServerUnavailableError: The server cannot be reached; while reading, after one try again.
    """
    spec = make_spec(
        uri,
        feed,
        batch_size=batch_size,
        columns=columns,
        shuffle=shuffle,
        seed=seed,
        epochs=epochs,
        shard=shard,
        drop_remainder=drop_remainder,
        prefetch=prefetch,
        connections=connections,
        slabs=slabs,
        timeout_s=timeout_s,
        token=token,
        tls_ca=tls_ca,
        tls_client_cert=tls_client_cert,
        tls_client_key=tls_client_key,
        tls_override_hostname=tls_override_hostname,
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
    if any(option.dtype == "bfloat16" for option in spec.options):
        bfloat16()  # here, and not at the first batch
    return open_reader(spec, position)


def open_reader(spec: commands_pb2.ReaderSpec, position: bytes | None = None) -> BatchReader:
    """As :func:`read`, of settings that :func:`flightbridge.reader_spec.make_spec` has checked."""
    reader = BatchReader(_batches.Reader(spec.SerializeToString()))
    if position is not None:
        reader._reader.seek(position)
    return reader


def from_position(uri: str, position: bytes, *, batch_size: int, **settings: Any) -> BatchReader:
    """Opens a reader that continues at the exact next row, as :func:`read` with ``position=``.

    Feed, shard, policy, uneven, shuffle and seed are those of the position, so that nothing has to
    be said twice.

    Args:
        uri: The server.
        position: What :meth:`BatchReader.position` or :func:`flightbridge.reshard` returned.
        batch_size: Rows of a batch; may be another than before.
        settings: Other settings of :func:`read`; ``epochs`` where there is more than one, and for
            ``policy="dynamic"`` the ``group``.

    Raises:
        InvalidArgumentError: It is no position, or ``settings`` has what the position says.
        PositionMismatchError: The feed was written again since.
    """
    saved = parse_position(position)
    known: dict[str, Any] = {
        "policy": next(name for name, number in POLICIES.items() if number == saved.policy),
        "uneven": next((name for name, number in UNEVEN.items() if number == saved.uneven), None),
        "shuffle": "full" if saved.shuffle_window < 0 else saved.shuffle_window,
        "seed": saved.seed,
        "shard": (saved.shard, saved.num_shards),
    }
    if known["policy"] == "dynamic":
        known["split_rows"] = saved.split_rows
        known["shard"] = known["uneven"] = None
    for name in ("feed", *known):
        if name in settings:
            raise InvalidArgumentError(
                f"{name}={settings[name]!r} is what the position says already: leave it out, or "
                "use read(position=...)"
            )
    return read(uri, saved.feed, batch_size=batch_size, position=position, **known, **settings)


class BatchReader(Iterator[Element], Closing):
    """Batches of a feed, read ahead by native threads.

    Iteration blocks until a batch is assembled, without the GIL; Ctrl-C works. For one thread,
    except :meth:`cancel`. Leaving the ``with`` block, :meth:`close` or garbage collection stops
    the threads; arrays handed out stay valid.
    """

    def __init__(self, reader: _batches.Reader) -> None:
        """For :func:`read`."""
        self._reader = reader
        self._layouts = reader.layouts
        self._tree = column_tree.tree_of(self._layouts)
        self._structure = {name: name for name in self._tree}
        # A mask that has another column's name is refused here, not at the first batch.
        column_tree.build(self._structure, self._tree, lambda x: (x, x if x.mask else None))

    def __iter__(self) -> BatchReader:
        return self

    def __next__(self) -> Element:
        leaves = self.next_leaves()
        if leaves is None:
            raise StopIteration
        element: Element = column_tree.build(
            self._structure, self._tree, lambda leaf: leaves[leaf.name]
        )
        return element

    def next_leaves(self) -> dict[str, tuple[Value, Value | None]] | None:
        """The next batch as leaf columns by name (``"struct.field"``), each with its mask."""
        batch = self.next_native()
        if batch is None:
            return None
        return {
            c.name: (to_numpy(c), None if c.mask is None else to_numpy(c.mask))
            for c in batch.columns
        }

    def next_native(self) -> _batches.Batch | None:
        """The next batch as native leaf columns (buffer protocol, DLPack); ``None`` at the end."""
        return self._reader.next()

    def position(self) -> bytes:
        """Where the next row is, in some hundred bytes, for ``read(position=...)``."""
        return self._reader.position()

    @property
    def fingerprint(self) -> int:
        """Of the feed's content: another one means that it was written again."""
        return int(parse_position(self.position()).fingerprint)

    def confirm(self, position: bytes | None = None) -> None:
        """Says that this reader will never continue from before a position.

        To be called when whatever holds the position is safe, such as a checkpoint on disk: the
        server may then release rows of a feed that was written with a ``retention`` other than
        ``keep``. Confirming again, or an earlier position, is harmless.

        Args:
            position: Of this reader, saved earlier; ``None``: where it is now.

        Raises:
            PositionMismatchError: The position is of another feed, shard or order.
            ServerUnavailableError: No server answers; confirm again later.
        """
        self._reader.confirm(self.position() if position is None else position)

    def stats(self) -> dict[str, int]:
        """What this reader reads in an epoch, in rows.

        ``feed_rows`` are in the feed, ``own_rows`` of them in this shard; ``padded_rows`` are
        handed out a second time and ``dropped_rows`` not at all, so that all shards are equal
        (``uneven``). Under ``policy="dynamic"`` no reader has rows of its own; there ``splits`` is
        how many pieces the feed has, ``completed_splits`` how many this reader read in all epochs,
        ``reported_splits`` how many of these the server knows to be done, and ``lost_leases`` how
        often it had to join its group again.
        """
        return self._reader.stats()

    def cancel(self) -> None:
        """Makes a blocked iteration, in another thread, raise ``CancelledError``."""
        self._reader.cancel()

    def close(self) -> None:
        """Stops all threads. Idempotent."""
        self._reader.close()

    def _leave(self) -> None:
        self.close()


def slab_stats() -> dict[str, int]:
    """Counts of the slabs of this process.

    ``slabs`` and ``bytes`` exist now, of which ``cuda`` are registered with CUDA and ``mlocked``
    locked by ``mlock``. ``mapped`` were ever made, of which ``unpinned`` could not be locked
    (raise ``ulimit -l``); ``recycled`` is how often an idle one was used again.
    """
    return _batches.slab_stats()
