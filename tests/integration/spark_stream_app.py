"""A streaming query until it is killed: ``spark_stream_app.py URI HOME``."""

import os
import sys


def main(uri, home):
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    import flightbridge.spark

    settings = {
        "spark.master": "local[2]",
        "spark.ui.enabled": "false",
        "spark.driver.memory": "512m",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={home}",
        "spark.local.dir": f"{home}/local",
        "spark.sql.warehouse.dir": f"{home}/warehouse",
    }
    spark = flightbridge.spark.configure(SparkSession.builder.config(map=settings)).getOrCreate()
    source = spark.readStream.format("rate-micro-batch").options(rowsPerBatch=200, numPartitions=2)
    writer = source.load().selectExpr("value as id").writeStream.format("flightbridge")
    writer = writer.option("uri", uri).option("feed", "f")
    writer.option("checkpointLocation", f"{home}/check").start().awaitTermination()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
