"""An application with the plugin, for test_spark_plugin.py: ``spark_plugin_app.py HOME SETTINGS``.

Prints JSON, one line for each step; ends when a line comes on stdin.
"""

import json
import os
import sys
import urllib.request

import flightbridge
import flightbridge.spark


def say(**facts):
    print(json.dumps(facts), flush=True)


def main(home, settings):
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["SPARK_WORKER_DIR"] = f"{home}/work"  # of local-cluster
    os.environ["PYSPARK_PYTHON"] = "/nonexistent/python"  # nothing here needs one
    from pyspark.sql import SparkSession

    settings = {
        "spark.ui.port": "0",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={home}",
        "spark.local.dir": f"{home}/local",
        "spark.sql.warehouse.dir": f"{home}/warehouse",
        "spark.plugins": "io.flightbridge.FlightBridgePlugin",
        "spark.flightbridge.server.command": f"{sys.executable} -m flightbridge.cli",
        "spark.flightbridge.server.memory": "128MiB",
        **settings,
    }
    count = int(settings.pop("count"))
    builder = SparkSession.builder.config(map=settings)
    spark = flightbridge.spark.configure(builder).getOrCreate()
    uri = flightbridge.spark.servers(spark, count=count)
    df = spark.range(0, 10_000, 1, 8)
    df.write.format("flightbridge").option("feed", "f").save()
    with flightbridge.connect(uri) as client:
        ids = sorted(client.read_table("f")["id"].to_pylist())
        info = client.feed("f")
    say(
        uri=uri,
        whole=ids == list(range(10_000)),
        servers=sorted({part.server for part in info.partitions if part.server}),
    )
    with urllib.request.urlopen(f"{spark.sparkContext.uiWebUrl}/metrics/json/") as answer:
        gauges = json.load(answer)["gauges"]
    own = {
        name.rpartition(".")[2]: g["value"] for name, g in gauges.items() if "FlightBridge" in name
    }
    say(metrics=own)
    sys.stdin.readline()
    spark.stop()
    say(stopped=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
