"""Random schedules of kills, stops, restarts and resets under writers and readers (row 40).

    python -m tests.fault.chaos --minutes 10      # make chaos MINUTES=10
    python -m tests.fault.chaos --seed 4711       # make chaos SEED=4711: this schedule once more

A schedule follows from its seed; how its threads meet does not, so a failure may take a few tries
(``--repeat``, REPEAT=) to show itself again.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import flightbridge
from flightbridge import batches
from flightbridge.client import Client
from flightbridge.errors import (
    CancelledError,
    DeadlineExceededError,
    FailedPreconditionError,
    FeedNotFoundError,
    ServerUnavailableError,
)

from .chaos_faults import Faults
from .chaos_oracle import SCHEMA, Content, Failures, Feed
from .proxy import HOST, Proxy, Weather
from .server_node import Node, free_port

T = TypeVar("T")
AWAY = (ServerUnavailableError, DeadlineExceededError, CancelledError)
TRANSPORTS = ("mapped", "channel", "flight")
PATIENCE_S = 900  # two processors may be shared by a dozen compilers
READERS = 2


class Schedule:
    """One seed, from an empty data directory to one that is empty again."""

    def __init__(self, seed: int, root: Path) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        memory = self.rng.choice(("4MiB", "64MiB"))
        data_port = free_port()
        self.node = Node(
            root / "data", memory_limit=memory, max_batch_bytes="4MiB", data_port=data_port
        )
        self.proxy = Proxy([self.node.port, data_port], seed)
        self.proxy.weather = Weather(
            piece=self.rng.choice((0, 0, 5000)),
            reset_every=200_000,
            resets=self.rng.choice((0, 10, 40)),
        )
        self.failures = Failures()
        self.numbers = iter(range(1, 1 << 20))
        self.number_lock = threading.Lock()
        self.owned, self.shared, self.stream = Feed("owned"), Feed("shared"), Feed("stream")
        self.base = Feed("base")
        self.over = threading.Event()

    def run(self) -> None:
        try:
            with self.client(self.rng) as client:
                self.write_job(client, self.rng, self.base, "errorifexists")
                self.write_job(client, self.rng, self.shared, "append")
            self.disturb()
            self.raise_failures()
            self.check_at_rest()
        finally:
            self.over.set()
            self.proxy.close()
            self.node.close()

    def disturb(self) -> None:
        """All writers and trainers to their end, while feeds are watched and the server suffers."""
        actors: dict[str, Callable[[random.Random], None]] = {
            "owner": self.own,
            "appender 1": self.append,
            "appender 2": self.append,
            "streamer": self.stream_feed,
            "trainer": self.train,
        }
        if self.rng.random() < 0.2:
            splits: list[list[int]] = [[] for _ in range(READERS)]
            for number, found in enumerate(splits):
                actors[f"sharer {number}"] = lambda rng, found=found: self.share(rng, found)
        watchers = {f"reader {number}": self.watch for number in range(READERS)}
        busy = [self.thread(name, actor) for name, actor in actors.items()]
        idle = [self.thread(name, watcher) for name, watcher in watchers.items()]
        faults = Faults(self.node, random.Random(self.rng.random()), self.failures)
        for thread in (*busy, *idle, faults):
            thread.start()
        deadline = time.monotonic() + PATIENCE_S
        for thread in busy:
            thread.join(max(deadline - time.monotonic(), 0.1))
        self.over.set()
        faults.end()
        for thread in (*busy, *idle, faults):
            thread.join(30)
            if thread.is_alive():
                self.failures.add(thread.name, AssertionError(f"it hangs\n{stack_of(thread)}"))
        if "sharer 0" in actors and not self.failures.errors:
            rows = sum(self.base.contents[1].rows_of(p) for p in self.base.contents[1].parts)
            lost = set(range(rows)) - {row for found in splits for row in found}
            assert not lost, f"{len(lost)} rows of base were read by nobody"

    def thread(self, name: str, actor: Callable[[random.Random], None]) -> threading.Thread:
        rng = random.Random(self.rng.random())

        def work() -> None:
            try:
                actor(rng)
            except BaseException as error:
                self.failures.add(name, error)

        return threading.Thread(target=work, name=name, daemon=True)

    def raise_failures(self) -> None:
        for who, error in self.failures.errors:
            text = "".join(traceback.format_exception(error))
            print(f"---- {who}\n{text}", file=sys.stderr)
        assert not self.failures.errors, (
            f"{len(self.failures.errors)} failures; {self.node.state()}, "
            f"and the load of the machine is {os.getloadavg()[0]:.0f}"
        )

    def check_at_rest(self) -> None:
        """The feeds hold what was committed, before and after one more kill, and then nothing."""
        for attempt in range(2):
            for transport in TRANSPORTS:
                with self.connect(transport) as client:
                    for feed in (self.base, self.owned, self.shared, self.stream):
                        before = feed.look()
                        feed.check(before, table_of(client, feed))
            if attempt == 0:
                self.node.restart()
        with self.connect() as client:
            for info in client.feeds():
                client.drop(info.feed)
            self.node.restart()
            status = until_back(client.status)
            assert (status.feeds, status.open_puts, status.open_gets) == (0, 0, 0)
            left = status.disk_used_bytes, self.node.segment_files()
            assert left == (0, []), f"files are left behind: {left}"

    def connect(self, transport: str = "auto") -> Client:
        """Straight to the server, however long a crowded machine lets it wait for its turn."""
        return until_back(lambda: flightbridge.connect(self.node.uri, transport=transport))

    # ---- actors --------------------------------------------------------------------------------

    def own(self, rng: random.Random) -> None:
        """One writer whose jobs follow each other."""
        with self.client(rng) as client:
            for _ in range(rng.randrange(2, 5)):
                if rng.random() < 0.2:
                    self.owned.becomes(None, keep=False)
                    until_back(lambda: client.drop("owned", if_exists=True))
                    self.owned.became()
                self.write_job(client, rng, self.owned, rng.choice(("overwrite", "append")))

    def append(self, rng: random.Random) -> None:
        """One of several writers."""
        with self.client(rng) as client:
            for _ in range(rng.randrange(1, 4)):
                self.write_job(client, rng, self.shared, "append")

    def stream_feed(self, rng: random.Random) -> None:
        """A feed that is read while it is written: each of its partitions stands for itself."""
        job = uuid.uuid4().hex
        with self.client(rng) as client:
            until_back(
                lambda: client.begin_write(
                    "stream", job, "errorifexists", SCHEMA, visible="partition"
                )
            )
            refs = []
            for partition in range(rng.randrange(1, 5)):
                content = self.content(rng, [partition])
                self.stream.appends(content)
                refs.append(put(client, rng, "stream", job, content, partition))
                self.stream.appended(content)
            until_back(lambda: client.commit_write("stream", job, refs))

    def train(self, rng: random.Random) -> None:
        """Reads base to its end, going back to its last checkpoint now and then: the exact rows."""
        settings = {
            "batch_size": rng.choice((50, 700)),
            "shuffle": rng.choice((None, True, 300)),
            "seed": rng.randrange(9),
            "transport": rng.choice(TRANSPORTS),
            "prefetch": rng.choice((1, "1MiB")),
        }
        content = self.base.contents[1]
        rows = sum(content.rows_of(partition) for partition in content.parts)
        epochs: list[list[int]] = []
        pause = min(2.0 * settings["batch_size"] / rows, 0.3)
        for crashes in (0.05, 0):
            found: list[int] = []
            saved, kept = None, 0
            for _ in endless():
                with contextlib.suppress(*AWAY), self.reader(rng, saved, settings) as reader:
                    for batch in reader:
                        found += keys_of(batch)
                        time.sleep(rng.random() * pause)
                        if rng.random() < 0.5:
                            saved, kept = reader.position(), len(found)
                        if rng.random() < crashes:
                            break
                    else:
                        break
                del found[kept:]  # what came since the checkpoint is read again
            epochs.append(found)
        assert epochs[0] == epochs[1], "a restored reader had other rows than an undisturbed one"
        assert len(set(found)) == len(found) == rows

    def share(self, rng: random.Random, found: list[int]) -> None:
        """One of several readers that lease splits of base. Nothing may be read by nobody.

        A server that was killed has forgotten who read what, so a late reader may read again.
        """
        settings = {"policy": "dynamic", "group": "g", "split_rows": 40, "lease_timeout_s": 1.0}
        content = self.base.contents[1]
        starts = [0]
        for partition in sorted(content.parts):
            starts.append(starts[-1] + content.rows_of(partition))
        saved = None
        for _ in endless():
            with (
                contextlib.suppress(*AWAY),
                self.reader(rng, saved, {**settings, "batch_size": 40}) as reader,
            ):
                for batch in reader:
                    pairs = zip(batch["partition"].tolist(), batch["row"].tolist(), strict=True)
                    found += [starts[partition] + row for partition, row in pairs]
                    saved = reader.position()
                    time.sleep(rng.random() * 0.01)
                return

    def watch(self, rng: random.Random) -> None:
        """Reads whole feeds as long as anything happens to them."""
        with self.client(rng) as client:
            while not self.over.is_set():
                feed = rng.choice((self.owned, self.shared, self.stream, self.base))
                before = feed.look()
                try:
                    table = table_of(client, feed)
                except (*AWAY, FailedPreconditionError):  # away; or replaced since it was planned
                    time.sleep(0.02)
                    continue
                feed.check(before, table)
                time.sleep(rng.random() * 0.05)

    # ---- steps ---------------------------------------------------------------------------------

    def uri(self, rng: random.Random) -> str:
        """The server's, or that of the way through the proxy."""
        return rng.choice((self.node.uri, f"grpc://{HOST}:{self.node.port}"))

    def reader(
        self, rng: random.Random, saved: bytes | None, settings: dict[str, Any]
    ) -> batches.BatchReader:
        return batches.read(self.uri(rng), "base", position=saved, timeout_s=20, **settings)

    def client(self, rng: random.Random) -> Client:
        return until_back(
            lambda: flightbridge.connect(
                self.uri(rng), transport=rng.choice(TRANSPORTS), timeout_s=20
            )
        )

    def content(self, rng: random.Random, partitions: list[int]) -> Content:
        sizes = rng.choice(((1, 5), (50, 400), (1000, 4000)))
        parts = {
            partition: [rng.randint(*sizes) for _ in range(rng.randrange(1, 6))]
            for partition in partitions
        }
        with self.number_lock:
            return Content(next(self.numbers), parts)

    def write_job(self, client: Client, rng: random.Random, feed: Feed, mode: str) -> None:
        """One job, committed or aborted, whatever becomes of the server meanwhile."""
        job = uuid.uuid4().hex
        content = self.content(rng, list(range(rng.randrange(1, 5))))
        until_back(lambda: client.begin_write(feed.name, job, mode, SCHEMA))
        refs = [put(client, rng, feed.name, job, content, part) for part in content.parts]
        if mode != "errorifexists" and rng.random() < 0.2:
            until_back(lambda: client.abort_write(feed.name, job))
            return
        if feed is self.shared:
            feed.appends(content)
        else:
            feed.becomes(content, keep=mode == "append")
        done = until_back(lambda: client.commit_write(feed.name, job, refs))
        if feed is self.shared:
            feed.appended(content)
        else:
            feed.became()
        if rng.random() < 0.3:
            again = until_back(lambda: client.commit_write(feed.name, job, refs))
            assert feed is self.shared or again.feed_id == done.feed_id


