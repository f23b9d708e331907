import os
import signal
import threading

import pytest

from moalign.sweep import runner
from moalign.sweep.folder import JobFolder
from moalign.sweep.jobs import Job
from moalign.sweep.runner import Interrupted, Outcome, run_jobs


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(runner, "LOOK_EVERY", 0.001)


@pytest.fixture
def outcomes(tmp_path):
    def make(*names):
        jobs = [Job(name, "clp", {}, {}) for name in names]
        return [Outcome(job, JobFolder.of(tmp_path, job)) for job in jobs]

    return make


def states(outcomes):
    return {outcome.job.name: (outcome.state, outcome.codes) for outcome in outcomes}


def test_what_dies_is_started_again_and_the_rest_goes_on(outcomes, pretender):
    some = outcomes("a", "b", "c", "d")
    engine = pretender({"b": [-9, 0], "c": [1, -9], "d": [2]})
    run_jobs(some, engine, retries=1)
    assert states(some) == {
        "a": ("done", [0]),
        "b": ("done", [-9, 0]),
        "c": ("failed", [1, -9]),
        "d": ("failed", [2]),  # a wrong input is not mended by trying again
    }
    assert engine.started == ["a", "b", "b", "c", "c", "d"]
    assert some[1].error == "ended by SIGKILL: it said nothing"
    assert [o.retries for o in some] == [0, 1, 1, 0]
    assert some[1].folder.log.read_text() == "---- attempt 1\n---- attempt 2\n"


def test_without_retries_a_job_that_dies_has_failed(outcomes, pretender):
    some = outcomes("a")
    run_jobs(some, pretender({"a": [143]}), retries=0)
    assert states(some) == {"a": ("failed", [143])}


def test_as_many_run_as_there_is_room_and_kept_ones_are_left_alone(outcomes, pretender):
    some = outcomes("a", "b", "c")
    some[1].state = "kept"
    seen = []
    engine = pretender({}, places=2)
    run_jobs(some, engine, watch=lambda now: seen.append([o.state for o in now]))
    assert ["running", "kept", "running"] in seen
    assert engine.started == ["a", "c"]
    assert [o.state for o in some] == ["done", "kept", "done"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_the_jobs_to_end_and_starts_no_other(outcomes, pretender, signum):
    some = outcomes("a", "b", "c")
    engine = pretender({"a": [None], "b": [None]}, places=2)
    before = signal.getsignal(signum)

    def watch(now):
        os.kill(os.getpid(), signum)

    with pytest.raises(Interrupted) as error:
        run_jobs(some, engine, watch=watch)
    assert error.value.signum == signum
    assert engine.stopped == engine.started == ["a", "b"]
    assert signal.getsignal(signum) is before


def test_jobs_end_too_when_something_else_goes_wrong(outcomes, pretender):
    engine = pretender({"a": [None]})

    def watch(now):
        raise RuntimeError("the table broke")

    with pytest.raises(RuntimeError, match="the table broke"):
        run_jobs(outcomes("a"), engine, watch=watch)
    assert engine.stopped == ["a"]


def test_a_job_that_does_not_end_is_ended(outcomes, pretender):
    engine = pretender({"a": [None]})
    killed = []

    def start(folder):
        process = pretender.start(engine, folder)
        process.stop = lambda: None
        process.kill = lambda: killed.append(folder.path.name)
        return process

    engine.start = start
    with pytest.raises(Interrupted):
        run_jobs(outcomes("a"), engine, watch=lambda now: os.kill(os.getpid(), signal.SIGTERM), grace=0.01)
    assert killed == ["a"]


def test_a_sweep_in_another_thread_leaves_signals_alone(outcomes, pretender):
    some = outcomes("a")
    thread = threading.Thread(target=run_jobs, args=(some, pretender({})))
    thread.start()
    thread.join()
    assert states(some) == {"a": ("done", [0])}
