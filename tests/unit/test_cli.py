"""The command line itself: help, errors, exit codes. No server, no native core."""

import json
import subprocess
import sys
from datetime import datetime, timezone
from types import SimpleNamespace

import click
import pyarrow as pa
import pytest

from flightbridge import __version__
from flightbridge.cli import main
from flightbridge.cli.failures import describe
from flightbridge.errors import (
    FeedNotFoundError,
    InvalidArgumentError,
    ServerUnavailableError,
)


def call(capsys, *args):
    with pytest.raises(SystemExit) as stopped:
        main(args)
    out, err = capsys.readouterr()
    return stopped.value.code, out, err


def test_version(capsys):
    assert call(capsys, "--version") == (0, f"flightbridge {__version__}\n", "")


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["serve"],
        ["feeds"],
        ["feeds", "ls"],
        ["feeds", "show"],
        ["feeds", "rm"],
        ["feeds", "stats"],
        ["stream"],
        ["doctor"],
        ["bench"],
        ["bench", "put"],
        ["bench", "get"],
        ["bench", "tf"],
        ["bench", "move"],
    ],
)
def test_every_command_has_help(capsys, command):
    code, out, err = call(capsys, *command, "-h")
    assert (code, err) == (0, "")
    assert out.startswith("Usage: flightbridge")


@pytest.mark.parametrize("command", [[], ["serve"], ["feeds"], ["stream"], ["doctor"], ["bench"]])
def test_help_shows_examples(capsys, command):
    assert "Examples:\n" in call(capsys, *command, "-h")[1]


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from flightbridge.cli import main\n"
        "try: main(['bench', '-h'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pyarrow', 'numpy', 'grpc', 'rich', 'tensorflow', 'pyspark'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["serve", "--memory-limit", "lots"], "'512MiB'"),
        (["serve", "--memory-limit", "0"], "above zero"),
        (["serve", "--port", "70000"], "--port"),
        (["serve", "--control-port", "x"], "or none"),
        (["serve", "--control-port", "-2"], "or none"),
        (["serve", "--grace", "-1"], "--grace"),
        (["serve", "--no-such-option"], "--no-such-option"),
        (["fly"], "No such command 'fly'"),
        (["feeds", "ls", "--server", "localhost"], "grpc://HOST:PORT"),
        (["feeds", "ls", "--timeout", "0"], "--timeout"),
        (["feeds", "rm"], "FEED..."),
        (["feeds", "rm", "x"], "--yes"),
        (["bench", "put", "--streams", "0"], "--streams"),
        (["bench", "put", "--uri", "http://x:1"], "grpc://HOST:PORT"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(capsys, monkeypatch, args, said):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    code, out, err = call(capsys, *args)
    assert (code, out) == (2, "")
    assert err.startswith("flightbridge: error: ")
    assert err.count("\n") == 1
    assert said in err


def test_without_a_command_help_and_exit_code_2(capsys):
    code, out, err = call(capsys)
    assert (code, out) == (2, "")
    assert "Commands:" in err
    assert err.splitlines()[-1].startswith("flightbridge: error: ")


def test_settings_come_from_the_environment(capsys, monkeypatch):
    monkeypatch.setenv("FLIGHTBRIDGE_SERVE_MEMORY_LIMIT", "a lot")
    code, _, err = call(capsys, "serve")
    assert code == 2
    assert "FLIGHTBRIDGE_SERVE_MEMORY_LIMIT" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidArgumentError("x"), 2),
        (click.UsageError("x"), 2),
        (FeedNotFoundError("x"), 1),
        (ServerUnavailableError("x"), 1),
        (OSError(13, "x"), 1),
        (click.ClickException("x"), 1),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_exit_codes(error, code):
    assert describe(error)[0] == code


class FakeClient:
    """Stands in for a connected client; what it was asked to drop is in `dropped`."""

    def __init__(self):
        part = SimpleNamespace(
            partition=3, rows=1234, bytes=2048, batches=2, crc32c=0xAB, released=False
        )
        self.infos = [
            SimpleNamespace(
                feed=name,
                feed_id=7,
                state="committed",
                schema_hash=1,
                fingerprint=0xFEED,
                rows=1234,
                bytes=2048,
                partitions=[part],
                created_unix_ms=1_700_000_000_000,
                schema_text="",
                open_jobs=0,
                retention="keep",
                ttl_s=None,
                confirmed_rows=0,
            )
            for name in ("zebra", "[bold]apple")
        ]
        self.dropped = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def feeds(self):
        return self.infos

    def feed(self, name):
        return next(info for info in self.infos if info.feed == name)

    def schema(self, name):
        return pa.schema(
            [pa.field("user", pa.int64(), nullable=False), ("genres", pa.list_(pa.int32()))]
        )

    def drop(self, name, *, if_exists=False):
        if name == "gone" and not if_exists:
            raise FeedNotFoundError("no feed 'gone'")
        self.dropped.append(name)


