"""Make a virtual environment that adds packages to the one this runs in.

It sees the packages of that environment, the editable install of the project included, so that only
what is new is installed, and nothing there is touched.

Usage: overlay_venv.py FOLDER GROUP           what the group of pyproject.toml says
       overlay_venv.py FOLDER --no-deps REQUIREMENT...
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import requirements


def main(folder: Path, what: list[str]) -> None:
    if not (folder / "bin" / "python").exists():
        venv.create(folder, with_pip=True, symlinks=True)
    below = sysconfig.get_paths()["purelib"]
    own = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    # addsitedir, because the .pth files there (the editable install) are to count too.
    Path(own, "_overlay.pth").write_text(f"import site; site.addsitedir({below!r})\n")
    if what[0] != "--no-deps":
        what = requirements.lines_of(what, base=False)
    command = [folder / "bin" / "python", "-m", "pip", "install", "-q"]
    subprocess.run([*command, "--disable-pip-version-check", *what], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2:])
