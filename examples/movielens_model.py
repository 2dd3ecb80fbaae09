"""The TensorFlow half: a factorization machine over the features that Spark made.

Model of Rendle, "Factorization Machines" (ICDM 2010): a global bias, a bias per feature value, and
for every pair of fields the inner product of their factors, computed by the square-of-sum trick.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

SINGLE_FIELDS = ("user", "movie", "year", "time", "user_days")
USER_FIELDS = ("user", "time", "user_days")
MOVIE_FIELDS = ("movie", "year", "genres")
FEATURES = (*SINGLE_FIELDS, "genres")
STARS = (0.5, 5.0)


@dataclass(frozen=True)
class Policy:
    """How to train; one policy for every data size."""

    factors: int = 16
    # Ridge strengths, in ratings: how many ratings' worth of evidence a value has to outweigh.
    bias_ridge: float = 3.0
    factor_ridge: float = 15.0
    learning_rate: float = 0.01
    learning_rate_decay: float = 0.9  # per epoch
    max_epochs: int = 20
    patience: int = 2  # epochs without a better validation RMSE
    least_gain: float = 2e-4  # stars; less does not count as better

    def batch_size(self, rows: int) -> int:
        """Rows of a mini-batch: about 100 steps an epoch, within 1,024 and 4,096."""
        return min(4096, max(1024, 1 << (rows // 100).bit_length() - 1))


@tf.keras.utils.register_keras_serializable("flightbridge_examples")
class FactorizationMachine(tf.keras.Model):
    """Predicts stars from one value of each of :data:`SINGLE_FIELDS` and a list of genres.

    Args:
        sizes: How many values each of :data:`FEATURES` has.
        factors: Length of a value's factor vector.
        mean: Starting value of the global bias: the mean rating.
        seed: Of the initial factors.
    """

    def __init__(
        self, sizes: Mapping[str, int], factors: int, mean: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__(name="factorization_machine")
        self.sizes = dict(sizes)
        self.factors = factors
        self.global_bias = self.add_weight(
            name="global_bias", shape=(), initializer=tf.keras.initializers.Constant(mean)
        )
        # Column 0 of a table is the bias, the rest the factors: one lookup fetches both.
        self.tables = {
            field: self.add_weight(
                name=field,
                shape=(sizes[field], 1 + factors),
                initializer=_small_factors(seed + place),
            )
            for place, field in enumerate(FEATURES)
        }
        self.built = True

    def call(self, features: Mapping[str, Any]) -> tf.Tensor:
        """Stars, unclipped, [batch]. Ids are int [batch], genres int, ragged [batch, None]."""
        return self.global_bias + self.part(features, FEATURES)[0]

    def part(
        self, features: Mapping[str, Any], fields: Iterable[str]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What these fields add by themselves, [batch], and the sum of their factors, [batch, k].

        Two disjoint parts p, q add up to ``p[0] + q[0] + p[1]·q[1]``, so every user is scored
        against every movie with one matrix product.
        """
        rows = [self._lookup(field, features[field]) for field in fields]
        total = tf.add_n(rows)
        squares = tf.add_n([tf.reduce_sum(tf.square(row[:, 1:]), axis=1) for row in rows])
        factors = total[:, 1:]
        pairs = 0.5 * (tf.reduce_sum(tf.square(factors), axis=1) - squares)
        return total[:, 0] + pairs, factors

    def _lookup(self, field: str, ids: Any) -> tf.Tensor:
        table = tf.convert_to_tensor(self.tables[field])
        if field != "genres":
            return tf.gather(table, ids)
        # The mean over a movie's genres; a movie without any adds nothing.
        summed = tf.math.segment_sum(tf.gather(table, ids.flat_values), ids.value_rowids())
        missing = (
            ids.nrows(tf.int64) - tf.shape(summed, out_type=tf.int64)[0]
        )  # trailing empty lists
        summed = tf.pad(summed, [[0, missing], [0, 0]])
        count = tf.cast(tf.maximum(ids.row_lengths(), 1), summed.dtype)
        return summed / count[:, None]


def _small_factors(seed: int) -> Any:
    normal = tf.keras.initializers.RandomNormal(stddev=0.02, seed=seed)

    def initial(shape: tuple[int, int], dtype: Any = None) -> tf.Tensor:
        biases = tf.zeros((shape[0], 1), tf.float32)
        return tf.concat([biases, normal((shape[0], shape[1] - 1), dtype="float32")], axis=1)

    return initial


