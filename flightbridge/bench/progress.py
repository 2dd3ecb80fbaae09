"""What a benchmark says on stderr while it runs: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from flightbridge.bench.model import Sample
    from flightbridge.bench.pairing import Note


class Progress:
    """A context manager; everything goes to stderr, so that stdout holds results only."""

    def __init__(self) -> None:
        self._bars: Bars | None = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[last]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def say(self, text: str) -> None:
        """One line for whoever watches."""
        if self._bars is not None:
            self._bars.console.print(text, highlight=False, markup=False)
        else:
            print(f"flightbridge bench: {text}", file=sys.stderr, flush=True)

    def start(self, title: str, runs: int) -> Note:
        """Begins a measurement of `runs` runs; call what it returns after each."""
        if self._bars is None:
            self.say(f"{title}: {runs} runs")
            return self._note_line
        bars, task = self._bars, self._bars.add_task(title, total=runs, last="")

        def note(side: str, sample: Sample) -> None:
            bars.update(task, advance=1, last=f"{side}: {_rate(sample)}")

        return note

    def _note_line(self, side: str, sample: Sample) -> None:
        self.say(f"  {side}: {_rate(sample)}, {sample.cpu_s_per_gb:.2f} CPU s/GB")


def _rate(sample: Sample) -> str:
    return f"{sample.gbps:.2f} GB/s, {sample.batches_per_s:,.0f} batches/s"
