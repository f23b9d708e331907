import os
import signal
import sys
import time

import pytest
import torch

from frontier.errors import InputError
from moalign.sweep import engines
from moalign.sweep.engines import LocalEngine, child_command
from moalign.sweep.folder import JobFolder

# Says where it runs, and sleeps or ends as it is told.
SCRIPT = "import os, sys, time; print(os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True); {}"


@pytest.fixture
def job(tmp_path, monkeypatch):
    def make(name, does="sys.exit(0)"):
        folder = JobFolder(tmp_path / name)
        folder.begin_attempt(1)
        monkeypatch.setattr(engines, "child_command", lambda _: [sys.executable, "-c", SCRIPT.format(does)])
        return folder

    return make


def code_of(process, seconds=20):
    until = time.monotonic() + seconds
    while process.code() is None and time.monotonic() < until:
        time.sleep(0.01)
    return process.code()


def test_the_process_of_a_job():
    assert child_command(JobFolder("jobs/a"))[1:] == ["-m", "moalign.sweep.child", "jobs/a"]


def test_one_job_on_each_device(job, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    engine = LocalEngine(["cuda:1", "cuda:0"])
    first = engine.start(job("a"))
    second = engine.start(job("b", "time.sleep(60)"))
    assert not engine.room()
    assert code_of(first) == 0
    assert engine.room()
    assert first.code() == 0  # asking again frees nothing twice
    third = engine.start(job("c"))
    assert not engine.room()
    assert code_of(third) == 0
    second.kill()
    assert code_of(second) == -signal.SIGKILL
    assert [first_words(job(name)) for name in "abc"] == ["1", "0", "1"]


def first_words(folder):
    return folder.log.read_text().splitlines()[1]


def test_numbers_count_what_the_sweep_itself_sees(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 6")
    assert engines._environment("cuda:1") == {"CUDA_VISIBLE_DEVICES": "6"}
    with pytest.raises(InputError, match="there is no cuda:2: CUDA_VISIBLE_DEVICES is '4, 6'"):
        LocalEngine(["cuda:2"])
    assert engines._environment("cpu") == {"CUDA_VISIBLE_DEVICES": ""}
    assert engines._environment("") == {}
    with pytest.raises(InputError, match="found 'gpu0', expected cpu or cuda:0"):
        LocalEngine(["gpu0"])


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="there is no cuda:1: this machine has 1 GPUs"):
        LocalEngine(["cuda:0", "cuda:1"])


def test_jobs_side_by_side_share_the_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert LocalEngine(["cpu", "cpu"])._free == [{"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "4"}] * 2
    assert LocalEngine(["cpu"])._free == [{"CUDA_VISIBLE_DEVICES": ""}]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert LocalEngine(["cpu", "cpu"])._free == [{"CUDA_VISIBLE_DEVICES": ""}] * 2


def test_by_default_one_job_on_the_first_of_several_gpus(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert LocalEngine()._free == [{"CUDA_VISIBLE_DEVICES": "0"}]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert LocalEngine()._free == [{}]


def test_stop_is_sigterm_and_kill_takes_what_the_job_started(job):
    saves = "import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); print('ready', flush=True); time.sleep(60)"
    folder = job("a", saves)
    process = LocalEngine(["cpu"]).start(folder)
    until = time.monotonic() + 20
    while "ready" not in folder.log.read_text() and time.monotonic() < until:
        time.sleep(0.01)
    assert process.code() is None
    assert process.started()
    process.stop()
    assert code_of(process) == 143
    folder = job("b", "import subprocess; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()")
    process = LocalEngine(["cpu"]).start(folder)
    until = time.monotonic() + 20
    while len(folder.log.read_text().splitlines()) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    grandchild = int(folder.log.read_text().splitlines()[2])
    process.kill()
    assert code_of(process) == -signal.SIGKILL
    until = time.monotonic() + 20
    while _alive(grandchild) and time.monotonic() < until:
        time.sleep(0.01)
    assert not _alive(grandchild)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:  # what nobody has waited for is dead all the same
        return file.read().split()[2] != "Z"
