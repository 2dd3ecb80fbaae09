"""The Spark half: MovieLens CSV files in, DataFrames of features out."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from movielens_csv import COLUMNS, header_of
from movielens_report import stderr_to
from pyspark.ml import Pipeline
from pyspark.ml.feature import SQLTransformer, StringIndexer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import (
    DoubleType,
    LongType,
    StringType,
    StructField,
    StructType,
)

import flightbridge.spark
from flightbridge.spark.environment import require_java

# Bucket counts of the fields that are not learnt from the data; the SQL below clips to them.
YEAR_BUCKETS = 160  # 0: no year in the title; 1: 1900 or before; then one per year
TIME_BUCKETS = 240  # 60 days each, counted from the first rating
USER_DAYS_BUCKETS = 16  # 0: the user's first day; then one per doubling of the days since

_SPARK_TYPES = {int: LongType(), float: DoubleType(), str: StringType()}

# Year and genres once a movie, not once a rating.
_FILMS = """
    SELECT movieId, title, CAST({year} AS INT) AS year, {genres} AS genres FROM movies
"""
_JOIN = """
    SELECT /*+ BROADCAST(films), BROADCAST(firsts) */
           r.userId, r.movieId, CAST(r.rating AS FLOAT) AS rating,
           coalesce(year, 0) AS year, coalesce(genres, array()) AS genres,
           (r.timestamp - day_one) / 86400 AS days,
           (r.timestamp - first_rated) / 86400 AS user_days
    FROM ratings r
    LEFT JOIN films USING (movieId)
    JOIN (SELECT userId, min(timestamp) AS first_rated FROM ratings GROUP BY userId) firsts
         USING (userId)
    CROSS JOIN (SELECT min(timestamp) AS day_one FROM ratings)
"""
# "(1995)", and "(1995-1999)" or "(2007-)" of series, at the end of the title.
_YEAR_IN_TITLE = r"""regexp_extract(title, r'\(([0-9][0-9][0-9][0-9])(-[0-9]*)?\)\s*$', 1)"""
_YEAR = f"""
    CASE WHEN title IS NULL OR {_YEAR_IN_TITLE} = '' THEN 0
         ELSE greatest(1, least({YEAR_BUCKETS - 1}, int({_YEAR_IN_TITLE}) - 1899)) END
"""
# Indices into the sorted genre names; no genre listed is an empty list.
_GENRES = """
    transform(filter(split(coalesce(genres, ''), '[|]'), g -> array_contains(array({names}), g)),
              g -> int(array_position(array({names}), g)) - 1)
"""
# The hash of the ids, not their place in a partition, decides: the split survives repartitioning.
_FEED_COLUMNS = """
    SELECT CAST(user_index AS INT) AS user, CAST(movie_index AS INT) AS movie, genres,
           CAST(year AS INT) AS year,
           CAST(least({time_buckets} - 1, floor(days / 60)) AS INT) AS time,
           CAST(least({user_days_buckets} - 1, floor(log2(1 + user_days))) AS INT) AS user_days,
           rating,
           pmod(xxhash64(movieId, userId, {seed} + 1), 20) = 0 AS holdout,
           pmod(xxhash64(userId, movieId, {seed}), 10) = 0 AS is_test
    FROM __THIS__
"""
_NO_GENRES = "(no genres listed)"


@dataclass(frozen=True)
class Features:
    """What the Spark half hands over. Row ids are the indices of the labels.

    ``train`` and ``test`` have the columns user, movie, year, time, user_days (int), genres (list
    of int) and rating (float); ``train`` also holdout (boolean), its validation slice. ``movies``
    has movie, movie_id, title, genres and year.
    """

    train: DataFrame
    test: DataFrame
    movies: DataFrame
    user_labels: list[str]
    movie_labels: list[str]
    genre_names: list[str]


def start_spark(work_dir: Path) -> SparkSession:
    """A local session as a user would make it; its log goes to ``work_dir/spark.log``.

    Raises:
        FailedPreconditionError: There is no Java to run Spark with, or no connector (`make jar`).
    """
    require_java()
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    builder = (
        SparkSession.builder.master("local[*]")
        .appName("movielens-fm")
        .config("spark.driver.memory", "2g")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.local.dir", str(work_dir / "spark"))
        .config("spark.sql.warehouse.dir", str(work_dir / "spark-warehouse"))
    )
    with stderr_to(work_dir / "spark.log"):
        spark = flightbridge.spark.configure(builder).getOrCreate()
    # pyspark's own handler talks to the JVM from within the interrupted call, and py4j refuses.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return spark


def make_features(spark: SparkSession, folder: Path, seed: int) -> Features:
    """Joins, derives and indexes; see :class:`Features`. About one in ten rows is for testing.

    Args:
        spark: The session; the temporary views ``ratings`` and ``movies`` are made in it.
        folder: Has passed :func:`movielens_csv.check_folder`.
        seed: Of the split: the same seed gives the same split, however the data is partitioned.
    """
    for name in COLUMNS:
        _read_csv(spark, folder / name).createOrReplaceTempView(name.removesuffix(".csv"))
    names = [
        row.genre
        for row in spark.sql(
            "SELECT DISTINCT explode(split(genres, '[|]')) AS genre FROM movies ORDER BY genre"
        ).collect()
        if row.genre and row.genre != _NO_GENRES
    ]
    films = _FILMS.format(year=_YEAR, genres=_genres_sql(names))
    spark.sql(films).createOrReplaceTempView("films")
    joined = spark.sql(_JOIN)
    indexer = StringIndexer(
        inputCols=["userId", "movieId"],
        outputCols=["user_index", "movie_index"],
        handleInvalid="keep",
    )
    columns = SQLTransformer(
        statement=_FEED_COLUMNS.format(
            time_buckets=TIME_BUCKETS, user_days_buckets=USER_DAYS_BUCKETS, seed=seed
        )
    )
    pipeline = Pipeline(stages=[indexer, columns]).fit(joined)
    user_labels, movie_labels = (list(labels) for labels in pipeline.stages[0].labelsArray)
    # Both feeds come from these rows: compute them once.
    features = pipeline.transform(joined).persist()
    movie_rows = [(index, int(label)) for index, label in enumerate(movie_labels)]
    spark.createDataFrame(movie_rows, "movie INT, movieId BIGINT").createOrReplaceTempView("rated")
    movies = spark.sql(
        """SELECT movie, movieId AS movie_id, coalesce(title, concat('movie ', movieId)) AS title,
                  coalesce(genres, array()) AS genres, coalesce(year, 0) AS year
           FROM rated LEFT JOIN films USING (movieId)"""
    )
    return Features(
        train=features.where("NOT is_test").drop("is_test"),
        test=features.where("is_test").drop("is_test", "holdout"),
        movies=movies,
        user_labels=user_labels,
        movie_labels=movie_labels,
        genre_names=names,
    )


def _genres_sql(names: list[str]) -> str:
    quoted = ", ".join("'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'" for name in names)
    return _GENRES.format(names=quoted)


def _read_csv(spark: SparkSession, path: Path) -> DataFrame:
    types = COLUMNS[path.name]
    schema = StructType(
        [StructField(name, _SPARK_TYPES[types.get(name, str)]) for name in header_of(path)]
    )
    # MovieLens doubles the quotes inside quoted titles; Spark's default is a backslash.
    return spark.read.csv(str(path), schema=schema, header=True, escape='"', mode="FAILFAST")
