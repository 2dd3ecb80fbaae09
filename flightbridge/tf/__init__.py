"""tf.data over a feed: ``flightbridge.tf.dataset(uri, feed, batch_size=...)``.

TensorFlow is imported by the first call, not by this package, so ``flightbridge doctor`` can ask
:func:`diagnose` where TensorFlow is missing or broken.
"""

from __future__ import annotations

from flightbridge.tf._dataset import dataset
from flightbridge.tf._diagnose import diagnose

__all__ = ["dataset", "diagnose"]
