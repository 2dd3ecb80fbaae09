"""What only TensorFlow 2.15 has: ``make test-classic`` runs these, elsewhere they are skipped."""

import numpy as np
import pyarrow as pa
import pytest

import flightbridge

ROWS = 1000


@pytest.fixture(scope="session")
def bridge():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4096, 4)).astype(np.float32)
    y = (x @ np.array([1.0, -2.0, 3.0, 0.5], np.float32) + 0.25).astype(np.float32)
    ids = np.arange(ROWS)
    with flightbridge.Server() as server:
        with server.client() as client:
            line = {**{f"x{i}": x[:, i] for i in range(4)}, "y": y}
            client.write("regression", pa.table(line), partition_rows=1000)
            plain = {
                "id": pa.array(ids),
                "half": pa.array((ids / 2).astype(np.float32)),
                "odd": pa.array(ids % 2 == 1),
                "name": pa.array([f"n{i}" for i in ids]),
                "tags": pa.array([list(range(i % 3)) for i in ids], pa.list_(pa.int64())),
            }
            client.write("plain", pa.table(plain), partition_rows=300)
        yield server
