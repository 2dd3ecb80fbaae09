"""Readers that are killed, stopped or slow; servers that are stopped (rows 8, 16, 17, 18, 39)."""

from __future__ import annotations

import itertools
import random
import signal
import time

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
from flightbridge import batches
from flightbridge.errors import DeadlineExceededError, PositionMismatchError, ServerUnavailableError

from .reader_process import ReaderProcess, server_process

ROWS = 20_000
STATIC = {"batch_size": 50, "shuffle": 3000, "seed": 3, "prefetch": "64KiB", "slabs": 2}
DYNAMIC = {
    "batch_size": 50,
    "policy": "dynamic",
    "group": "g",
    "split_rows": 100,
    "prefetch": 1,
    "slabs": 1,
    "lease_timeout_s": 1.5,
}


def wait_until(condition, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def reported(reader: ReaderProcess, splits: int) -> None:
    """Waits until the server knows that the reader is done with so many splits."""

    def known() -> bool:
        assert reader.take(0) == []
        return reader.stats["reported_splits"] == splits

    wait_until(known)


@pytest.fixture
def bridge():
    with flightbridge.Server(memory_limit="512MiB") as server:
        with server.client() as client:
            client.write("f", pa.table({"id": np.arange(ROWS)}), partition_rows=1500)
        yield server
        wait_until(lambda: server.status().open_gets == 0)
        wait_until(lambda: server.status().open_leases == 0)


def whole(bridge, **settings):
    with batches.read(bridge.uri, "f", **settings) as reader:
        return [row for batch in reader for row in batch["id"].tolist()]


# ---- row 8: a trainer killed in mid-epoch -----------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        STATIC,
        {**STATIC, "shuffle": None},
        {**STATIC, "shuffle": True},
        {**DYNAMIC, "shuffle": True, "lease_timeout_s": 30},
    ],
    ids=["window", "plain", "full", "dynamic"],
)
def test_a_killed_trainer_continues_at_the_exact_next_row(bridge, tmp_path, settings):
    settings = {**settings, "epochs": 2}
    want = whole(bridge, **{**settings, **({"group": "whole"} if "group" in settings else {})})
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    found: list[int] = []
    for _ in range(4):
        with ReaderProcess(bridge.uri, tmp_path / "position", **settings) as trainer:
            found += trainer.take(rng.randrange(1, 150))
            trainer.save()
            trainer.ask(rng.randrange(1, 40))  # killed somewhere in it: since the checkpoint
            trainer.kill()
    with ReaderProcess(bridge.uri, tmp_path / "position", **settings) as trainer:
        found += trainer.rest()
        trainer.close()
    assert found == want, f"seed {seed}"


# ---- row 17: a consumer that is stopped for longer than its lease, or killed ------------------


def test_a_stopped_consumer_is_fenced_and_its_share_given_to_others(bridge, tmp_path):
    with (
        ReaderProcess(bridge.uri, tmp_path / "a", **DYNAMIC) as stopped,
        ReaderProcess(bridge.uri, tmp_path / "b", **DYNAMIC) as other,
    ):
        before = stopped.take(7)  # three splits, and half of another
        reported(stopped, 3)
        stopped.signal(signal.SIGSTOP)
        taken = other.rest()  # ends only when every split has been read
        stopped.signal(signal.SIGCONT)
        after = stopped.rest()
        assert set(before) | set(taken) | set(after) == set(range(ROWS))
        # What it had read ahead, and what it had not, is the other's now.
        assert after == []
        assert stopped.stats["lost_leases"] == 1
        assert sorted(set(taken)) == sorted(taken)
        # Read again is what it had handed out and not reported.
        assert len(set(taken) & set(before)) == 50
        stopped.close()
        other.close()


def test_a_consumer_that_wakes_in_mid_epoch_goes_on_with_what_is_left(bridge, tmp_path):
    with (
        ReaderProcess(bridge.uri, tmp_path / "a", **DYNAMIC) as stopped,
        ReaderProcess(bridge.uri, tmp_path / "b", **DYNAMIC) as other,
    ):
        before = stopped.take(7)
        stopped.signal(signal.SIGSTOP)
        wait_until(lambda: bridge.status().open_leases == 0)
        taken = other.take(40)  # first of all what the stopped one had
        stopped.signal(signal.SIGCONT)
        after = stopped.take(40)
        assert after
        assert stopped.stats["lost_leases"] == 1
        other.ask(-1)
        after += stopped.rest()
        taken += other.answer()
        assert not set(after) & set(taken)
        assert not set(after) & set(before)
        assert set(before) | set(taken) | set(after) == set(range(ROWS))
        stopped.close()
        other.close()


def test_the_share_of_a_killed_consumer_is_read_by_others(bridge, tmp_path):
    with (
        ReaderProcess(bridge.uri, tmp_path / "a", **DYNAMIC) as killed,
        ReaderProcess(bridge.uri, tmp_path / "b", **DYNAMIC) as other,
    ):
        before = killed.take(31)  # the fifteenth split, and half of another
        reported(killed, 15)
        killed.kill()
        taken = other.rest()
        assert set(before) | set(taken) == set(range(ROWS))
        assert len(set(before) & set(taken)) == 50
        other.close()


