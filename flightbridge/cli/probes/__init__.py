"""What ``flightbridge doctor`` looks at. Every probe is guarded: it answers, whatever is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

OK = "OK"
WARN = "WARN"
FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """What one probe found.

    Attributes:
        name: What was looked at.
        status: ``OK``, ``WARN`` (works, but worse than it could) or ``FAIL`` (does not work).
        found: The value found.
        remedy: What to do about it; empty for ``OK``.
    """

    name: str
    status: str
    found: str
    remedy: str = ""


Probe = Callable[[], Iterable[Finding]]


def run_probes(probes: Iterable[Probe]) -> Iterator[Finding]:
    """The findings of all probes; one that raises becomes a WARN that names it."""
    for probe in probes:
        try:
            yield from probe()
        except Exception as error:
            yield Finding(
                probe.__name__.replace("_", " "),
                WARN,
                f"the probe itself failed: {type(error).__name__}: {error}",
                "please report this",
            )


def all_probes() -> list[Probe]:
    """Every probe, in the order of the report."""
    from flightbridge.cli.probes import machine, software

    return [*software.PROBES, *machine.PROBES]
