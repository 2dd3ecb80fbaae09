"""What the demo says about MovieLens files that are not as they should be."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RATINGS = "userId,movieId,rating,timestamp\n1,10,4.5,964982703\n2,10,,964982703\n"
MOVIES = 'movieId,title,genres\n10,"Two\nlines, ""quoted""",Drama|Comedy\n'


@pytest.fixture
def movielens_csv(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import movielens_csv

    yield movielens_csv
    sys.modules.pop("movielens_csv", None)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ratings.csv").write_text(RATINGS)
    (tmp_path / "movies.csv").write_text(MOVIES)
    return tmp_path


def test_good_files_pass(movielens_csv, folder):
    movielens_csv.check_folder(folder)
    assert movielens_csv.find_malformed(folder) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("three,10,4.5,1", "column userId: 'three' is not a whole number"),
        ("3,10,4.5,1.5", "column timestamp: '1.5' is not a whole number"),
        ("3,99999999999999999999,4.5,1", "column movieId: '9{20}' is not a whole number"),
        ("3,10,good,1", "column rating: 'good' is not a number"),
        ("3,10,4.5", "3 values where the header names 4 columns"),
        ("3,10,4.5,1,x", "5 values where the header names 4 columns"),
    ],
)
def test_a_malformed_line_is_named_with_its_column(movielens_csv, folder, line, said):
    with (folder / "ratings.csv").open("a") as file:
        file.write(f"{line}\n4,10,3.0,1\n")
    found = movielens_csv.find_malformed(folder)
    assert found.startswith(f"{folder / 'ratings.csv'}, line 4")
    assert re.search(said, found), found


def test_lines_are_counted_as_an_editor_does(movielens_csv, folder):
    with (folder / "movies.csv").open("a") as file:
        file.write("x,Title,Drama\n")
    found = movielens_csv.find_malformed(folder)
    assert f"{folder / 'movies.csv'}, line 4, column movieId: 'x'" in found


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("ratings.csv", None, "no ratings.csv in it; expected ratings.csv"),
        ("ratings.csv", "userId,movieId\n", "no column rating, timestamp among userId, movieId"),
        ("movies.csv", "", "no column movieId, title, genres"),
    ],
)
def test_what_is_missing_is_named(movielens_csv, folder, name, text, said):
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(movielens_csv.DataError, match=said):
        movielens_csv.check_folder(folder)
