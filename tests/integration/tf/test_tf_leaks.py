"""Iterators that are left at any moment leave no thread, file, slab, lease or stream behind."""

import pytest

from .stories import Story, run

pytestmark = [pytest.mark.tf, pytest.mark.slow]
pytest.importorskip("tensorflow")

PRELUDE = """
import gc, os, random, time
import pyarrow as pa
from flightbridge import batches

server = flightbridge.Server()
with server.client() as client:
    client.write("f", pa.table({"id": np.arange(60_000), "s": ["x" * 30] * 60_000}),
                 partition_rows=5_000)

def threads():
    names = [open(f"/proc/self/task/{tid}/comm").read() for tid in os.listdir("/proc/self/task")]
    return sum(name.startswith("fb-") for name in names)

def held():
    gc.collect()
    status = server.status()
    return {"threads": threads(), "files": len(os.listdir("/proc/self/fd")),
            "slabs": batches.slab_stats()["slabs"], "leases": status.open_leases,
            "streams": status.open_gets}

def settled(expected):
    # What an iterator held may go a moment after it; what stays is told.
    for _ in range(600):
        found = held()
        if all(found[name] <= expected[name] for name in expected):
            break
        time.sleep(0.1)
    return found
"""

EPOCHS = """
chance = random.Random(7)

def make(kind, epoch, group):
    settings = {"plain": {}, "window": {"shuffle": 1_000}, "full": {"shuffle": True},
                "dynamic": {"policy": "dynamic", "group": group, "split_rows": 2_000}}[kind]
    data = flightbridge.tf.dataset(
        server.uri, "f", batch_size=500, timeout_s=60, transport=TRANSPORT, **settings)
    return data.prefetch(2) if epoch % 2 else data.map(lambda x: x["id"])

def epochs(count):
    for epoch in range(count):
        kind = ("plain", "window", "full", "dynamic")[epoch % 4]
        stop = chance.choice([0, 1, 2, 17, 60, 119, 120, 1000])
        for i, _ in enumerate(make(kind, epoch, f"{count} {epoch}")):
            if i >= stop:
                break
"""


@pytest.mark.parametrize("transport", ["local", "mapped", "channel", "flight"])
def test_fifty_epochs_with_early_exits(transport):
    (told,) = run(
        Story(
            PRELUDE
            + f"TRANSPORT = {transport!r}\n"
            + EPOCHS
            + """
epochs(8)  # what is made once, is made now
before = settled({"threads": 0, "slabs": 0, "leases": 0, "streams": 0})
epochs(50)
tell(before=before, after=settled(before))
"""
        )
    )
    assert {k: told["before"][k] for k in ("threads", "slabs", "leases", "streams")} == {
        "threads": 0,
        "slabs": 0,
        "leases": 0,
        "streams": 0,
    }
    for name, count in told["after"].items():
        assert count <= told["before"][name], (name, told)


def test_restored_and_refused_iterators_leave_nothing():
    (told,) = run(
        Story(
            PRELUDE
            + """
import tempfile
def make(seed):
    return flightbridge.tf.dataset(server.uri, "f", batch_size=500, shuffle=True, seed=seed,
                                   columns="id")
def once(path):
    iterator = iter(make(1))
    next(iterator)
    saved = tf.train.Checkpoint(data=iterator).write(path)
    restored = iter(make(1))
    tf.train.Checkpoint(data=restored).read(saved)
    next(restored)
    try:
        tf.train.Checkpoint(data=iter(make(2))).read(saved)
        raise SystemExit("not refused")
    except tf.errors.FailedPreconditionError:
        pass

with tempfile.TemporaryDirectory() as directory:
    once(directory + "/at")
    before = settled({"threads": 0, "slabs": 0, "leases": 0, "streams": 0})
    for _ in range(10):
        once(directory + "/at")
    tell(before=before, after=settled(before))
"""
        )
    )
    for name, count in told["after"].items():
        assert count <= told["before"][name], (name, told)
    assert told["before"]["threads"] == told["before"]["slabs"] == 0
