"""What is asked of a model: checked settings, and the same on the other side of a wire."""

import json

import numpy as np
import pyarrow as pa
import pytest

from flightbridge.errors import InvalidArgumentError
from flightbridge.scoring.request import ScoreRequest, decode, make_request


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"columns": "x"},
        {"columns": ["x", "y"], "outputs": ["p"]},
        {"columns": {"in": "x"}, "outputs": {"out": "p"}, "batch_size": 7},
        {"schema": pa.schema([("p", pa.list_(pa.float32()))])},
        {
            "dtypes": {"a": np.float32, "b": "bfloat16"},
            "fill": {"a": 1, "b": 2.5, "c": "ü", "d": b"\xff\0", "e": np.int64(3), "f": True},
            "mask": ["a"],
            "pad_to": {"l": 3},
            "truncate": ["l"],
            "vectors": {"v": 4},
            "sparse": ["v"],
            "codes": ["c"],
        },
        {"mask": True},
    ],
    ids=lambda settings: "-".join(settings) or "nothing",
)
def test_a_request_survives_the_wire(settings):
    request = make_request(**settings)
    assert decode(request.encode()) == request
    assert decode(request.encode()).encode() == request.encode()


def test_no_command_asks_for_everything():
    assert decode(b"") == ScoreRequest()


def test_equal_requests_are_equal_bytes():
    one = make_request(columns={"a": "x", "b": "y"}, fill={"x": 0})
    other = make_request(fill={"x": 0}, columns={"b": "y", "a": "x"})
    assert one.encode() == other.encode()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": True}, "batch_size=True"),
        ({"batch_size": "7"}, "batch_size='7'"),
        ({"columns": 7}, "columns=7"),
        ({"columns": []}, "columns="),
        ({"columns": {"in": None}}, "columns has None"),
        ({"outputs": "p"}, "outputs='p'"),
        ({"nope": 1}, "nope=1"),
        ({"pad_to": {"x": 0}}, "pad_to="),
        ({"mask": "x"}, "mask='x'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(settings, says):
    with pytest.raises(InvalidArgumentError) as caught:
        make_request(**settings)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"[" * 100_000,
        json.dumps({"columns": {"a": 1}}).encode(),
        json.dumps({"signature": "x"}).encode(),
        json.dumps({"schema": "AAAA"}).encode(),
        json.dumps({"schema": 7}).encode(),
        json.dumps({"fill": {"a": {"base64": "?"}}}).encode(),
        json.dumps({"fill": {"a": [1]}}).encode(),
        json.dumps({"fill": 3}).encode(),
        json.dumps({"batch_size": 1e9}).encode(),
        json.dumps({"mask": 7}).encode(),
        json.dumps({"pad_to": {"a": 2**40}}).encode(),
    ],
)
def test_commands_that_are_none_are_refused(body):
    with pytest.raises(InvalidArgumentError):
        decode(body)
