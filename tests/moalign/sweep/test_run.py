"""Whole sweeps: six jobs one after the other and on a Ray cluster of this machine, one of them killed on its way."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from frontier.errors import InputError
from frontier.front import ParetoFront
from moalign.sweep import child, run
from moalign.sweep.config import SweepConfig
from moalign.sweep.engines import LocalEngine
from moalign.sweep.jobs import expand
from moalign.sweep.run import prepare, run_sweep

KILLED = "clp-helpful0.5_brief0.5-seed3"


class MostlyHere(LocalEngine):
    """Runs jobs in this process, which takes no time to start; the one that is killed in one of its own."""

    def start(self, folder):
        return super().start(folder) if folder.path.name == KILLED else Ended(child._run(folder))


class Ended:
    def __init__(self, code):
        self._code = code

    def started(self):
        return True

    def code(self):
        return self._code


@pytest.fixture(scope="module")
def six(shared, ingredients, tmp_path_factory):
    """Six jobs one after the other; one is killed after its first checkpoint."""
    root = tmp_path_factory.mktemp("sweeps")
    config = SweepConfig(
        output_dir=str(root / "sequential"),
        methods=["modpo", "clp"],
        preferences=["sampled", "helpful=1", "helpful=0.5,brief=0.5"],
        seeds=[3],
        **shared,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # Ray would set it to what it sets aside
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        (ingredients / "die").write_text(KILLED)
        yield config, run_sweep(config, engine=MostlyHere())
        torch.set_num_threads(threads)


@pytest.mark.slow
def test_six_jobs_give_one_front_though_one_was_killed(six):
    config, result = six
    found = {outcome.job.name: (outcome.state, outcome.codes) for outcome in result.outcomes}
    assert found == {outcome.job.name: ("done", [0]) for outcome in result.outcomes} | {KILLED: ("done", [-9, 0])}
    assert len(found) == 6
    line = next(line for line in result.table().splitlines() if line.startswith(KILLED)).split(maxsplit=4)
    assert (line[1], line[2], line[4]) == ("done", "2", "after: ended by SIGKILL: it said nothing")
    out = run.Path(config.output_dir)
    assert {"front.json", "front.png", "front.html", "sweep.json"} <= {p.name for p in out.iterdir()}
    front = ParetoFront.load(out / "front.json")
    # Three of each steerable policy, and one of each that was trained for one preference.
    assert [p.source for p in front.points] == [
        *["modpo, seed 3"] * 3,
        *["modpo, one model per preference, seed 3"] * 2,
        *["clp, seed 3"] * 3,
        *["clp, one model per preference, seed 3"] * 2,
    ]
    assert front.points[3].preference == {"weights": {"helpful": 1.0}}
    assert "notes" not in front.info  # the reference policy is the same in all, and so are the prompts
    assert front.normalizer["objectives"] == ["helpful", "brief"]


@pytest.mark.slow
def test_on_a_ray_cluster_the_results_are_the_same(six):
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    config, sequential = six
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        where = str(run.Path(config.output_dir).parent / "ray")
        result = run_sweep(dataclasses.replace(config, output_dir=where, engine="ray"))
        assert ray.is_initialized()  # a connection that was there is left
    finally:
        ray.shutdown()
    assert [outcome.codes for outcome in result.outcomes] == [[0]] * 6
    np.testing.assert_array_equal(result.front.rewards, sequential.front.rewards)
    np.testing.assert_array_equal(result.front.prompt_rewards.rewards, sequential.front.prompt_rewards.rewards)
    assert [p.kl for p in result.front.points] == [p.kl for p in sequential.front.points]
    assert result.front.normalizer == sequential.front.normalizer


@pytest.mark.slow
def test_what_is_done_is_not_repeated(six, monkeypatch):
    config, first = six
    monkeypatch.setattr(run, "make_engine", lambda config: pytest.fail("nothing is left to do"))
    again = run_sweep(config)
    assert [outcome.state for outcome in again.outcomes] == ["kept"] * 6
    np.testing.assert_array_equal(again.front.rewards, first.front.rewards)
    assert len(json.loads((run.Path(config.output_dir) / "sweep.json").read_text())["jobs"]) == 6


# ---- without processes


def finish(config):
    """Pretend that everything was run."""
    for outcome in prepare(config, expand(config)):
        outcome.folder.mark_trained(outcome.job.identity())
        evaluation = config.evaluation_config()
        outcome.folder.finish(outcome.job.identity(), evaluation and evaluation.to_json(), {})


def states(config):
    return [outcome.state for outcome in prepare(config, expand(config))]


def test_only_what_is_missing_is_run(config):
    finish(config(seeds=[0]))
    assert states(config(seeds=[0])) == ["kept", "kept"]
    assert states(config(seeds=[0, 1])) == ["kept", "waiting", "kept", "waiting"]


def test_another_evaluation_measures_again_and_trains_nothing(config):
    finish(config())
    evaluation = config().evaluation | {"n_prompts": 5}
    (first, _) = prepare(config(evaluation=evaluation), expand(config()))
    assert first.state == "waiting"
    assert first.folder.trained(first.job.identity())


def test_changed_jobs_are_refused_or_run_again(config):
    finish(config())
    changed = config(train=config().train | {"lora_r": 4})
    with pytest.raises(InputError, match=r"jobs/modpo was run with lora_r 2, now it is 4"):
        prepare(changed, expand(changed))
    assert states(config()) == ["kept", "kept"]
    changed.rerun_changed = True
    assert states(changed) == ["waiting", "waiting"]
    assert states(changed) == ["waiting", "waiting"]
    assert not (run.Path(changed.output_dir) / "jobs" / "clp" / "result.json").exists()


def test_a_failed_job_leaves_the_others_and_is_reported(config, pretender):
    settings = config(evaluation=None, seeds=[0, 1])
    result = run_sweep(settings, engine=pretender({"modpo-seed1": [1, -9]}))
    assert [outcome.state for outcome in result.outcomes] == ["done", "failed", "done", "done"]
    assert [outcome.job.name for outcome in result.failed] == ["modpo-seed1"]
    assert result.front is None
    written = json.loads((run.Path(settings.output_dir) / "sweep.json").read_text())["jobs"][1]
    assert (written["state"], written["attempts"]) == ("failed", [1, -9])


def test_one_sweep_at_a_time_in_a_folder(config, pretender):
    settings = config(evaluation=None)

    def watch(outcomes):
        with pytest.raises(InputError, match="another sweep is running there"):
            run_sweep(settings)

    run_sweep(settings, engine=pretender({}), watch=watch)


def test_a_lattice_is_over_the_rewards_objectives(config, pretender):
    settings = config(evaluation=None, methods=["clp"], preference_lattice=3, per_method={})
    result = run_sweep(settings, engine=pretender({}))
    assert [o.job.name for o in result.outcomes] == [
        "clp-helpful0_brief1",
        "clp-helpful0.5_brief0.5",
        "clp-helpful1_brief0",
    ]
    with pytest.raises(InputError, match="preference_lattice needs the reward"):
        run_sweep(dataclasses.replace(settings, reward=None))


def test_a_refused_sweep_leaves_nothing(config):
    with pytest.raises(InputError, match="unknown method"):
        run_sweep(config(methods=["modpoo"], per_method={}))
    assert not run.Path(config().output_dir).exists()
