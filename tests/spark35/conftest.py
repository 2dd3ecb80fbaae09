"""What `make test-spark-3.5` runs, in an environment with pyspark 3.5; elsewhere nothing."""

import sys

import pytest

pyspark = pytest.importorskip("pyspark")
OTHER = not pyspark.__version__.startswith("3.5.")
collect_ignore_glob = ["test_*.py"] if OTHER else []


@pytest.fixture(scope="session")
def spark35(tmp_path_factory):
    import flightbridge.spark

    with pytest.MonkeyPatch.context() as patch:
        # Executors of the connector need no Python; a worker that is started anyway shows.
        patch.setenv("PYSPARK_PYTHON", "/nonexistent/python")
        patch.setenv("PYSPARK_DRIVER_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        from pyspark.sql import SparkSession

        home = tmp_path_factory.mktemp("spark")
        settings = {
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.extraJavaOptions": f"-Dderby.system.home={home}",
            "spark.local.dir": str(home / "local"),
            "spark.sql.warehouse.dir": str(home / "warehouse"),
        }
        builder = SparkSession.builder.master("local[2,3]").appName("flightbridge-tests")
        for name, value in settings.items():
            builder = builder.config(name, value)
        session = flightbridge.spark.configure(builder).getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        yield session
        session.stop()
