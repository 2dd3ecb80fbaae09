"""A real Kafka broker, and Spark's source for it, out of the Maven artifacts of pom.xml beside it.

``make kafka`` puts them into build/kafka. Without them the tests that need a broker are skipped.
"""

import contextlib
import shutil
import socket
import subprocess
import time
import uuid
from pathlib import Path

JARS = Path(__file__).parents[3] / "build" / "kafka"
START_S = 90
STOP_S = 30
# What Spark's own class path does not have.
SPARKS = ("spark-sql-kafka-*", "spark-token-provider-kafka-*", "kafka-clients-*", "commons-pool2-*")

SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={home}/log
num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""


def sparks_jars():
    """For ``spark.jars``: empty where ``make kafka`` has not run."""
    return [str(jar) for pattern in SPARKS for jar in sorted(JARS.glob(pattern))]


def _java(main, *arguments, **options):
    command = [shutil.which("java"), "-Xmx384m", "-cp", f"{JARS}/*", main, *map(str, arguments)]
    return subprocess.Popen(command, **options)


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


@contextlib.contextmanager
def running(home):
    """A broker with everything in this folder; its ``HOST:PORT``."""
    port, controller = _free_ports(2)
    settings = home / "server.properties"
    settings.write_text(SETTINGS.format(port=port, controller=controller, home=home))
    with (home / "kafka.log").open("w") as log:
        to_log = {"stdout": log, "stderr": subprocess.STDOUT, "cwd": home}
        cluster = uuid.uuid4().hex[:22]
        formatting = ("format", "-t", cluster, "-c", settings)
        assert _java("kafka.tools.StorageTool", *formatting, **to_log).wait(START_S) == 0, log.name
        broker = _java("kafka.Kafka", settings, **to_log)
        try:
            _wait_until_it_answers(broker, port, home / "kafka.log")
            yield f"127.0.0.1:{port}"
        finally:
            broker.kill()
            broker.wait(STOP_S)


def _wait_until_it_answers(broker, port, log):
    end = time.monotonic() + START_S
    while True:
        assert broker.poll() is None, log.read_text()[-4000:]
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < end, log.read_text()[-4000:]
        time.sleep(0.1)
