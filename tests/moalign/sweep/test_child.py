"""What the process of a job does, in this process; `test_run.py` starts real ones."""

import json
import subprocess
import sys
import time

import pytest

from frontier.front import ParetoFront
from moalign.policy import SteerablePolicy
from moalign.sweep import child
from moalign.sweep.config import EvaluationConfig
from moalign.sweep.folder import JobFolder
from moalign.sweep.jobs import Job


@pytest.fixture(autouse=True)
def _no_watch(monkeypatch):
    monkeypatch.setattr(child, "end_with_parent", lambda: None)


@pytest.fixture
def evaluation(shared):
    return EvaluationConfig.from_mapping(shared["evaluation"]).to_json()


@pytest.fixture
def save_bundle(tiny_base, plain_adapters):
    """Writes a bundle whose objectives are in another order than the reward's."""

    def save(folder):
        adapters = {name: plain_adapters[name] for name in ("brief", "helpful")}
        SteerablePolicy.from_pretrained(tiny_base, adapters=adapters).save_pretrained(folder)
        return folder

    return save


@pytest.fixture
def bundle(save_bundle, tmp_path):
    return save_bundle(tmp_path / "bundle")


def prepared(tmp_path, job, evaluation):
    folder = JobFolder(tmp_path / "jobs" / job.name)
    folder.write(job, evaluation)
    return folder


def test_a_bundle_is_measured_on_the_lattice_in_the_rewards_order(tmp_path, shared, bundle, evaluation):
    evaluation["reward"] = shared["reward"]
    job = Job("old", None, {}, {}, bundle=str(bundle))
    folder = prepared(tmp_path, job, evaluation)
    assert child.main([str(folder.path)]) == 0
    assert folder.finished(job, evaluation)
    front = ParetoFront.load(folder.front)
    assert front.objectives == ("helpful", "brief")
    assert sorted(front.weights.tolist()) == [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    assert front.normalizer is None
    assert {p.source for p in front.points} == {str(bundle)}
    assert front.points[0].extra["sweep"] == {"job": "old", "method": None}
    # Words are not negative, and minus a number of them not positive: the columns were not mixed up.
    assert front.rewards[:, 0].min() >= 0 >= front.rewards[:, 1].max()


def test_training_that_is_over_is_not_repeated(tmp_path, save_bundle, evaluation, shared, monkeypatch):
    settings = {"reward": shared["reward"], "preference": "helpful=0.25,brief=0.75"}
    job = Job("fixed", "clp", settings, {"preference": "helpful=0.25,brief=0.75", "seed": 1})
    folder = prepared(tmp_path, job, evaluation)
    save_bundle(folder.bundle)
    folder.mark_trained(job.identity())
    monkeypatch.setattr(child, "_train", lambda *_: pytest.fail("it was trained already"))
    assert child.main([str(folder.path)]) == 0
    (point,) = ParetoFront.load(folder.front).points
    assert point.preference == {"weights": {"helpful": 0.25, "brief": 0.75}}
    assert point.extra["sweep"] == {
        "job": "fixed",
        "method": "clp",
        "preference": "helpful=0.25,brief=0.75",
        "seed": 1,
    }
    assert list(json.loads((folder.path / "result.json").read_text())["seconds"]) == ["measure"]


def test_a_refusal_is_the_exit_code_of_train(tmp_path, capsys, evaluation):
    folder = prepared(tmp_path, Job("a", "clp", {"model": "./no/model", "reward": "./no/reward"}, {}), evaluation)
    assert child.main([str(folder.path)]) == 2
    assert "moalign: error: " in capsys.readouterr().err
    assert not (folder.path / "result.json").exists()
    assert child.main([str(tmp_path)]) == 2
    assert "holds no job" in capsys.readouterr().err


def test_a_bundle_needs_a_reward_to_be_measured(tmp_path, bundle, evaluation, capsys):
    folder = prepared(tmp_path, Job("old", None, {}, {}, bundle=str(bundle)), evaluation)
    assert child.main([str(folder.path)]) == 2
    assert "evaluation needs a reward" in capsys.readouterr().err


def test_a_run_goes_on_only_from_a_checkpoint(tmp_path, monkeypatch):
    import moalign.cli

    calls = []
    monkeypatch.setattr(moalign.cli, "main", lambda arguments: calls.append(arguments) or 7)
    monkeypatch.setattr(child, "_can_resume", lambda bundle: bool(calls))
    folder = prepared(tmp_path, Job("a", "clp", {"beta": 1}, {}), None)
    assert child.main([str(folder.path)]) == child.main([str(folder.path)]) == 7
    place = ["train", "clp", "--config", str(folder.config), "--output_dir", str(folder.bundle)]
    assert calls == [[*place, "--overwrite_output_dir"], [*place, "--resume_from_checkpoint", "true"]]


def test_nothing_to_go_on_from_in_an_empty_folder(tmp_path):
    (tmp_path / "runs" / "a" / "checkpoint-3").mkdir(parents=True)
    assert not child._can_resume(tmp_path)


def test_a_process_ends_when_its_sweep_is_gone(tmp_path):
    watched = (
        "from moalign.sweep import child; import time; child.LOOK_EVERY = 0.05; child.end_with_parent(); time.sleep(60)"
    )
    parent = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {watched!r}]); print(p.pid, flush=True); sys.stdin.read(1)"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sweep:
        pid = int(sweep.stdout.readline())
        time.sleep(2.0)  # let it begin to look
        sweep.kill()
    until = time.monotonic() + 20
    while _alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _alive(pid)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False
