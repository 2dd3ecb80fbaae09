"""The order of rows against a second implementation in plain Python, and its properties."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flightbridge._native import _batches
from flightbridge.reader_spec import POLICIES, UNEVEN

M32 = 2**32 - 1
M64 = 2**64 - 1


class Philox:
    """Philox4x32-10 written again from its paper, for one stream of a seed."""

    def __init__(self, seed, stream):
        self.seed, self.stream = seed, stream
        self.counter, self.words = 0, []

    def next32(self):
        if not self.words:
            c = [self.counter & M32, self.counter >> 32, self.stream & M32, self.stream >> 32]
            k0, k1 = self.seed & M32, self.seed >> 32
            for _ in range(10):
                a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
                c = [(b >> 32) ^ c[1] ^ k0, b & M32, (a >> 32) ^ c[3] ^ k1, a & M32]
                k0, k1 = (k0 + 0x9E3779B9) & M32, (k1 + 0xBB67AE85) & M32
            self.counter += 1
            self.words = c
        return self.words.pop(0)

    def below(self, bound):
        product = self.next32() * bound
        while (product & M32) < 2**32 % bound:
            product = self.next32() * bound
        return product >> 32

    def shuffle(self, items):
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]


def mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & M64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & M64
    return x ^ (x >> 31)


def stream_of(*parts):
    stream = 0
    for part in parts:
        stream = mix((stream + 0x9E3779B97F4A7C15 + mix(part)) & M64)
    return stream


def reference_permutation(size, seed, stream, begin, end):
    """Elements [begin, end) of a permutation: a table, or a Feistel cipher with cycle walking."""
    philox = Philox(seed, stream)
    if size <= 2**16:
        table = list(range(size))
        philox.shuffle(table)
        return table[begin:end]
    keys = [(philox.next32() << 32) | philox.next32() for _ in range(8)]
    bits = (size.bit_length() - 1) // 2
    highs = -(-size // 2**bits)

    def step(value):
        high, low = divmod(value, 2**bits)
        for one, two in zip(keys[::2], keys[1::2], strict=True):
            low ^= mix(high ^ one) % 2**bits
            high = (high + (mix(low ^ two) * highs >> 64)) % highs
        return high * 2**bits + low

    found = []
    for value in range(begin, end):
        value = step(value)
        while value >= size:
            value = step(value)
        found.append(value)
    return found


def reference_order(rows, *, epoch, shard, num_shards, window, seed):
    begin, end = shard * rows // num_shards, (shard + 1) * rows // num_shards
    size = end - begin
    if window == 0:
        return list(range(begin, end))
    if window < 0:  # part of one permutation of the feed
        return reference_permutation(rows, seed, stream_of(2, 0, 1, epoch, 0), begin, end)
    if window >= size:
        chunk, per_window = max(size, 1), 1
    else:
        chunk = min(min(max(window // 16, 256), 8192), window // 8)
        chunk -= chunk % 64 if chunk >= 64 else 0
        chunk = max(chunk, 1)
        per_window = max(1, window // chunk)
    chunks = list(range(-(-size // chunk)))
    Philox(seed, stream_of(1, shard, num_shards, epoch)).shuffle(chunks)
    windows = -(-len(chunks) // per_window)
    order = []
    for w in range(windows):
        mine = sorted(chunks[len(chunks) * w // windows : len(chunks) * (w + 1) // windows])
        part = [
            row for c in mine for row in range(begin + c * chunk, min(begin + (c + 1) * chunk, end))
        ]
        Philox(seed, stream_of(2, shard, num_shards, epoch, w)).shuffle(part)
        order += part
    return order


@st.composite
def orders(draw):
    num_shards = draw(st.integers(1, 9))
    return draw(st.integers(0, 3000)), {
        "epoch": draw(st.integers(0, 2**40)),
        "shard": draw(st.integers(0, num_shards - 1)),
        "num_shards": num_shards,
        "window": draw(st.one_of(st.sampled_from([0, -1, 1]), st.integers(1, 2500))),
        "seed": draw(st.integers(0, M64)),
    }


@given(orders())
@settings(max_examples=150, deadline=None)
def test_the_order_is_that_of_the_reference(case):
    rows, order = case
    assert _batches.epoch_order(rows, **order) == reference_order(rows, **order)


@given(st.integers(2**16, 2**17), st.integers(0, 2**30), st.integers(0, M64))
@settings(max_examples=15, deadline=None)
def test_a_long_full_order_is_that_of_the_reference(rows, epoch, seed):
    order = {"epoch": epoch, "shard": 1, "num_shards": 40, "window": -1, "seed": seed}
    assert _batches.epoch_order(rows, **order) == reference_order(rows, **order)


@given(orders())
@settings(max_examples=100, deadline=None)
def test_shards_hand_out_every_row_once(case):
    rows, order = case
    found = []
    for shard in range(order["num_shards"]):
        found += _batches.epoch_order(rows, **{**order, "shard": shard})
    assert sorted(found) == list(range(rows))


@given(
    st.dictionaries(st.integers(0, 50), st.integers(0, 100), max_size=8),
    st.integers(1, 12),
)
def test_ranges_are_the_partitions_in_order(partitions, num_shards):
    found = []
    sizes = []
    for shard in range(num_shards):
        ranges = _batches.shard_ranges(list(partitions.items()), shard, num_shards)
        assert all(begin < end for _, begin, end in ranges)
        found += [(p, row) for p, begin, end in ranges for row in range(begin, end)]
        sizes.append(sum(end - begin for _, begin, end in ranges))
    assert found == [(p, row) for p in sorted(partitions) for row in range(partitions[p])]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 2**40), st.integers(1, 2**40))
def test_chunks_let_a_window_mix(window, shard_rows):
    chunk = _batches.chunk_rows(window, shard_rows)
    if window >= shard_rows:
        assert chunk == shard_rows
        return
    assert chunk >= 1
    assert -(-shard_rows // chunk) <= 2**22
    floor = -(-shard_rows // 2**22)
    assert chunk <= max(8192, floor)
    if window >= 8 and chunk > floor:
        assert window // chunk >= 8


def test_epochs_and_seeds_differ():
    base = {"epoch": 0, "shard": 0, "num_shards": 1, "window": -1, "seed": 0}
    orders = [
        tuple(_batches.epoch_order(500, **{**base, **change}))
        for change in ({}, {"epoch": 1}, {"epoch": 2**32}, {"seed": 1}, {"seed": 2**32})
    ]
    assert len(set(orders)) == len(orders)


# For ever: positions saved by older versions rest on them.
@pytest.mark.parametrize(
    ("rows", "order", "golden"),
    [
        (
            12,
            {"epoch": 0, "shard": 0, "num_shards": 1, "window": -1, "seed": 0},
            [4, 9, 7, 1, 2, 8, 11, 6, 5, 0, 10, 3],
        ),
        (
            20,
            {"epoch": 0, "shard": 0, "num_shards": 1, "window": 8, "seed": 42},
            [17, 12, 11, 5, 3, 18, 4, 9, 19, 15, 6, 7, 1, 13, 16, 8, 14, 10, 2, 0],
        ),
    ],
)
def test_golden_orders(rows, order, golden):
    assert _batches.epoch_order(rows, **order) == golden


def test_whole_shard_shuffle_leaves_no_runs():
    order = _batches.epoch_order(20_000, epoch=0, shard=0, num_shards=1, window=-1, seed=1)
    assert sum(b == a + 1 for a, b in pairwise(order)) < 10


feeds = st.dictionaries(st.integers(0, 40), st.integers(0, 60), max_size=10).map(
    lambda partitions: list(partitions.items())
)
sharing = st.sampled_from(["static", "static_partition"])


def orders_of(feed, num_shards, policy, uneven, **order):
    wanted = {"epoch": 0, "window": 0, "seed": 0, **order}
    return [
        _batches.shard_order(
            feed,
            shard=shard,
            num_shards=num_shards,
            policy=POLICIES[policy],
            uneven=UNEVEN[uneven],
            **wanted,
        )
        for shard in range(num_shards)
    ]


@given(feeds, st.integers(1, 9), sharing, st.integers(-1, 80), st.integers(0, M64))
@settings(max_examples=150, deadline=None)
def test_joined_shards_have_every_row_once(feed, num_shards, policy, window, seed):
    orders = orders_of(feed, num_shards, policy, "join", window=window, seed=seed)
    assert sorted(row for order in orders for row in order) == list(range(sum(dict(feed).values())))


@given(feeds, st.integers(1, 9), sharing, st.integers(-1, 80), st.integers(0, M64))
@settings(max_examples=150, deadline=None)
def test_padded_shards_are_equal_and_leave_nothing_out(feed, num_shards, policy, window, seed):
    orders = orders_of(feed, num_shards, policy, "pad", window=window, seed=seed)
    # Under a full order a shard's rows are what it hands out when it is not padded.
    order_of_rows = {"window": window, "seed": seed} if window == -1 else {}
    joined = orders_of(feed, num_shards, policy, "join", **order_of_rows)
    longest = max(map(len, joined))
    total = sum(dict(feed).values())
    for shard, (order, own) in enumerate(zip(orders, joined, strict=True)):
        if own or window != -1:
            repeated = own or list(range(total))
            assert sorted(order) == sorted(repeated[i % len(repeated)] for i in range(longest))
        else:  # rows of others, in an order of its own
            assert set(order) <= set(range(total))
            assert (len(order), len(set(order))) == (longest, min(longest, total))
        assert _batches.shard_rows(feed, shard, num_shards, POLICIES[policy], UNEVEN["pad"]) == (
            len(own),
            longest - len(own),
            0,
        )


@given(feeds, st.integers(1, 9), sharing, st.integers(-1, 80), st.integers(0, M64))
@settings(max_examples=150, deadline=None)
def test_dropped_shards_are_equal_and_repeat_nothing(feed, num_shards, policy, window, seed):
    orders = orders_of(feed, num_shards, policy, "drop", window=window, seed=seed)
    order_of_rows = {"window": window, "seed": seed} if window == -1 else {}
    joined = orders_of(feed, num_shards, policy, "join", **order_of_rows)
    shortest = min(map(len, joined))
    for shard, (order, own) in enumerate(zip(orders, joined, strict=True)):
        assert sorted(order) == sorted(own[:shortest])
        assert _batches.shard_rows(feed, shard, num_shards, POLICIES[policy], UNEVEN["drop"]) == (
            len(own),
            0,
            len(own) - shortest,
        )


@given(feeds, st.integers(1, 9), st.integers(-1, 80))
@settings(max_examples=50, deadline=None)
def test_off_gives_every_reader_everything(feed, num_shards, window):
    everything = list(range(sum(dict(feed).values())))
    for order in orders_of(feed, num_shards, "off", "pad", window=window):
        assert sorted(order) == everything


@given(feeds, st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_partitions_stay_whole(feed, num_shards):
    owner = {}
    first = 0
    ranges = {}
    for partition, rows in sorted(feed):
        ranges[partition] = set(range(first, first + rows))
        first += rows
    for shard, order in enumerate(orders_of(feed, num_shards, "static_partition", "join")):
        for partition, rows in ranges.items():
            if rows & set(order):
                assert rows <= set(order)
                assert owner.setdefault(partition, shard) == shard
