"""The main job, run as a user runs it: examples/movielens_fm.py in a process of its own."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "movielens_fm.py"
MOVIELENS = Path(
    os.environ.get("FLIGHTBRIDGE_MOVIELENS", ROOT.parent / "shared" / "data" / "ml-latest-small")
)

pytestmark = [pytest.mark.spark, pytest.mark.tf]


def _start(*arguments, cwd):
    # A process group of its own, as a shell gives it: Ctrl-C reaches every process in it.
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        start_new_session=True,
    )


def _run(*arguments, cwd, timeout_s=280):
    process = _start(*arguments, cwd=cwd)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"no end within {timeout_s} s\n{out}\n{err}")
    return process.returncode, out, err


def _group_is_gone(group, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """One run over 20,000 generated ratings; the tests look at what it left."""
    work = tmp_path_factory.mktemp("demo")
    code, out, err = _run(
        *("--ratings", 20_000, "--epochs", 2, "--seed", 3, "--top-k", 5),
        *("--work-dir", work, "--json", work / "out" / "result.json"),
        cwd=work,
    )
    assert code == 0, f"{out}\n{err}"
    return work, json.loads((work / "out" / "result.json").read_text()), out, err


@pytest.mark.slow
def test_result_counts_every_row_and_beats_the_global_mean(small_run):
    _, result, _, _ = small_run
    assert result["train_rows"] + result["test_rows"] == 20_000
    assert 0.08 < result["test_rows"] / 20_000 < 0.12
    assert result["bytes"] > 20_000 * 5 * 4
    assert result["rmse_noise_floor"] < result["rmse"] < result["rmse_global_mean"]
    assert result["rmse_noise_floor"] < result["rmse_bias_only"] < result["rmse_global_mean"]
    for rate in ("put_rows_per_s", "tf_data_rows_per_s", "train_rows_per_s", "put_mb_per_s"):
        assert result[rate] > 0
    assert result["epochs"] == 2
    assert sum(result["seconds"].values()) <= result["total_seconds"]


@pytest.mark.slow
def test_output_is_progress_and_a_table_and_nothing_else(small_run):
    _, result, out, err = small_run
    stages = re.findall(r"^\[ *[0-9.]+ s\] (\S+)", out, re.MULTILINE)
    assert stages == list(result["seconds"])
    assert f"RMSE factorization   {result['rmse']:.4f}" in out
    assert f"train rows           {result['train_rows']:,}" in out
    assert err == ""


@pytest.mark.slow
def test_saved_model_loads_and_predicts(small_run):
    import tensorflow as tf

    work, _, _, _ = small_run
    model = tf.saved_model.load(str(work / "model"))
    ids = {name: np.array([0, 1, 2], np.int32) for name in ("user", "movie", "year", "time")}
    features = {
        **ids,
        "user_days": np.zeros(3, np.int32),
        "genres": np.array([0, 1, 2], np.int32),
        "genre_counts": np.array([2, 1, 0], np.int64),
    }
    stars = model.serve(features)["stars"].numpy()
    assert stars.shape == (3,)
    assert np.all((stars >= 0.5) & (stars <= 5.0))
    assert len(np.unique(stars)) == 3


@pytest.mark.slow
def test_recommendations_are_ranked_known_and_never_seen(small_run):
    work, _, _, _ = small_run
    with (work / "data" / "ratings.csv").open() as file:
        seen = {(row["userId"], row["movieId"]) for row in csv.DictReader(file)}
    with (work / "data" / "movies.csv").open() as file:
        titles = {row["movieId"]: row["title"] for row in csv.DictReader(file)}
    with (work / "recommendations.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert not {(row["user_id"], row["movie_id"]) for row in rows} & seen
    by_user = {}
    for row in rows:
        assert row["title"] == titles[row["movie_id"]]
        by_user.setdefault(row["user_id"], []).append((int(row["rank"]), float(row["score"])))
    assert set(by_user) <= {user for user, _ in seen}
    for ranked in by_user.values():
        assert [rank for rank, _ in ranked] == [1, 2, 3, 4, 5]
        scores = [score for _, score in ranked]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.slow
def test_nothing_is_left_outside_the_work_dir(small_run):
    work, _, _, _ = small_run
    # The work dir was also the current directory: Spark makes its folders there by default.
    names = {path.name for path in work.iterdir()}
    assert names == {"data", "model", "out", "recommendations.csv", "spark", "spark.log"} | {
        "tensorflow.log"
    }
    assert not list((work / "spark").iterdir())


@pytest.mark.slow
def test_ctrl_c_stops_everything(tmp_path):
    process = _start("--ratings", 20_000, "--work-dir", tmp_path, cwd=tmp_path)
    for line in process.stdout:
        if " features " in line:  # the JVM is up and at work
            break
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert _group_is_gone(process.pid), "processes of the job are left"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "no such folder"),
        ({"movies.csv": "movieId,title,genres\n"}, "no ratings.csv in it"),
        ({"ratings.csv": "userId,movieId,rating,timestamp\n"}, "no movies.csv in it"),
        (
            {"ratings.csv": "userId,movieId,stars\n", "movies.csv": "movieId,title,genres\n"},
            "no column rating, timestamp among userId, movieId, stars",
        ),
    ],
)
def test_wrong_folder_is_named_with_what_is_expected(tmp_path, files, message):
    folder = tmp_path / "ml"
    if files is not None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    code, _, err = _run("--data", folder, "--work-dir", tmp_path / "work", cwd=tmp_path)
    assert code == 1
    assert message in err
    assert "ratings.csv (userId, movieId, rating, timestamp)" in err
    assert "movies.csv (movieId, title, genres)" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_malformed_line_is_named(tmp_path):
    folder = tmp_path / "ml"
    folder.mkdir()
    ratings = "userId,movieId,rating,timestamp\n1,10,4.5,964982703\n3,10,good,1\n"
    (folder / "ratings.csv").write_text(ratings)
    (folder / "movies.csv").write_text("movieId,title,genres\n10,One (1999),Drama\n")
    code, _, err = _run("--data", folder, "--work-dir", tmp_path / "work", cwd=tmp_path)
    assert code == 1
    assert f"{folder / 'ratings.csv'}, line 3, column rating: 'good' is not a number" in err
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.skipif(not MOVIELENS.is_dir(), reason=f"no MovieLens at {MOVIELENS}")
def test_real_movielens_reaches_its_rmse(tmp_path):
    code, out, err = _run(
        *("--data", MOVIELENS, "--work-dir", tmp_path, "--json", tmp_path / "result.json"),
        cwd=tmp_path,
    )
    assert code == 0, f"{out}\n{err}"
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["rmse"] <= 0.89
    assert result["rmse"] < result["rmse_bias_only"] < result["rmse_global_mean"]
    assert "rmse_noise_floor" not in result