def put(
    client: Client, rng: random.Random, feed: str, job: str, content: Content, partition: int
) -> flightbridge.client.AttemptRef:
    """Attempts at a partition, some given up or speculated, until one is staged."""
    attempts = iter(range(rng.randrange(1 << 30), 1 << 40))

    def attempt(end: int | None = None) -> flightbridge.client.AttemptRef | None:
        number = next(attempts)
        with client.open_put(feed, job, partition, number, SCHEMA) as stream:
            for batch in content.batches(partition)[:end]:
                stream.write(batch)
                time.sleep(rng.random() ** 4 * 0.1)
            return stream.finish() if end is None else None

    if rng.random() < 0.2:  # a task that dies
        with contextlib.suppress(*AWAY):
            attempt(end=rng.randrange(1 + len(content.parts[partition])))
    staged = [until_back(attempt) for _ in range(1 + (rng.random() < 0.2))]  # and one speculated
    return rng.choice(staged)


def table_of(client: Client, feed: Feed) -> Any:
    with contextlib.suppress(FeedNotFoundError):
        return client.read_table(feed.name)
    return None


def keys_of(batch: Any) -> list[int]:
    return (batch["partition"].astype("int64") << 32 | batch["row"]).tolist()


def until_back(call: Callable[[], T]) -> T:
    """Repeats a call as long as the server is away."""
    for _ in endless():
        with contextlib.suppress(*AWAY):
            return call()
    raise AssertionError


