import pytest

from frontier.errors import InputError
from moalign.sweep.config import EvaluationConfig, SweepConfig


def refused(**changes):
    with pytest.raises(InputError) as error:
        SweepConfig(**{"output_dir": "x", "methods": ["clp"], **changes})
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": None}, "needs methods to train with"),
        ({"methods": []}, "needs methods to train with"),
        ({"methods": ["clp", "clp"]}, "methods names 'clp' twice"),
        ({"bundles": ["runs/clp"]}, "bundles are measured: say how"),
        ({"preferences": ["a=1"], "preference_lattice": 3}, "not both"),
        ({"preferences": ["a=0.5,b=0.6"]}, "preferences: preference weights must sum to 1"),
        ({"preferences": ["direction:a=0.8,b=-0.6"]}, "found a direction"),
        ({"seeds": []}, "seeds is an empty list"),
        ({"seeds": [1, 1]}, "seeds names 1 twice"),
        ({"grid": {"beta": 0.1}}, "grid.beta must be a list of values, found 0.1"),
        ({"grid": {"beta": []}}, "grid.beta is an empty list"),
        ({"per_method": {"cpl": {}}}, "unknown method in per_method 'cpl': did you mean 'clp'"),
        ({"per_method": {"clp": 3}}, "per_method.clp must map settings to values"),
        ({"engine": "rai"}, "unknown engine 'rai': did you mean 'ray'"),
        ({"engine": "ray", "devices": ["cpu"]}, "devices are for the local engine"),
        ({"retries": -1}, "retries must not be negative"),
        ({"evaluation": {}}, "evaluation needs a dataset"),
        ({"evaluation": {"datasets": "x"}}, "unknown field of evaluation 'datasets': did you mean 'dataset'"),
        (
            {"evaluation": {"dataset": "x", "n_prompts": "few"}},
            "evaluation.n_prompts: found 'few', expected an integer",
        ),
        ({"evaluation": {"dataset": "x", "n_prompts": 1}}, "n_prompts must be at least 2"),
        ({"evaluation": {"dataset": "x", "partitions": 0}}, "evaluation.partitions must be at least 1"),
        ({"evaluation": {"dataset": "x", "temperature": -1}}, "must not be negative"),
        (
            {"evaluation": {"dataset": "x", "preferences": ["a=2"]}},
            "evaluation.preferences: preference weights must sum to 1",
        ),
    ],
)
def test_refuses(changes, message):
    assert message in refused(**changes)


def test_several_jobs_may_share_a_device():
    assert SweepConfig(output_dir="x", methods=["clp"], devices=["cpu", "cpu"]).devices == ["cpu", "cpu"]


def test_evaluation_of_a_file():
    found = EvaluationConfig.from_mapping({"dataset": "x", "n_prompts": 8, "preferences": ["a=1", "a=0.5,b=0.5"]})
    assert (found.n_prompts, found.preferences, found.partitions) == (8, ["a=1", "a=0.5,b=0.5"], 5)
    assert EvaluationConfig.from_mapping(found.to_json()) == found


def test_the_sweeps_reward_judges_unless_another_is_named():
    shared = {"output_dir": "x", "methods": ["clp"], "reward": "r"}
    assert SweepConfig(**shared, evaluation={"dataset": "d"}).evaluation_config().reward == "r"
    assert SweepConfig(**shared, evaluation={"dataset": "d", "reward": "s"}).evaluation_config().reward == "s"


def test_shared_settings_are_those_of_train():
    config = SweepConfig(
        output_dir="x", methods=["clp"], model="m", dataset="d", train={"beta": 0.1}, skip_bad_rows=True
    )
    assert config.shared_settings() == {"model": "m", "dataset": "d", "beta": 0.1, "skip_bad_rows": True}
