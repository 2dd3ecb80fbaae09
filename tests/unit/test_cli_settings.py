"""Settings stand in one table, and docs/operations.md says the same as the table."""

import re
from pathlib import Path

import pytest

from flightbridge.cli.feeds import list_feeds
from flightbridge.cli.serve import ServeOptions, serve
from flightbridge.cli.serve_model import serve_model
from flightbridge.cli.settings import CLIENT, SERVE, SERVE_MODEL, STREAM
from flightbridge.cli.stream import stream

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"


def documented():
    rows = re.findall(
        r"^\| `(--[a-z-]+)` \| `(\w+)` \| `([^`]+)` \| (\w+) \|", DOCS.read_text(), re.MULTILINE
    )
    return {(option, env): (default, unit) for option, env, default, unit in rows}


@pytest.mark.parametrize(
    "setting", [*SERVE, *CLIENT, *STREAM, *SERVE_MODEL], ids=lambda setting: setting.option
)
def test_docs_list_each_setting(setting):
    assert documented()[setting.option, setting.env] == (setting.default, setting.unit)


def test_docs_list_no_setting_that_is_not_there():
    assert set(documented()) == {
        (setting.option, setting.env) for setting in (*SERVE, *CLIENT, *STREAM, *SERVE_MODEL)
    }


@pytest.mark.parametrize(
    ("command", "table"),
    [
        (serve, SERVE),
        (list_feeds, CLIENT),
        (stream, STREAM),
        (stream, CLIENT),
        (serve_model, SERVE_MODEL),
    ],
)
def test_commands_take_their_options_from_the_table(command, table):
    options = {name: option for option in command.params for name in option.opts}
    for setting in table:
        option = options[setting.option]
        assert option.envvar == setting.env
        assert option.name == setting.parameter


def test_serve_options_have_a_field_for_each_setting():
    assert list(ServeOptions.__dataclass_fields__) == [setting.parameter for setting in SERVE]
