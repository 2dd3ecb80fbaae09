"""A movie recommender, from CSV files on Spark to a trained TensorFlow model, over FlightBridge.

Spark joins ratings with movies and derives features; a bridge embedded in this process takes the
train and test rows straight from the executors; TensorFlow trains a factorization machine on
mini-batches from the bridge. No file lies between the two. Run it with ``make demo``, or::

    python examples/movielens_fm.py [--data ml-latest-small] [--json result.json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is first imported
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import movielens_data
import numpy as np
import pyarrow as pa
from movielens_baselines import fit_biases, rmse
from movielens_csv import DataError, check_folder, find_malformed
from movielens_features import (
    TIME_BUCKETS,
    USER_DAYS_BUCKETS,
    YEAR_BUCKETS,
    Features,
    make_features,
    start_spark,
)
from movielens_report import Progress, print_table, stderr_to
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

import flightbridge
import flightbridge.spark
from flightbridge.config import format_bytes

if TYPE_CHECKING:
    import movielens_model
    from pyspark.sql import DataFrame, SparkSession

TRAIN, TEST, MOVIES = "movielens-train", "movielens-test", "movielens-movies"
_DEFAULT_WORK_DIR = Path(__file__).resolve().parent.parent / "build" / "movielens"


@dataclass(frozen=True)
class Settings:
    """What the command line can change."""

    work_dir: Path
    data: Path | None = None  # None: generate
    ratings: int = 1_000_000
    epochs: int = 20
    batch_size: int | None = None  # None: the policy's
    seed: int = 7
    top_k: int = 10
    memory_limit: str = "1GiB"


class MovieLensJob:
    """The job in three steps: ``pre_train()``, ``train()``, ``shutdown()``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.progress = Progress()
        self.bridge: flightbridge.Server | None = None
        self.spark: SparkSession | None = None
        self.features: Features | None = None
        self._synthetic_dir: Path | None = None

    def pre_train(self) -> tuple[DataFrame, DataFrame]:
        """Starts Spark and derives the features. Returns the train and the test DataFrame."""
        settings, progress = self.settings, self.progress
        settings.work_dir.mkdir(parents=True, exist_ok=True)
        folder = settings.data
        if folder is None:
            folder = self._synthetic_dir = settings.work_dir / "data"
            with progress.stage("generate", f"{settings.ratings:,} ratings into {folder}"):
                movielens_data.generate(folder, settings.ratings, settings.seed)
        check_folder(folder)
        log = settings.work_dir / "spark.log"
        with progress.stage("spark", f"starting a local session (its log: {log})"):
            self.spark = start_spark(settings.work_dir)
        with progress.stage("features", f"joining, splitting and indexing {folder}"):
            try:
                features = self.features = make_features(self.spark, folder, settings.seed)
                rows = features.train.count()  # fills the cache that both feeds are written from
            except (PySparkException, Py4JError):
                # Spark says that some line is malformed, in a stack trace, and not which.
                if malformed := find_malformed(folder):
                    raise DataError(malformed) from None
                raise
            if rows == 0 or features.test.count() == 0:
                raise DataError(f"{folder}/ratings.csv has too few ratings to train and test on")
        progress.note(
            f"{rows:,} train rows, {len(features.user_labels):,} users, "
            f"{len(features.movie_labels):,} movies, {len(features.genre_names)} genres"
        )
        return features.train, features.test

    def train(self) -> dict[str, Any]:
        """Streams, trains, evaluates, saves and recommends. Returns the final table."""
        if self.features is None:
            raise RuntimeError("train() needs the DataFrames of pre_train(): call that first")
        labels = self.features.user_labels
        result = self._stream()
        log = self.settings.work_dir / "tensorflow.log"
        with self.progress.stage("tensorflow", "importing TensorFlow"), stderr_to(log):
            import movielens_model
            from movielens_recommend import recommend

            movielens_model.warm_up()
        with self.progress.stage("baselines", "global mean and biases, from the feeds read back"):
            train, test, movies = (self._read_back(feed) for feed in (TRAIN, TEST, MOVIES))
            result |= self._baselines(train, test)
        with self.progress.stage("tf.data", "one pass over the train feed, nothing trained"):
            result |= self._time_a_pass(movielens_model)
        model = self._fit(movielens_model, train, result)
        with self.progress.stage("evaluate", "the test feed, which nothing above has trained on"):
            batches = self._batches(TEST, movielens_model.FEATURES, 8192)
            result["rmse"], rows = movielens_model.evaluate(model, batches)
        if rows != result["test_rows"]:
            raise RuntimeError(f"tf.data gave {rows} test rows, the feed has {result['test_rows']}")
        folder = self.settings.work_dir / "model"
        with self.progress.stage("save", f"SavedModel into {folder}"):
            movielens_model.save(model, folder)
        result["model"] = str(folder)
        out = self.settings.work_dir / "recommendations.csv"
        with self.progress.stage("recommend", f"unseen movies of the test users into {out}"):
            result["recommendations"] = str(out)
            lines = recommend(model, train, test, movies, labels, out, self.settings.top_k)
        for line in lines:
            self.progress.note(line)
        result["seconds"] = self.progress.seconds
        result["total_seconds"] = round(self.progress.total(), 3)
        return result

    def shutdown(self) -> None:
        """Stops the bridge and Spark. Safe to call at any point, and twice."""
        bridge, self.bridge = self.bridge, None
        spark, self.spark = self.spark, None
        if bridge is not None:
            bridge.stop()
        if spark is not None:
            # After Ctrl-C the connection to the JVM may be broken; the JVM ends with this process.
            with contextlib.suppress(Py4JError):
                spark.stop()

    def _stream(self) -> dict[str, Any]:
        """Spark executors → bridge."""
        features = self.features
        assert features is not None
        self.bridge = flightbridge.Server(memory_limit=self.settings.memory_limit)
        frames = {TRAIN: features.train, TEST: features.test, MOVIES: features.movies}
        infos, begin = {}, time.perf_counter()
        with self.progress.stage("stream", f"from the Spark executors to {self.bridge.uri}"):
            for feed, frame in frames.items():
                infos[feed] = flightbridge.spark.write(
                    frame, self.bridge.uri, feed, mode="overwrite"
                )
        seconds = time.perf_counter() - begin
        for feed, info in infos.items():
            self.progress.note(f"{feed:<17} {info.rows:>10,} rows  {format_bytes(info.bytes):>10}")
        features.train.unpersist()
        rows, size = (sum(getattr(i, of) for i in infos.values()) for of in ("rows", "bytes"))
        return {
            "train_rows": infos[TRAIN].rows,
            "test_rows": infos[TEST].rows,
            "bytes": size,
            "put_rows_per_s": round(rows / seconds),
            "put_mb_per_s": round(size / seconds / 1e6, 2),
        }

    def _batches(self, feed: str, columns: tuple[str, ...], batch_size: int, **how: Any) -> Any:
        """Bridge → tf.data: (features, rating) batches of a feed."""
        import flightbridge.tf

        assert self.bridge is not None
        return flightbridge.tf.dataset(
            self.bridge.uri,
            feed,
            batch_size=batch_size,
            columns=list(columns),
            label="rating",
            **how,
        )

    def _read_back(self, feed: str) -> pa.Table:
        assert self.bridge is not None
        with self.bridge.client() as client:
            return client.read_table(feed)

    def _baselines(self, train: pa.Table, test: pa.Table) -> dict[str, float]:
        assert self.features is not None
        user, movie, rating = (train[name].to_numpy() for name in ("user", "movie", "rating"))
        test_user, test_movie, stars = (
            test[name].to_numpy() for name in ("user", "movie", "rating")
        )
        users, movies = self.features.user_labels, self.features.movie_labels
        biases = fit_biases(user, movie, rating, len(users), len(movies))
        result = {
            "rmse_global_mean": rmse(biases.mean, stars),
            "rmse_bias_only": rmse(biases.predict(test_user, test_movie), stars),
        }
        text = "RMSE {rmse_global_mean:.4f} global mean, {rmse_bias_only:.4f} bias only"
        if self._synthetic_dir is not None:
            result["rmse_noise_floor"] = movielens_data.noise_floor(
                self._synthetic_dir,
                np.array(users, np.int64)[test_user],
                np.array(movies, np.int64)[test_movie],
                stars,
            )
            text += ", {rmse_noise_floor:.4f} noise floor (the planted truth)"
        self.progress.note(text.format(**result))
        return result

    def _time_a_pass(self, module: Any) -> dict[str, Any]:
        batches = self._batches(TRAIN, module.FEATURES, 4096, shuffle=True, seed=0)
        begin = time.perf_counter()
        rows = int(batches.reduce(np.int64(0), module.count_rows))
        seconds = time.perf_counter() - begin
        return {"tf_data_rows_per_s": round(rows / seconds)}

    def _fit(
        self, module: Any, train: pa.Table, result: dict[str, Any]
    ) -> movielens_model.FactorizationMachine:
        assert self.features is not None
        settings, policy = self.settings, module.Policy()
        validation = train.filter(train["holdout"])
        rows = train.num_rows - validation.num_rows
        batch_size = settings.batch_size or policy.batch_size(train.num_rows)
        sizes = {
            "user": len(self.features.user_labels),
            "movie": len(self.features.movie_labels),
            "year": YEAR_BUCKETS,
            "time": TIME_BUCKETS,
            "user_days": USER_DAYS_BUCKETS,
            "genres": max(1, len(self.features.genre_names)),
        }
        mean = float(np.mean(train["rating"].to_numpy(), dtype=np.float64))
        model = module.FactorizationMachine(sizes, policy.factors, mean, settings.seed)
        trainer = module.Trainer(model, policy, rows)
        keeper = module.Keeper(model, policy.patience, policy.least_gain)
        held_out = module.batches_of(validation)
        text = (
            f"{policy.factors} factors, batches of {batch_size:,}, at most {settings.epochs} "
            f"epochs; {validation.num_rows:,} train rows held out to stop early"
        )
        with self.progress.stage("train", text):
            columns = (*module.FEATURES, "holdout")
            for epoch in range(settings.epochs):
                begin = time.perf_counter()
                batches = self._batches(
                    TRAIN, columns, batch_size, shuffle=True, seed=settings.seed + epoch
                )
                train_rmse, seen = trainer.epoch(batches, epoch)
                if seen != train.num_rows:
                    raise RuntimeError(f"tf.data gave {seen} of {train.num_rows} train rows")
                seconds = time.perf_counter() - begin
                validation_rmse, _ = module.evaluate(model, held_out)
                stop = keeper.offer(epoch, validation_rmse)
                self.progress.note(
                    f"epoch {epoch + 1:>2}  train RMSE {train_rmse:.4f}  validation RMSE "
                    f"{validation_rmse:.4f}  {seconds:5.1f} s  {seen / seconds:>9,.0f} rows/s"
                )
                if stop:
                    break
            keeper.restore()
        self.progress.note(f"the weights of epoch {keeper.best_epoch + 1} are kept")
        result["epochs"] = epoch + 1
        result["rmse_validation"] = keeper.best_rmse
        result["train_rows_per_s"] = round(
            (epoch + 1) * train.num_rows / max(self.progress.seconds["train"], 1e-9)
        )
        return model


