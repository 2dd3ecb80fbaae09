"""Datasets for tf.distribute: each worker's own shard, in batches of one replica."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flightbridge.errors import InvalidArgumentError
from flightbridge.tf._dataset import dataset

if TYPE_CHECKING:
    import tensorflow as tf

    from flightbridge.server import Server


def dataset_fn(
    uri: str | Server, feed: str, *, global_batch_size: int, **settings: Any
) -> Callable[[tf.distribute.InputContext], tf.data.Dataset]:
    """A function for ``strategy.distribute_datasets_from_function``.

    Each worker reads the shard of its input pipeline only, in batches of ``global_batch_size``
    divided by the number of replicas in sync: what all replicas take in one step is
    ``global_batch_size`` rows, however many they are. With ``policy="dynamic"`` workers lease
    their rows instead; that is the one for ``ParameterServerStrategy``, whose workers are not in
    sync and all get the context of a single pipeline.

    Args:
        uri: As in :func:`dataset`.
        feed: As in :func:`dataset`.
        global_batch_size: Rows of all replicas together.
        settings: Of :func:`dataset`, but for ``batch_size`` and ``shard``, which come from the
            context.

    Raises:
        InvalidArgumentError: ``settings`` has ``batch_size`` or ``shard``; or, when the function
            is called, the replicas do not divide ``global_batch_size``.

    Example:
        >>> data = strategy.distribute_datasets_from_function(
        ...     flightbridge.tf.dataset_fn(uri, "train", global_batch_size=1024, label="rating")
        ... )
    """
    for name in ("batch_size", "shard"):
        if name in settings:
            raise InvalidArgumentError(
                f"{name}={settings[name]!r} is for dataset(): here it follows from the context of "
                f"each worker and global_batch_size={global_batch_size!r}; leave it out"
            )
    leased = str(settings.get("policy")).lower() == "dynamic"

    def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = context.num_replicas_in_sync
        try:
            batch_size = context.get_per_replica_batch_size(global_batch_size)
        except ValueError as error:
            raise InvalidArgumentError(
                f"global_batch_size={global_batch_size} cannot be divided among {replicas} "
                f"replicas: give a multiple of {replicas}"
            ) from error
        return dataset(
            uri, feed, batch_size=batch_size, shard=None if leased else context, **settings
        )

    return make
