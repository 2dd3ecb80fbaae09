"""The MovieLens files: what must be in them, and where they break the rules."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

# File, its columns, and what a value of each is.
COLUMNS = {
    "ratings.csv": {"userId": int, "movieId": int, "rating": float, "timestamp": int},
    "movies.csv": {"movieId": int, "title": str, "genres": str},
}

_LONG = range(-(2**63), 2**63)


class DataError(ValueError):
    """The MovieLens folder is not as it should be."""


def check_folder(folder: Path) -> None:
    """Checks that a MovieLens folder has what the job reads.

    Raises:
        DataError: The folder, a file or a column is missing; the message names what is expected.
    """
    expected = " and ".join(f"{name} ({', '.join(cols)})" for name, cols in COLUMNS.items())
    if not folder.is_dir():
        raise DataError(f"--data {folder}: no such folder; give one of MovieLens with {expected}")
    for name in COLUMNS:
        if not (folder / name).is_file():
            raise DataError(f"--data {folder}: no {name} in it; expected {expected}")
        header = header_of(folder / name)
        missing = [column for column in COLUMNS[name] if column not in header]
        if missing:
            raise DataError(
                f"{folder / name}: no column {', '.join(missing)} among {', '.join(header)}; "
                f"expected {expected}"
            )


def header_of(path: Path) -> list[str]:
    """The names in the first line."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file), [])


def find_malformed(folder: Path) -> str | None:
    """The first line of a checked folder that cannot be read, in words; None where all can."""
    return next(filter(None, (_find_in(folder / name) for name in COLUMNS)), None)


def _find_in(path: Path) -> str | None:
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        types = [COLUMNS[path.name].get(name, str) for name in header]
        end = rows.line_num
        for row in rows:
            line, end = end + 1, rows.line_num
            if not row:
                continue
            if len(row) != len(header):
                return (
                    f"{path}, line {line}: {len(row)} values where the header names "
                    f"{len(header)} columns ({', '.join(header)}): correct or remove the line"
                )
            for name, kind, value in zip(header, types, row, strict=True):
                if value and not _CHECKS[kind](value):
                    return (
                        f"{path}, line {line}, column {name}: {value!r} is not "
                        f"{_WORDS[kind]}: correct or remove the line"
                    )
    return None


def _is_long(value: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]+", value) is not None and int(value) in _LONG


def _is_double(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return value == value.strip() and "_" not in value


_CHECKS: dict[type, Callable[[str], bool]] = {
    int: _is_long,
    float: _is_double,
    str: lambda _: True,
}
_WORDS = {int: "a whole number", float: "a number", str: "text"}
