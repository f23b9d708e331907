import io
import json

import pytest

from moalign.sweep import live
from moalign.sweep.folder import JobFolder
from moalign.sweep.jobs import Job
from moalign.sweep.live import LiveTable, table
from moalign.sweep.runner import Outcome


@pytest.fixture
def outcomes(tmp_path):
    jobs = [Job(name, "clp", {"max_steps": 50}, {}) for name in "abc"]
    return [Outcome(job, JobFolder.of(tmp_path, job)) for job in jobs]


def test_elsewhere_a_line_for_every_change(outcomes):
    a, b, c = outcomes
    out = io.StringIO()
    show = LiveTable(out)
    show(outcomes)
    c.state = "kept"
    a.begin()
    show(outcomes)
    show(outcomes)
    a.end(-9)
    a.state, a.error = "waiting", "ended by SIGKILL: it said nothing"
    show(outcomes)
    a.begin()
    show(outcomes)
    a.end(0)
    a.state, a.seconds = "done", 12.4
    b.state, b.codes, b.error = "failed", [2], "refused: no"
    show.close(outcomes)
    assert out.getvalue().splitlines() == [
        "[1/3] a: started",
        "[3/3] c: done before",
        "[1/3] a: ended by SIGKILL: it said nothing; starts again",
        "[1/3] a: started again, after ended by SIGKILL: it said nothing",
        "[1/3] a: done in 12 s",
        "[2/3] b: failed after 1 attempt, refused: no",
    ]


def test_the_table_reads_how_far_training_is(outcomes):
    a, b, c = outcomes
    a.folder.bundle.mkdir(parents=True)
    (a.folder.bundle / "metrics.jsonl").write_text(json.dumps({"step": 10, "loss": 0.69312}) + "\n")
    a.begin()
    b.codes = [-9]
    c.state, c.codes, c.seconds = "done", [0], 7.2
    lines = table(outcomes, 20)
    assert lines[0] == "1 running, 1 waiting, 1 done"
    assert [line.split() for line in lines[1:]] == [
        ["job", "state", "step", "loss", "seconds"],
        ["a", "running", "10/50", "0.6931", "0"],
        ["b", "waiting", "(again)", "0"],
        ["c", "done", "7"],
    ]


def test_a_short_terminal_shows_what_runs(outcomes):
    outcomes[2].begin()
    lines = table(outcomes, 4)
    assert lines[2].split()[0] == "c"
    assert lines[3:] == ["... and 2 more"]


def test_a_terminal_is_written_over(outcomes, monkeypatch):
    monkeypatch.setattr(live, "RENEW_EVERY", 0.0)
    out = io.StringIO()
    show = LiveTable(out, terminal=True)
    show(outcomes)
    lines = out.getvalue().count("\n")
    assert lines == 5
    show(outcomes)
    assert out.getvalue().count(f"\x1b[{lines}A\x1b[J") == 1
    show.close(outcomes)
    assert out.getvalue().endswith(f"\x1b[{lines}A\x1b[J")


def test_a_terminal_is_renewed_once_a_second(outcomes):
    out = io.StringIO()
    show = LiveTable(out, terminal=True)
    show(outcomes)
    first = out.getvalue()
    show(outcomes)
    assert out.getvalue() == first
