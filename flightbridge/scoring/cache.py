"""Models of this process, loaded once: what a Spark worker keeps from task to task.

A model is known by its path and by the sizes and times of its files, so one that is written again
is loaded again. The last :data:`MAX_MODELS` are kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

import pyarrow as pa

from flightbridge.scoring import models
from flightbridge.scoring.request import ScoreRequest
from flightbridge.scoring.scorer import Scorer

MAX_MODELS = 2
MAX_SCORERS = 8  # of one model: they share its variables

Fingerprint = tuple[tuple[str, int, int], ...]


class _Entry:
    def __init__(self, model: models.Model, fingerprint: Fingerprint) -> None:
        self.model = model
        self.fingerprint = fingerprint
        self.scorers: OrderedDict[tuple[bytes, bytes], Scorer] = OrderedDict()


_lock = threading.Lock()
_entries: OrderedDict[models.ModelRef, _Entry] = OrderedDict()


def fingerprint_of(path: str) -> Fingerprint:
    """Name, size and time of change of every file of a model; none where there is no such."""
    place = Path(path)
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    found = []
    for file in files:
        if file.is_file():
            status = file.stat()
            found.append((str(file.relative_to(place)), status.st_size, status.st_mtime_ns))
    return tuple(found)


def scorer_of(ref: models.ModelRef, request: ScoreRequest, schema: pa.Schema) -> Scorer:
    """The scorer, made where there is none yet. Thread-safe; blocks while a model is loaded.

    Raises:
        InvalidArgumentError: As :func:`flightbridge.scoring.models.load` and :class:`Scorer` do.
    """
    with _lock:
        models.kind_of(ref.path)  # the error for a path without a model
        fingerprint = fingerprint_of(ref.path)
        entry = _entries.get(ref)
        if entry is None or entry.fingerprint != fingerprint:
            _entries.pop(ref, None)  # the old one first: two may not fit into memory
            entry = None
            while len(_entries) >= MAX_MODELS:
                _entries.popitem(last=False)
            entry = _Entry(models.load(ref), fingerprint)
            _entries[ref] = entry
        _entries.move_to_end(ref)
        key = (request.encode(), schema.serialize().to_pybytes())
        scorer = entry.scorers.get(key)
        if scorer is None:
            scorer = Scorer(entry.model, request, schema)
            entry.scorers[key] = scorer
            if len(entry.scorers) > MAX_SCORERS:
                entry.scorers.popitem(last=False)
        entry.scorers.move_to_end(key)
        return scorer
