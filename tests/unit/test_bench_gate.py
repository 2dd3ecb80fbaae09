"""benchmarks/gate.py: what is promised, measured and missed."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "gate.py"
GOOD = {
    "put": {"ratio": 1.2, "cpu_ratio": 1.5},
    "get": {"ratio": 1.3, "cpu_ratio": 1.1},
    "tf op, same process": {"ratio": 17.0, "cpu_ratio": 5.0},
    "step, in order, server process": {"ratio": 1.0, "cpu_ratio": 1.0},
    "move": {"ratio": 0.5, "cpu_ratio": 2.0},
}


@pytest.fixture(scope="module")
def gate():
    spec = importlib.util.spec_from_file_location("benchmark_gate", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def call(gate, monkeypatch, tmp_path, peers):
    report = tmp_path / "report.json"
    results = [{"name": name, "peer": peer} for name, peer in peers.items()]
    report.write_text(json.dumps({"machine": {}, "ceilings": {}, "results": results}))
    monkeypatch.setattr("sys.argv", ["gate.py", str(report)])
    return gate.main()


def test_all_hold(gate, monkeypatch, tmp_path, capsys):
    assert call(gate, monkeypatch, tmp_path, GOOD) == 0
    assert capsys.readouterr().out.count("holds") == len(gate.PROMISES)


@pytest.mark.parametrize(
    ("name", "figure", "value"),
    [
        ("put", "ratio", 0.9),
        ("put", "cpu_ratio", 0.9),
        ("get", "ratio", 1.19),
        ("get", "cpu_ratio", 0.9),
        ("tf op, same process", "ratio", 9.0),
        ("step, in order, server process", "ratio", 0.9),
        ("move", "cpu_ratio", 0.8),
    ],
)
def test_one_is_missed(gate, monkeypatch, tmp_path, capsys, name, figure, value):
    peers = {**GOOD, name: {**GOOD[name], figure: value}}
    assert call(gate, monkeypatch, tmp_path, peers) == 1
    assert capsys.readouterr().out.count("MISSED") == 1


@pytest.mark.parametrize("name", list(GOOD))
def test_not_measured_is_missed(gate, monkeypatch, tmp_path, capsys, name):
    peers = {**GOOD, name: None}
    assert call(gate, monkeypatch, tmp_path, peers) == 1
    assert "not measured" in capsys.readouterr().out
