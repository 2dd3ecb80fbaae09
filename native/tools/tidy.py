"""Run clang-tidy over the core, in parallel, with the build's own compile commands.

Usage: tidy.py [--jobs N] [--changed REV] [FILE ...]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = ROOT / "native" / "src"
OUT = ROOT / "build" / "tidy"


def compile_commands() -> list[dict[str, str]]:
    """The newest build's commands for the core, with the compiler cache in front taken off."""
    found = sorted(ROOT.glob("build/*/compile_commands.json"), key=lambda p: p.stat().st_mtime)
    found = [p for p in found if p.parent != OUT]
    if not found:
        raise SystemExit("no build to take compile commands from: run `make build` first")
    commands = []
    for entry in json.loads(found[-1].read_text()):
        words = shlex.split(entry["command"])
        compiler = next(i for i, w in enumerate(words) if re.fullmatch(r"(.*/)?(g|clang)\+\+.*", w))
        entry["command"] = shlex.join(words[compiler:])
        if CORE in Path(entry["file"]).parents:
            commands.append(entry)
    return commands


def tidy(path: str) -> tuple[str, int, str]:
    done = subprocess.run(
        ["clang-tidy", "-p", OUT, "--quiet", path],
        capture_output=True,
        text=True,
        check=False,
    )
    return path, done.returncode, done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--changed", metavar="REV", help="only files that differ from REV")
    parser.add_argument("files", nargs="*", help="only these files")
    args = parser.parse_args()

    commands = compile_commands()
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "compile_commands.json").write_text(json.dumps(commands))
    files = sorted({entry["file"] for entry in commands})
    only = {str(Path(f).resolve()) for f in args.files}
    if args.changed:
        diff = ["git", "diff", "--name-only", args.changed]
        names = subprocess.run(diff, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        only |= {str(ROOT / name) for name in names.split()}
    if only:
        files = [f for f in files if f in only]

    failed = 0
    with ThreadPoolExecutor(args.jobs) as pool:
        for done, (path, code, output) in enumerate(pool.map(tidy, files), 1):
            print(f"[{done}/{len(files)}] {os.path.relpath(path, ROOT)}", flush=True)
            if code:
                failed += 1
                print(output)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
