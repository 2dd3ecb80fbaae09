"""Positions of n shards as positions of m: every remaining row once, whatever was read before."""

import collections

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flightbridge
from flightbridge import errors
from flightbridge._native import _batches
from flightbridge.reader_spec import POLICIES, UNEVEN
from flightbridge.v1 import commands_pb2

FORMAT = 3


class Read:
    """A feed and how it is read; its orders are those of the native plan."""

    def __init__(self, partitions, policy="static", uneven="join", window=0, seed=0):
        self.partitions = partitions
        self.policy, self.uneven = POLICIES[policy], UNEVEN[uneven]
        self.window, self.seed = window, seed

    def order(self, epoch, shard, num_shards):
        return _batches.shard_order(
            self.partitions,
            epoch=epoch,
            shard=shard,
            num_shards=num_shards,
            policy=self.policy,
            uneven=self.uneven,
            window=self.window,
            seed=self.seed,
        )

    def rows(self, shard, num_shards):
        return len(self.order(0, shard, num_shards))

    def position(self, shard, num_shards, epoch, cursor, **changed):
        return commands_pb2.Position(
            **{
                "format": FORMAT,
                "feed": "f",
                "fingerprint": 1,
                "schema_hash": 2,
                "policy": self.policy,
                "uneven": self.uneven,
                "shard": shard,
                "num_shards": num_shards,
                "shuffle_window": self.window,
                "seed": self.seed,
                "epoch": epoch,
                "cursor": cursor,
                "shard_rows": self.rows(shard, num_shards),
            }
            | changed
        ).SerializeToString()

    def epoch(self, position, epoch):
        """What a reader at `position` hands out in `epoch`, in order."""
        p = commands_pb2.Position.FromString(position)
        if epoch < p.epoch:
            return []
        if epoch >= p.plan_until:
            rows = self.order(epoch, p.shard, p.num_shards)
        else:
            rows = []
            for r in p.remaining:
                if r.epoch == epoch:
                    order = self.order(epoch, r.shard, r.num_shards)
                    assert 0 <= r.begin < r.end <= len(order)
                    rows += order[r.begin : r.end]
        return rows[p.cursor if epoch == p.epoch else 0 :]

    def advance(self, position, rows):
        """The position behind that many more rows, as a reader would save it."""
        p = commands_pb2.Position.FromString(position)
        while rows > 0:
            left = len(self.epoch(p.SerializeToString(), p.epoch))
            if rows <= left:
                p.cursor += rows
                break
            rows -= left
            p.epoch, p.cursor = p.epoch + 1, 0
            if p.epoch >= p.plan_until and not self.order(p.epoch, p.shard, p.num_shards):
                break
        kept = [r for r in p.remaining if r.epoch >= p.epoch and p.epoch < p.plan_until]
        del p.remaining[:]
        p.remaining.extend(kept)
        if p.epoch >= p.plan_until:
            p.plan_until = 0
        p.shard_rows = self.rows(p.shard, p.num_shards)
        return p.SerializeToString()


feeds = st.dictionaries(st.integers(0, 20), st.integers(0, 40), max_size=6).map(
    lambda partitions: list(partitions.items())
)
counts = st.integers(1, 7)


@st.composite
def reads(draw, uneven="join"):
    return Read(
        draw(feeds),
        draw(st.sampled_from(["static", "static_partition"])),
        uneven,
        draw(st.sampled_from([0, -1, 3, 16, 50])),
        draw(st.integers(0, 5)),
    )


def begun(read, data, num_shards):
    """Positions of shards that were read to anywhere in three epochs."""
    return [
        read.advance(
            read.position(shard, num_shards, 0, 0),
            data.draw(st.integers(0, 3 * read.rows(shard, num_shards))),
        )
        for shard in range(num_shards)
    ]


def left(read, positions, epochs):
    """What is to be handed out, by epoch."""
    return [
        collections.Counter(row for p in positions for row in read.epoch(p, epoch))
        for epoch in range(epochs)
    ]


@given(reads(), counts, st.lists(counts, min_size=1, max_size=3), st.data())
@settings(max_examples=300, deadline=None)
def test_each_remaining_row_comes_once_however_often_shards_change(read, old, then, data):
    positions = begun(read, data, old)
    for num_shards in then:
        expected = left(read, positions, 6)
        positions = data.draw(st.permutations(positions))
        positions = flightbridge.reshard(positions, num_shards)
        assert left(read, positions, 6) == expected
        resharded_until = max(commands_pb2.Position.FromString(p).plan_until for p in positions)
        for epoch in range(resharded_until):
            sizes = [len(read.epoch(p, epoch)) for p in positions]
            assert max(sizes) - min(sizes) <= 1
        positions = [
            read.advance(p, data.draw(st.integers(0, 2 * len(read.epoch(p, 5)) + 20)))
            for p in positions
        ]


