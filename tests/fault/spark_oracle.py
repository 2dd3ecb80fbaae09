"""What a feed that Spark wrote must hold, and what must not be left beside it."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from flightbridge.client import Client
from flightbridge.errors import FeedNotFoundError

from .server_node import until_it_answers
from .spark_cluster import wait_for
from .spark_driver import PAYLOAD_DIGITS


def table_of(client: Client, feed: str = "f") -> pa.Table | None:
    try:
        return until_it_answers(lambda: client.read_table(feed))
    except FeedNotFoundError:
        return None


def assert_rows(table: pa.Table | None, written: Iterable[range]) -> None:
    """Exactly the rows of these writes, each as often as it was written, and none damaged."""
    wanted = collections.Counter(row for rows in written for row in rows)
    found = collections.Counter([] if table is None else table["id"].to_pylist())
    lost, doubled = wanted - found, found - wanted
    assert not lost and not doubled, (
        f"{lost.total()} rows lost, such as {sorted(lost)[:5]}; "
        f"{doubled.total()} rows too many, such as {sorted(doubled)[:5]}"
    )
    if table is not None:
        right = pc.utf8_lpad(table["id"].cast(pa.string()), PAYLOAD_DIGITS, "0")
        assert pc.all(pc.equal(table["payload"], right)).as_py() is not False


def assert_feed(client: Client, *written: range, feed: str = "f") -> None:
    """The rows, and neither open jobs nor open puts beside them."""
    assert_rows(table_of(client, feed), written)
    assert until_it_answers(lambda: client.feed(feed)).open_jobs == 0
    # A task that nobody waits for may still be on its way.
    wait_for(lambda: client.status().open_puts == 0, "the end of the last put")


class Started(NamedTuple):
    """One attempt at a partition, as TaskFaults names its file."""

    stage: int
    stage_attempt: int
    partition: int
    task: int
    attempt: int
    pid: int


class Tasks:
    """The tasks that TaskFaults has seen start, from the files that it leaves."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)

    def started(self) -> list[Started]:
        names = (path.name for path in self.directory.glob("started-*"))
        return sorted(Started(*map(int, name.split("-")[1:])) for name in names)

    def hold(self, what: object) -> None:
        (self.directory / f"hold-{what}").touch()

    def fail(self, partition: int) -> None:
        (self.directory / f"fail-{partition}").touch()

    def go_on(self, what: object) -> None:
        (self.directory / f"hold-{what}").unlink()
