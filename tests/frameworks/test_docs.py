"""The adapter in docs/frameworks.md, as it is printed there."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
from flightbridge.errors import UnsupportedTypeError

DOCS = Path(__file__).parents[2] / "docs" / "frameworks.md"


@pytest.fixture(scope="module")
def adapter():
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    found = [block for block in blocks if "class FeedBatches" in block]
    assert len(found) == 1
    names = {}
    exec(compile(found[0], str(DOCS), "exec"), names)
    return names["FeedBatches"]


@pytest.fixture(scope="module")
def bridge():
    table = pa.table(
        {
            "id": range(1000),
            "half": pa.array(np.arange(1000) / 2, pa.float32()),
            "tags": pa.array([list(range(i % 3)) for i in range(1000)], pa.list_(pa.int8())),
            "name": ["x"] * 1000,
        }
    )
    with flightbridge.Server() as server:
        with server.client() as client:
            client.write("all", table, partition_rows=300)
        yield server


def test_elements_and_positions(adapter, bridge):
    settings = {"batch_size": 64, "columns": ["id", "tags"], "label": "half", "shuffle": True}
    reader = adapter(bridge, "all", **settings)
    got = []
    for taken, (features, half) in enumerate(reader, 1):
        assert (features["id"] / 2 == half).all()
        values, splits = features["tags"]
        assert (np.diff(splits) == features["id"] % 3).all() and values.dtype == np.int8
        got += features["id"].tolist()
        if taken == 5:
            saved = reader.position()
    reader.close()
    assert sorted(got) == list(range(1000))
    later = adapter(bridge, "all", **settings, position=saved)
    assert [row for features, _ in later for row in features["id"].tolist()] == got[320:]
    later.close()


def test_strings_are_refused(adapter, bridge):
    reader = adapter(bridge, "all", batch_size=64)
    with pytest.raises(UnsupportedTypeError, match="'name'"):
        next(iter(reader))
    reader.close()
