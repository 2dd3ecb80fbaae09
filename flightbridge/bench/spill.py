"""``bench spill``: a feed larger than the server's memory, beside the bare disk; and its epochs."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from flightbridge.bench import data, processes
from flightbridge.bench.epochs import Epochs
from flightbridge.bench.model import Result, Sample, summarize
from flightbridge.bench.options import BenchOptions
from flightbridge.bench.pairing import Run, measure
from flightbridge.bench.progress import Progress
from flightbridge.bench.streams import Stream, each_timed, timed
from flightbridge.errors import DataLossError

if TYPE_CHECKING:
    import pyarrow as pa

FEED = "flightbridge-bench-spill"
WRITE, READ = "raw disk write", "raw disk read"
IN_ORDER, SHUFFLED = "epoch in order", "epoch, full shuffle"
_DISTINCT_BYTES = 128 << 20  # of batches, sent again and again
_PARTITION_BYTES = 256 << 20
_BLOCK = 8 << 20
_EVERY_S = 0.02


class Feed:
    """Writes and reads one feed of the server, over its data port."""

    def __init__(self, uri: str, server_pid: int, options: BenchOptions) -> None:
        from flightbridge import connect

        self._client = connect(uri, transport="channel", timeout_s=600)
        self._pids = {os.getpid(), server_pid}
        batch_bytes = options.batch_rows * data.bytes_per_row(
            "spill", options.columns, options.values
        )
        distinct = max(1, int(min(options.bytes, _DISTINCT_BYTES) / batch_bytes))
        self._batches = data.mixed_batches(
            int(distinct * batch_bytes),
            options.batch_rows,
            options.columns,
            values=options.values,
        )
        self._count = max(1, round(options.bytes / self._batches[0].nbytes))
        self._per_partition = max(1, _PARTITION_BYTES // self._batches[0].nbytes)
        self.bytes = sum(b.nbytes for b in self._sent())
        self._rows = sum(b.num_rows for b in self._sent())
        self.epochs = Epochs(
            uri,
            FEED,
            pids=self._pids,
            moved_bytes=self.bytes,
            rows=self._rows,
            batch_rows=options.batch_rows,
        )

    def put(self) -> Sample:
        """One write job, begin to commit; what the one before wrote is dropped first."""
        self._client.drop(FEED, if_exists=True)
        return self._timed(self._put)

    def get(self) -> Sample:
        """All rows, in order, every checksum verified."""
        return self._timed(self._get)

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def _sent(self) -> Iterator[pa.RecordBatch]:
        return itertools.islice(itertools.cycle(self._batches), self._count)

    def _timed(self, stream: Stream) -> Sample:
        return timed([stream], pids=self._pids, moved_bytes=self.bytes, moved_batches=self._count)

    def _put(self, latencies: list[float]) -> None:
        schema = self._batches[0].schema
        job = uuid.uuid4().hex
        self._client.begin_write(FEED, job, "overwrite", schema)
        refs = []
        sent = self._sent()
        for partition in range(-(-self._count // self._per_partition)):
            with self._client.open_put(FEED, job, partition, 1, schema) as put:
                for batch in itertools.islice(sent, self._per_partition):
                    begin = time.perf_counter()
                    put.write(batch)
                    latencies.append((time.perf_counter() - begin) * 1e3)
                refs.append(put.finish())
        self._client.commit_write(FEED, job, refs)

    def _get(self, latencies: list[float]) -> None:
        with self._client.read(FEED) as reader:
            rows = sum(batch.num_rows for batch in each_timed(reader, latencies))
        if rows != self._rows:
            raise DataLossError(f"bench spill: {rows} of {self._rows} rows came back")


class RawFile:
    """As many bytes in one file of the same folder, by plain system calls."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._block = memoryview(os.urandom(_BLOCK))

    def write(self) -> Sample:
        """Written, and on the disk at the end; nothing of it stays in the page cache."""
        return self._timed(self._write)

    def read(self) -> Sample:
        """Read from the disk."""
        return self._timed(self._read)

    def _timed(self, stream: Stream) -> Sample:
        return timed(
            [stream],
            pids=[os.getpid()],
            moved_bytes=self._size,
            moved_batches=max(1, self._size // _BLOCK),
        )

    def _write(self, latencies: list[float]) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            left = self._size
            while left > 0:
                left -= os.write(fd, self._block[: min(left, _BLOCK)])
            os.fdatasync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)

    def _read(self, latencies: list[float]) -> None:
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            buffer = bytearray(_BLOCK)
            while os.readv(fd, [buffer]):
                pass
        finally:
            os.close(fd)
            self._path.unlink()


class PeakMemory:
    """The most resident memory that a process had while the block ran, in bytes."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._status = Path(f"/proc/{pid}/status")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fb-bench-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY_S):
            for line in self._status.read_text().splitlines():
                if line.startswith("VmRSS:"):
                    self.bytes = max(self.bytes, int(line.split()[1]) << 10)


def run(options: BenchOptions, progress: Progress) -> Iterator[Result]:
    """Put, raw write, get, raw read and two epochs in turn, in one folder, on one disk."""
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="flightbridge-spill-", dir=options.folder)
            )
        )
        limit = options.spill_memory
        uri, pid = stack.enter_context(
            processes.serve(limit, "--data-dir", str(folder / "data"), "--put-wait", "600")
        )
        feed = Feed(uri, pid, options)
        stack.callback(feed.close)
        raw = RawFile(folder / "raw", feed.bytes)
        sides: dict[str, Run] = {"spill put": feed.put, "spill get": feed.get}
        if options.peer:
            sides = {
                "spill put": feed.put,
                WRITE: raw.write,
                "spill get": feed.get,
                READ: raw.read,
            }
        sides[IN_ORDER] = feed.epochs.in_order
        sides[SHUFFLED] = feed.epochs.shuffled
        note = progress.start("spill", len(sides) * options.repeat)
        with PeakMemory(pid) as peak:
            samples = measure(sides, options.repeat, warmup=0, note=note)
    for ours, peer in (("spill put", WRITE), ("spill get", READ)):
        theirs = samples.get(peer, [])
        result = summarize(
            ours,
            samples[ours],
            streams=1,
            peer_name=peer if theirs else None,
            peer_samples=theirs,
        )
        yield dataclasses.replace(result, memory_limit_bytes=limit, peak_memory_bytes=peak.bytes)
        if theirs:
            yield summarize(peer, theirs, streams=1)
    yield summarize(
        SHUFFLED,
        samples[SHUFFLED],
        streams=1,
        peer_name=IN_ORDER,
        peer_samples=samples[IN_ORDER],
    )
    yield summarize(IN_ORDER, samples[IN_ORDER], streams=1)
