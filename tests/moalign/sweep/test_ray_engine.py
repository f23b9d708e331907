"""What can be said without a cluster; `test_run.py` runs a sweep on one."""

import signal
import sys
import threading
import time
import types

import pytest

from frontier.errors import InputError
from moalign.sweep import engines
from moalign.sweep.folder import JobFolder
from moalign.sweep.ray_engine import STARTED, STOP, RayEngine, run_attempt


@pytest.fixture
def job(tmp_path, monkeypatch):
    folder = JobFolder(tmp_path / "job")
    folder.begin_attempt(1)

    def make(does):
        monkeypatch.setattr(engines, "child_command", lambda _: [sys.executable, "-c", f"import os, sys, time; {does}"])
        return folder

    return make


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'moalign\[ray\]'"):
        RayEngine()


class Cluster(types.ModuleType):
    """Two machines, and nothing that runs on them."""

    def __init__(self):
        super().__init__("ray")
        self.left = 0

    def is_initialized(self):
        return False

    def init(self, **_):
        pass

    def shutdown(self):
        self.left += 1

    def cluster_resources(self):
        return {"CPU": 8.0, "GPU": 8.0}

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": 4.0}}] * 2


@pytest.mark.parametrize("kind", ["cpus", "gpus"])
def test_what_no_machine_has_is_refused(monkeypatch, kind):
    cluster = Cluster()
    monkeypatch.setitem(sys.modules, "ray", cluster)
    with pytest.raises(InputError, match=f"{kind}_per_job 8: the largest machine of the Ray cluster has 4"):
        RayEngine(**{kind: 8.0})
    assert cluster.left == 1


def test_a_task_runs_the_job_to_its_end(job, tmp_path):
    folder = job("print(os.getcwd(), os.environ['HF_TEST']); sys.exit(3)")
    assert run_attempt(str(folder.path), str(tmp_path), {"HF_TEST": "told"}) == 3
    assert folder.last_words() == f"{tmp_path} told"
    assert not (folder.path / STARTED).exists()


def test_a_task_is_stopped_by_a_file(job, tmp_path):
    folder = job("time.sleep(60)")
    codes = []
    task = threading.Thread(target=lambda: codes.append(run_attempt(str(folder.path), str(tmp_path), {})))
    task.start()
    until = time.monotonic() + 20
    while not (folder.path / STARTED).exists() and time.monotonic() < until:
        time.sleep(0.01)
    (folder.path / STOP).touch()
    task.join(30)
    assert codes == [-signal.SIGTERM]
    # One that has not begun does not begin.
    assert run_attempt(str(folder.path), str(tmp_path), {}) == -signal.SIGTERM
