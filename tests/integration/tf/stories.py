"""Runs a story in a process of its own: strategies, clusters and exits cannot be tried in ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

PRELUDE = """
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
import flightbridge, flightbridge.tf

def tell(**facts):
    print("TOLD " + json.dumps(facts), flush=True)
"""


class Story:
    """One process at work. ``told()`` waits for its end and gives what it told, merged."""

    def __init__(self, story: str, timeout_s: float = 300.0, **environment: str) -> None:
        self._timeout_s = timeout_s
        # A file, since tf.function reads the source of what it traces.
        self._directory = tempfile.TemporaryDirectory(prefix="fb-story-")
        script = Path(self._directory.name) / "story.py"
        script.write_text(PRELUDE + textwrap.dedent(story))
        self._process = subprocess.Popen(
            [sys.executable, "-u", str(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"} | environment,
        )

    def told(self) -> dict[str, Any]:
        output, _ = self._process.communicate(timeout=self._timeout_s)
        assert self._process.returncode == 0, output
        facts: dict[str, Any] = {}
        for line in output.splitlines():
            if line.startswith("TOLD "):
                facts |= json.loads(line.removeprefix("TOLD "))
        return facts

    def first_line(self, start: str) -> str:
        """The rest of the first line that begins so; read before ``told``."""
        assert self._process.stdout is not None
        seen = ""
        for line in self._process.stdout:
            seen += line
            if line.startswith(start):
                return line.removeprefix(start).strip()
        raise AssertionError(f"no line begins with {start!r}:\n{seen}")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._directory.cleanup()


def run(*stories: Story) -> list[dict[str, Any]]:
    """What they told; none outlives a failure."""
    try:
        return [story.told() for story in stories]
    finally:
        for story in stories:
            story.kill()
