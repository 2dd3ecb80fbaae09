"""TLS and mutual TLS: who gets in, and what those are told who do not.

Rows 32 and 33 of the fault matrix. Certificates are made for each run; servers are processes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import grpc
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import flightbridge
import flightbridge.batches
from flightbridge import errors

from .certificates import Authority, Pair
from .server_process import serving

TABLE = pa.table({"x": pa.array(range(1000), pa.int64())})
TIMEOUT_S = 15.0


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("TOKEN", "TLS_CA", "TLS_CLIENT_CERT", "TLS_CLIENT_KEY"):
        monkeypatch.delenv(f"FLIGHTBRIDGE_{name}", raising=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "ca")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def pair(authority) -> Pair:
    return authority.issue("server")


@pytest.fixture(scope="module")
def server(pair):
    with serving(tls_cert=pair.cert, tls_key=pair.key, control_port=0) as process:
        assert process.uri == f"grpc+tls://127.0.0.1:{process.port}"
        yield process


@pytest.fixture(scope="module")
def mutual(authority, pair):
    with serving(
        tls_cert=pair.cert, tls_key=pair.key, tls_client_ca=authority.ca, control_port=0
    ) as process:
        yield process


def refused(uri: str, words: str, error=errors.ServerUnavailableError, **tls) -> None:
    with pytest.raises(error, match=words):
        flightbridge.connect(uri, timeout_s=TIMEOUT_S, **tls)


def round_trip(uri: str, **tls) -> None:
    with flightbridge.connect(uri, timeout_s=TIMEOUT_S, **tls) as client:
        client.write("f", TABLE, mode="overwrite")
        assert client.read_table("f") == TABLE
    with flightbridge.batches.read(uri, "f", batch_size=100, **tls) as reader:
        assert sum(len(batch["x"]) for batch in reader) == TABLE.num_rows


def test_write_and_read_over_tls(server, authority):
    round_trip(server.uri, tls_ca=authority.ca)


def test_settings_from_the_environment(server, authority, monkeypatch):
    monkeypatch.setenv("FLIGHTBRIDGE_TLS_CA", str(authority.ca))
    round_trip(server.uri)


def test_a_plain_flight_client_over_tls(server, authority):
    with fl.connect(server.uri, tls_root_certs=authority.ca.read_bytes()) as client:
        list(client.list_flights(b"", fl.FlightCallOptions(timeout=TIMEOUT_S)))


def test_wrong_ca(server, stranger):
    refused(server.uri, "not signed by a CA that this client trusts", tls_ca=stranger.ca)


def test_no_ca_for_a_private_ones_certificate(server):
    refused(server.uri, "set tls_ca")


def test_wrong_host(authority):
    pair = authority.issue("elsewhere", "DNS:elsewhere.example")
    with serving(tls_cert=pair.cert, tls_key=pair.key) as process:
        refused(process.uri, "is for another host", tls_ca=authority.ca)
        round_trip(process.uri, tls_ca=authority.ca, tls_override_hostname="elsewhere.example")


def test_plain_text_to_a_tls_port(server):
    plain = server.uri.replace("grpc+tls://", "grpc://")
    refused(plain, rf"speaks TLS: use grpc\+tls://127.0.0.1:{server.port}")


def test_tls_to_a_plain_text_port(authority):
    with serving() as process:
        secure = process.uri.replace("grpc://", "grpc+tls://")
        refused(secure, "does not speak TLS: use grpc://", tls_ca=authority.ca)


def test_nobody_there_is_no_matter_of_tls(server, authority):
    with flightbridge.Server() as gone:
        uri = gone.uri
    refused(uri, "no FlightBridge server answers")
    refused(
        uri.replace("grpc://", "grpc+tls://"), "no FlightBridge server answers", tls_ca=authority.ca
    )


_EXPIRED_SERVER = """
import sys, pyarrow.flight as fl
class Server(fl.FlightServerBase): pass
cert, key = (open(path, "rb").read() for path in sys.argv[1:])
server = Server("grpc+tls://127.0.0.1:0", tls_certificates=[(cert, key)])
print(server.port, flush=True)
sys.stdin.read()
"""


def test_a_certificate_that_expires_while_the_server_runs(authority):
    """By a server of Arrow's own, since ours does not start with it."""
    pair = authority.issue("expired", days=-1)
    command = [sys.executable, "-c", _EXPIRED_SERVER, str(pair.cert), str(pair.key)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        uri = f"grpc+tls://127.0.0.1:{int(process.stdout.readline())}"
        refused(uri, "certificate has expired: renew", tls_ca=authority.ca)
        process.kill()


# ---- mutual TLS -----------------------------------------------------------------------------


def test_mutual_tls(mutual, authority):
    mine = authority.issue("client")
    round_trip(mutual.uri, tls_ca=authority.ca, tls_client_cert=mine.cert, tls_client_key=mine.key)


def test_no_client_certificate(mutual, authority):
    refused(mutual.uri, "asks for a client certificate: set tls_client_cert", tls_ca=authority.ca)


def test_a_client_certificate_of_a_stranger(mutual, authority, stranger):
    theirs = stranger.issue("client")
    refused(
        mutual.uri,
        "does not accept the client certificate",
        tls_ca=authority.ca,
        tls_client_cert=theirs.cert,
        tls_client_key=theirs.key,
    )


def test_an_expired_client_certificate_is_refused_before_it_is_shown(mutual, authority):
    old = authority.issue("old-client", days=-1)
    refused(
        mutual.uri,
        "tls_client_cert .* has expired",
        errors.InvalidArgumentError,
        tls_ca=authority.ca,
        tls_client_cert=old.cert,
        tls_client_key=old.key,
    )


def test_an_expired_client_certificate_is_refused_by_the_server(mutual, authority):
    old = authority.issue("old-client", days=-1)
    with (
        fl.connect(
            mutual.uri,
            tls_root_certs=authority.ca.read_bytes(),
            cert_chain=old.cert.read_text(),
            private_key=old.key.read_text(),
        ) as client,
        pytest.raises(fl.FlightUnavailableError),
    ):
        list(client.list_flights(b"", fl.FlightCallOptions(timeout=TIMEOUT_S)))


# ---- the control port -----------------------------------------------------------------------


def health_over(process, authority, mine: Pair | None = None):
    credentials = grpc.ssl_channel_credentials(
        authority.ca.read_bytes(),
        *((mine.key.read_bytes(), mine.cert.read_bytes()) if mine else ()),
    )
    address = process.control_uri.removeprefix("grpc+tls://")
    with grpc.secure_channel(address, credentials) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S).status


