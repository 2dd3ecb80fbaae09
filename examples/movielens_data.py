"""Makes MovieLens-shaped ratings with a planted structure, so that the best possible RMSE is known.

A rating is drawn as::

    mean + user bias + movie bias
         + user factors · (movie factors + mean of the movie's genre factors) + trend · time
         + Normal(0, noise_std), rounded to half stars and clipped to [0.5, 5]

Which movies a user rated follows a Zipf-like popularity. Everything is a function of (ratings,
seed). Files: ``ratings.csv`` and ``movies.csv`` as MovieLens ships them, and ``expected.arrow``
with the expected rating of each row, which only :func:`noise_floor` reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather


def _words(text: str) -> list[str]:
    return text.split()


GENRES = _words("""
    Action Adventure Animation Children Comedy Crime Documentary Drama Fantasy Film-Noir
    Horror Musical Mystery Romance Sci-Fi Thriller War Western
""")
_GENRE_WEIGHTS = np.array([9, 6, 3, 5, 18, 6, 3, 24, 3, 1, 6, 3, 4, 9, 6, 10, 3, 2], float)
_FIRST = _words("""
    Silent Broken Golden Crimson Last Hidden Burning Frozen Paper Hollow Distant Midnight
    Electric Velvet Iron Savage Gentle Wandering Forgotten Lucky Stolen Restless Painted
    Lonely Sudden Northern Blue Invisible Second Endless
""")
_SECOND = _words("""
    Harbor River Letter Garden Machine Promise Kingdom Detective Orchard Signal Lantern
    Highway Summer Mirror Stranger Voyage Witness Castle Melody Shadow Heist Prairie
    Horizon Carnival Winter Engine Portrait Island Tailor Comet
""")
_PLACES = _words("""
    Lisbon Malta Cairo Vermont Saturn Prague Montana Kyoto Tangier Dover Havana Oslo Nevada
    Bombay Trieste Galway Memphis Lima Odessa Quebec
