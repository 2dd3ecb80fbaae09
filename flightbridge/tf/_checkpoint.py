"""Positions inside TensorFlow checkpoints: found, confirmed, and re-sharded.

tf.data saves an iterator as a list of variants, one per transformation, whose metadata names what
it holds. This module reads that; it imports TensorFlow, and only on use does :mod:`flightbridge.tf`
import this.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import dataset_pb2, tensor_pb2

import flightbridge
from flightbridge.errors import FailedPreconditionError, FlightBridgeError, InvalidArgumentError

__all__ = ["CheckpointManager", "confirm_checkpoint", "saved_positions"]

_SOURCE = "::FlightBridge"  # the end of our iterators' names
_SEPARATOR = b"@@"


def saved_positions(checkpoint: str | os.PathLike[str], *, exact: bool = True) -> dict[str, bytes]:
    """The positions in a checkpoint that ``tf.train.Checkpoint`` wrote.

    Args:
        checkpoint: Its path, as ``Checkpoint.write``, ``Checkpoint.save`` and
            ``CheckpointManager.save`` return it.
        exact: Refuse a checkpoint that also holds rows that were read ahead, which a reader that
            goes on from the position would leave out: save the iterator with
            ``tf.data.Options().experimental_symbolic_checkpoint = True``. False: the positions are
            those of the source, whatever is behind it.

    Returns:
        For each source of each saved iterator its name in the checkpoint and the position, for
        ``dataset(position=...)`` and :func:`flightbridge.reshard`. It is empty (``b""``) where
        nothing was read yet.

    Raises:
        InvalidArgumentError: There is no such checkpoint.
        FailedPreconditionError: ``exact``, and there are rows that were read ahead.

    Example:
        >>> saved = [flightbridge.tf.saved_positions(path) for path in one_of_each_worker]
        >>> positions = flightbridge.reshard([only for (only,) in map(dict.values, saved)], 6)
    """
    path = os.fspath(checkpoint)
    try:
        dtypes = tf.train.load_checkpoint(path).get_variable_to_dtype_map()
    except (tf.errors.OpError, ValueError) as error:
        raise InvalidArgumentError(f"checkpoint={path!r} cannot be read: {error}") from error
    found: dict[str, bytes] = {}
    for name in sorted(name for name, dtype in dtypes.items() if dtype == tf.variant):
        state = tf.raw_ops.RestoreV2(
            prefix=path, tensor_names=[name], shape_and_slices=[""], dtypes=[tf.variant]
        )[0]
        held = [
            (prefix, key, value)
            for variant in _variants(state)
            for prefix, key, value in _entries(variant)
        ]
        positions = {
            f"{name}/{prefix}": value.numpy()
            for prefix, key, value in held
            if prefix.endswith(_SOURCE) and key == "position"
        }
        if positions and exact:
            _check_exact(path, held)
        found |= positions
    return found


def confirm_checkpoint(
    checkpoint: str | os.PathLike[str], uri: str | flightbridge.Server, **credentials: Any
) -> None:
    """Says that no reader will continue from before the positions in a checkpoint.

    To be called when the checkpoint is safe and no older one will be restored: the server may then
    release rows of feeds that were written with a ``retention`` other than ``keep``. Rows that were
    read ahead and are part of the checkpoint are not needed again, and are released too. Doing it
    again is harmless.

    Args:
        checkpoint: Its path; see :func:`saved_positions`.
        uri: The server, as in :func:`flightbridge.tf.dataset`.
        credentials: ``token``, ``tls_ca`` and the like, as in :func:`flightbridge.connect`.

    Raises:
        InvalidArgumentError: There is no such checkpoint, or there is no position in it.
        PositionMismatchError: A feed was written again since.
        ServerUnavailableError: No server answers; confirm again later.
    """
    positions = saved_positions(checkpoint, exact=False)
    if not positions:
        raise InvalidArgumentError(
            f"checkpoint={os.fspath(checkpoint)!r} holds no position: give one of an iterator over "
            "flightbridge.tf.dataset"
        )
    address: str = uri if isinstance(uri, str) else uri.uri
    with flightbridge.connect(address, **credentials) as client:
        for position in positions.values():
            if position:
                client.confirm_position(position)


class CheckpointManager(tf.train.CheckpointManager):  # type: ignore[misc]
    """A ``tf.train.CheckpointManager`` that confirms what it keeps.

    After each save the positions in the *oldest* checkpoint that is kept are confirmed, so that
    every checkpoint that can be restored finds the rows it needs. Checkpoints beyond
    ``max_to_keep`` that ``keep_checkpoint_every_n_hours`` leaves on disk do not.

    A server that cannot be reached does not stop the training: there is a ``RuntimeWarning``, and
    the next save confirms.

    Example:
        >>> checkpoint = tf.train.Checkpoint(model=model, iterator=iterator)
        >>> manager = flightbridge.tf.CheckpointManager(
        ...     checkpoint, directory, max_to_keep=3, uri=uri
        ... )
        >>> manager.save()
    """

    def __init__(
        self,
        checkpoint: tf.train.Checkpoint,
        directory: str | os.PathLike[str],
        max_to_keep: int | None,
        *,
        uri: str | flightbridge.Server,
        credentials: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Args.

        checkpoint: Holds the iterator, by any name.
        directory: As in ``tf.train.CheckpointManager``.
        max_to_keep: As there. None keeps all, so that nothing is ever released.
        uri: The server, as in :func:`flightbridge.tf.dataset`.
        credentials: ``token``, ``tls_ca`` and the like, as in :func:`flightbridge.connect`.
        kwargs: Of ``tf.train.CheckpointManager``.
        """
        super().__init__(checkpoint, os.fspath(directory), max_to_keep, **kwargs)
        self._uri = uri
        self._credentials = credentials or {}

    def save(self, *args: Any, **kwargs: Any) -> str | None:
        """Saves as ``tf.train.CheckpointManager.save`` does, then confirms."""
        path: str | None = super().save(*args, **kwargs)
        if path is not None:
            options = kwargs.get("options")
            if options is not None and options.experimental_enable_async_checkpoint:
                self.checkpoint.sync()
            self._confirm()
        return path

    def _confirm(self) -> None:
        oldest = self.checkpoints[0]
        try:
            confirm_checkpoint(oldest, self._uri, **self._credentials)
        except FlightBridgeError as error:
            warnings.warn(
                f"checkpoint {oldest} could not be confirmed, so that no rows are released yet; "
                f"the next save tries again: {error}",
                RuntimeWarning,
                stacklevel=3,
            )


