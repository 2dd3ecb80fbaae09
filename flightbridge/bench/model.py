"""What a benchmark yields: samples of runs, results made of them, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flightbridge.bench.stats import median, paired_ratio, percentile


@dataclass(frozen=True)
class Sample:
    """One timed run.

    Attributes:
        seconds: Wall time.
        bytes: Bytes of record batch data moved (buffers, no framing).
        batches: Record batches moved.
        cpu_s: Processor seconds of every process taking part.
        latencies_ms: Time of each batch as its caller saw it; may be empty.
    """

    seconds: float
    bytes: int
    batches: int
    cpu_s: float
    latencies_ms: tuple[float, ...] = ()

    @property
    def gbps(self) -> float:
        """10^9 bytes per second."""
        return self.bytes / self.seconds / 1e9

    @property
    def cpu_s_per_gb(self) -> float:
        """Processor seconds per 10^9 bytes."""
        return self.cpu_s / (self.bytes / 1e9)

    @property
    def batches_per_s(self) -> float:
        """Record batches per second."""
        return self.batches / self.seconds


@dataclass(frozen=True)
class Peer:
    """What a result is held against, measured in the same pairs.

    Attributes:
        ratio: Median over the pairs of our speed by theirs; above 1 we are faster.
        cpu_ratio: Median over the pairs of their processor time by ours; above 1 we need less.
    """

    name: str
    gbps: float
    ratio: float
    cpu_s_per_gb: float
    cpu_ratio: float
    batches_per_s: float

    def to_json(self) -> dict[str, Any]:
        """As in the report."""
        return dict(vars(self))


@dataclass(frozen=True)
class Result:
    """One line of the report: medians over the runs.

    `memory_limit_bytes` and `peak_memory_bytes`, of the server's resident memory over all runs, are
    0 where they were not measured.
    """

    name: str
    gbps: float
    cpu_s_per_gb: float
    p50_ms: float
    p99_ms: float
    bytes: int
    batch_bytes: int
    streams: int
    batches_per_s: float
    runs: int
    peer: Peer | None = None
    memory_limit_bytes: int = 0
    peak_memory_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """As in the report."""
        facts = dict(vars(self))
        facts["peer"] = self.peer.to_json() if self.peer is not None else None
        return facts


def summarize(
    name: str,
    samples: Sequence[Sample],
    *,
    streams: int,
    peer_name: str | None = None,
    peer_samples: Sequence[Sample] = (),
) -> Result:
    """The result of runs; with `peer_samples`, run i of which was paired with run i of ours."""
    peer = None
    if peer_name is not None:
        peer = Peer(
            name=peer_name,
            gbps=median([sample.gbps for sample in peer_samples]),
            ratio=paired_ratio([s.gbps for s in samples], [s.gbps for s in peer_samples]),
            cpu_s_per_gb=median([sample.cpu_s_per_gb for sample in peer_samples]),
            cpu_ratio=paired_ratio(
                [s.cpu_s_per_gb for s in peer_samples], [s.cpu_s_per_gb for s in samples]
            ),
            batches_per_s=median([sample.batches_per_s for sample in peer_samples]),
        )
    latencies = [value for sample in samples for value in sample.latencies_ms]
    return Result(
        name=name,
        gbps=median([sample.gbps for sample in samples]),
        cpu_s_per_gb=median([sample.cpu_s_per_gb for sample in samples]),
        p50_ms=percentile(latencies, 50) if latencies else 0.0,
        p99_ms=percentile(latencies, 99) if latencies else 0.0,
        bytes=samples[0].bytes,
        batch_bytes=samples[0].bytes // max(1, samples[0].batches),
        streams=streams,
        batches_per_s=median([sample.batches_per_s for sample in samples]),
        runs=len(samples),
        peer=peer,
    )


@dataclass
class Report:
    """Everything one ``flightbridge bench`` run found out."""

    machine: dict[str, Any]
    ceilings: dict[str, float]
    results: list[Result] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """``{"machine", "ceilings", "results"}``."""
        return {
            "machine": self.machine,
            "ceilings": self.ceilings,
            "results": [result.to_json() for result in self.results],
        }
