"""Models applied to record batches: the side that knows nothing of Spark.

:func:`flightbridge.spark.predict` runs it on executors, ``flightbridge serve-model`` behind a port,
and :func:`flightbridge.score` is the client of that port. TensorFlow is imported when a model is
loaded, and not before; a client needs none.
"""
