"""Importing flightbridge.spark: what it wraps, and what it leaves alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyspark")

CHECK = """
import sys
{before}
import flightbridge.spark
{after}
for name in ("pyspark.sql.readwriter", "pyspark.sql.connect.readwriter"):
    module = __import__(name, fromlist=["DataFrameWriter"])
    save = module.DataFrameWriter.save
    assert save.__module__ == name and save.__name__ == "save", save  # looks like Spark's own
    assert save.__wrapped__.__code__.co_filename.endswith("readwriter.py")
    assert not hasattr(save.__wrapped__, "__wrapped__"), "wrapped twice"
    assert type(module.__loader__).__name__ == {loader!r}, module.__loader__
    assert module.__spec__.loader is module.__loader__
"""


def run(code, *path, **environment):
    prelude = "import sys\n" + "".join(f"sys.path.insert(0, {str(p)!r})\n" for p in path)
    done = subprocess.run(
        [sys.executable, "-c", prelude + code],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("import pyspark.sql", ""),
        ("import pyspark.sql, pyspark.sql.connect.readwriter", ""),
        ("import pyspark.sql", "from flightbridge.spark import save_modes; save_modes.install()"),
    ],
    ids=["before pyspark", "after classic", "after both", "twice"],
)
def test_both_writers_are_wrapped_once_in_any_import_order(before, after):
    run(CHECK.format(before=before, after=after, loader="SourceFileLoader"))


def test_pyspark_in_a_zip_file_is_wrapped_too():
    """Spark's workers import pyspark from a zip, whose one loader serves every module."""
    import pyspark

    home = Path(pyspark.__file__).parent
    library = home / "python" / "lib"
    (py4j,) = library.glob("py4j-*.zip")
    check = CHECK.format(before="", after="", loader="zipimporter")
    check += "\nimport pyspark.sql.streaming"
    run(check, library / "pyspark.zip", py4j, SPARK_HOME=str(home))


def test_importing_imports_no_pyspark_and_no_native_core():
    run(
        "import flightbridge.spark\n"
        "heavy = {'pyspark', 'pyarrow', 'pandas', 'grpc', 'flightbridge.client'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )


def test_unknown_names_are_refused_as_usual():
    import flightbridge.spark

    with pytest.raises(AttributeError, match="no attribute 'read'"):
        flightbridge.spark.read  # noqa: B018


def test_the_format_is_found_by_spark_without_registration():
    """Spark looks for ``DefaultSource`` in installed modules named ``pyspark_*``."""
    import importlib
    import pkgutil

    import flightbridge.spark

    assert "pyspark_flightbridge" in {module.name for module in pkgutil.iter_modules()}
    found = importlib.import_module("pyspark_flightbridge").DefaultSource
    assert found is flightbridge.spark.FlightBridgeDataSource
    assert found.name() == "flightbridge"
