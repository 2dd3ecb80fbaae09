"""A few schedules of ``make chaos`` with seeds of their own, and what its oracle sees (row 40)."""

from __future__ import annotations

import concurrent.futures

import pyarrow as pa
import pytest

from .chaos import run_schedule
from .chaos_oracle import SCHEMA, Content, Feed


@pytest.mark.slow
@pytest.mark.timeout(1200)  # half a minute, were nothing else to do
def test_schedules():
    seeds = range(1, 13)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        assert list(pool.map(run_schedule, seeds)) == list(seeds)


FIRST, SECOND = Content(1, {0: [3, 4], 1: [5]}), Content(2, {0: [6]})


def table(*contents: Content, extra: tuple[pa.RecordBatch, ...] = ()) -> pa.Table:
    made = [batch for content in contents for p in content.parts for batch in content.batches(p)]
    return pa.Table.from_batches([*made, *extra], SCHEMA)


@pytest.fixture
def feed():
    made = Feed("f")
    made.becomes(FIRST, keep=False)
    made.became()
    return made


def test_the_oracle_knows_what_was_committed(feed):
    before = feed.look()
    feed.check(before, table(FIRST))
    feed.becomes(SECOND, keep=True)  # until it is acknowledged both are right
    feed.check(before, table(FIRST))
    feed.check(before, table(FIRST, SECOND))
    feed.became()
    feed.check(before, table(FIRST))
    with pytest.raises(AssertionError, match=r"\[1\] is none of \[\[1, 2\]\]"):
        feed.check(feed.look(), table(FIRST))
    with pytest.raises(AssertionError, match=r"\[\] is none of"):
        feed.check(feed.look(), None)
    feed.becomes(None, keep=False)
    feed.became()
    feed.check(feed.look(), None)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (table(FIRST, extra=(FIRST.batches(1)[0],)), "5 doubled rows: job 1 partition 1 row 0"),
        (table(FIRST).slice(1), "1 lost rows: job 1 partition 0 row 0"),
        (table(Content(1, {0: [7], 1: [5], 2: [1]})), "1 foreign rows: job 1 partition 2 row 0"),
        (table(FIRST, SECOND), "not committed"),
    ],
    ids=["doubled", "lost", "foreign", "early"],
)
def test_the_oracle_sees_wrong_rows(feed, seen, words):
    with pytest.raises(AssertionError, match=words):
        feed.check(feed.look(), seen)


def test_the_oracle_sees_a_lost_append(feed):
    feed.appends(SECOND)
    before = feed.look()
    feed.check(before, table(FIRST))
    feed.check(before, table(FIRST, SECOND))
    feed.appended(SECOND)
    with pytest.raises(AssertionError, match=r"jobs \[2\] are lost"):
        feed.check(feed.look(), table(FIRST))