def parse(arguments: list[str] | None = None) -> tuple[Settings, Path | None]:
    """The settings, and where the JSON goes."""

    def at_least(low: int) -> Any:
        def convert(text: str) -> int:
            value = int(text)
            if value < low:
                raise argparse.ArgumentTypeError(f"{value} is below {low}")
            return value

        return convert

    defaults = Settings(_DEFAULT_WORK_DIR)
    parser = argparse.ArgumentParser(
        description="Train a movie recommender: Spark -> FlightBridge -> TensorFlow."
    )
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", help="a MovieLens folder; default: generated data")
    add("--ratings", type=at_least(1000), default=defaults.ratings, help="to generate")
    add("--json", type=Path, metavar="OUT", help="write the final table there")
    add("--epochs", type=at_least(1), default=defaults.epochs, help="at most so many")
    add("--batch-size", type=at_least(1), help="rows; default: by the number of rows")
    add("--seed", type=at_least(0), default=defaults.seed, help="of data, split and model")
    add("--top-k", type=at_least(1), default=defaults.top_k, help="movies offered to a user")
    add("--work-dir", type=Path, default=defaults.work_dir, help="data, model, recommendations")
    add("--memory-limit", default=defaults.memory_limit, help="of the bridge, such as 1GiB")
    parsed = vars(parser.parse_args(arguments))
    out = parsed.pop("json")
    for folder in ("work_dir", "data"):
        parsed[folder] = parsed[folder] and parsed[folder].resolve()
    return Settings(**parsed), out


def main(arguments: list[str] | None = None) -> int:
    settings, out = parse(arguments)
    logging.getLogger().addHandler(logging.NullHandler())  # py4j reports Ctrl-C to the root logger
    job = MovieLensJob(settings)
    try:
        job.pre_train()
        result = job.train()
        print_table(result)
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(result, indent=2) + "\n")
    except KeyboardInterrupt:
        print("\ninterrupted: stopping the bridge and Spark", file=sys.stderr)
        return 130
    except (flightbridge.errors.FlightBridgeError, DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        job.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
