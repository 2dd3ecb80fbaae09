"""From ``columns`` and ``label`` to the structure of an element."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flightbridge.errors import InvalidArgumentError


def structure(
    names: list[str],
    columns: str | Iterable[str] | None,
    label: str | Iterable[str] | None,
    weight: str | None = None,
) -> Any:
    """An element with column names in place of tensors.

    Args:
        names: All columns of the feed.
        columns: None for all, a list for a dict of these, one name for the bare tensor.
        label: None, one name for a bare label, or a list for a dict of labels.
        weight: None, or the name of the column of sample weights.

    Returns:
        The features (a dict, or a name), a pair of features and label, or a triple of features,
        label and weight. A label or weight is never among the features.

    Raises:
        InvalidArgumentError: Nothing is left for the features, or an argument is no name.
    """
    if label is None:
        if weight is not None:
            raise InvalidArgumentError(
                f"weight={weight!r} without label: an element is (features, label, weight); name "
                "the label too"
            )
        return _named("columns", names if columns is None else columns)
    labels = _named("label", label)
    taken = set(labels) if isinstance(labels, dict) else {labels}
    if weight is not None:
        if not isinstance(weight, str):
            raise InvalidArgumentError(f"weight={weight!r} is not a column: give one name")
        if weight in taken:
            raise InvalidArgumentError(f"weight={weight!r} is the label too: name another column")
        taken.add(weight)
    if isinstance(columns, str):
        features: Any = columns
        empty = columns in taken
    else:
        chosen = _named("columns", names if columns is None else columns)
        features = {name: name for name in chosen if name not in taken}
        empty = not features
    if empty:
        raise InvalidArgumentError(
            f"label={label!r} leaves no column for the features: name others in columns"
        )
    return (features, labels) if weight is None else (features, labels, weight)


def _named(setting: str, value: str | Iterable[str]) -> str | dict[str, str]:
    if isinstance(value, str):
        return value
    try:
        names = list(value)
    except TypeError:
        raise InvalidArgumentError(
            f"{setting}={value!r} is not a column: give a name or a list of names"
        ) from None
    if not names:
        raise InvalidArgumentError(
            f"{setting}=[] names no column: name one, or leave {setting} out"
        )
    for name in names:
        if not isinstance(name, str):
            raise InvalidArgumentError(f"{setting} has {name!r}: give column names as str")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidArgumentError(f"{setting} names {repeated[0]!r} twice: name it once")
    return {name: name for name in names}