def test_the_control_port_speaks_the_same_tls(server, mutual, authority):
    serving_status = health_pb2.HealthCheckResponse.SERVING
    assert health_over(server, authority) == serving_status
    assert health_over(mutual, authority, authority.issue("prober")) == serving_status
    with pytest.raises(grpc.RpcError):
        health_over(mutual, authority)
    address = server.control_uri.removeprefix("grpc+tls://")
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError):
        health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S
        )


# ---- settings that cannot be ----------------------------------------------------------------


def wrong_files(tmp_path: Path, authority: Authority, stranger: Authority):
    good, other = authority.issue("good"), stranger.issue("other")
    expired = authority.issue("expired-server", days=-1)
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    missing = tmp_path / "missing.pem"
    return {
        "missing certificate": ((missing, good.key), r"tls_cert .*missing.pem cannot be read"),
        "missing key": ((good.cert, missing), r"tls_key .*missing.pem cannot be read"),
        "empty certificate": ((empty, good.key), r"tls_cert .*empty.pem holds no certificate"),
        "malformed certificate": ((broken, good.key), r"tls_cert .*broken.pem holds no certific"),
        "a key for a certificate": ((good.key, good.key), r"tls_cert .*good.key holds no certif"),
        "malformed key": ((good.cert, broken), r"tls_key .*broken.pem holds no private key"),
        "another's key": ((good.cert, other.key), r"tls_key .* is not the key of the certificate"),
        "expired": ((expired.cert, expired.key), r"tls_cert .* has expired.*renew"),
        "no key": ((good.cert, None), r"tls_cert is set and tls_key is not"),
        "no certificate": ((None, good.key), r"tls_key is set and tls_cert is not"),
    }


def test_files_that_cannot_be_are_named(tmp_path, authority, stranger):
    for case, ((cert, key), words) in wrong_files(tmp_path, authority, stranger).items():
        with pytest.raises(errors.InvalidArgumentError) as caught:
            flightbridge.Server(tls_cert=cert, tls_key=key)
        assert re.search(words, str(caught.value)), (case, str(caught.value))


def test_a_client_ca_needs_tls(authority):
    with pytest.raises(errors.InvalidArgumentError, match=r"tls_client_ca .* needs TLS"):
        flightbridge.Server(tls_client_ca=authority.ca)


def test_client_settings_that_cannot_be(server, authority, tmp_path):
    mine = authority.issue("me")
    for tls, words in [
        ({"tls_ca": tmp_path / "none.pem"}, "tls_ca .* cannot be read"),
        ({"tls_ca": mine.key}, "tls_ca .* holds no certificate"),
        ({"tls_client_cert": mine.cert}, "tls_client_cert is set and tls_client_key is not"),
        ({"tls_client_key": mine.key}, "tls_client_key is set and tls_client_cert is not"),
        ({"tls_ca": 7}, "tls_ca is a int"),
    ]:
        refused(server.uri, words, errors.InvalidArgumentError, **tls)
    refused("grpc://127.0.0.1:1", "plain text", errors.InvalidArgumentError, tls_ca=authority.ca)


# ---- closed by default ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tls", "token", "words"),
    [
        (False, False, "neither TLS nor tokens"),
        (True, False, "TLS but no tokens"),
        (False, True, "tokens but no TLS"),
        (True, True, None),
    ],
)
def test_beyond_loopback_needs_tls_and_tokens(tmp_path, pair, tls, token, words):
    settings = {"tls_cert": pair.cert, "tls_key": pair.key} if tls else {}
    if token:
        settings["token_file"] = tmp_path / "tokens"
        settings["token_file"].touch(mode=0o600)
        settings["token_file"].write_text("token-of-everybody read:*\n")
    if words is None:
        with flightbridge.Server("0.0.0.0", **settings) as bridge:
            assert bridge.uri.startswith("grpc+tls://")
        return
    with pytest.raises(errors.PermissionDeniedError, match=words):
        flightbridge.Server("0.0.0.0", **settings)
    with flightbridge.Server("0.0.0.0", insecure=True, **settings):
        pass


# ---- the command line -----------------------------------------------------------------------


def test_the_command_line_over_mutual_tls(mutual, authority):
    mine = authority.issue("operator")
    command = [sys.executable, "-m", "flightbridge.cli", "feeds", "ls", "--server", mutual.uri]
    options = [
        "--tls-ca", authority.ca, "--tls-client-cert", mine.cert, "--tls-client-key", mine.key,
    ]  # fmt: skip
    done = subprocess.run(
        [*command, *map(str, options)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "FLIGHTBRIDGE_TLS_CA": str(authority.ca)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "set tls_client_cert" in done.stderr