class Trainer:
    """Trains a model on batches of (features, stars), rows with ``holdout`` left out.

    Args:
        model: Trained in place.
        policy: How.
        rows: Number of rows that train, for the strength of the ridge.
    """

    def __init__(self, model: FactorizationMachine, policy: Policy, rows: int) -> None:
        self.model = model
        self.policy = policy
        self._optimizer = tf.keras.optimizers.Adam(policy.learning_rate)
        self._optimizer.build(model.trainable_variables)
        ridge = [policy.bias_ridge, *[policy.factor_ridge] * model.factors]
        self._ridge = tf.constant(ridge, tf.float32) / rows

    def epoch(self, batches: tf.data.Dataset, number: int) -> tuple[float, int]:
        """One pass. Returns the RMSE on the way, in stars, and the rows seen, held out ones too."""
        decay = self.policy.learning_rate_decay**number
        self._optimizer.learning_rate.assign(self.policy.learning_rate * decay)
        squared_error, trained, seen = self._pass(batches)
        return float(np.sqrt(squared_error / max(float(trained), 1.0))), int(seen)

    @tf.function(reduce_retracing=True)
    def _pass(self, batches: tf.data.Dataset) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        squared_error, trained = tf.constant(0.0, tf.float64), tf.constant(0.0, tf.float64)
        seen = tf.constant(0, tf.int64)
        for features, stars in batches:
            weight = tf.cast(tf.logical_not(features["holdout"]), tf.float32)
            batch_error, batch_weight = self._step(features, stars, weight)
            squared_error += tf.cast(batch_error, tf.float64)
            trained += tf.cast(batch_weight, tf.float64)
            seen += tf.size(stars, out_type=tf.int64)
        return squared_error, trained, seen

    def _step(
        self, features: Mapping[str, Any], stars: tf.Tensor, weight: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        model = self.model
        with tf.GradientTape() as tape:
            squared_error = tf.reduce_sum(weight * tf.square(model.call(features) - stars))
            total_weight = tf.reduce_sum(weight)
            # The ridge touches whole tables, so gradients are dense: at MovieLens sizes that is
            # cheaper than finding the distinct ids of each batch.
            penalty = tf.add_n(
                [tf.reduce_sum(self._ridge * tf.square(t)) for t in model.tables.values()]
            )
            loss = squared_error / tf.maximum(total_weight, 1.0) + penalty
        variables = model.trainable_variables
        self._optimizer.apply(tape.gradient(loss, variables), variables)
        return squared_error, total_weight


class Keeper:
    """Keeps the weights of the best epoch, and says when to stop."""

    def __init__(self, model: FactorizationMachine, patience: int, least_gain: float) -> None:
        self.best_rmse = float("inf")
        self.best_epoch = -1
        self._model, self._patience, self._least_gain = model, patience, least_gain
        self._weights = model.get_weights()
        self._stale = 0

    def offer(self, epoch: int, validation_rmse: float) -> bool:
        """Takes the weights as they are, where they are better. True: stop training."""
        gain = self.best_rmse - validation_rmse
        self._stale = 0 if gain > self._least_gain else self._stale + 1
        if gain > 0:
            self.best_rmse, self.best_epoch = validation_rmse, epoch
            self._weights = self._model.get_weights()
        return self._stale >= self._patience

    def restore(self) -> None:
        self._model.set_weights(self._weights)


def warm_up() -> None:
    """Runs a first op, so that TensorFlow's report on devices comes now."""
    tf.constant(0).numpy()


def features_of(table: pa.Table, fields: Iterable[str]) -> dict[str, Any]:
    """Columns of a table as the model takes them: int [rows], lists as ragged."""
    features: dict[str, Any] = {}
    for field in fields:
        column = table[field].combine_chunks()
        if pa.types.is_list(column.type):
            values, lengths = column.flatten().to_numpy(), pc.list_value_length(column).to_numpy()
            features[field] = tf.RaggedTensor.from_row_lengths(values, lengths.astype(np.int64))
        else:
            features[field] = column.to_numpy()
    return features


def batches_of(table: pa.Table) -> tf.data.Dataset:
    """Batches of (features, stars) of a table in memory, for the small validation slice."""
    pairs = (features_of(table, FEATURES), table["rating"].to_numpy())
    return tf.data.Dataset.from_tensor_slices(pairs).batch(8192).cache()


def count_rows(rows: tf.Tensor, batch: tuple[Any, Any]) -> tf.Tensor:
    """Adds the batch's rows; for ``dataset.reduce``."""
    return rows + tf.size(batch[1], out_type=tf.int64)


def evaluate(model: FactorizationMachine, batches: tf.data.Dataset) -> tuple[float, int]:
    """RMSE in stars over batches of (features, stars), predictions clipped, and the rows seen."""
    squared_error, rows = _squared_error(model, batches)
    return float(np.sqrt(float(squared_error) / max(int(rows), 1))), int(rows)


@tf.function(reduce_retracing=True)
def _squared_error(
    model: FactorizationMachine, batches: tf.data.Dataset
) -> tuple[tf.Tensor, tf.Tensor]:
    squared_error, rows = tf.constant(0.0, tf.float64), tf.constant(0, tf.int64)
    for features, stars in batches:
        error = tf.clip_by_value(model.call(features), *STARS) - stars
        squared_error += tf.cast(tf.reduce_sum(tf.square(error)), tf.float64)
        rows += tf.size(stars, out_type=tf.int64)
    return squared_error, rows


def save(model: FactorizationMachine, folder: Path) -> None:
    """Writes a SavedModel with one endpoint, ``serve``.

    It takes the five ids (int32 [batch]), ``genres`` (int32, all lists one after another) and
    ``genre_counts`` (int64 [batch]), and returns ``stars`` (float [batch]).
    """

    def serve(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        ids = {field: features[field] for field in SINGLE_FIELDS}
        genres = tf.RaggedTensor.from_row_lengths(features["genres"], features["genre_counts"])
        stars = model.call({**ids, "genres": genres})
        return {"stars": tf.clip_by_value(stars, *STARS)}

    specs = {field: tf.TensorSpec([None], tf.int32, name=field) for field in FEATURES}
    specs["genre_counts"] = tf.TensorSpec([None], tf.int64, name="genre_counts")
    archive = tf.keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", serve, input_signature=[specs])
    archive.write_out(str(folder), verbose=False)
