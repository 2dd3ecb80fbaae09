"""``flightbridge doctor``: is this environment fit, and what to do where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from flightbridge.cli.failures import EXIT_FAILED

if TYPE_CHECKING:
    from flightbridge.cli.probes import Finding


@click.command(short_help="Check this environment, with what to do about each problem.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def doctor(as_json: bool) -> None:
    """Check versions, the native core, the tf.data op, Java, GPU and memory limits.

    Each line is OK, WARN (works, but worse than it could) or FAIL (does not work), with what to do
    about it. Exit code 1 if anything FAILs. Works in an environment where nothing else does.

    \b
    Examples:
      flightbridge doctor
      flightbridge doctor --json | jq '.findings[] | select(.status != "OK")'
    """  # noqa: D301 (click reads the backspace)
    from flightbridge.cli.output import print_json
    from flightbridge.cli.probes import FAIL, all_probes, run_probes

    findings = list(run_probes(all_probes()))
    failed = any(finding.status == FAIL for finding in findings)
    if as_json:
        print_json(
            {
                "ok": not failed,
                "findings": [
                    {
                        "name": finding.name,
                        "status": finding.status,
                        "found": finding.found,
                        "remedy": finding.remedy,
                    }
                    for finding in findings
                ],
            }
        )
    else:
        _print(findings)
    if failed:
        click.get_current_context().exit(EXIT_FAILED)


def _print(findings: Sequence[Finding]) -> None:
    from rich.text import Text

    from flightbridge.cli.output import console
    from flightbridge.cli.probes import FAIL, OK, WARN

    out = console()
    style = {OK: "green", WARN: "yellow", FAIL: "bold red"}
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        line = Text(f"{finding.status:<4}  ", style=style[finding.status])
        line.append(f"{finding.name:<{width}}  ", style="bold")
        line.append(finding.found, style="default")
        out.print(line)
        if finding.remedy:
            out.print(Text(f"{'':<6}{'':<{width}}  -> {finding.remedy}"))
    counts = {status: sum(f.status == status for f in findings) for status in (OK, WARN, FAIL)}
    out.print(Text(", ".join(f"{count} {status}" for status, count in counts.items())))