""")

_SPAN_DAYS = 3 * 365.0  # ML-1M spans about three years
_FIRST_SECOND = 956_700_000  # 2000-04-25


@dataclass(frozen=True)
class Planted:
    """Standard deviations (in stars) of the parts a rating is made of, and the rest of the plan."""

    mean: float = 3.5
    user_bias_std: float = 0.40
    movie_bias_std: float = 0.45
    interaction_std: float = 0.40
    rank: int = 5
    genre_std: float = 0.40
    trend_stars: float = -0.30  # from the first day to the last
    noise_std: float = 0.75


PLANTED = Planted()


def generate(directory: Path, ratings: int = 1_000_000, seed: int = 7) -> None:
    """Writes ``ratings.csv``, ``movies.csv`` and ``expected.arrow`` into ``directory``.

    Args:
        directory: Made where it does not exist; files in it are replaced.
        ratings: Number of ratings, at least 1,000. Users and movies both grow with its square
            root from ML-1M's 6,040 and 3,706, so that density stays ML-1M's.
        seed: Of every draw.

    Raises:
        ValueError: ``ratings`` is below 1,000.
    """
    if ratings < 1000:
        raise ValueError(f"ratings is {ratings}: ask for at least 1,000")
    rng = np.random.default_rng(seed)
    scale = math.sqrt(ratings / 1_000_000)
    users, movies = max(40, round(6040 * scale)), max(80, round(3706 * scale))
    user, movie = _who_rated_what(rng, ratings, users, movies)
    day = _days(rng, user, users)
    genres = _genre_matrix(rng, movies)
    level = _level(rng, user, movie, day, users, movies, genres)
    drawn = level + rng.normal(0, PLANTED.noise_std, ratings)
    stars = np.clip(np.round(drawn * 2) / 2, 0.5, 5.0)

    # MovieLens ids have gaps, and its users are not in order of activity: so are these.
    user_ids = rng.permutation(users)[user] + 1
    catalog_ids = np.sort(rng.choice(np.arange(1, 2 * movies), movies, replace=False))
    movie_ids = catalog_ids[movie]
    order = np.lexsort((movie_ids, user_ids))
    directory.mkdir(parents=True, exist_ok=True)
    keys = {"userId": user_ids[order], "movieId": movie_ids[order]}
    seconds = _FIRST_SECOND + (day[order] * 86_400).astype(np.int64)
    pa.csv.write_csv(
        pa.table({**keys, "rating": stars[order], "timestamp": seconds}),
        directory / "ratings.csv",
    )
    years = np.clip(2000 - rng.exponential(12, movies).astype(int), 1919, 2000)
    movie_table = {
        "movieId": catalog_ids,
        "title": _titles(rng, years),
        "genres": ["|".join(GENRES[g] for g in np.flatnonzero(row)) for row in genres],
    }
    pa.csv.write_csv(pa.table(movie_table), directory / "movies.csv")
    expected = pa.table({**keys, "expected": _expected_stars(level)[order]})
    pa.feather.write_feather(
        expected, str(directory / "expected.arrow"), compression="uncompressed"
    )


def noise_floor(
    directory: Path,
    user_ids: npt.NDArray[np.int64],
    movie_ids: npt.NDArray[np.int64],
    stars: npt.NDArray[np.floating],
) -> float:
    """RMSE, in stars, of the true expected ratings against these ratings: nothing does better.

    Args:
        directory: Where :func:`generate` wrote.
        user_ids: Of each rating, shape [n], as in ratings.csv.
        movie_ids: Of each rating, shape [n], as in ratings.csv.
        stars: The ratings, shape [n].

    Raises:
        KeyError: A (user, movie) pair is not in the generated data.
    """
    table = pa.feather.read_table(str(directory / "expected.arrow"))
    base = 1 << 32
    known = table["userId"].to_numpy() * base + table["movieId"].to_numpy()
    wanted = np.asarray(user_ids, np.int64) * base + np.asarray(movie_ids, np.int64)
    row = np.minimum(np.searchsorted(known, wanted), len(known) - 1)  # written in key order
    if np.any(known[row] != wanted):
        raise KeyError(f"{directory / 'expected.arrow'} lacks a rated (userId, movieId) pair")
    return float(np.sqrt(np.mean((table["expected"].to_numpy()[row] - stars) ** 2)))


def _who_rated_what(
    rng: np.random.Generator, ratings: int, users: int, movies: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct (user, movie) index pairs: log-normal activity, Zipf-like popularity."""
    activity = rng.lognormal(0, 0.9, users)
    counts = _whole_counts(activity, ratings, low=min(20, ratings // users // 4), high=movies // 2)
    popularity = (8 + rng.permutation(movies).astype(np.float32)) ** -1.05
    chosen = []
    for count in counts:
        # The smallest of exponential draws over the weights are a weighted draw of distinct movies.
        keys = rng.standard_exponential(movies, dtype=np.float32) / popularity
        chosen.append(np.argpartition(keys, count)[:count])
    return np.repeat(np.arange(users), counts), np.concatenate(chosen)


def _whole_counts(
    weights: npt.NDArray[np.floating], total: int, low: int, high: int
) -> npt.NDArray[np.int64]:
    """Whole numbers within [low, high], near-proportional to ``weights``, with this total."""
    factor_low, factor_high = 0.0, total * 10.0 / weights.min()
    for _ in range(80):
        factor = (factor_low + factor_high) / 2
        counts = np.clip(np.round(weights * factor), low, high).astype(np.int64)
        if counts.sum() > total:
            factor_high = factor
        else:
            factor_low = factor
    counts = np.clip(np.round(weights * factor_low), low, high).astype(np.int64)
    missing = total - int(counts.sum())
    while missing:
        room = np.flatnonzero(counts < high if missing > 0 else counts > low)[: abs(missing)]
        counts[room] += 1 if missing > 0 else -1
        missing = total - int(counts.sum())
    return counts


def _days(
    rng: np.random.Generator, user: npt.NDArray[np.int64], users: int
) -> npt.NDArray[np.float64]:
    """Days since the first rating: most of a user's ratings come in the first days."""
    joined = rng.uniform(0, _SPAN_DAYS * 0.9, users)
    stays = rng.choice([0.05, 20.0, 300.0], users, p=[0.6, 0.25, 0.15])
    after = rng.exponential(stays[user])
    return np.minimum(joined[user] + after, _SPAN_DAYS)


def _genre_matrix(rng: np.random.Generator, movies: int) -> npt.NDArray[np.float64]:
    """0/1 of shape [movies, genres]; every movie has one to four genres."""
    matrix = np.zeros((movies, len(GENRES)))
    weights = _GENRE_WEIGHTS / _GENRE_WEIGHTS.sum()
    counts = rng.choice([1, 2, 3, 4], movies, p=[0.4, 0.35, 0.2, 0.05])
    for row, count in zip(matrix, counts, strict=True):
        row[rng.choice(len(GENRES), count, replace=False, p=weights)] = 1
    return matrix


def _level(
    rng: np.random.Generator,
    user: npt.NDArray[np.int64],
    movie: npt.NDArray[np.int64],
    day: npt.NDArray[np.float64],
    users: int,
    movies: int,
    genres: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """The planted level of each rating in stars, before noise, rounding and clipping."""
    plan = PLANTED
    user_bias = rng.normal(0, plan.user_bias_std, users)
    movie_bias = rng.normal(0, plan.movie_bias_std, movies)
    # A product of two factors of this size, summed over the rank, has the wanted deviation.
    size = math.sqrt(plan.interaction_std / math.sqrt(plan.rank))
    user_factors = rng.normal(0, size, (users, plan.rank))
    movie_factors = rng.normal(0, size, (movies, plan.rank))
    # What a user likes in genres lies in the same few directions as what the user likes in movies.
    genre_size = plan.genre_std / (math.sqrt(plan.rank) * size)
    genre_factors = rng.normal(0, genre_size, (len(GENRES), plan.rank))
    movie_factors += genres / genres.sum(1, keepdims=True) @ genre_factors
    return (
        plan.mean
        + user_bias[user]
        + movie_bias[movie]
        + np.einsum("nk,nk->n", user_factors[user], movie_factors[movie])
        + plan.trend_stars * (day / _SPAN_DAYS - 0.5)
    )


def _expected_stars(level: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """E[rating | level] with noise, rounding and clipping counted exactly."""
    # E = 0.5 + 0.5 · (how many of the cuts between neighbouring half stars the draw passes).
    grid = np.linspace(-6, 11, 4001)
    cuts = np.arange(0.75, 5.0, 0.5)
    scale = PLANTED.noise_std * math.sqrt(2)
    passed = [sum(0.5 * math.erfc((cut - x) / scale) for cut in cuts) for x in grid]
    return np.interp(level, grid, 0.5 + 0.5 * np.array(passed))


def _titles(rng: np.random.Generator, years: npt.NDArray[np.int64]) -> list[str]:
    """Distinct titles that end in the year, as in MovieLens; one in 300 lacks the year."""
    places = ["", *(f" of {place}" for place in _PLACES)]
    combinations = len(_FIRST) * len(_SECOND) * len(places)
    picks = rng.permutation(combinations)[: len(years)]
    if len(picks) < len(years):
        raise ValueError(
            f"only {combinations} titles for {len(years)} movies: ask for fewer ratings"
        )
    bare = rng.random(len(years)) < 1 / 300
    articles = rng.choice(["", ", The"], len(years), p=[0.6, 0.4])
    titles = []
    parts = zip(picks.tolist(), years.tolist(), bare, articles, strict=True)
    for pick, year, no_year, article in parts:
        rest, place = divmod(pick, len(places))
        first, second = divmod(rest, len(_SECOND))
        name = f"{_FIRST[first]} {_SECOND[second]}{places[place]}{article}"
        titles.append(name if no_year else f"{name} ({year})")
    return titles
