"""tf.data over a feed: ``flightbridge.tf.dataset(uri, feed, batch_size=...)``.

TensorFlow is imported by the first call, not by this package, so ``flightbridge doctor`` can ask
:func:`diagnose` where TensorFlow is missing or broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flightbridge.tf._dataset import dataset
from flightbridge.tf._diagnose import diagnose
from flightbridge.tf._distribute import dataset_fn

if TYPE_CHECKING:
    from flightbridge.tf._checkpoint import CheckpointManager, confirm_checkpoint, saved_positions

__all__ = [
    "CheckpointManager",
    "confirm_checkpoint",
    "dataset",
    "dataset_fn",
    "diagnose",
    "load_op",
    "saved_positions",
]

_CHECKPOINT = ("CheckpointManager", "confirm_checkpoint", "saved_positions")


def load_op() -> None:
    """Loads the op into TensorFlow, as :func:`dataset` does.

    For processes that run a graph made elsewhere: a worker of the tf.data service, or one that
    loads a SavedModel.

    Raises:
        VersionMismatchError: No op fits the installed TensorFlow and none can be built.
    """
    from flightbridge.tf import _op

    _op.load()


def __getattr__(name: str) -> Any:
    if name in _CHECKPOINT:
        from flightbridge.tf import _checkpoint

        return getattr(_checkpoint, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
