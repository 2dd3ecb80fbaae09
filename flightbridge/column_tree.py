"""From leaf columns to what a user sees: structs and maps as dicts, masks beside their columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from flightbridge.errors import InvalidArgumentError

MASK_SUFFIX = "_mask"
"""The mask of column ``x`` is ``x_mask``."""


class Leaf(Protocol):
    """What is known of a leaf; the core's ``ColumnLayout`` is one."""

    @property
    def name(self) -> str:
        """``"column"`` or ``"column.field"``."""

    @property
    def keys(self) -> list[str]:
        """The name in its parts."""

    @property
    def mask(self) -> bool:
        """A mask was asked for."""


L = TypeVar("L", bound=Leaf)
Get = Callable[[Any], tuple[Any, Any]]
"""From a leaf to its value and its mask, which is None where it has none."""


def tree_of(leaves: Iterable[L]) -> dict[str, Any]:
    """Leaves by column: a leaf, or a dict of fields where the column is a struct or a map."""
    tree: dict[str, Any] = {}
    for leaf in leaves:
        node = tree
        for key in leaf.keys[:-1]:
            node = node.setdefault(key, {})
        node[leaf.keys[-1]] = leaf
    return tree


def build(structure: Any, tree: dict[str, Any], get: Get) -> Any:
    """An element.

    Args:
        structure: Column names in tuples and dicts, as ``flightbridge.selection`` makes them.
        tree: What :func:`tree_of` gives for these columns.
        get: Called once for each leaf.

    Raises:
        InvalidArgumentError: There is no place for a mask, or another column has its name.
    """
    if isinstance(structure, tuple):
        return tuple(build(part, tree, get) for part in structure)
    if isinstance(structure, dict):
        return _dict({key: tree[name] for key, name in structure.items()}, get)
    node = tree[structure]
    if isinstance(node, dict):
        return _dict(node, get)
    value, mask = get(node)
    if mask is not None:
        raise InvalidArgumentError(
            f"mask names column {structure!r}, which is asked for as a tensor alone, so that its "
            f"mask has no place: ask for a list of columns, [{structure!r}]"
        )
    return value


def _dict(nodes: dict[str, Any], get: Get) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, node in nodes.items():
        if isinstance(node, dict):
            out[key] = _dict(node, get)
            continue
        out[key], mask = get(node)
        if mask is None:
            continue
        if key + MASK_SUFFIX in nodes:
            raise InvalidArgumentError(
                f"the mask of {node.name!r} would be called {key + MASK_SUFFIX!r}, as another "
                "column is: rename that before writing, or read it without"
            )
        out[key + MASK_SUFFIX] = mask
    return out
