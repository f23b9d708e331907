import json
import math
import subprocess
import sys

import pytest

from benchmarks import __main__ as everything
from benchmarks import report
from benchmarks.report import Row, at_least, print_table

FIELDS = {"id", "what", "value", "unit", "interval", "peer", "peer_value", "bar", "holds"}
ROWS = [
    Row(
        "x.gain",
        "the gain",
        0.98765,
        "nats",
        interval=[0.9, 1.0],
        peer="soup",
        peer_value=0.5,
        **at_least(0.99, 0.98765),
    ),
    Row("x.seconds", "time", 12.0, "s"),
    Row("x.broken", "could not be measured: no accelerator", None),
]


@pytest.fixture
def run(monkeypatch):
    """Run a benchmark through `main` with these flags."""

    def call(*flags, rows=ROWS, options=()):
        seen = []

        def benchmark(args):
            """Measure something."""
            seen.append(args)
            return rows

        monkeypatch.setattr(sys, "argv", ["x", *map(str, flags)])
        report.main("x", benchmark, options)
        return seen[0]

    return call


@pytest.mark.parametrize(("value", "holds"), [(0.9, True), (0.91, True), (0.8999, False), (math.nan, False)])
def test_at_least(value, holds):
    assert at_least(0.9, value) == {"bar": ">= 0.9", "holds": holds}


def test_json_has_the_house_schema(run, tmp_path, capsys):
    run("--json", tmp_path / "deep" / "x.json", "--quick")
    content = json.loads((tmp_path / "deep" / "x.json").read_text())
    assert {"device", "versions", "seconds", "rows"} <= set(content)
    assert (content["benchmark"], content["quick"]) == ("x", True)
    assert content["device"]
    assert {"torch", "transformers", "trl", "peft", "moalign"} <= set(content["versions"])
    assert 0 <= content["seconds"] < 60
    assert all(set(row) == FIELDS for row in content["rows"])
    assert content["rows"][0] == {
        "id": "x.gain",
        "what": "the gain",
        "value": 0.98765,
        "unit": "nats",
        "interval": [0.9, 1.0],
        "peer": "soup",
        "peer_value": 0.5,
        "bar": ">= 0.99",
        "holds": False,  # a missed bar is a row, no crash
    }
    assert content["rows"][1]["holds"] is None
    assert f"wrote {tmp_path}" in capsys.readouterr().out


def test_a_value_that_is_not_a_number_is_a_missed_bar_and_null(run, tmp_path):
    row = Row("steering.a", "never moved", math.nan, interval=[math.nan, 1.0], **at_least(0.9, math.nan))
    run("--json", tmp_path / "x.json", rows=[row])
    content = json.loads((tmp_path / "x.json").read_text(), parse_constant=pytest.fail)
    found = content["rows"][0]
    assert (found["value"], found["interval"], found["holds"]) == (None, [None, 1.0], False)


def test_flags(run, tmp_path):
    args = run("--data", tmp_path, "--steps", 7, options=[("--steps", {"type": int, "default": 3})])
    assert (args.data, args.steps, args.quick, args.json) == (tmp_path, 7, False, None)
    assert str(run().data) == "../shared/data"
    with pytest.raises(SystemExit) as refused:
        run("--stepz", 1)
    assert refused.value.code == 2


def test_without_json_nothing_is_written(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run()
    assert list(tmp_path.iterdir()) == []


def test_table_is_aligned_and_shouts_what_is_missed(capsys):
    print_table(ROWS)
    head, gain, seconds, broken = capsys.readouterr().out.splitlines()
    assert head.split() == ["id", "value", "bar", "holds", "peer", "what"]
    assert gain.split("  ")[0] == "x.gain"
    assert "0.9877 nats" in gain
    assert ">= 0.99  NO " in gain
    assert "soup 0.5" in gain
    assert "12 s" in seconds
    assert broken.split() == ["x.broken", "could", "not", "be", "measured:", "no", "accelerator"]
    assert {line.index(what) for line, what in ((head, "what"), (gain, "the gain"), (broken, "could"))} == {
        head.index("what")
    }


def test_an_empty_table_is_its_head(capsys):
    print_table([])
    assert capsys.readouterr().out.split() == ["id", "value", "bar", "holds", "peer", "what"]


def test_make_bench_runs_each_benchmark_in_a_process_of_its_own(monkeypatch, tmp_path, capsys):
    commands = []

    def fake(command, check):
        commands.append(command)
        return subprocess.CompletedProcess(command, int("b" in command[2].split(".")[1]))

    monkeypatch.setattr(everything, "names", lambda: ["a", "b"])
    monkeypatch.setattr(everything.subprocess, "run", fake)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick", "--out", str(tmp_path), "--data", "d"])
    assert everything.run_all() == 1
    assert commands[0][1:] == ["-m", "benchmarks.a", "--data", "d", "--json", str(tmp_path / "a.json"), "--quick"]
    assert len(commands) == 2
    assert "failed to run: b" in capsys.readouterr().err


def test_names_are_the_benchmarks():
    assert "stories" in everything.names()
    assert not {"report", "__main__"} & set(everything.names())
