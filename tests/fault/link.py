"""A network of two ends, of which one is a namespace: a link that can be cut and slowed down."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


class Link:
    """A veth pair; a context manager. Skips the test where namespaces are not allowed."""

    def __init__(self) -> None:
        number = os.getpid() % 1000
        self._space = f"fbtest{number}"
        self._ours, self._theirs = f"fbours{number}", f"fbtheirs{number}"
        subnet = f"10.213.{number % 250}"
        self.near, self.far = f"{subnet}.1", f"{subnet}.2"
        self.inside = ("ip", "netns", "exec", self._space)

    def __enter__(self) -> Link:
        if shutil.which("ip") is None:
            pytest.skip("there is no `ip` here (Debian package iproute2)")
        tried = subprocess.run(["ip", "netns", "add", self._space], capture_output=True, text=True)
        if tried.returncode != 0:
            pytest.skip(f"network namespaces are not allowed here: {tried.stderr.strip()}")
        try:
            pair = ["type", "veth", "peer", "name", self._theirs, "netns", self._space]
            tried = subprocess.run(
                ["ip", "link", "add", self._ours, *pair], capture_output=True, text=True
            )
            if tried.returncode != 0:
                pytest.skip(f"this kernel makes no veth pairs: {tried.stderr.strip()}")
            _run("ip", "addr", "add", f"{self.near}/30", "dev", self._ours)
            _run("ip", "link", "set", self._ours, "up")
            self._in("ip", "addr", "add", f"{self.far}/30", "dev", self._theirs)
            self._in("ip", "link", "set", self._theirs, "up")
            self._in("ip", "link", "set", "lo", "up")
            tried = subprocess.run([*self.inside, "true"], capture_output=True, text=True)
            if tried.returncode != 0:
                pytest.skip(f"nothing may run in a namespace here: {tried.stderr.strip()}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        # The namespace's own end comes later: what runs in it still holds it.
        subprocess.run(["ip", "link", "delete", self._ours], capture_output=True)
        _run("ip", "netns", "delete", self._space)

    def cut(self, way: str = "both") -> None:
        """``both``, ``in`` (what the near end sends is lost) or ``out``."""
        if way == "both":
            # The far end: with its own end down, this side would try its other routes.
            self._in("ip", "link", "set", self._theirs, "down")
        elif way == "in":
            _run("ip", "route", "add", "blackhole", f"{self.far}/32")
        else:
            self._in("ip", "route", "add", "blackhole", f"{self.near}/32")

    def heal(self, way: str = "both") -> None:
        if way == "both":
            self._in("ip", "link", "set", self._theirs, "up")
        elif way == "in":
            _run("ip", "route", "delete", "blackhole", f"{self.far}/32")
        else:
            self._in("ip", "route", "delete", "blackhole", f"{self.near}/32")

    def slow_down(self, rate: str) -> None:
        """Both ways. Skips the test where there is no traffic control."""
        if shutil.which("tc") is None:
            pytest.skip("there is no `tc` here (Debian package iproute2)")
        shape = ["root", "tbf", "rate", rate, "burst", "32kbit", "latency", "400ms"]
        tried = subprocess.run(
            ["tc", "qdisc", "add", "dev", self._ours, *shape], capture_output=True, text=True
        )
        if tried.returncode != 0:
            pytest.skip(f"this kernel has no token bucket: {tried.stderr.strip()}")
        self._in("tc", "qdisc", "add", "dev", self._theirs, *shape)

    def _in(self, *command: str) -> None:
        _run(*self.inside, *command)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
