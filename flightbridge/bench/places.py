"""The servers that a benchmark of datasets reads from, each with the feed in it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from flightbridge.bench import data, processes
from flightbridge.bench.options import BenchOptions
from flightbridge.bench.transport import FEED

if TYPE_CHECKING:
    import pyarrow as pa


def write_everywhere(
    batches: list[pa.RecordBatch],
    options: BenchOptions,
    stack: contextlib.ExitStack,
    memory_limit: int | None = None,
) -> dict[str, tuple[str, set[int]]]:
    """The uri of each place, and the processes that take part in reading from it.

    The places are a server in this process and one in another, or the one of ``--uri``.

    Args:
        batches: Written to each of them as ``FEED``, which is dropped when ``stack`` unwinds.
        options: Of the benchmark.
        stack: Owns servers, connections and feeds.
        memory_limit: Bytes, of the servers started here; by default the options' own.
    """
    from flightbridge import Server, connect

    limit = options.memory_limit if memory_limit is None else memory_limit
    me = os.getpid()
    places: dict[str, tuple[str, set[int]]] = {}
    if options.uri is None:
        bridge = stack.enter_context(Server(memory_limit=limit))
        places["same process"] = (bridge.uri, {me})
        uri, pid = stack.enter_context(processes.serve(limit))
        places["server process"] = (uri, {me, pid})
    else:
        places["--uri"] = (options.uri, {me})
    for uri, _ in places.values():
        client = stack.enter_context(connect(uri))
        client.write(FEED, data.as_reader(batches), mode="overwrite")
        stack.callback(client.drop, FEED, if_exists=True)
    return places