# What tf.data calls the elements that a transformation holds: buffer[0], invocation_results[1] ...
def _check_exact(path: str, held: list[tuple[str, str, tf.Tensor]]) -> None:
    for prefix, key, value in held:
        if not prefix.endswith(_SOURCE) and ("[" in key or value.shape.rank != 0):
            raise FailedPreconditionError(
                f"checkpoint={path!r} holds rows that were read ahead ({key} of {prefix}), which "
                "its position is behind: save the iterator of a dataset with tf.data.Options() in "
                "which experimental_symbolic_checkpoint=True"
            )


def _entries(variant: tensor_pb2.VariantTensorDataProto) -> Iterator[tuple[str, str, tf.Tensor]]:
    """What one transformation saved: its name, the key, the value."""
    prefix, *keys = [name.decode() for name in variant.metadata.split(_SEPARATOR)]
    values: list[tf.Tensor] = []
    for proto in variant.tensors:
        tensor = tf.io.parse_tensor(proto.SerializeToString(), tf.dtypes.as_dtype(proto.dtype))
        values += _decompressed(tensor) if tensor.dtype == tf.variant else [tensor]
    for key, value in zip(keys, values, strict=True):
        yield prefix, key, value


def _decompressed(tensor: tf.Tensor) -> list[tf.Tensor]:
    (variant,) = _variants(tensor)
    element = dataset_pb2.CompressedElement.FromString(variant.metadata)
    parts = element.component_metadata
    return list(
        tf.raw_ops.UncompressElement(
            compressed=tensor,
            output_types=[part.dtype for part in parts],
            output_shapes=[part.tensor_shape for part in parts],
        )
    )


def _variants(tensor: tf.Tensor) -> list[tensor_pb2.VariantTensorDataProto]:
    """The variants of a tensor, encoded: all lengths as varints, then all messages."""
    content = tensor_pb2.TensorProto.FromString(tf.io.serialize_tensor(tensor).numpy())
    data, at, sizes = content.tensor_content, 0, []
    for _ in range(tf.size(tensor)):
        size = shift = 0
        while True:
            byte = data[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        sizes.append(size)
    found = []
    for size in sizes:
        found.append(tensor_pb2.VariantTensorDataProto.FromString(data[at : at + size]))
        at += size
    return found
