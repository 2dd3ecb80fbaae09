"""Scores every test user against every movie and writes the best unseen ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import tensorflow as tf
from movielens_model import (
    MOVIE_FIELDS,
    STARS,
    USER_FIELDS,
    FactorizationMachine,
    features_of,
)

Ints = npt.NDArray[np.integer[Any]]


def recommend(
    model: FactorizationMachine,
    train: pa.Table,
    test: pa.Table,
    movies: pa.Table,
    user_labels: list[str],
    out: Path,
    top_k: int,
    shown: int = 3,
) -> list[str]:
    """Writes user_id, rank, movie_id, title and score of the test users' best unseen movies.

    Args:
        model: Trained.
        train: The train feed; its movies and those of ``test`` are the seen ones.
        test: The test feed; its users are the ones who are offered something.
        movies: The movies feed.
        user_labels: User ids in the order of the user index.
        out: The CSV file.
        top_k: Movies for each user.
        shown: For how many users lines to show are returned.

    Returns:
        Two lines a shown user: what the user liked, and what is offered.
    """
    user, movie, when, days, stars = (
        np.concatenate([train[name].to_numpy(), test[name].to_numpy()])
        for name in ("user", "movie", "time", "user_days", "rating")
    )
    # Every user is scored as of the user's last rating.
    latest = np.zeros((2, len(user_labels)), np.int32)
    np.maximum.at(latest[0], user, when)
    np.maximum.at(latest[1], user, days)
    users = np.unique(test["user"].to_numpy())
    user_features = {"user": users, "time": latest[0][users], "user_days": latest[1][users]}
    movies = movies.sort_by("movie")
    titles, movie_ids = np.array(movies["title"].to_pylist(), object), movies["movie_id"].to_numpy()
    user_ids = np.array(user_labels, np.int64)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("user_id", "rank", "movie_id", "title", "score")
    }
    lines = []
    candidates = features_of(movies, MOVIE_FIELDS)
    for index, found, scores in top_movies(model, user_features, candidates, (user, movie), top_k):
        columns["user_id"].extend([user_ids[index]] * len(found))
        columns["rank"].extend(range(1, len(found) + 1))
        columns["movie_id"].extend(movie_ids[found])
        columns["title"].extend(titles[found])
        columns["score"].extend(scores.round(3))
        if len(lines) < 2 * shown:
            own = np.flatnonzero(user == index)
            liked = movie[own[np.argsort(-stars[own], kind="stable")[:2]]]
            offers = [f"{t} {s:.1f}" for t, s in zip(titles[found], scores, strict=True)]
            lines.append(f"user {user_ids[index]} liked {'; '.join(titles[liked])}")
            lines.append(f"{'':5}is offered {'; '.join(offers[:3])}")
    pa.csv.write_csv(pa.table(columns), out)
    return lines


def top_movies(
    model: FactorizationMachine,
    users: Mapping[str, Any],
    movies: Mapping[str, Any],
    seen: tuple[Ints, Ints],
    top_k: int,
    chunk: int = 1024,
) -> Iterator[tuple[int, npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """Best unseen movies of each user, best first.

    Args:
        model: Trained.
        users: :data:`USER_FIELDS` of the users, int [users].
        movies: :data:`MOVIE_FIELDS` of the candidates, row m being movie index m.
        seen: User index and movie index of every rating, each [ratings].
        top_k: How many; fewer where a user has seen nearly everything.
        chunk: Users scored at once.

    Yields:
        The user index, movie indices [at most top_k] and clipped scores in stars.
    """
    movie_add, movie_factors = model.part(movies, MOVIE_FIELDS)
    order = np.argsort(seen[0], kind="stable")
    seen_user, seen_movie = seen[0][order], seen[1][order]
    for start in range(0, len(users["user"]), chunk):
        some = {field: users[field][start : start + chunk] for field in USER_FIELDS}
        user_add, user_factors = model.part(some, USER_FIELDS)
        cross = tf.matmul(user_factors, movie_factors, transpose_b=True)
        score = model.global_bias + user_add[:, None] + movie_add[None, :] + cross
        scores = tf.convert_to_tensor(score).numpy()
        for row, user in enumerate(np.asarray(some["user"]).tolist()):
            low, high = np.searchsorted(seen_user, [user, user + 1])
            scores[row, seen_movie[low:high]] = -np.inf
            best = np.argsort(-scores[row], kind="stable")[:top_k]
            best = best[np.isfinite(scores[row, best])]
            yield user, best, np.clip(scores[row, best], *STARS)
