"""A server, and a plain Flight client of it."""

from __future__ import annotations

import pyarrow.flight as fl
import pytest

import flightbridge


@pytest.fixture
def bridge():
    with flightbridge.Server(memory_limit="512MiB") as server:
        yield server


@pytest.fixture
def client(bridge):
    with fl.connect(bridge.uri) as connection:
        yield connection
