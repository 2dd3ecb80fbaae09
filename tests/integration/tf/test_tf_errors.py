"""Failures while iterating are the tf.errors that a training loop would expect, with our words."""

import time

import numpy as np
import pyarrow as pa
import pytest

import flightbridge
import flightbridge.tf

pytestmark = [pytest.mark.tf, pytest.mark.filterwarnings("default")]
tf = pytest.importorskip("tensorflow")

TABLE = pa.table({"id": np.arange(50_000)})


def make(server, **settings):
    return flightbridge.tf.dataset(server.uri, "f", batch_size=100, timeout_s=30, **settings)


@pytest.mark.parametrize("transport", ["local", "flight"])
def test_a_dropped_feed_is_not_found(transport):
    with flightbridge.Server() as server, server.client() as client:
        client.write("f", TABLE)
        dataset = make(server, transport=transport)
        client.drop("f")
        with pytest.raises(tf.errors.NotFoundError, match="'f'"):
            next(iter(dataset))


def test_a_server_that_is_gone_is_unavailable():
    with flightbridge.Server() as server, server.client() as client:
        client.write("f", TABLE)
        dataset = make(server)
    with pytest.raises(tf.errors.UnavailableError):
        next(iter(dataset))


@pytest.mark.parametrize("transport", ["local", "flight"])
def test_damaged_rows_are_data_loss(tmp_path, transport):
    data = tmp_path / "data"
    with flightbridge.Server(data_dir=data) as server, server.client() as client:
        client.write("f", TABLE)
    wanted = np.arange(40_000, 40_002).tobytes()
    for path in (data / "segments").iterdir():
        content = bytearray(path.read_bytes())
        if (at := content.find(wanted)) >= 0:
            content[at] ^= 1
            path.write_bytes(content)
            break
    else:
        raise AssertionError("the rows are in no file")
    with flightbridge.Server(data_dir=data) as server:
        dataset = make(server, transport=transport).prefetch(2)
        with pytest.raises(tf.errors.DataLossError, match="'f'"):
            list(dataset)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{token} read:another", tf.errors.PermissionDeniedError),
        ("another-token-of-its-length read:*", tf.errors.UnauthenticatedError),
    ],
    ids=["permission", "token"],
)
def test_rights_that_are_taken_away(tmp_path, line, error):
    token, path = "the-token-of-this-test", tmp_path / "tokens"

    def write(text):
        new = tmp_path / "new"
        new.write_text(text + "\n")
        new.chmod(0o600)
        new.replace(path)

    write(f"{token} read:*,write:*")
    with flightbridge.Server(token_file=path) as server:
        with flightbridge.connect(server.uri, token=token) as client:
            client.write("f", TABLE)
        dataset = make(server, transport="flight", token=token)
        assert len(list(dataset)) == 500
        write(line.format(token=token))

        def until_refused():
            # The file is looked at again within a second.
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                next(iter(dataset))
                time.sleep(0.1)

        with pytest.raises(error):
            until_refused()