def endless():
    """Tries, with pauses, for as long as a schedule may take."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        yield None
        time.sleep(0.02)
    raise AssertionError(f"the server did not come back within {PATIENCE_S} s")


def stack_of(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame else ""


def run_schedule(seed: int) -> int:
    """Raises AssertionError, or what the product raised, with everything printed; else the seed."""
    with tempfile.TemporaryDirectory(prefix="flightbridge-chaos-") as root:
        Schedule(seed, Path(root)).run()
    return seed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=0, help="start schedules for so long")
    parser.add_argument("--seed", type=int, help="of the first schedule; alone, of the only one")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each schedule")
    parser.add_argument("--jobs", type=int, default=2, help="schedules at the same time")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "little")
    print(f"chaos: the first seed is {first}", flush=True)
    end = time.monotonic() + 60 * options.minutes
    passed = 0
    seeds = (seed for seed in itertools.count(first) for _ in range(options.repeat))
    running: dict[concurrent.futures.Future[int], int] = {}
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        while True:
            while len(running) < options.jobs and (
                time.monotonic() < end or passed + len(running) < options.repeat
            ):
                seed = next(seeds)
                running[pool.submit(run_schedule, seed)] = seed
            if not running:
                print(f"chaos: {passed} schedules passed, from seed {first} on")
                return 0
            ready, _ = concurrent.futures.wait(running, return_when="FIRST_COMPLETED")
            for future in ready:
                seed = running.pop(future)
                if (error := future.exception()) is not None:
                    traceback.print_exception(error)
                    print(f"chaos: seed {seed} failed after {passed} schedules that passed; ")
                    print(f"chaos: repeat it with  make chaos SEED={seed}", flush=True)
                    return 1
                passed += 1
                if passed % 20 == 0:
                    print(f"chaos: {passed} schedules passed", flush=True)


if __name__ == "__main__":
    sys.exit(main())
