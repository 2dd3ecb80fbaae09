"""Print what pyproject.toml asks for: its dependencies, and the extras and groups named.

pip can install a dependency group but not a project's dependencies without the project itself,
and the native build needs them (pyarrow, TensorFlow) before the project can be built.

Usage: requirements.py [EXTRA_OR_GROUP ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).parents[2]


def lines_of(names: list[str], *, base: bool = True) -> list[str]:
    """The requirements of extras and groups; with `base` the project's own, too."""
    text = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = text["project"], text["dependency-groups"]
    lines = list(project["dependencies"]) if base else []
    for name in names:
        found = project["optional-dependencies"].get(name) or groups.get(name)
        if found is None:
            raise SystemExit(f"pyproject.toml has neither an extra nor a group named {name!r}")
        lines += found
    return lines


if __name__ == "__main__":
    print("\n".join(lines_of(sys.argv[1:])))
