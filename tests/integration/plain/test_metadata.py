"""A plain Flight client: metadata beside the batches of a put comes back."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.flight as fl
import pytest

import flightbridge

from .calls import OPTIONS, get, numbers, path


def test_metadata_is_echoed_per_batch(client):
    # As Arrow's integration scenarios do: a batch's metadata comes back before the next one goes.
    table = numbers(30)
    writer, reader = client.do_put(path("feed"), table.schema, OPTIONS)
    with writer:
        for i, batch in enumerate(table.to_batches(max_chunksize=10)):
            writer.write_with_metadata(batch, f"mark {i}".encode())
            assert reader.read().to_pybytes() == f"mark {i}".encode()
    assert get(client, "feed") == table


def test_metadata_nobody_reads_does_not_block_a_put(client):
    table = numbers(2500)
    writer, _ = client.do_put(path("feed"), table.schema, OPTIONS)
    with writer:
        for batch in table.to_batches(max_chunksize=1):
            writer.write_with_metadata(batch, b"m" * 5000)
    assert get(client, "feed") == table


def test_too_much_unread_metadata_is_an_error_not_a_standstill(client):
    batch = numbers(1).to_batches()[0]
    writer, _ = client.do_put(path("feed"), batch.schema, OPTIONS)
    for _ in range(400):
        writer.write_with_metadata(batch, b"m" * 100_000)
    with pytest.raises(pa.ArrowException, match=r"\[RESOURCE_EXHAUSTED\].*metadata stream"):
        writer.close()
    assert list(client.list_flights(b"", OPTIONS)) == []


def test_error_in_lockstep_with_echoes_arrives_at_once():
    with flightbridge.Server(max_batch_bytes="64KiB") as server, fl.connect(server.uri) as client:
        writer, reader = client.do_put(path("feed"), numbers().schema, OPTIONS)
        writer.write_with_metadata(numbers().to_batches()[0], b"small")
        assert reader.read().to_pybytes() == b"small"
        writer.write_with_metadata(numbers(100_000).to_batches()[0], b"large")
        # No echo where the message is refused before it is decoded: the stream just ends.
        assert reader.read() is None
        with pytest.raises(pa.ArrowException, match=r"\[RESOURCE_EXHAUSTED\].*max_batch_bytes"):
            writer.close()
