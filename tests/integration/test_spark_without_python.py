"""A JVM that knows of no Python writes a feed, and TensorFlow reads it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import flightbridge.spark

pytestmark = [pytest.mark.spark, pytest.mark.tf, pytest.mark.slow]

ROWS = 10_000
# What Spark's own launcher opens to Spark on Java 17.
OPENED = (
    *("lang", "lang.invoke", "lang.reflect", "io", "net", "nio", "util"),
    *("util.concurrent", "util.concurrent.atomic"),
)


def write_feed(uri: str, feed: str, home: Path) -> None:
    import pyspark

    from flightbridge.spark.environment import require_java

    require_java()
    java = shutil.which("java") or f"{os.environ['JAVA_HOME']}/bin/java"
    packages = [f"java.{name}" for name in OPENED]
    packages += ["sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar"]
    jars = f"{Path(pyspark.__file__).parent}/jars/*"
    command = [
        java,
        "-Xmx1g",
        *(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in packages),
        f"-Dderby.system.home={home}",
        f"-Dspark.sql.warehouse.dir={home}/warehouse",
        f"-Dspark.local.dir={home}/local",
        "-cp",
        f"{jars}:{flightbridge.spark.jar()}",
        str(Path(__file__).parent / "java/WriteFeed.java"),
        *(uri, feed, str(ROWS)),
    ]
    environment = {
        "PATH": "/nonexistent",
        "PYSPARK_PYTHON": "/nonexistent/python",
        "PYSPARK_DRIVER_PYTHON": "/nonexistent/python",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "HOME": str(home),
    }
    ran = subprocess.run(
        command, env=environment, cwd=home, timeout=240, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-4000:]


def test_written_by_java_read_by_tensorflow(bridge, tmp_path):
    import flightbridge.tf

    write_feed(bridge.uri, "f", tmp_path)
    with bridge.client() as client:
        info = client.feed("f")
        assert (info.rows, info.open_jobs, len(info.partitions)) == (ROWS, 0, 3)
        assert client.status().open_puts == 0
    seen: dict[int, tuple[float, bytes, list[int]]] = {}
    order: list[int] = []
    for batch in flightbridge.tf.dataset(bridge.uri, "f", batch_size=512):
        ids = batch["id"].numpy().tolist()
        order += ids
        pairs = batch["pair"].to_list()
        rows = zip(
            batch["rating"].numpy().tolist(), batch["user"].numpy().tolist(), pairs, strict=True
        )
        seen.update(zip(ids, rows, strict=True))
    assert sorted(order) == list(range(ROWS))
    assert order != sorted(order)  # shuffle=true
    assert seen == {i: ((i % 7) / 2, f"user {i % 100}".encode(), [i, i + 1]) for i in range(ROWS)}
