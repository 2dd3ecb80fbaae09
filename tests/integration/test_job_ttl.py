"""Write jobs that nobody works on any more end by themselves, and give back what they hold."""

import time

import pyarrow as pa
import pytest

import flightbridge
from flightbridge import errors

SCHEMA = pa.schema([("x", pa.int64())])
DEADLINE_S = 60


def test_a_job_of_a_writer_that_is_gone_ends():
    with flightbridge.Server(job_ttl_s=1) as bridge, bridge.client() as client:
        client.begin_write("f", "left", "errorifexists", SCHEMA)
        with client.open_put("f", "left", 0, 0, SCHEMA) as put:
            put.write(pa.record_batch({"x": pa.array(range(1000), pa.int64())}))
            staged = put.finish()
        assert bridge.status().memory_used_bytes > 0
        deadline = time.monotonic() + DEADLINE_S
        while bridge.status().memory_used_bytes > 0:
            assert time.monotonic() < deadline, "what the job staged is still there"
            time.sleep(0.1)
        with pytest.raises(errors.FlightBridgeError, match=r"is not open .*expired"):
            client.commit_write("f", "left", [staged])
        assert client.feeds() == []
        assert client.write("f", pa.table({"x": [1]})).rows == 1  # the name is free


def test_a_job_that_is_worked_on_stays():
    ttl_s = 4
    with flightbridge.Server(job_ttl_s=ttl_s) as bridge, bridge.client() as client:
        client.begin_write("f", "alive", "errorifexists", SCHEMA)
        attempts = []
        began = time.monotonic()
        while time.monotonic() - began < 1.5 * ttl_s:
            partition = len(attempts)
            with client.open_put("f", "alive", partition, 0, SCHEMA) as put:
                put.write(pa.record_batch({"x": pa.array([partition], pa.int64())}))
                attempts.append(put.finish())
            time.sleep(ttl_s / 10)
        assert client.commit_write("f", "alive", attempts).rows == len(attempts)


@pytest.mark.parametrize("value", [0, -1, 0.5, 366 * 86_400, "60", True, None])
def test_other_values_are_refused_by_name(value):
    with pytest.raises(errors.InvalidArgumentError, match="job_ttl_s"):
        flightbridge.Server(job_ttl_s=value)
