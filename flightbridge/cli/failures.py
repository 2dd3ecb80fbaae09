"""How the command line ends: one clear line on stderr and a fixed exit code, never a traceback.

Exit codes: 0 done, 1 failed, 2 wrong usage (an option or setting that cannot be), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import click

from flightbridge.errors import FlightBridgeError, InvalidArgumentError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


@dataclass
class Invocation:
    """What the whole command line shares: the click context's ``obj``."""

    debug: bool = False


def complain(message: str) -> None:
    """Writes ``flightbridge: error: MESSAGE`` to stderr as one line."""
    print(f"flightbridge: error: {' '.join(message.split())}", file=sys.stderr, flush=True)


def describe(error: BaseException) -> tuple[int, str]:
    """Exit code and message for an error that ended a command."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return EXIT_USAGE, "a command is missing, see above"
    if isinstance(error, click.UsageError):
        hint = f" (try: {error.ctx.command_path} -h)" if error.ctx is not None else ""
        return EXIT_USAGE, error.format_message() + hint
    if isinstance(error, click.ClickException):
        return EXIT_FAILED, error.format_message()
    if isinstance(error, InvalidArgumentError):
        return EXIT_USAGE, str(error)
    if isinstance(error, (FlightBridgeError, OSError)):
        return EXIT_FAILED, str(error) or type(error).__name__
    return EXIT_FAILED, (
        f"unexpected {type(error).__name__}: {error} (run with: flightbridge --debug, "
        "and report the traceback)"
    )


def run(command: click.Command, args: Sequence[str] | None) -> NoReturn:
    """Runs `command` and exits the process."""
    invocation = Invocation(debug=os.environ.get("FLIGHTBRIDGE_DEBUG", "0") not in ("", "0"))
    try:
        result = command.main(
            args=list(args) if args is not None else None,
            prog_name="flightbridge",
            obj=invocation,
            standalone_mode=False,
        )
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output went away (`flightbridge feeds ls | head -1`): not our failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (click.Abort, KeyboardInterrupt):
        print("flightbridge: interrupted", file=sys.stderr, flush=True)
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        if invocation.debug:
            traceback.print_exc()
        if isinstance(error, click.exceptions.NoArgsIsHelpError):
            print(error.format_message(), file=sys.stderr)
        code, message = describe(error)
        complain(message)
        sys.exit(code)
    # With standalone_mode off click returns the code of ctx.exit(), and a command's own value.
    sys.exit(result if isinstance(result, int) else 0)