@given(reads("drop"), counts, counts, st.data())
@settings(max_examples=100, deadline=None)
def test_dropped_shards_stay_equal_and_repeat_nothing(read, old, new, data):
    rows = data.draw(st.integers(0, read.rows(0, old)))
    positions = [read.position(shard, old, 0, rows) for shard in range(old)]
    expected = left(read, positions, 1)[0]
    made = flightbridge.reshard(positions, new)
    if rows == 0:
        return  # nothing was read: the new plan drops what it drops
    found = left(read, made, 1)[0]
    assert len({len(read.epoch(p, 0)) for p in made}) == 1
    assert found <= expected
    assert expected.total() - found.total() == expected.total() % new


@given(reads("pad"), counts, counts, st.data())
@settings(max_examples=100, deadline=None)
def test_padded_shards_stay_equal_and_leave_nothing_out(read, old, new, data):
    rows = data.draw(st.integers(0, read.rows(0, old)))
    positions = [read.position(shard, old, 0, rows) for shard in range(old)]
    expected = left(read, positions, 1)[0]
    made = flightbridge.reshard(positions, new)
    if rows == 0:
        return
    found = left(read, made, 1)[0]
    assert len({len(read.epoch(p, 0)) for p in made}) == 1
    assert found >= expected
    assert found.total() - expected.total() == -expected.total() % new


def test_shards_that_read_nothing_begin_the_new_plan():
    read = Read([(0, 100)], window=-1)
    made = flightbridge.reshard([read.position(i, 4, 2, 0) for i in range(4)], 3)
    for shard, position in enumerate(made):
        p = commands_pb2.Position.FromString(position)
        assert (p.shard, p.num_shards, p.epoch, p.cursor, p.plan_until) == (shard, 3, 2, 0, 0)
        assert not p.remaining


def test_positions_stay_small():
    read = Read([(0, 1_000_000)])
    made = flightbridge.reshard([read.position(i, 64, 0, 7_777) for i in range(64)], 48)
    assert max(map(len, made)) < 200


def test_the_same_count_evens_out_what_stragglers_left():
    read = Read([(0, 100)])
    made = flightbridge.reshard([read.position(0, 2, 0, 50), read.position(1, 2, 0, 10)], 2)
    assert [read.epoch(p, 0) for p in made] == [list(range(60, 80)), list(range(80, 100))]


GOOD = Read([(0, 100)], window=10, seed=3)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"feed": "g"}, "differ in feed: f and g"),
        ({"fingerprint": 9}, "differ in fingerprint"),
        ({"schema_hash": 9}, "differ in schema_hash"),
        ({"seed": 4}, "differ in seed: 3 and 4"),
        ({"shuffle_window": 11}, "differ in shuffle_window: 10 and 11"),
        ({"policy": POLICIES["static_partition"]}, "differ in policy"),
        ({"uneven": UNEVEN["pad"]}, "differ in uneven"),
        ({"format": 2}, "differ in format"),
    ],
)
def test_positions_of_different_reads_are_refused_by_name(changed, words):
    with pytest.raises(errors.PositionMismatchError, match=words):
        flightbridge.reshard([GOOD.position(0, 2, 0, 5), GOOD.position(1, 2, 0, 5, **changed)], 3)


def test_positions_of_other_shard_counts_are_refused_by_name():
    with pytest.raises(errors.PositionMismatchError, match="differ in num_shards: 2 and 3"):
        flightbridge.reshard([GOOD.position(0, 2, 0, 5), GOOD.position(1, 3, 0, 5)], 3)


def positions_of(count, **changed):
    return [GOOD.position(i, count, 0, 5, **changed) for i in range(count)]


@pytest.mark.parametrize(
    ("positions", "num_shards", "error", "words"),
    [
        ([], 2, errors.InvalidArgumentError, "is empty"),
        (positions_of(3)[:2], 2, errors.InvalidArgumentError, r"num_shards=3.*shard 2 \(0 times\)"),
        (
            [*positions_of(2), positions_of(2)[0]],
            2,
            errors.InvalidArgumentError,
            r"shard 0 \(2 times\)",
        ),
        (positions_of(2), 0, errors.InvalidArgumentError, "num_shards=0"),
        (positions_of(2), True, errors.InvalidArgumentError, "num_shards=True"),
        (positions_of(2, format=2), 2, errors.PositionMismatchError, "format=2"),
        (positions_of(2, policy=POLICIES["off"]), 2, errors.InvalidArgumentError, "policy='off'"),
        (
            positions_of(2, policy=POLICIES["dynamic"]),
            2,
            errors.InvalidArgumentError,
            "policy='dynamic'",
        ),
        ([b"\xff\xff"], 2, errors.InvalidArgumentError, "damaged"),
        (["text"], 2, errors.InvalidArgumentError, "is not bytes"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(positions, num_shards, error, words):
    with pytest.raises(error, match=words):
        flightbridge.reshard(positions, num_shards)
