"""``flightbridge.torch`` in a real PyTorch: ``make test-torch``."""

import copy
import io
import itertools
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pytest

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed: make test-torch")

import flightbridge.torch  # noqa: E402
from flightbridge import batches  # noqa: E402
from flightbridge.errors import (  # noqa: E402
    FailedPreconditionError,
    FeedNotFoundError,
    InvalidArgumentError,
    PositionMismatchError,
    UnsupportedTypeError,
)

ROWS = 1000


def make_table():
    ids = np.arange(ROWS)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "half": pa.array((ids % 7).astype(np.float16)),
            "odd": pa.array(ids % 2 == 1),
            "count": pa.array((ids % 300).astype(np.uint16)),
            "price": pa.array(ids / 2),
            "pair": pa.array([[i, -i] for i in ids], pa.list_(pa.float32(), 2)),
            "tags": pa.array([list(range(i % 4)) for i in ids], pa.list_(pa.int32())),
            "name": pa.array([f"näme {i}" for i in ids]),
            "raw": pa.array([bytes([i % 256]) for i in ids]),
            "words": pa.array([[f"w{i}"] * (i % 3) for i in ids], pa.list_(pa.string())),
        }
    )


@pytest.fixture(scope="module")
def bridge():
    with flightbridge.Server(memory_limit="256MiB") as server:
        with server.client() as client:
            client.write("all", make_table(), partition_rows=130)
            client.write("ids", make_table().select(["id"]), partition_rows=130)
        yield server


def make(bridge, feed="ids", **settings):
    return flightbridge.torch.dataset(bridge, feed, **{"batch_size": 64, **settings})


def ids_of(elements):
    return [row for element in elements for row in element["id"].tolist()]


def rows_of(column):
    if isinstance(column, flightbridge.torch.Ragged):
        values = rows_of(column.values)
        splits = column.offsets.tolist()
        return [values[a:b] for a, b in itertools.pairwise(splits)]
    return column if isinstance(column, list) else column.tolist()


# ---- elements ----------------------------------------------------------------------------------


def test_every_type(bridge):
    got = {name: [] for name in make_table().schema.names}
    for element in make(bridge, "all"):
        for name, column in element.items():
            got[name] += rows_of(column)
    assert got == make_table().to_pydict()
    first = next(iter(make(bridge, "all")))
    dtypes = {n: c.dtype for n, c in first.items() if isinstance(c, torch.Tensor)}
    assert dtypes == {
        "id": torch.int64,
        "half": torch.float16,
        "odd": torch.bool,
        "count": torch.uint16,
        "price": torch.float64,
        "pair": torch.float32,
    }
    assert first["pair"].shape == (64, 2)


def test_structures(bridge):
    features, label = next(iter(make(bridge, "all", columns=["pair", "id"], label="odd")))
    assert set(features) == {"pair", "id"} and label.shape == (64,)
    alone, labels = next(iter(make(bridge, "all", columns="price", label=["odd", "id"])))
    assert alone.dtype == torch.float64 and set(labels) == {"odd", "id"}
    features, _ = next(iter(make(bridge, "all", label="id")))
    assert set(features) == set(make_table().schema.names) - {"id"}


def test_tensors_are_the_slab(bridge):
    with batches.read(bridge.uri, "all", batch_size=100) as reader:
        convert = flightbridge.torch._Converter(reader, "offsets", "list")
        for column in reader.next_native().columns:
            if column.dtype != "bytes":
                made = convert(column)
                tensor = getattr(made, "values", made) if column.row_splits else made
                assert tensor.data_ptr() == np.asarray(column).ctypes.data
                assert tensor.data_ptr() % 64 == 0


def test_tensors_outlive_the_iterator(bridge):
    iterator = iter(make(bridge, slabs=1))
    kept = [next(iterator)["id"] for _ in range(8)]
    iterator.close()
    del iterator
    assert torch.cat(kept).tolist() == list(range(512))


def test_lists_as_nested_tensors(bridge):
    nested = next(iter(make(bridge, "all", columns="tags", ragged="nested")))
    assert nested.layout == torch.jagged
    assert [part.tolist() for part in nested.unbind()] == [list(range(i % 4)) for i in range(64)]


def test_pairs_feed_an_embedding_bag(bridge):
    table = torch.arange(4.0).reshape(4, 1)
    tags = next(iter(make(bridge, "all", columns="tags")))
    sums = torch.nn.functional.embedding_bag(
        tags.values, table, tags.offsets, mode="sum", include_last_offset=True
    )
    assert sums.flatten().tolist() == [float(sum(range(i % 4))) for i in range(64)]


