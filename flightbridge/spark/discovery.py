"""Installed as the top-level module ``pyspark_flightbridge``: how Spark finds the format.

Spark 4 looks for Python data sources in installed modules named ``pyspark_*`` with a class
``DefaultSource``. The build puts this file there, so no session has to register anything.
"""

from flightbridge.spark.source import FlightBridgeDataSource as DefaultSource

__all__ = ["DefaultSource"]