@pytest.fixture
def client(monkeypatch):
    fake = FakeClient()
    monkeypatch.setattr("flightbridge.cli.feeds._connect", lambda *_: fake)
    return fake


def test_feeds_ls_table_is_plain_and_sorted_in_a_pipe(capsys, client):
    code, out, _ = call(capsys, "feeds", "ls")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == [
        "feed", "state", "rows", "size", "partitions", "created", "fingerprint",
    ]  # fmt: skip
    assert lines[1].split() == [
        "[bold]apple", "committed", "1,234", "2.0", "KiB", "1", "2023-11-14T22:13:20Z",
        "000000000000feed",
    ]  # fmt: skip
    assert lines[2].startswith("zebra ")
    assert "\x1b" not in out


def test_feeds_ls_json(capsys, client):
    code, out, _ = call(capsys, "feeds", "ls", "--json")
    found = json.loads(out)
    assert code == 0
    assert [feed["feed"] for feed in found] == ["[bold]apple", "zebra"]
    assert found[0]["rows"] == 1234
    assert found[0]["partitions"] == 1
    moment = datetime(2023, 11, 14, 22, 13, 20, tzinfo=timezone.utc)
    assert datetime.fromisoformat(found[0]["created"].replace("Z", "+00:00")) == moment


def test_feeds_ls_of_an_empty_server_says_so_on_stderr(capsys, client):
    client.infos = []
    code, out, err = call(capsys, "feeds", "ls")
    assert code == 0
    assert "no feeds on grpc://127.0.0.1:8815" in err
    assert len(out.splitlines()) == 1


def test_feeds_show_json_has_schema_partitions_fingerprint(capsys, client):
    code, out, _ = call(capsys, "feeds", "show", "zebra", "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["schema"] == [
        {"name": "user", "type": "int64", "nullable": False},
        {"name": "genres", "type": "list<item: int32>", "nullable": True},
    ]
    assert shown["partitions"] == [
        {
            "partition": 3,
            "rows": 1234,
            "batches": 2,
            "bytes": 2048,
            "crc32c": "000000ab",
            "released": False,
        }
    ]
    assert shown["fingerprint"] == "000000000000feed"


def test_feeds_show_table(capsys, client):
    code, out, _ = call(capsys, "feeds", "show", "zebra")
    assert code == 0
    for text in ("000000000000feed", "list<item: int32>", "000000ab", "fingerprint"):
        assert text in out


def test_feeds_rm_goes_on_after_a_failure(capsys, client):
    code, out, err = call(capsys, "feeds", "rm", "a", "gone", "b", "--yes")
    assert code == 1
    assert client.dropped == ["a", "b"]
    assert out == "dropped a\ndropped b\n"
    assert err == "flightbridge: error: no feed 'gone'\n"


def test_feeds_rm_if_exists(capsys, client):
    assert call(capsys, "feeds", "rm", "gone", "--yes", "--if-exists")[0] == 0


def test_feeds_rm_asks_first_on_a_terminal(capsys, client, monkeypatch):
    monkeypatch.setattr("flightbridge.cli.feeds.sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(
        "flightbridge.cli.feeds.click.confirm",
        lambda *_, **__: (_ for _ in ()).throw(click.Abort()),
    )
    code, _, err = call(capsys, "feeds", "rm", "a")
    assert code == 130
    assert "interrupted" in err
    assert client.dropped == []


def test_a_bug_is_reported_without_traceback(capsys, client, monkeypatch):
    monkeypatch.setattr(client, "feeds", lambda: 1 / 0)
    code, _, err = call(capsys, "feeds", "ls")
    assert code == 1
    assert "unexpected ZeroDivisionError" in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback(capsys, client, monkeypatch):
    monkeypatch.setattr(client, "feeds", lambda: 1 / 0)
    code, _, err = call(capsys, "--debug", "feeds", "ls")
    assert code == 1
    assert "Traceback" in err
