"""Signals are for the main thread of the program that uses the library, never for the core's."""

import subprocess
import sys

import pytest

# SIGTERM ends the process where any thread is left that takes it; where none is, it stays pending
# until the main thread asks.
PROGRAM = """
import os, signal, sys

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # numpy's and pyarrow's threads
import pyarrow as pa
import flightbridge
from flightbridge import batches

signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
others = set(os.listdir("/proc/self/task"))
table = pa.table({"n": pa.array(range(100_000), pa.int64())})
way = sys.argv[1]
with flightbridge.Server() as server, flightbridge.connect(server.uri, transport=way) as client:
    client.write("f", table, partition_rows=10_000)
    client.begin_write("g", "job", "overwrite", table.schema)
    put = client.open_put("g", "job", 0, 0, table.schema)
    put.write(table.to_batches()[0])
    reader = batches.read(
        server.uri, "f", batch_size=100, transport=way, prefetch=1 << 16, epochs=-1,
        policy="dynamic", group="all", shuffle="full",
    )
    next(reader)

    threads = set(os.listdir("/proc/self/task")) - others
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    os.kill(os.getpid(), signal.SIGTERM)
    print(len(threads), signal.sigwait({signal.SIGTERM}).name, flush=True)

    next(reader)
    reader.close()
    put.finish()
"""


@pytest.mark.parametrize("transport", ["mapped", "channel", "flight"])
def test_no_thread_of_the_core_takes_a_signal(transport):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, transport],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr or done.returncode
    threads, handled = done.stdout.split()
    assert handled == "SIGTERM"
    assert int(threads) >= 6, "the server's, the put's and the reader's"
