"""What readers may see while jobs are committed, and whether it is what they see.

Every row carries its job, its partition in the job and its number there, so that a row that is
lost, doubled, or shown before its commit has a name.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

SCHEMA = pa.schema([("job", pa.int32()), ("partition", pa.int32()), ("row", pa.int32())])


@dataclass
class Content:
    """The rows of one job: ``parts[p]`` is the row count of each batch of partition p."""

    number: int
    parts: dict[int, list[int]]

    def batches(self, partition: int) -> list[pa.RecordBatch]:
        made, begin = [], 0
        for rows in self.parts[partition]:
            columns = (
                np.full(rows, self.number, np.int32),
                np.full(rows, partition, np.int32),
                np.arange(begin, begin + rows, dtype=np.int32),
            )
            made.append(pa.record_batch([pa.array(column) for column in columns], schema=SCHEMA))
            begin += rows
        return made

    def rows_of(self, partition: int) -> int:
        return sum(self.parts[partition])


class Feed:
    """The contents that one feed may have. Thread-safe."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._states: list[frozenset[int]] = []  # of jobs, each perhaps visible, oldest first
        self._certain = -1  # none before this one can be seen any longer
        self._done: set[int] = set()  # appended, and acknowledged
        self._begun: set[int] = set()  # perhaps appended
        self.contents: dict[int, Content] = {}

    # ---- one writer: each state follows another ------------------------------------------------

    def becomes(self, content: Content | None, keep: bool) -> None:
        """The next state may be seen from now on; without content it is that of no feed."""
        with self._lock:
            jobs = self._states[-1] if keep and self._states else frozenset()
            if content is not None:
                self.contents[content.number] = content
                jobs |= {content.number}
            self._states.append(jobs)

    def became(self) -> None:
        """It is certain now."""
        with self._lock:
            self._certain = len(self._states) - 1

    # ---- several writers that append -----------------------------------------------------------

    def appends(self, content: Content) -> None:
        with self._lock:
            self.contents[content.number] = content
            self._begun.add(content.number)

    def appended(self, content: Content) -> None:
        with self._lock:
            self._done.add(content.number)

    # ---- readers -------------------------------------------------------------------------------

    def look(self) -> tuple[int, frozenset[int]]:
        """Before a read: what it must be held against."""
        with self._lock:
            return self._certain, frozenset(self._done)

    def check(self, before: tuple[int, frozenset[int]], table: pa.Table | None) -> None:
        """After a read that saw this; None where it was told that there is no such feed."""
        jobs = self._jobs_in(table) if table is not None else frozenset()
        certain, done = before
        with self._lock:
            appended = jobs & frozenset(self._begun)
            state = jobs - appended
            states = self._states[max(certain, 0) :] or [frozenset()]
            if certain < 0:
                states = [frozenset(), *states]
        assert done <= appended, f"{self.name}: jobs {sorted(done - appended)} are lost"
        assert state in states, (
            f"{self.name}: {sorted(state)} is none of {list(map(sorted, states))}"
        )

    def _jobs_in(self, table: pa.Table) -> frozenset[int]:
        """The jobs of which the table has every row once; anything else is an error."""
        job, partition, row = (table[name].to_numpy().astype(np.int64) for name in SCHEMA.names)
        keys = job << 40 | partition << 32 | row
        unique, counts = np.unique(keys, return_counts=True)
        doubled = unique[counts > 1]
        assert not len(doubled), f"{self.name}: {len(doubled)} doubled rows: {named(doubled)}"
        jobs = frozenset(map(int, np.unique(unique >> 40)))
        with self._lock:
            contents = dict(self.contents)
        assert jobs <= contents.keys(), f"{self.name}: jobs {sorted(jobs)} were not committed"
        want = [
            np.arange(contents[j].rows_of(p), dtype=np.int64) | j << 40 | p << 32
            for j in jobs
            for p in contents[j].parts
        ]
        wanted = np.concatenate(want) if want else unique[:0]
        lost = np.setdiff1d(wanted, unique)
        assert not len(lost), f"{self.name}: {len(lost)} lost rows: {named(lost)}"
        foreign = np.setdiff1d(unique, wanted)
        assert not len(foreign), f"{self.name}: {len(foreign)} foreign rows: {named(foreign)}"
        return jobs


def named(keys: np.ndarray) -> str:
    return ", ".join(
        f"job {k >> 40} partition {k >> 32 & 255} row {k & 0xFFFFFFFF}" for k in keys[:3]
    )


@dataclass
class Failures:
    """What went wrong in any of the threads of a schedule. Thread-safe."""

    errors: list[tuple[str, BaseException]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, who: str, error: BaseException) -> None:
        with self.lock:
            self.errors.append((who, error))
