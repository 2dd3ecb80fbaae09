"""What a recommender has to beat: the global mean, and regularised user and movie biases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.floating[Any]]

_USER_RIDGE = 3.0  # as many ratings at the mean pull a user's bias towards zero
_MOVIE_RIDGE = 2.0
_SWEEPS = 15


@dataclass(frozen=True)
class BiasModel:
    """``rating = mean + user_bias[user] + movie_bias[movie]``, in stars."""

    mean: float
    user_bias: Floats
    movie_bias: Floats

    def predict(self, user: Ints, movie: Ints) -> Floats:
        return np.clip(self.mean + self.user_bias[user] + self.movie_bias[movie], 0.5, 5.0)


def fit_biases(user: Ints, movie: Ints, rating: Floats, users: int, movies: int) -> BiasModel:
    """Ridge regression on the two biases, by solving for one and the other in turn.

    Args:
        user: Index of each rating's user, shape [n], below ``users``.
        movie: Index of each rating's movie, shape [n], below ``movies``.
        rating: In stars, shape [n].
        users: Number of users; one without ratings gets bias 0.
        movies: Number of movies; one without ratings gets bias 0.
    """
    stars = np.asarray(rating, np.float64)
    mean = float(stars.mean())
    by_user = np.bincount(user, minlength=users) + _USER_RIDGE
    by_movie = np.bincount(movie, minlength=movies) + _MOVIE_RIDGE
    user_bias, movie_bias = np.zeros(users), np.zeros(movies)
    for _ in range(_SWEEPS):
        left = stars - mean - user_bias[user]
        movie_bias = np.bincount(movie, weights=left, minlength=movies) / by_movie
        left = stars - mean - movie_bias[movie]
        user_bias = np.bincount(user, weights=left, minlength=users) / by_user
    return BiasModel(mean, user_bias, movie_bias)


def rmse(predicted: Floats | float, rating: Floats) -> float:
    """Root mean squared error in stars."""
    return float(np.sqrt(np.mean((np.asarray(rating, np.float64) - predicted) ** 2)))
