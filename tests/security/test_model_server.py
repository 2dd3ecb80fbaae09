"""A model server with TLS and mutual TLS, as its clients know it."""

import pyarrow as pa
import pytest

import flightbridge
from flightbridge.errors import FlightBridgeError, InvalidArgumentError

from .certificates import Authority

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    import tensorflow as tf

    class Twice(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="x")])
        def __call__(self, x):
            return {"y": 2 * x}

    twice = Twice()
    path = tmp_path_factory.mktemp("model") / "twice"
    tf.saved_model.save(twice, path, signatures=twice.__call__)
    return path


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"), "ca")


TABLE = pa.table({"x": pa.array([1, 2, 3], pa.int64())})


def test_tls_and_tokens_open_a_server_to_others(model, authority, tmp_path):
    from flightbridge.scoring.server import ModelServer

    pair = authority.issue("server")
    tokens = tmp_path / "tokens"
    tokens.write_text("0123456789abcdef read:twice\n")
    tokens.chmod(0o600)
    files = {"tls_cert": pair.cert, "tls_key": pair.key, "token_file": tokens}
    with ModelServer(model, host="0.0.0.0", control_port=0, **files) as server:
        assert server.uri.startswith("grpc+tls://0.0.0.0:")
        uri = server.uri.replace("0.0.0.0", "localhost")
        trusted = {"token": "0123456789abcdef", "tls_ca": authority.ca}
        assert flightbridge.score(uri, TABLE, **trusted)["y"].to_pylist() == [2, 4, 6]
        with pytest.raises(FlightBridgeError, match=r"localhost"):
            flightbridge.score(uri, TABLE, token="0123456789abcdef", timeout_s=20)
        plain = uri.replace("grpc+tls", "grpc")
        with pytest.raises(FlightBridgeError):
            flightbridge.score(plain, TABLE, token="0123456789abcdef", timeout_s=20)


def test_clients_may_have_to_show_a_certificate(model, authority):
    from flightbridge.scoring.server import ModelServer

    pair, client = authority.issue("server2"), authority.issue("client")
    files = {"tls_cert": pair.cert, "tls_key": pair.key, "tls_client_ca": authority.ca}
    with ModelServer(model, **files) as server:
        shown = {"tls_client_cert": client.cert, "tls_client_key": client.key}
        scored = flightbridge.score(server.uri, TABLE, tls_ca=authority.ca, **shown)
        assert scored["y"].to_pylist() == [2, 4, 6]
        with pytest.raises(FlightBridgeError):
            flightbridge.score(server.uri, TABLE, tls_ca=authority.ca, timeout_s=20)


def test_certificates_are_tried_out_at_the_start(model, authority):
    from flightbridge.scoring.server import ModelServer

    expired, other = authority.issue("expired", days=-1), authority.issue("other")
    with pytest.raises(InvalidArgumentError, match=r"tls_cert .*expired"):
        ModelServer(model, tls_cert=expired.cert, tls_key=expired.key)
    with pytest.raises(InvalidArgumentError, match=r"tls_key .*not the key"):
        ModelServer(model, tls_cert=other.cert, tls_key=expired.key)
    with pytest.raises(InvalidArgumentError, match=r"tls_client_ca"):
        ModelServer(model, tls_client_ca=authority.ca)
