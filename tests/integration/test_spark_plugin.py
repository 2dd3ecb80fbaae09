"""Servers that live as long as a Spark application, and what it says of itself."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import flightbridge
from flightbridge.errors import ServerUnavailableError

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(900)]

DEADLINE_S = 280  # a JVM takes minutes to start on a busy machine


class Application:
    def __init__(self, home, **settings):
        self.log = Path(home) / "app.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    str(Path(__file__).with_name("spark_plugin_app.py")),
                    str(home),
                    json.dumps(settings),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
                start_new_session=True,
                cwd=home,
            )

    def says(self):
        readable, _, _ = select.select([self.process.stdout], [], [], DEADLINE_S)
        line = self.process.stdout.readline() if readable else ""
        assert line, self.log.read_text()[-4000:]
        return json.loads(line)

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path):
    with contextlib.ExitStack() as stack:

        def started(**settings):
            return stack.enter_context(contextlib.closing(Application(tmp_path, **settings)))

        yield started


def wait_until_gone(uris):
    end = time.monotonic() + DEADLINE_S
    for uri in uris.split(","):
        while True:
            try:
                flightbridge.connect(uri, timeout_s=2).feeds()
            except ServerUnavailableError:
                break
            assert time.monotonic() < end, f"{uri} still serves"
            time.sleep(0.1)


def test_a_server_beside_the_driver(start):
    app = start(**{"spark.master": "local[2]", "spark.flightbridge.server": "driver", "count": "1"})
    found = app.says()
    assert found["whole"]
    metrics = app.says()["metrics"]
    assert metrics["rowsSent"] == 10_000
    assert metrics["bytesSent"] >= 80_000
    assert metrics["bytesMapped"] == 0  # bodies of 10 KB cost less on the socket
    assert metrics["attemptsFinished"] == 8
    assert metrics["attemptsGivenUp"] == 0
    assert flightbridge.connect(found["uri"]).feed("f").rows == 10_000
    app.process.stdin.write("\n")
    assert app.says() == {"stopped": True}
    wait_until_gone(found["uri"])


def test_a_driver_that_is_killed_takes_its_server_along(start):
    app = start(**{"spark.master": "local[2]", "spark.flightbridge.server": "driver", "count": "1"})
    found = app.says()
    os.killpg(app.process.pid, signal.SIGKILL)
    wait_until_gone(found["uri"])


def test_servers_beside_the_executors(start):
    app = start(
        **{
            "spark.master": "local-cluster[2,1,768]",
            "spark.executor.memory": "768m",
            "spark.flightbridge.server": "executors",
            "count": "2",
        }
    )
    found = app.says()
    assert found["whole"]
    assert len(found["uri"].split(",")) == 2
    assert found["servers"] == sorted(found["uri"].split(",")), "the feed spans both"
    app.says()
    app.process.stdin.write("\n")
    assert app.says() == {"stopped": True}
    wait_until_gone(found["uri"])


def test_settings_that_make_no_sense_end_the_start_with_their_name(start):
    app = start(**{"spark.master": "local[1]", "spark.flightbridge.server": "moon", "count": "1"})
    assert app.process.wait(DEADLINE_S) != 0
    assert "spark.flightbridge.server='moon' is not known" in app.log.read_text()


def test_a_server_that_cannot_start_says_why(start):
    app = start(
        **{
            "spark.master": "local[1]",
            "spark.flightbridge.server": "driver",
            "spark.flightbridge.server.command": "/nonexistent/flightbridge",
            "count": "1",
        }
    )
    assert app.process.wait(DEADLINE_S) != 0
    said = app.log.read_text()
    assert "set spark.flightbridge.server.command to a command that runs it" in said
