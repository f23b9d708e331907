import copy
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from moalign.training.runs.stopping import RunInterrupted, RunStopped, RunTerminated, StopSignals, stopped_by

CHECKPOINT = Path("runs/x/checkpoint-7")


def test_both_signals_are_only_remembered():
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)
        with StopSignals() as signals:
            assert signals.caught is None
            os.kill(os.getpid(), number)
            assert signals.caught is number
        assert signal.getsignal(number) is before


def test_the_second_ctrl_c_does_not_wait():
    with StopSignals():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_that_is_handled_already_is_left_alone():
    got = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGTERM)
        assert signals.caught is None
        assert got == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_a_thread_nothing_is_taken_over():
    found = []

    def enter():
        with StopSignals():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


def test_what_is_raised_says_where_the_run_can_go_on():
    terminated, interrupted = stopped_by(signal.SIGTERM, 7, CHECKPOINT), stopped_by(signal.SIGINT, 7, CHECKPOINT)
    assert isinstance(terminated, RunTerminated)
    assert isinstance(terminated, SystemExit)
    assert terminated.code == 143
    assert isinstance(interrupted, RunInterrupted)
    assert isinstance(interrupted, KeyboardInterrupt)
    for error in (terminated, interrupted):
        assert (error.step, error.checkpoint) == (7, CHECKPOINT)
        assert f"after step 7, saved in {CHECKPOINT}: go on with resume_from_checkpoint=True" in str(error)


def test_a_script_that_knows_nothing_of_it_ends_with_143():
    code = "from moalign.training.runs.stopping import *; from pathlib import Path; raise stopped_by(15, 7, Path('x'))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=600).returncode == 143


def test_a_stop_names_the_checkpoint_that_is_left():
    error = RunStopped("step 8: the loss is nan", 8, (3, 1), CHECKPOINT)
    assert str(error).startswith(f"step 8: the loss is nan. {CHECKPOINT} is whole: go on with")
    assert (error.step, error.rows, error.checkpoint) == (8, (3, 1), CHECKPOINT)
    copied = copy.copy(error)  # by what pickle takes to another process
    assert (str(copied), copied.rows, copied.checkpoint) == (str(error), error.rows, CHECKPOINT)
    assert str(RunStopped("step 1: x", 1)) == "step 1: x. No checkpoint was saved before"
