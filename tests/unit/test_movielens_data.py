"""The demo's generator: a function of its seed, and honest about its noise floor."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def data(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import movielens_data

    yield movielens_data
    sys.modules.pop("movielens_data", None)


def _columns(folder):
    table = pyarrow.csv.read_csv(folder / "ratings.csv")
    return tuple(table[name].to_numpy() for name in ("userId", "movieId", "rating"))


def test_same_seed_gives_the_same_files_and_another_seed_others(data, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        data.generate(tmp_path / name, 5000, seed)
    for file in ("ratings.csv", "movies.csv", "expected.arrow"):
        first, second, other = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert first == second
        assert first != other


@pytest.mark.parametrize("ratings", [1000, 20_000, 50_001])
def test_ratings_are_half_stars_of_distinct_pairs_with_known_movies(data, tmp_path, ratings):
    data.generate(tmp_path, ratings, 1)
    user, movie, stars = _columns(tmp_path)
    assert len(user) == ratings
    assert len(set(zip(user.tolist(), movie.tolist(), strict=True))) == ratings
    assert set(np.unique(stars * 2)) <= set(range(1, 11))
    movies = pyarrow.csv.read_csv(tmp_path / "movies.csv")
    assert set(movie.tolist()) <= set(movies["movieId"].to_pylist())
    assert len(set(movies["title"].to_pylist())) == movies.num_rows
    genres = {genre for text in movies["genres"].to_pylist() for genre in text.split("|")}
    assert genres <= set(data.GENRES)


def test_popularity_has_a_heavy_head(data, tmp_path):
    data.generate(tmp_path, 50_000, 1)
    counts = np.sort(np.unique(_columns(tmp_path)[1], return_counts=True)[1])[::-1]
    assert counts[: len(counts) // 10].sum() > 0.3 * counts.sum()


def test_noise_floor_is_below_any_constant_and_matches_the_planted_noise(data, tmp_path):
    data.generate(tmp_path, 50_000, 5)
    user, movie, stars = _columns(tmp_path)
    floor = data.noise_floor(tmp_path, user, movie, stars)
    # Clipping at five stars takes some of the noise away, half-star rounding adds 0.02 stars².
    assert 0.65 < floor < np.sqrt(data.PLANTED.noise_std**2 + 0.25 / 12) + 0.01
    assert floor < 0.75 * stars.std()
    # Expected ratings are unbiased: no constant shift of them does better.
    expected = pyarrow.feather.read_table(str(tmp_path / "expected.arrow"))["expected"].to_numpy()
    assert abs(np.mean(stars - expected)) < 4 * floor / np.sqrt(len(stars))


def test_noise_floor_does_not_depend_on_the_order_of_the_rows(data, tmp_path):
    data.generate(tmp_path, 5000, 5)
    user, movie, stars = _columns(tmp_path)
    order = np.random.default_rng(0).permutation(len(user))
    shuffled = data.noise_floor(tmp_path, user[order], movie[order], stars[order])
    assert shuffled == pytest.approx(data.noise_floor(tmp_path, user, movie, stars), rel=1e-9)


def test_noise_floor_refuses_a_pair_that_was_never_rated(data, tmp_path):
    data.generate(tmp_path, 1000, 5)
    with pytest.raises(KeyError, match="lacks a rated"):
        data.noise_floor(tmp_path, np.array([10**6]), np.array([1]), np.array([3.0]))


def test_too_few_ratings_are_refused(data, tmp_path):
    with pytest.raises(ValueError, match="at least 1,000"):
        data.generate(tmp_path, 10)
