import pytest

from frontier.errors import InputError
from moalign.sweep.config import SweepConfig
from moalign.sweep.jobs import LONGEST_NAME, expand

BASE = {"output_dir": "x", "model": "m", "reward": "r", "dataset": "d"}


def jobs_of(**changes):
    return expand(SweepConfig(**{**BASE, "methods": ["clp"], **changes}), lambda: ("helpful", "brief"))


def refused(**changes):
    with pytest.raises(InputError) as error:
        jobs_of(**changes)
    return str(error.value)


def test_one_job_for_every_combination_in_order():
    jobs = jobs_of(
        methods=["modpo", "clp"],
        seeds=[0, 1],
        preferences=["sampled", "helpful=0.5,brief=0.5"],
        grid={"beta": [0.1, 1]},
    )
    assert len(jobs) == len({job.name for job in jobs}) == 2 * 2 * 2 * 2
    assert [job.name for job in jobs[:5]] == [
        "modpo-sampled-beta0.1-seed0",
        "modpo-sampled-beta0.1-seed1",
        "modpo-helpful0.5_brief0.5-beta0.1-seed0",
        "modpo-helpful0.5_brief0.5-beta0.1-seed1",
        "modpo-sampled-beta1-seed0",
    ]
    steerable, fixed = jobs[0], jobs[2]
    assert "preference" not in steerable.settings
    assert "conditioning" not in steerable.settings
    assert fixed.settings["preference"] == "helpful=0.5,brief=0.5"
    assert fixed.settings["conditioning"] == "none"
    assert fixed.settings["beta"] == 0.1
    assert fixed.settings["seed"] == 0
    assert steerable.label == "modpo, beta 0.1, seed 0"
    assert fixed.label == "modpo, one model per preference, beta 0.1, seed 0"
    assert fixed.axes == {"beta": 0.1, "preference": "helpful=0.5,brief=0.5", "seed": 0}


def test_names_stay_when_an_axis_gets_longer():
    one = {job.name for job in jobs_of(seeds=[0], preference_lattice=2)}
    assert one < {job.name for job in jobs_of(seeds=[0, 1], preference_lattice=3)}


def test_without_axes_a_method_is_one_job():
    (job,) = jobs_of()
    assert (job.name, job.label, job.axes) == ("clp", "clp", {})


def test_a_conditioning_that_is_asked_for_stays():
    (job,) = jobs_of(preferences=["helpful=1"], train={"conditioning": "prompt"})
    assert job.settings["conditioning"] == "prompt"


def test_the_lattice_has_as_many_points_as_asked_for():
    jobs = jobs_of(preference_lattice=11)
    assert len(jobs) == 11
    assert jobs[1].settings["preference"] == "helpful=0.1,brief=0.9"
    assert len(expand(SweepConfig(**BASE, methods=["clp"], preference_lattice=10), lambda: "abc")) == 10
    with pytest.raises(InputError, match="over a, b, c has 11 points; the nearest has 10 or 15"):
        expand(SweepConfig(**BASE, methods=["clp"], preference_lattice=11), lambda: "abc")
    assert "nearest has 2" in refused(preference_lattice=1)


def test_values_are_those_of_the_methods_settings():
    (job,) = jobs_of(
        methods=["modpo"],
        train={"learning_rate": "1e-3", "lr_scheduler_type": "cosine"},
        per_method={"modpo": {"dataset": "pairs", "loss_type": "sigmoid,ipo"}},
    )
    assert job.settings["learning_rate"] == 0.001
    assert job.settings["lr_scheduler_type"] == "cosine"
    assert job.settings["dataset"] == "pairs"
    assert job.settings["loss_type"] == ["sigmoid", "ipo"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["cpl"]}, "unknown method 'cpl': did you mean 'clp'"),
        ({"train": {"learning_rat": 1}}, "unknown setting of clp 'learning_rat': did you mean 'learning_rate'"),
        ({"train": {"learning_rate": "fast"}}, "learning_rate of clp: found 'fast', expected a number"),
        (
            {"methods": ["clp", "modpo"], "train": {"num_generations": 2}},
            "What only some methods have goes under per_method",
        ),
        ({"model": None}, "the jobs of clp need model: give it for all, or under per_method"),
        (
            {"train": {"resume_from_checkpoint": True}},
            "resume_from_checkpoint cannot be set: a sweep goes on by itself",
        ),
        ({"seeds": [1], "train": {"seed": 3}}, "seed 3 is set for all jobs of clp, but seeds is an axis"),
        ({"preferences": ["a=1"], "train": {"preference": "b=1"}}, "preferences is an axis"),
        ({"grid": {"seed": [1]}}, "grid.seed: use seeds"),
        ({"grid": {"output_dir": ["a"]}}, "grid.output_dir: each job has a folder of its own"),
        ({"grid": {"optim": ["sgd", "SGD"]}}, "two jobs would share the folder"),
    ],
)
def test_refuses(changes, message):
    assert message in refused(**changes)


def test_a_lattice_needs_objectives():
    with pytest.raises(InputError, match="a reward would tell"):
        expand(SweepConfig(**BASE, methods=["clp"], preference_lattice=3))


def test_bundles_are_jobs_without_training():
    jobs = expand(SweepConfig(output_dir="x", bundles=["runs/a", "more/a"], evaluation={"dataset": "d", "reward": "r"}))
    assert [(job.name, job.method, job.label) for job in jobs] == [
        ("bundle-runs_a", None, "runs/a"),
        ("bundle-more_a", None, "more/a"),
    ]


def test_long_names_are_cut_and_differ():
    prompts = ["p" * 200 + end for end in "ab"]
    first, second = jobs_of(grid={"lora_target_modules": prompts})
    assert first.name != second.name
    assert len(first.name) == len(second.name) == LONGEST_NAME
    (umlauts,) = jobs_of(grid={"lora_target_modules": ["\N{GREEK SMALL LETTER PI}" * 200]})
    assert len(umlauts.name.encode()) <= LONGEST_NAME


def test_objectives_of_any_script_have_folders_of_their_own():
    assert [job.name for job in jobs_of(preferences=["安全=1", "有用=1"])] == ["clp-安全1", "clp-有用1"]


def test_one_reward_judges_all():
    two = {"methods": ["clp", "modpo"], "reward": None, "evaluation": {"dataset": "d"}}
    rewards = {"clp": {"reward": "r"}, "modpo": {"reward": "r"}}
    assert len(jobs_of(**two, per_method=rewards)) == 2
    rewards["modpo"] = {"reward": "s"}
    assert "needs a reward that judges all jobs, since the jobs train on r, s" in refused(**two, per_method=rewards)
    assert len(jobs_of(**(two | {"reward": "both"}), per_method=rewards)) == 2
    bundles = {"methods": None, "bundles": ["runs/a"], "evaluation": {"dataset": "d"}}
    assert len(jobs_of(**bundles)) == 1
    assert "bundles bring none" in refused(**bundles, reward=None)
