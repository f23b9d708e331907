import dataclasses
import json

import numpy as np
import pytest

from frontier.front import FrontPoint, ParetoFront
from frontier.prompt_rewards import PromptRewards
from moalign.sweep.config import EvaluationConfig
from moalign.sweep.folder import JobFolder
from moalign.sweep.jobs import Job
from moalign.sweep.results import SweepResult, sweep_front, write_results
from moalign.sweep.runner import Outcome

NAMES = ("helpful", "brief")
# Two prompts: means 1 and -4, sample standard deviations 2 / √2 and 4 / √2.
REFERENCE = np.array([[0.0, -2.0], [2.0, -6.0]])
EVALUATION = EvaluationConfig("prompts", n_prompts=2)


def job(tmp_path, name, rewards, label="clp, seed 0", reference=REFERENCE, state="done", **axes):
    """A job that is done, with one point whose rewards are the same on both prompts."""
    outcome = Outcome(Job(name, "clp", {"lr": 1}, axes), JobFolder(tmp_path / "jobs" / name), state)
    point = FrontPoint(
        rewards,
        (0.5, 0.5),
        2,
        {"weights": {"helpful": 0.5, "brief": 0.5}},
        source=label,
        extra={"sweep": {"job": name, "method": label.split(",")[0]}},
    )
    base = FrontPoint(tuple(reference.mean(0)), (0.1, 0.1), 2, source="reference")
    samples = PromptRewards(NAMES, np.array([[rewards, rewards]]), ("p", "q"), reference)
    ParetoFront(NAMES, (point,), base, info={"reward": "r"}, prompt_rewards=samples).save(outcome.folder.front)
    return outcome


def test_one_front_in_units_of_the_reference(tmp_path):
    some = [job(tmp_path, "a", (3.0, -4.0)), job(tmp_path, "b", (1.0, 0.0), "modpo, seed 0")]
    front = sweep_front(some, EVALUATION)
    # (3 - 1) / √2 and 0; 0 and 4 / (4 / √2) = √2; errors 0.5 / √2 and 0.5 / (4 / √2)
    np.testing.assert_allclose(front.rewards, [[2**0.5, 0.0], [0.0, 2**0.5]], atol=1e-6)
    np.testing.assert_allclose(front.standard_errors[0], [0.5 / 2**0.5, 0.5 * 2**0.5 / 4], rtol=1e-6)
    assert front.reference_policy.rewards == pytest.approx((0.0, 0.0), abs=1e-6)
    assert front.normalizer["location"] == pytest.approx([1.0, -4.0])
    assert front.prompt_rewards.n_points == 2
    assert [p.source for p in front.points] == ["clp, seed 0", "modpo, seed 0"]
    assert front.info["sweep"] == [{"job": n, "settings": {"lr": 1}, "bundle": None} for n in "ab"]
    assert front.info["reward"] == "r"
    assert "merged" not in front.info


def test_own_units_when_asked_for_and_where_nothing_else_is_possible(tmp_path):
    some = [job(tmp_path, "a", (3.0, -4.0))]
    raw = sweep_front(some, EvaluationConfig("prompts", n_prompts=2, normalize=False))
    assert raw.points[0].rewards == (3.0, -4.0)
    assert raw.normalizer is None
    constant = sweep_front([job(tmp_path, "b", (3.0, -4.0), reference=np.ones((2, 2)))], EVALUATION)
    assert constant.points[0].rewards == (3.0, -4.0)
    assert "in their own units" in constant.info["notes"][0]


def test_failed_jobs_are_not_in_the_front(tmp_path):
    some = [job(tmp_path, "a", (3.0, -4.0)), job(tmp_path, "b", (1.0, 0.0), state="failed")]
    assert len(sweep_front(some, EVALUATION).points) == 1
    assert sweep_front(some[1:], EVALUATION) is None


def test_equal_points_of_two_jobs_are_both_kept(tmp_path):
    some = [job(tmp_path, name, (3.0, -4.0)) for name in "ab"]
    assert len(sweep_front(some, EVALUATION).points) == 2


def test_apart_by_what_made_the_points_as_far_as_colours_go(tmp_path):
    few = [job(tmp_path, f"{m}{s}", (float(s), 1.0), f"{m}, seed {s}") for m in ("clp", "modpo") for s in range(3)]
    fronts = SweepResult(few, sweep_front(few, EVALUATION)).fronts()
    assert list(fronts) == [f"{m}, seed {s}" for m in ("clp", "modpo") for s in range(3)]
    many = [*few, job(tmp_path, "clp3", (9.0, 1.0), "clp, seed 3")]
    fronts = SweepResult(many, sweep_front(many, EVALUATION)).fronts()
    assert {label: len(front.points) for label, front in fronts.items()} == {"clp": 4, "modpo": 3}


def test_many_bundles_are_one_series(tmp_path):
    some = [job(tmp_path, f"b{i}", (float(i), 1.0), f"runs/b{i}") for i in range(7)]
    for outcome in some:
        front = ParetoFront.load(outcome.folder.front)
        (point,) = front.points
        point = dataclasses.replace(point, extra={"sweep": {"job": outcome.job.name, "method": None}})
        dataclasses.replace(front, points=(point,)).save(outcome.folder.front)
    assert list(SweepResult(some, sweep_front(some, EVALUATION)).fronts()) == ["bundles"]


def test_the_table_says_what_became_of_each_job(tmp_path):
    done, again, failed = (job(tmp_path, name, (1.0, 1.0)) for name in "abc")
    done.state = "kept"
    again.codes, again.error, again.seconds = [-9, 0], "ended by SIGKILL: it said nothing", 61.2
    failed.state, failed.codes, failed.error = "failed", [2], "refused: moalign: error: no"
    lines = SweepResult([done, again, failed]).table().splitlines()
    assert lines[1].split() == ["a", "kept"]
    assert lines[2].split(maxsplit=4) == ["b", "done", "2", "61", "after: ended by SIGKILL: it said nothing"]
    assert lines[3].split(maxsplit=4) == ["c", "failed", "1", "0", "refused: moalign: error: no"]


def test_writes_what_front_writes(tmp_path):
    some = [job(tmp_path, "a", (3.0, -4.0)), job(tmp_path, "b", (1.0, 0.0), "modpo, seed 0")]
    result = SweepResult(some, sweep_front(some, EVALUATION))
    write_results(tmp_path, result)
    assert {"front.json", "front.prompts.safetensors", "front.png", "front.html", "sweep.json"} <= {
        p.name for p in tmp_path.iterdir()
    }
    np.testing.assert_array_equal(ParetoFront.load(tmp_path / "front.json").rewards, result.front.rewards)
    assert [each["state"] for each in json.loads((tmp_path / "sweep.json").read_text())["jobs"]] == ["done", "done"]
    write_results(tmp_path / "nothing", SweepResult(some, None))
    assert [p.name for p in (tmp_path / "nothing").iterdir()] == ["sweep.json"]