@pytest.mark.parametrize(
    "settings", [{"strings": "error"}, {"columns": "words", "ragged": "nested"}]
)
def test_strings_can_be_refused_by_name(bridge, settings):
    with pytest.raises(UnsupportedTypeError, match=r"'(name|words)'.*strings"):
        next(iter(make(bridge, "all", **settings)))


# ---- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"ragged": "dense"}, "ragged='dense'"),
        ({"strings": "x"}, "strings='x'"),
        ({"shufle": True}, "shufle"),
        ({"shard": (2, 2)}, "shard"),
        ({"columns": ["id"], "label": "id"}, "leaves no column"),
        ({"columns": 3}, "columns=3"),
        ({"policy": "dynamic", "group": "g", "shard": (0, 2)}, "dynamic"),
    ],
)
def test_bad_arguments_fail_at_once(settings, words):
    with pytest.raises(InvalidArgumentError, match=words):
        flightbridge.torch.dataset("grpc://127.0.0.1:1", "ids", **{"batch_size": 64, **settings})


def test_a_missing_feed_or_column_is_named(bridge):
    with pytest.raises(FeedNotFoundError, match="nothing"):
        next(iter(make(bridge, "nothing")))
    with pytest.raises(FeedNotFoundError, match="price"):
        next(iter(make(bridge, columns=["price"])))


# ---- epochs and positions ----------------------------------------------------------------------


def test_set_epoch_chooses_the_order(bridge):
    data = make(bridge, shuffle=True, seed=3)
    orders = []
    for epoch in range(3):
        data.set_epoch(epoch)
        orders.append(ids_of(data))
        assert sorted(orders[-1]) == list(range(ROWS))
    assert len({tuple(order) for order in orders}) == 3
    assert ids_of(make(bridge, shuffle=True, seed=3, epochs=3)) == [*itertools.chain(*orders)]
    data.set_epoch(1)
    assert ids_of(data) == orders[1] == ids_of(data)


@pytest.mark.parametrize("shuffle", [None, 200, True])
@pytest.mark.parametrize("taken", [0, 1, 9, 16, 20, 32])
def test_every_break_point(bridge, shuffle, taken):
    data = make(bridge, shuffle=shuffle, epochs=2)
    data.set_epoch(4)
    want = ids_of(data)
    iterator = iter(data)
    got = ids_of(next(iterator) for _ in range(taken))
    file = io.BytesIO()
    torch.save(data.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    position = iterator.position()
    iterator.close()

    other = make(bridge, shuffle=shuffle, epochs=2)
    other.set_epoch(4)
    other.load_state_dict(state)
    assert got + ids_of(other) == want
    assert ids_of(other) == want  # the next one is a whole one again
    assert got + ids_of(make(bridge, shuffle=shuffle, epochs=6).from_position(position)) == want


def test_positions_are_those_of_every_other_reader(bridge):
    iterator = iter(make(bridge, shuffle=True, seed=2))
    got = ids_of(next(iterator) for _ in range(3))
    settings = {"batch_size": 50, "shuffle": True, "seed": 2, "position": iterator.position()}
    with batches.read(bridge.uri, "ids", **settings) as reader:
        got += [row for batch in reader for row in batch["id"].tolist()]
    assert sorted(got) == list(range(ROWS))


def test_states_of_another_read_are_refused(bridge):
    iterator = iter(make(bridge, shuffle=True, seed=2))
    next(iterator)
    other = make(bridge, shuffle=True, seed=9)
    other.load_state_dict(iterator.state_dict())
    with pytest.raises(PositionMismatchError, match="seed"):
        next(iter(other))
    with pytest.raises(InvalidArgumentError, match="not the state"):
        other.load_state_dict({"epoch": 1})
    with pytest.raises(FailedPreconditionError, match="has begun"):
        iterator.load_state_dict(iterator.state_dict())


# ---- processes ---------------------------------------------------------------------------------

STORY = """
import json, os, sys, torch
import flightbridge.torch
URI, METHOD = sys.argv[1:3]
WORKERS = dict(batch_size=None, multiprocessing_context=METHOD)

def make(**settings):
    return flightbridge.torch.dataset(URI, "ids", **{"batch_size": 64, **settings})

def ids(loader):
    return [row for element in loader for row in element["id"].tolist()]

def story():
    BODY

if __name__ == "__main__":
    print(json.dumps(story()))
"""


def begin(bridge, tmp_path, body, method="fork", **environment):
    path = tmp_path / f"story{len(list(tmp_path.glob('*.py')))}.py"
    path.write_text(STORY.replace("BODY", body.strip().replace("\n", "\n    ")))
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(path), bridge.uri, method],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def end(process):
    try:
        out, err = process.communicate(timeout=200)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_share_the_rank(bridge, tmp_path, method):
    body = """
parts = []
for rank in range(2):
    data = make(shuffle=300, seed=1, shard=(rank, 2))
    loader = torch.utils.data.DataLoader(
        data, num_workers=2, persistent_workers=METHOD == "spawn", **WORKERS
    )
    epochs = []
    for epoch in range(2):
        data.set_epoch(epoch)
        epochs.append(ids(loader))
    parts.append(epochs)
return parts
"""
    ranks = end(begin(bridge, tmp_path, body, method))
    for epoch in range(2):
        assert [sorted(rank[epoch]) for rank in ranks] == [
            list(range(500)),
            list(range(500, 1000)),
        ]
    assert all(rank[0] != rank[1] for rank in ranks)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_ranks_of_torch_distributed(bridge, tmp_path, method):
    body = f"""
torch.distributed.init_process_group(
    "gloo", init_method="file://{tmp_path}/meet", rank=int(os.environ["RANK"]), world_size=2
)
loader = torch.utils.data.DataLoader(make(), num_workers=2, **WORKERS)
shared = ids(loader)
alone = ids(make())
torch.distributed.barrier()
torch.distributed.destroy_process_group()
return alone, shared
"""
    started = [
        begin(bridge, tmp_path, body, method, RANK=str(rank), GLOO_SOCKET_IFNAME="lo")
        for rank in range(2)
    ]
    for rank, (alone, shared) in enumerate(map(end, started)):
        assert alone == list(range(500 * rank, 500 * rank + 500)) == sorted(shared)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_loader_continues_at_the_exact_row(bridge, tmp_path, workers):
    pytest.importorskip("torchdata.stateful_dataloader")
    body = f"""
import warnings
warnings.filterwarnings("ignore", "'set_vital' is deprecated")  # torchdata 0.11 with torch 2.13
from torchdata.stateful_dataloader import StatefulDataLoader
WORKERS = dict(batch_size=None, num_workers={workers})
WORKERS["multiprocessing_context"] = METHOD if {workers} else None
got = []
for taken in (0, 1, 7, 15, 16):
    loader = StatefulDataLoader(make(shuffle=300), **WORKERS)
    iterator = iter(loader)
    first = ids(next(iterator) for _ in range(taken))
    state = loader.state_dict()
    del iterator, loader
    loader = StatefulDataLoader(make(shuffle=300), **WORKERS)
    loader.load_state_dict(state)
    got.append((first + ids(loader), ids(loader)))
return got
"""
    for continued, again in end(begin(bridge, tmp_path, body)):
        assert sorted(continued) == list(range(ROWS)) and continued == again


