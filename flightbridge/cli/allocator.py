"""glibc malloc settings for a process that moves large record batches."""

from __future__ import annotations

import ctypes
import logging

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MMAP_THRESHOLD_MAX = 32 << 20  # glibc refuses more on 64-bit
_TRIM_THRESHOLD = 256 << 20


def keep_large_blocks() -> bool:
    """Keeps freed message buffers for the next message instead of unmapping them.

    By default glibc maps fresh pages for every large gRPC message and gives them back after it;
    touching those pages costs more than copying the batch. Only for a process of our own: it
    holds up to 256 MiB of freed memory longer. Returns whether the C library took it (musl does
    not have it).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    done = bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_MAX)) and bool(
        mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)
    )
    logging.getLogger("flightbridge.serve").debug("malloc thresholds raised: %s", done)
    return done
