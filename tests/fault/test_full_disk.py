"""Disks without room for segments or for the journal, without inodes, with a limit on files.

Rows 13, 14 and 15: puts are refused by what is full and what to do, reads go on, nothing that was
not recorded is acknowledged, and writing resumes by itself. Needs leave to mount a tmpfs.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import threading
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
from flightbridge.client import Client
from flightbridge.errors import FeedNotFoundError, ResourceExhaustedError

from .server_node import Node, until_it_answers

MIB = 1 << 20
SCHEMA = pa.schema([("id", pa.int64())])


def rows(count: int, begin: int = 0) -> pa.Table:
    return pa.table({"id": np.arange(begin, begin + count, dtype=np.int64)})


@pytest.fixture
def disk():
    """Mounts a tmpfs of these options at a path."""
    with contextlib.ExitStack() as mounts:

        def mount(path: Path, **options: object) -> Path:
            path.mkdir(parents=True, exist_ok=True)
            text = ",".join(f"{name}={value}" for name, value in options.items())
            command = ["mount", "-t", "tmpfs", "-o", text, "flightbridge-test", str(path)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                pytest.skip(f"mounting a tmpfs is not allowed here: {done.stderr.splitlines()[0]}")
            mounts.callback(subprocess.run, ["umount", "--lazy", str(path)], check=True)
            return path

        yield mount


@contextlib.contextmanager
def serving(data_dir: Path, **settings: object):
    node = Node(data_dir, **{"memory_limit": "64MiB", "put_wait_s": 0.2, **settings})
    try:
        yield node
    finally:
        node.close()


@pytest.fixture(params=["mapped", "channel", "flight"])
def transport(request):
    return request.param


def connect(node: Node, transport: str = "auto") -> Client:
    return flightbridge.connect(node.uri, transport=transport, timeout_s=30)


def check(client: Client, feed: str, count: int) -> None:
    found = until_it_answers(lambda: client.read_table(feed))["id"].to_numpy()
    assert np.array_equal(np.sort(found), np.arange(count))


def refused(client: Client, feed: str, count: int, words: str) -> None:
    """Writing it fails, says why and what to do, and leaves nothing."""
    with pytest.raises(ResourceExhaustedError, match=words) as caught:
        client.write(feed, rows(count))
    assert f"'{feed}'" in str(caught.value)
    assert "drop a feed" in str(caught.value)
    with pytest.raises(FeedNotFoundError):
        client.feed(feed)


def test_a_full_disk_refuses_puts_and_goes_on_when_there_is_room(disk, tmp_path, transport):
    disk(tmp_path / "data/segments", size="24m")
    with serving(tmp_path / "data") as node, connect(node, transport) as client:
        client.write("kept", rows(MIB))
        used = client.status().disk_used_bytes
        refused(client, "big", 4 * MIB, "No space left on device")
        check(client, "kept", MIB)
        assert client.status().disk_used_bytes == used
        client.write("small", rows(1000))  # what fits is taken
        client.drop("kept")
        client.write("next", rows(MIB))  # without a restart
        node.restart()
        check(client, "next", MIB)
        check(client, "small", 1000)


def test_a_put_that_waits_for_room_goes_on_when_it_comes(disk, tmp_path, transport):
    disk(tmp_path / "data/segments", size="24m")
    with (
        serving(tmp_path / "data", put_wait_s=120) as node,
        connect(node, transport) as client,
        connect(node) as other,
    ):
        client.write("old", rows(MIB + MIB // 2))
        failed: list[BaseException] = []

        def write() -> None:
            try:
                client.write("new", rows(2 * MIB))
            except BaseException as error:
                failed.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        writer.join(1)
        assert writer.is_alive() and not failed  # held back, not refused
        check(other, "old", MIB + MIB // 2)
        other.drop("old")
        writer.join(120)
        assert not writer.is_alive() and not failed
        check(other, "new", 2 * MIB)


def test_a_disk_without_inodes_is_a_full_one(disk, tmp_path, transport):
    segments = disk(tmp_path / "data/segments", size="400m", nr_inodes=16)
    with serving(tmp_path / "data") as node, connect(node, transport) as client:
        client.write("kept", rows(1000))
        fillers = [segments / f"filler{number}" for number in range(16)]
        assert not all(map(made, fillers))
        refused(client, "big", 12 * MIB, "No space left on device")  # more than one file holds
        check(client, "kept", 1000)
        fillers[0].unlink()
        client.write("big", rows(12 * MIB))
        check(client, "big", 12 * MIB)


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path):
    with serving(tmp_path / "data") as node, connect(node) as client:
        client.write("kept", rows(1000))
        largest = max(path.stat().st_size for path in (tmp_path / "data/segments").iterdir())
        limit = resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (largest // 2, limit[1]))
        refused(client, "big", 16 * MIB, "File too large")
        check(client, "kept", 1000)
        assert node.process.poll() is None  # SIGXFSZ has not ended it
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, limit)
        client.write("big", rows(16 * MIB))
        check(client, "big", 16 * MIB)


def test_a_full_disk_under_the_journal_never_acknowledges_what_it_did_not_record(disk, tmp_path):
    data = disk(tmp_path / "data", size="256k")
    disk(tmp_path / "data/segments", size="64m")
    with serving(data) as node, connect(node) as client:
        client.write("kept", rows(1000))
        job = uuid.uuid4().hex
        client.begin_write("f", job, "errorifexists", SCHEMA)

        def attempt(partition: int) -> flightbridge.client.AttemptRef:
            with client.open_put("f", job, partition, partition, SCHEMA) as put:
                put.write(rows(100, 100 * partition).to_batches()[0])
                return put.finish()

        refs = [attempt(0)]
        filler = fill(data)
        # Something may fit into what is left of the journal's last page.
        error = refusal(lambda: refs.append(attempt(len(refs))))
        assert "journal" in error and "until there is room on the disk" in error
        assert "journal" in refusal(
            lambda: client.begin_write("g", uuid.uuid4().hex, "append", SCHEMA)
        )
        with pytest.raises(ResourceExhaustedError, match="journal"):
            client.commit_write("f", job, refs)
        with pytest.raises(FeedNotFoundError):
            client.read_table("f")
        check(client, "kept", 1000)  # reads go on
        node.restart()  # with a disk that is still full
        check(client, "kept", 1000)
        with pytest.raises(ResourceExhaustedError, match="journal"):
            client.commit_write("f", job, refs)
        filler.unlink()
        client.commit_write("f", job, refs)  # everything that was acknowledged is there
        check(client, "f", 100 * len(refs))
        node.restart()
        check(client, "f", 100 * len(refs))
        check(client, "kept", 1000)


def refusal(call) -> str:
    """What the first of several calls that is refused is told."""
    for _ in range(2000):
        try:
            call()
        except ResourceExhaustedError as error:
            return str(error)
    raise AssertionError("it is never refused")


def made(path: Path) -> bool:
    with contextlib.suppress(OSError):
        path.touch()
        return True
    return False


def fill(directory: Path) -> Path:
    """Takes all the room there is."""
    path = directory / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(os.urandom(4096))
    return path
