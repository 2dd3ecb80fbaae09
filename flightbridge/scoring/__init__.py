"""Models applied to record batches: the side that knows nothing of Spark.

:func:`flightbridge.spark.predict` runs it on executors. TensorFlow is imported when a model is
loaded, and not before.
"""