def test_a_fork_of_a_process_that_has_connected_is_told_what_to_do(bridge):
    loader = torch.utils.data.DataLoader(
        make(bridge), batch_size=None, num_workers=1, multiprocessing_context="fork"
    )
    with pytest.raises(FailedPreconditionError, match="spawn"):
        next(iter(loader))


def test_every_row_from_every_worker_is_refused(bridge, tmp_path):
    body = """
try:
    ids(torch.utils.data.DataLoader(make(policy="off"), num_workers=2, **WORKERS))
except flightbridge.errors.InvalidArgumentError as error:
    return str(error)
"""
    assert "num_workers=2" in end(begin(bridge, tmp_path, body))


def test_copies_share_the_epoch_and_no_iterator(bridge):
    data = make(bridge, shuffle=True)
    next(iter(data))
    other = copy.copy(data)
    data.set_epoch(3)
    assert other.state_dict() == {"format": 1, "epoch": 3, "position": None}


def test_a_feed_that_is_written_again_is_refused_in_the_next_epoch(bridge):
    with bridge.client() as client:
        client.write("again", make_table().select(["id"]))
        train = make(bridge, "again", shuffle=True)
        assert sum(len(batch["id"]) for batch in train) == ROWS
        assert sum(len(batch["id"]) for batch in copy.copy(train)) == ROWS
        client.write("again", make_table().select(["id"]).slice(1), mode="overwrite")
        with pytest.raises(FailedPreconditionError, match="changed since"):
            next(iter(train))
        with pytest.raises(FailedPreconditionError, match="changed since"):
            next(iter(copy.copy(train)))
        assert sum(len(batch["id"]) for batch in make(bridge, "again")) == ROWS - 1


# ---- feeds that grow ---------------------------------------------------------------------------


