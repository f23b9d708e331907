import json
import math

import pytest
import torch
from datasets import Dataset
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.evaluation import Samples
from moalign.methods.dual_trainer import Answers
from moalign.methods.maxmin import MaxMinConfig, MaxMinTrainer
from moalign.policy import SteerablePolicy
from moalign.training.online import OnlineConfig, OnlineTrainer
from reward_heads import FunctionReward, Normalizer

from ..small_runs import PROMPTS, ROLLOUT, SETTINGS, brevity, parameters, vowels

UNITS = Normalizer(("old", "young"), (1.0, 0.0), (2.0, 1.0), 1)


REWARD = FunctionReward({"old": vowels, "young": brevity})


def settings(folder, kind=MaxMinConfig, **changes):
    defaults = {**SETTINGS, **ROLLOUT, "output_dir": str(folder), "normalizer_samples": 32}
    return kind(**{**defaults, **changes})


def test_the_run_ends_with_a_report_on_every_group(tiny_base, tmp_path):
    held_out = Dataset.from_dict({"prompt": ["x y", "z", "x y"]})
    trainer = MaxMinTrainer(str(tiny_base), REWARD, settings(tmp_path), PROMPTS, held_out)
    trainer.train()
    trainer.save_model()
    report = json.loads((tmp_path / "groups.json").read_text())
    assert report["prompts_from"] == "eval_dataset"
    assert (report["n_prompts"], report["completions_per_prompt"]) == (2, 4)  # a prompt that stands there twice is one
    assert [row["group"] for row in report["groups"]] == ["old", "young"]
    assert report["worst"] == min(report["groups"], key=lambda row: row["mean"])["group"]
    assert_close(sum(row["weight"] for row in report["groups"]), 1.0)
    assert [row["weight"] for row in report["groups"]] == list(trainer.scalarizer.weights)
    assert [row["average_weight"] for row in report["groups"]] == list(trainer.scalarizer.average_weights)
    card = (tmp_path / "README.md").read_text()
    assert f"group {report['worst']} (worst off)" in card
    assert "2 held-out prompts, 4 completions each" in card
    policy = SteerablePolicy.from_pretrained(tmp_path)
    assert policy.training["method"] == "maxmin"
    assert policy.conditioning.kind == "none"


def test_hand_made_report(tiny_base, tmp_path):
    def answers(rewards):
        zeros = torch.zeros(len(rewards))
        return Samples([""] * len(rewards), torch.tensor(rewards), zeros + 0.5, zeros, zeros)

    trainer = MaxMinTrainer(str(tiny_base), REWARD, settings(tmp_path), PROMPTS, normalizer=UNITS)
    policy = answers([[5.0, 0.0], [1.0, 1.0], [3.0, -1.0], [3.0, 0.0]])
    reference = answers([[1.0, 0.0], [1.0, 0.0], [3.0, 1.0], [5.0, 1.0]])
    report = trainer.group_report(Answers(policy, reference, ["p", "p", "q", "q"], 2, "train_dataset"))
    old, young = report["groups"]
    # (5, 1 | 3, 3) - 1, by 2, is 2, 0 | 1, 1: both prompts have the mean 1.
    assert (old["mean"], old["standard_error"], old["reference_mean"]) == (1.0, 0.0, 0.75)
    # (0, 1 | -1, 0): prompts' means 0.5 and -0.5, whose error is sqrt(0.5 / 2).
    assert (young["mean"], young["standard_error"]) == (0.0, 0.5)
    # old: 5 beats both 1s and 1 ties with both: 3/4; 3 ties with 3 and loses to 5: 1/4.  young: 0 ties, 1 wins: 3/4; all lost: 0.
    assert (old["win_rate"], young["win_rate"]) == (0.5, 0.375)
    assert_close(old["win_rate_standard_error"], 0.25)
    assert (report["worst"], report["kl"]) == ("young", 0.5)


def test_one_group_far_worse_is_training_for_it_alone(tiny_base, tmp_path):
    """argmin puts all weight on the worst group: weights, rollouts and optimiser steps are those of single-objective training."""
    far = Normalizer(("old", "young"), (-1000.0, 0.0), (1.0, 1.0), 1)  # `old` is 1000 better off from the start
    options = {"normalizer": far}
    ours = MaxMinTrainer(
        str(tiny_base), REWARD, settings(tmp_path / "ours", mode="argmin", max_steps=3), PROMPTS, **options
    )
    ours.train()
    single = settings(tmp_path / "single", OnlineConfig, conditioning="none", preference="young=1.0", max_steps=3)
    theirs = OnlineTrainer(str(tiny_base), REWARD, single, PROMPTS, **options)
    start = parameters(theirs)
    theirs.train()
    assert ours.scalarizer.weights == (0.0, 1.0)
    for name, value in parameters(theirs).items():
        assert torch.equal(value, parameters(ours)[name]), name
    assert any(not torch.equal(value, start[name]) for name, value in parameters(ours).items())


def test_resumed_training_is_bit_equal(tiny_base, tmp_path):
    def trainer(name):
        config = settings(tmp_path / name, max_steps=4, save_steps=2, save_strategy="steps")
        return MaxMinTrainer(str(tiny_base), REWARD, config, PROMPTS)

    whole, half = trainer("whole"), trainer("half")
    whole.train()
    half.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert whole.scalarizer.state() == half.scalarizer.state()
    assert whole.scalarizer.weights != (0.5, 0.5)
    for name, value in parameters(whole).items():
        assert torch.equal(value, parameters(half)[name]), name
    assert (tmp_path / "whole" / "groups.json").read_text() == (tmp_path / "half" / "groups.json").read_text()


def test_the_step_follows_the_learning_rate(tiny_base, tmp_path):
    config = settings(tmp_path, max_steps=4, rate=0.8, lr_scheduler_type="linear")
    trainer = MaxMinTrainer(str(tiny_base), REWARD, config, PROMPTS)
    trainer.train()
    assert_close(trainer.scalarizer.rate, 0.2)  # the last of four updates is made at a quarter of the learning rate


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conditioning": "adapter_mixture"}, "found conditioning adapter_mixture"),
        ({"preference": "old=1.0"}, "found preference old=1.0"),
        ({"report_prompts": 1}, "report_prompts must be at least 2, found 1"),
        ({"report_samples": 0}, "report_samples must be at least 1, found 0"),
    ],
)
def test_refuses_settings(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        settings(tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "argmax"}, "did you mean 'argmin'"),
        ({"rate": -1.0}, "rate must be positive"),
        ({"proportional": -1.0}, "proportional must be at least 0"),
    ],
)
def test_refuses_a_rule_that_is_none(tiny_base, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        MaxMinTrainer(str(tiny_base), REWARD, settings(tmp_path, **options), PROMPTS)


def test_refuses_a_single_group(tiny_base, tmp_path):
    with pytest.raises(InputError, match="at least two groups"):
        MaxMinTrainer(str(tiny_base), FunctionReward({"all": vowels}), settings(tmp_path), PROMPTS)


def test_a_single_prompt_has_no_error_but_a_report(tiny_base, tmp_path):
    trainer = MaxMinTrainer(str(tiny_base), REWARD, settings(tmp_path, max_steps=1), PROMPTS.select([0] * 8))
    trainer.train()
    report = json.loads((tmp_path / "groups.json").read_text())
    assert report["prompts_from"] == "train_dataset"
    assert report["groups"][0]["standard_error"] is None  # JSON has no NaN
    assert math.isfinite(report["groups"][0]["mean"])
    assert "1 training prompts" in trainer.policy.training["measured on"]