def test_a_consumer_that_is_stopped_briefly_loses_nothing(bridge, tmp_path):
    settings = {**DYNAMIC, "lease_timeout_s": 60}
    with ReaderProcess(bridge.uri, tmp_path / "a", **settings) as reader:
        found = reader.take(7)
        reader.signal(signal.SIGSTOP)
        reader.signal(signal.SIGCONT)
        found += reader.rest()
        assert found == list(range(ROWS))
        assert reader.stats["lost_leases"] == 0
        reader.close()


# ---- row 18: a server that is stopped ---------------------------------------------------------


@pytest.mark.parametrize("settings", [STATIC, DYNAMIC], ids=["static", "dynamic"])
def test_a_stopped_server_ends_a_read_at_the_deadline(settings):
    with server_process() as (server, uri):
        with flightbridge.connect(uri) as client:
            client.write("f", pa.table({"id": np.arange(2_000_000)}), partition_rows=100_000)
        for _ in range(2):
            reader = batches.read(uri, "f", timeout_s=1.5, **settings)
            next(reader)
            server.send_signal(signal.SIGSTOP)
            try:
                with pytest.raises((DeadlineExceededError, ServerUnavailableError)):
                    for _ in reader:
                        pass
                reader.close()
            finally:
                server.send_signal(signal.SIGCONT)
            settings = {**settings, **({"group": "g2"} if "group" in settings else {})}
        # It lives, and a reader of later reads everything.
        again = {**settings, **({"group": "g3"} if "group" in settings else {})}
        with batches.read(uri, "f", **{**again, "batch_size": 50_000}) as reader:
            assert sum(len(batch["id"]) for batch in reader) == 2_000_000


# ---- row 16: a slow consumer ------------------------------------------------------------------


@pytest.mark.parametrize("rows", [4_096, 1 << 20], ids=["small", "larger_than_the_budget"])
def test_a_slow_consumer_holds_the_server_back(rows):
    """What was sent comes to rest at the budget, whatever the size of a batch."""
    total = 16 << 20  # 128 MiB
    budget = 2 << 20
    with flightbridge.Server(memory_limit="512MiB") as server, server.client() as client:
        job = pa.table({"id": np.arange(total)})
        client.write("f", job, partition_rows=rows)
        settings = {"batch_size": 1024, "prefetch": budget, "slabs": 2, "connections": 2}
        with batches.read(server.uri, "f", transport="channel", **settings) as reader:
            for taken in range(1, 4):
                for _ in itertools.islice(reader, 100):
                    pass
                sent = -1
                calm = 0
                while calm < 5:  # nothing was sent during five looks
                    now = server.status().bytes_got
                    calm = calm + 1 if now == sent else 0
                    sent = now
                    time.sleep(0.02)
                batch = min(rows, 1 << 20) * 8
                # Each connection: 4 MiB and a batch beyond it received, a batch beyond the
                # budget, and one on its way; and what gRPC buffers.
                allowed = taken * 100 * 8192 + budget + 2 * (3 * batch + (4 << 20) + (4 << 20))
                assert sent <= allowed


# ---- row 39: another shard count or feed ------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shard": (0, 3)}, "num_shards=2, this reader has num_shards=3"),
        ({"shard": (1, 2)}, "shard=0, this reader has shard=1"),
        ({"shuffle": 10}, "shuffle_window=3000, this reader has shuffle_window=10"),
        ({"seed": 9}, "seed=3, this reader has seed=9"),
        ({"policy": "off"}, "policy=static, this reader has policy=off"),
        ({"uneven": "drop"}, "uneven=join, this reader has uneven=drop"),
    ],
)
def test_a_position_is_refused_by_the_name_of_what_differs(bridge, change, words):
    settings = {**STATIC, "shard": (0, 2)}
    with batches.read(bridge.uri, "f", **settings) as reader:
        next(reader)
        saved = reader.position()
    with pytest.raises(PositionMismatchError, match=words):
        batches.read(bridge.uri, "f", **{**settings, **change}, position=saved)


def test_a_position_of_other_content_is_refused_and_of_equal_content_accepted(bridge, client_of):
    settings = {**STATIC, "shuffle": None}
    with batches.read(bridge.uri, "f", **settings) as reader:
        found = next(reader)["id"].tolist()
        saved = reader.position()
    table = pa.table({"id": np.arange(ROWS)})
    client_of.write("f", table, partition_rows=1500, mode="overwrite")
    with batches.read(bridge.uri, "f", **settings, position=saved) as reader:
        found += [row for batch in reader for row in batch["id"].tolist()]
    assert found == list(range(ROWS))
    client_of.write("f", table.slice(1), partition_rows=1500, mode="overwrite")
    with pytest.raises(PositionMismatchError, match="fingerprint="):
        batches.read(bridge.uri, "f", **settings, position=saved)


@pytest.fixture
def client_of(bridge):
    with bridge.client() as client:
        yield client
