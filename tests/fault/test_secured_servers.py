"""Feeds that span three servers with tokens, with TLS and with both.

The servers ask one another with credentials of their own; clients' tokens cannot do what those can.
"""

from __future__ import annotations

import pyarrow.flight as fl
import pytest

import flightbridge
import flightbridge.batches
from flightbridge.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    PermissionDeniedError,
    ServerUnavailableError,
)

from .cluster import PARTITIONS, ROWS, SCHEMA, Job, check, check_spread
from .secured import CLIENT_TOKEN, CREDENTIALS, PEER_TOKEN, Authority, secured, write_secret


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("TOKEN", "TLS_CA", "TLS_CLIENT_CERT", "TLS_CLIENT_KEY"):
        monkeypatch.delenv(f"FLIGHTBRIDGE_{name}", raising=False)


@pytest.fixture
def start(tmp_path):
    """Starts servers with credentials of a kind."""
    made = []

    def starting(kind: str, **settings):
        made.append(secured(tmp_path, kind, **settings))
        return made[-1]

    yield starting
    for cluster in made:
        cluster.close()


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_write_and_read_over_three_servers(start, kind):
    cluster = start(kind)
    with cluster.connect() as client:
        info = Job(client, "feed").put_all().commit()
        check_spread(info, cluster)
        check(client, "feed")
        client.write("feed", client.read_table("feed", partitions=[0]), mode="append")
        assert client.feed("feed").rows == PARTITIONS * ROWS + ROWS
        for node in cluster.nodes:  # all but the home ask it
            with cluster.connect(node.uri) as one:
                assert one.feed("feed").rows == PARTITIONS * ROWS + ROWS
                assert one.schema("feed") == SCHEMA
        uris = ",".join(cluster.uris)
        with flightbridge.batches.read(
            uris, "feed", batch_size=100, shuffle=True, **cluster.credentials
        ) as reader:
            assert sum(len(batch["id"]) for batch in reader) == PARTITIONS * ROWS + ROWS
        client.drop("feed")
        Job(client, "feed").put_all().commit()
        check(client, "feed")


@pytest.mark.parametrize("kind", CREDENTIALS)
def test_a_server_that_was_killed_asks_what_became_of_its_job(start, kind):
    cluster = start(kind)
    with cluster.connect() as client:
        before = Job(client, "feed").put_all().commit()
        victim = cluster.holder(before, cluster.home_of("feed"))
        job = Job(client, "feed", "append", PARTITIONS * ROWS).put_all()
        victim.kill()
        job.commit()  # the home decides; the victim is not told
        with pytest.raises(ServerUnavailableError, match="holds them and is away"):
            client.read_table("feed")
        victim.start()
        cluster.wait_for(client)
        check(client, "feed", 2 * PARTITIONS * ROWS)


def test_a_wrong_peer_token_is_named_before_a_row_is_written_and_mended_without_a_restart(
    start, tmp_path
):
    cluster = start("tokens")
    secret = tmp_path / "peer-token"
    with cluster.connect() as client:
        # Unknown, and known without the scope.
        for wrong in ("another-token-0123456789", CLIENT_TOKEN):
            write_secret(secret, wrong)
            for node in cluster.nodes:
                node.restart()
            cluster.wait_until_up(client)
            with pytest.raises(FailedPreconditionError) as caught:
                Job(client, "feed")
            assert f"the token in --peer-token-file {secret} must have the scope peer" in str(
                caught.value
            )
            assert wrong not in str(caught.value)
        write_secret(secret, PEER_TOKEN)
        Job(client, "feed").put_all().commit()
        check(client, "feed")


def test_servers_with_tokens_need_one_for_each_other(start, tmp_path):
    with pytest.raises(InvalidArgumentError, match="set peers to those that may have it"):
        flightbridge.Server(peer_token_file=write_secret(tmp_path / "token", PEER_TOKEN))
    tokens = write_secret(tmp_path / "only", f"{CLIENT_TOKEN} write:*\n")
    with (
        flightbridge.Server(token_file=tokens) as one,
        flightbridge.Server(token_file=tokens) as other,
        flightbridge.connect([one.uri, other.uri], token=CLIENT_TOKEN) as client,
        pytest.raises(FailedPreconditionError, match=r"with --peer-token-file.*and --peers"),
    ):
        client.begin_write("feed", "job", "overwrite", SCHEMA)


def test_a_token_is_never_shown_to_a_server_that_only_a_writer_names(start):
    cluster = start("tokens")
    with flightbridge.Server() as stranger:
        uris = [*cluster.uris[:2], stranger.uri]
        with (
            flightbridge.connect(uris, token=CLIENT_TOKEN) as client,
            pytest.raises(FailedPreconditionError, match=f"cannot be on {stranger.uri}.*--peers"),
        ):
            # Whichever of them is the home: those of the cluster refuse.
            client.begin_write("feed", "job", "overwrite", SCHEMA)


def test_a_wrong_peer_ca_is_named(start, tmp_path):
    stranger = Authority(tmp_path, "stranger")
    cluster = start("tls")
    for node in cluster.nodes:
        node.settings["peer_tls_ca"] = str(stranger.ca)
        node.restart()
    with cluster.connect() as client:
        cluster.wait_until_up(client)
        with pytest.raises(ServerUnavailableError, match=f"--peer-tls-ca .now {stranger.ca}"):
            Job(client, "feed")


def test_a_reader_cannot_call_as_a_server_does(start):
    cluster = start("tokens")
    with cluster.connect() as client:
        Job(client, "feed").put_all().commit()
        home = cluster.home_of("feed")
    descriptor = fl.FlightDescriptor.for_path("feed")

    def options(token: str):
        headers = [("authorization", f"Bearer {token}"), ("x-flightbridge-relayed", "1")]
        return fl.FlightCallOptions(
            timeout=30, headers=[(name.encode(), value.encode()) for name, value in headers]
        )

    with fl.connect(home.uri) as plain:
        for call in (plain.get_flight_info, plain.get_schema):
            # pyarrow makes an OSError of what GetSchema answers.
            with pytest.raises((fl.FlightUnauthorizedError, OSError), match="no scope peer:feed"):
                call(descriptor, options(CLIENT_TOKEN))
            call(descriptor, options(PEER_TOKEN))
        with pytest.raises(fl.FlightUnauthorizedError, match="no scope read:feed"):
            plain.get_flight_info(
                descriptor,
                fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {PEER_TOKEN}".encode())]),
            )
    with (
        cluster.connect(token=PEER_TOKEN) as client,
        pytest.raises(PermissionDeniedError, match="no scope write:feed"),
    ):
        Job(client, "feed", "append")


def test_dynamic_readers_share_a_feed_over_mtls_with_tokens(start):
    cluster = start("mtls and tokens")
    with cluster.connect() as client:
        Job(client, "feed").put_all().commit()
    seen: list[int] = []
    with flightbridge.batches.read(
        ",".join(cluster.uris),
        "feed",
        batch_size=64,
        policy="dynamic",
        group="g",
        split_rows=90,
        **cluster.credentials,
    ) as reader:
        for batch in reader:
            seen += batch["id"].tolist()
    assert sorted(seen) == list(range(PARTITIONS * ROWS))
