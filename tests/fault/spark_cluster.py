"""A standalone Spark master with two workers on addresses of their own, as real processes.

Whatever happens to the tests, the processes end: each is under a shell that kills it when the pipe
from this process breaks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from .spark_driver import Driver

T = TypeVar("T")
HOSTS = ("127.0.0.2", "127.0.0.3")
DEADLINE_S = 400.0  # where processors are shared by many, a JVM may take a minute to start
_SUPERVISED = '"$@" < /dev/null & read -r _; kill $!; wait'
_EXECUTOR = "org.apache.spark.executor.CoarseGrainedExecutorBackend"


def wait_for(condition: Callable[[], T], what: str = "it", timeout_s: float = DEADLINE_S) -> T:
    """The condition's first value that is true."""
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not happen in {timeout_s:.0f} s"
        time.sleep(0.005)
    return found


@dataclasses.dataclass(frozen=True)
class Executor:
    pid: int
    host: str

    def kill(self) -> None:
        """SIGKILL; returns when the process is no more."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        wait_for(lambda: not _command_of(self.pid), f"the death of executor {self.pid}")


class SparkCluster:
    """A context manager: afterwards no process is left. Workers have one core each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._processes: list[subprocess.Popen[bytes]] = []
        self._workers: dict[str, str] = {}  # URL to host
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        ports = ("--port", "0", "--webui-port", "0")
        master = self._run("master.Master", "127.0.0.1", "--host", "127.0.0.1", *ports)
        self.url = wait_for(lambda: _found(master, r"spark://127\.0\.0\.1:\d+"), "a master")
        logs = {}
        for host in HOSTS:
            size = ("--cores", "1", "--memory", "768m", "--work-dir", str(self.root / host))
            logs[host] = self._run("worker.Worker", host, "--host", host, *ports, *size, self.url)
        for host, log in logs.items():
            wait_for(lambda log=log: _found(log, "Successfully registered"), f"worker {host}")
            port = _found(log, rf"(?<=Starting Spark worker {re.escape(host)}:)\d+")
            self._workers[f"spark://Worker@{host}:{port}"] = host

    def _run(self, name: str, host: str, *arguments: str) -> Path:
        import pyspark

        home = Path(pyspark.__file__).parent
        log = self.root / f"{name}-{host}.log"
        environment = os.environ | {
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_IP": host,
            "SPARK_LOCAL_DIRS": str(self.root / f"local-{host}"),
            "SPARK_DAEMON_MEMORY": "256m",
            # Executors are killed for as long as a test wants.
            "SPARK_MASTER_OPTS": "-Dspark.deploy.maxExecutorRetries=-1",
        }
        command = (str(home / "bin/spark-class"), f"org.apache.spark.deploy.{name}", *arguments)
        with log.open("wb") as out:
            self._processes.append(
                subprocess.Popen(
                    ("bash", "-c", _SUPERVISED, "supervised", *command),
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
            )
        return log

    def executors(self) -> list[Executor]:
        """Those that are alive, of whatever driver, by host."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _EXECUTOR in (command := _command_of(int(entry.name))):
                given = dict(itertools.pairwise(command))
                host = self._workers.get(given.get("--worker-url", ""))
                if host is not None:
                    found.append(Executor(int(entry.name), host))
        return sorted(found, key=lambda executor: (executor.host, executor.pid))

    @contextlib.contextmanager
    def driver(self, name: str, **settings: str) -> Iterator[Driver]:
        """A driver whose executors alone are here, one on each worker."""
        wait_for(lambda: not self.executors(), "the end of the last driver's executors")
        driver = Driver(self.url, self.root, name, settings)
        try:
            driver.wait_until_started(DEADLINE_S)
            yield driver
        finally:
            driver.close()

    def close(self) -> None:
        for process in self._processes:
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=60)
        for executor in self.executors():
            executor.kill()

    def __enter__(self) -> SparkCluster:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _found(log: Path, pattern: str) -> str | None:
    match = re.search(pattern, log.read_text(errors="replace"))
    return match and match[0]


def _command_of(pid: int) -> list[str]:
    """Nothing where the process has ended; a zombie's is empty, too."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []
