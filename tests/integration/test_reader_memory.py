"""What a reader holds does not grow with the feed, however it is shuffled and rows travel."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

import flightbridge

ROWS = 6_000_000
COLUMNS = 4
FEED_MIB = ROWS * COLUMNS * 8 >> 20

# Prints the most anonymous memory in use while it reads, above what was in use before, in MiB; and
# the sum of a column, to show that it has read all of it.
READER = """
import sys
import numpy as np
import flightbridge.batches

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) >> 10

uri, transport, shuffle = sys.argv[1:]
before = most = anonymous()
total = 0
with flightbridge.batches.read(
    uri, "large", batch_size=8192, shuffle=eval(shuffle), prefetch="16MiB", slabs=4,
    transport=transport,
) as reader:
    for number, batch in enumerate(reader):
        total += int(np.asarray(batch["c0"]).sum())
        if number % 16 == 0:
            most = max(most, anonymous())
print(most - before, total)
"""


@pytest.fixture(scope="module")
def bridge():
    with flightbridge.Server(memory_limit="512MiB") as server:
        with server.client() as client:
            batches = [
                pa.record_batch(
                    {f"c{c}": np.arange(begin, begin + 100_000) for c in range(COLUMNS)}
                )
                for begin in range(0, ROWS, 100_000)
            ]
            client.write("large", pa.RecordBatchReader.from_batches(batches[0].schema, batches))
        yield server


@pytest.mark.parametrize("shuffle", [None, "full", 50_000], ids=["plain", "full", "window"])
@pytest.mark.parametrize("transport", ["channel", "mapped", "flight"])
def test_a_reader_holds_its_prefetch_and_slabs_only(bridge, transport, shuffle):
    ended = subprocess.run(
        [sys.executable, "-c", READER, bridge.uri, transport, repr(shuffle)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    grown_mib, total = map(int, ended.stdout.split())
    assert total == ROWS * (ROWS - 1) // 2
    # 16 MiB ahead, 6 slabs, recycled buffers and what each library keeps.
    assert grown_mib < FEED_MIB // 2, f"{grown_mib} MiB more for a feed of {FEED_MIB} MiB"
