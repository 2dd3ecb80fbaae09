import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightbridge import errors
from flightbridge.config import format_bytes, parse_bytes, parse_uri


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MiB", 512 << 20),
        ("2 GB", 2 * 10**9),
        ("64k", 64 << 10),
        ("1.5KiB", 1536),
        ("7", 7),
        (9, 9),
    ],
)
def test_sizes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "bad", ["", "MiB", "-1", "1 parsec", "0", 0, -5, None, 1.5, True, "1GiB x"]
)
def test_bad_size_names_setting_and_value(bad):
    with pytest.raises(errors.InvalidArgumentError, match="memory_limit=") as caught:
        parse_bytes(bad, "memory_limit")
    assert repr(bad) in str(caught.value)


@given(st.integers(1, 2**50))
def test_formatted_size_is_close_to_the_size(size):
    assert parse_bytes(format_bytes(size).replace(" ", "")) == pytest.approx(size, rel=0.06)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("grpc://127.0.0.1:8815", ("127.0.0.1", 8815)),
        ("grpc+tcp://node-3.cluster:1", ("node-3.cluster", 1)),
        ("grpc://[::1]:65535/", ("::1", 65535)),
    ],
)
def test_uris(uri, expected):
    assert parse_uri(uri) == expected


@pytest.mark.parametrize(
    "bad", ["", "localhost:8815", "http://h:1", "grpc://h", "grpc://h:0", "grpc://h:70000", None]
)
def test_bad_uri_names_value(bad):
    with pytest.raises(errors.InvalidArgumentError, match="uri="):
        parse_uri(bad)