def grow(client, feed, begin, rows, parts=2):
    table = pa.table({"id": pa.array(range(begin, begin + rows), pa.int64())})
    client.write(feed, table, mode="stream", partition_rows=max(1, rows // parts))


def write_soon(bridge, feed, begin, rows):
    """Adds a generation and ends the feed, while somebody waits for it."""

    def write():
        with bridge.client() as client:
            grow(client, feed, begin, rows)
            client.end_feed(feed)

    thread = threading.Timer(0.2, write)
    thread.start()
    return thread


def test_a_followed_feed_is_read_as_it_grows(bridge):
    with bridge.client() as client:
        grow(client, "grows", 0, 100)
        data = make(bridge, "grows", follow=True, shuffle=True, seed=2, follow_timeout_s=60)
        iterator = iter(data)
        first = [ids_of([next(iterator)]) for _ in range(2)]
        writer = write_soon(bridge, "grows", 100, 70)
        rest = [ids_of([element]) for element in iterator]
        writer.join(60)
        assert [len(ids) for ids in first + rest] == [64, 36, 64, 6], "none crosses a generation"
        assert sorted(itertools.chain(*first)) == list(range(100))
        assert sorted(itertools.chain(*rest)) == list(range(100, 170))
        assert ids_of(data) == [*itertools.chain(*first, *rest)], "an iterator more begins again"
        data.set_epoch(1)
        with pytest.raises(InvalidArgumentError, match="follow"):
            next(iter(data))
        client.drop("grows")
        grow(client, "grows", 0, 5)
        data.set_epoch(0)
        with pytest.raises(FailedPreconditionError, match="changed since"):
            next(iter(data))


@pytest.mark.parametrize("shuffle", [None, 30, True])
def test_states_of_a_followed_feed_hold_whatever_comes(bridge, shuffle):
    feed = f"grows_{shuffle}"

    def dataset():
        return make(bridge, feed, follow=True, shuffle=shuffle, batch_size=16, follow_timeout_s=60)

    states, seen = [], []
    with bridge.client() as client:
        data = dataset()
        grow(client, feed, 0, 0)
        iterator = iter(data)
        states.append((0, data.state_dict()))
        for generation in range(3):
            grow(client, feed, generation * 40, 40)
            for _ in range(3):
                seen += ids_of([next(iterator)])
                states.append((len(seen), data.state_dict()))
        grow(client, feed, 120, 30)
        client.end_feed(feed)
    seen += ids_of(iterator)
    states.append((len(seen), data.state_dict()))
    assert sorted(seen) == list(range(150))
    for read, state in states:
        other = dataset()
        other.load_state_dict(state)
        assert ids_of(other) == seen[read:]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_share_a_followed_feed(bridge, tmp_path, method):
    feed = f"shared_{method}"
    body = f"""
data = flightbridge.torch.dataset(
    URI, {feed!r}, batch_size=16, follow=True, shard=(1, 2), follow_timeout_s=100
)
iterator = iter(torch.utils.data.DataLoader(data, num_workers=2, **WORKERS))
first = ids(next(iterator) for _ in range(4))  # all of the first generation's
print("first", flush=True)
return first, ids(iterator)
"""
    with bridge.client() as client:
        grow(client, feed, 0, 128)
        process = begin(bridge, tmp_path, body, method)
        assert process.stdout.readline() == "first\n"
        grow(client, feed, 128, 40)
        client.end_feed(feed)
    first, rest = end(process)
    assert sorted(first) == list(range(64, 128))
    assert sorted(rest) == list(range(148, 168))


def test_a_stateful_loader_goes_on_in_a_followed_feed(bridge, tmp_path):
    pytest.importorskip("torchdata.stateful_dataloader")
    body = """
import warnings
warnings.filterwarnings("ignore", "'set_vital' is deprecated")  # torchdata 0.11 with torch 2.13
from torchdata.stateful_dataloader import StatefulDataLoader
def loader():
    data = flightbridge.torch.dataset(
        URI, "kept", batch_size=16, follow=True, shuffle=True, follow_timeout_s=100
    )
    return StatefulDataLoader(data, batch_size=None)
states = []
first = loader()
iterator = iter(first)
seen = []
for _ in range(4):  # in the middle of the first generation, and at its end
    seen += ids([next(iterator)])
    states.append((len(seen), first.state_dict()))
print("first", flush=True)
seen += ids(iterator)
got = []
for read, state in states:
    other = loader()
    other.load_state_dict(state)
    got.append(seen[:read] + ids(other))
return seen, got
"""
    with bridge.client() as client:
        grow(client, "kept", 0, 64)
        process = begin(bridge, tmp_path, body)
        assert process.stdout.readline() == "first\n"
        grow(client, "kept", 64, 40)
        client.end_feed("kept")
    seen, got = end(process)
    assert sorted(seen) == list(range(104))
    assert got == [seen] * 4


def test_without_follow_a_dataset_stays_as_its_first_iterator_found_it(bridge):
    with bridge.client() as client:
        grow(client, "early", 0, 100)
        data = make(bridge, "early", shuffle=True)
        first = ids_of(data)
        grow(client, "early", 100, 100)
        assert sorted(first) == list(range(100))
        assert ids_of(data) == first
        client.end_feed("early")
        assert ids_of(data) == first
        assert sorted(ids_of(make(bridge, "early"))) == list(range(200))
