"""One setting of the command line: its option, environment variable, default, type and unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from flightbridge.errors import InvalidArgumentError

F = TypeVar("F", bound=Callable[..., Any])

# click 8.5 made it generic, in the stubs and at run time; older ones are not.
if TYPE_CHECKING:
    _ParamType = click.ParamType[int]
else:
    _ParamType = click.ParamType

DEFAULT_PORT = 8815
DEFAULT_MODEL_PORT = 8820


class Size(_ParamType):
    """Bytes, written as a number or with a unit: ``512MiB``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The size in bytes."""
        from flightbridge.config import parse_bytes

        try:
            return parse_bytes(value, param.opts[0] if param is not None else "size")
        except InvalidArgumentError as error:
            self.fail(str(error), param, ctx)


class ControlPort(_ParamType):
    """A port number, 0 for any free port, or ``none`` (given on as -1)."""

    name = "port|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The port; -1 for none."""
        if value == -1 or str(value).strip().lower() == "none":
            return -1
        try:
            port = int(value)
        except ValueError:
            port = -1
        if not 0 <= port <= 65535:
            self.fail(
                f"{value!r} is not a port: give 0..65535 (0: any free port), or none", param, ctx
            )
        return port


@dataclass(frozen=True)
class Setting:
    """One setting. `default` and `unit` are as a reader of the docs sees them."""

    option: str
    env: str
    default: str
    unit: str
    help: str
    type: Any = str
    required: bool = False

    @property
    def parameter(self) -> str:
        """The Python name of the option's value."""
        return self.option.lstrip("-").replace("-", "_")

    def apply(self, function: F) -> F:
        """Adds the option to a click command's function."""
        is_flag = self.type is bool
        wanted: dict[str, Any] = {"is_flag": True} if is_flag else {"type": self.type}
        has_default = not is_flag and self.default != "none"
        wanted["default"] = False if is_flag else (self.default if has_default else None)
        decorate = click.option(
            self.option,
            envvar=self.env,
            required=self.required,
            show_default=has_default,
            show_envvar=True,
            help=self.help,
            **wanted,
        )
        return decorate(function)


def options(settings: tuple[Setting, ...]) -> Callable[[F], F]:
    """A decorator that adds the options of a table, in its order."""

    def decorate(function: F) -> F:
        for setting in reversed(settings):
            function = setting.apply(function)
        return function

    return decorate
