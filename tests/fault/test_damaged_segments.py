"""Segment files that are flipped, cut or missing after the commit (row 28).

The error names the feed and, where it is known, the partition; what is damaged is never served, and
everything else goes on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
from flightbridge import batches
from flightbridge.client import Client
from flightbridge.errors import DataLossError, FlightBridgeError

from .server_node import Node, until_it_answers

ROWS = 50_000
TRANSPORTS = ("mapped", "channel", "flight")


def rows(begin: int) -> pa.Table:
    return pa.table({"id": np.arange(begin, begin + ROWS, dtype=np.int64)})


BAD_1 = r"'bad',? partition 1"
BEFORE, BAD, BEHIND = 1_000_000, 2_000_000, 3_000_000


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path / "data", memory_limit="4MiB")
    with flightbridge.connect(made.uri) as client:
        client.write("before", rows(BEFORE), partition_rows=ROWS // 2)
        client.write("bad", rows(BAD), partition_rows=ROWS // 2)
        client.write("behind", rows(BEHIND), partition_rows=ROWS // 2)
    yield made
    made.close()


def place_of(node: Node, row: int) -> tuple[Path, int]:
    """The file, and where in it, that holds this row and the next."""
    wanted = np.arange(row, row + 2, dtype=np.int64).tobytes()
    for path in sorted((node.data_dir / "segments").iterdir()):
        offset = path.read_bytes().find(wanted)
        if offset >= 0:
            return path, offset
    raise AssertionError(f"row {row} is in no file")


def flip(node: Node, row: int) -> None:
    path, offset = place_of(node, row)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 4]))


def ids(client: Client, feed: str, **settings) -> list[int]:
    return until_it_answers(lambda: client.read_table(feed, **settings))["id"].to_pylist()


def test_a_flipped_byte_is_found_by_every_reader(node):
    last = BAD + ROWS - 10
    node.kill()
    flip(node, last)
    node.start()
    for transport in TRANSPORTS:
        with flightbridge.connect(node.uri, transport=transport) as client:
            for _ in range(2):
                with pytest.raises(DataLossError, match=BAD_1):
                    ids(client, "bad")
            half = list(range(BAD, BAD + ROWS // 2))
            assert ids(client, "bad", partitions=[0]) == half  # the other partition is whole
            assert ids(client, "before") == list(range(BEFORE, BEFORE + ROWS))
            assert ids(client, "behind") == list(range(BEHIND, BEHIND + ROWS))
        settings = {"batch_size": 1000, "transport": transport}
        with batches.read(node.uri, "bad", **settings) as reader:
            seen = []
            with pytest.raises(DataLossError, match=BAD_1):
                seen.extend(row for batch in reader for row in batch["id"].tolist())
    with flightbridge.connect(node.uri) as client:
        client.write("bad", rows(BAD), mode="overwrite")  # the remedy
        assert ids(client, "bad") == list(range(BAD, BAD + ROWS))


@pytest.mark.parametrize("damage", ["cut", "empty", "missing"])
def test_a_file_that_is_cut_or_missing_takes_only_what_lay_in_it(node, damage):
    with flightbridge.connect(node.uri) as client:
        client.write("large", pa.table({"id": np.arange(1 << 23)}))  # what one file holds
        path, offset = place_of(node, BAD + ROWS // 2)
        assert place_of(node, BEHIND)[0] == path
        last = 10 * BEHIND
        while last == 10 * BEHIND or place_of(node, last)[0] == path:
            last += ROWS
            client.write(f"last{last}", rows(last))
    node.kill()
    if damage == "missing":
        path.unlink()
    else:
        with path.open("r+b") as file:
            file.truncate(offset // 4096 * 4096 if damage == "cut" else 0)
    node.start()
    for transport in TRANSPORTS:
        with flightbridge.connect(node.uri, transport=transport) as client:
            for feed in ("bad", "behind"):
                with pytest.raises(DataLossError, match=f"'{feed}', partition 1 is damaged"):
                    ids(client, feed)
            if damage == "cut":
                assert ids(client, "before") == list(range(BEFORE, BEFORE + ROWS))
            assert ids(client, f"last{last}") == list(range(last, last + ROWS))
            client.write("new", rows(BAD), mode="overwrite")
            assert ids(client, "new") == list(range(BAD, BAD + ROWS))
    with flightbridge.connect(node.uri) as client:
        client.drop("bad")
        client.write("bad", rows(BAD))
        node.restart()
        assert ids(client, "bad") == list(range(BAD, BAD + ROWS))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_files_removed_under_a_server_that_runs_are_missed_at_its_next_start(node, transport):
    with flightbridge.connect(node.uri, transport=transport) as client:
        for path in (node.data_dir / "segments").iterdir():
            path.unlink()
        for _ in range(2):
            assert ids(client, "bad") == list(range(BAD, BAD + ROWS))
            assert ids(client, "behind") == list(range(BEHIND, BEHIND + ROWS))
        node.restart()
        with pytest.raises(FlightBridgeError, match="'bad'"):
            ids(client, "bad")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("damage", ["cut", "empty", "cut and longer again"])
def test_a_file_cut_under_a_server_that_runs_takes_only_what_lay_behind(node, transport, damage):
    path, offset = place_of(node, BAD + ROWS // 2)
    assert place_of(node, BEHIND)[0] == path
    with flightbridge.connect(node.uri, transport=transport) as client:
        assert ids(client, "bad") == list(range(BAD, BAD + ROWS))  # verified, and in memory
        whole = path.stat().st_size
        with path.open("r+b") as file:
            file.truncate(0 if damage == "empty" else offset // 4096 * 4096)
        for _ in range(2):
            for feed in ("bad", "behind"):
                with pytest.raises(DataLossError, match=f"'{feed}', partition [01]"):
                    client.read_table(feed)
            if damage == "cut and longer again":  # zeros follow
                with path.open("r+b") as file:
                    file.truncate(whole)
        if damage != "empty":
            assert ids(client, "before") == list(range(BEFORE, BEFORE + ROWS))
            assert ids(client, "bad", partitions=[0]) == list(range(BAD, BAD + ROWS // 2))
        with pytest.raises(DataLossError, match=r"'behind', partition [01]"):
            client.read_table("behind", columns=["id"], partitions=[1])
        assert node.process.poll() is None
        client.write("new", rows(BAD))
        client.write("bad", rows(BEHIND), mode="overwrite")  # the remedy
        node.restart()
        assert ids(client, "new") == list(range(BAD, BAD + ROWS))
        assert ids(client, "bad") == list(range(BEHIND, BEHIND + ROWS))
        with pytest.raises(DataLossError, match="'behind'"):
            ids(client, "behind")


def test_a_local_reader_is_told_of_a_cut_file(tmp_path):
    """In the server's own process: what it would touch would end that."""
    words = pa.table({"word": pa.array(["a", "b"] * 1000).dictionary_encode()})
    with flightbridge.Server(data_dir=tmp_path) as bridge, bridge.client() as client:
        client.write("bad", words)
        for path in (tmp_path / "segments").iterdir():
            with path.open("r+b") as file:
                file.truncate(0)
        with pytest.raises(DataLossError, match="'bad', partition 0"):
            client.read_table("bad")
