import json
import logging

import pytest
import torch
from datasets import Dataset
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.evaluation import Samples
from moalign.methods.dual_trainer import Answers
from moalign.methods.lagrangian import (
    LagrangianConfig,
    LagrangianTrainer,
    UnconstrainedSampler,
    parse_constraint,
)
from moalign.policy import SteerablePolicy
from moalign.scalarize.lagrangian import Constraint
from moalign.training.online import OnlineConfig, OnlineTrainer
from moalign.training.rollouts.rollout import PreferenceSampler
from reward_heads import FunctionReward, Normalizer

from ..small_runs import PROMPTS, ROLLOUT, SETTINGS, brevity, metrics, parameters, vowels

UNITS = Normalizer(("helpful", "brief", "safe"), (1.0, -4.0, 10.0), (2.0, 0.5, 4.0), 1)


REWARD = FunctionReward(
    {
        "helpful": vowels,
        "brief": brevity,
        "safe": lambda p, c: -float(sum(word in "xyz" for word in c.split())),
    }
)


def settings(folder, *constraints, kind=LagrangianConfig, **changes):
    defaults = {**SETTINGS, **ROLLOUT, "output_dir": str(folder), "normalizer_samples": 32}
    if constraints:
        defaults["constraints"] = list(constraints)
    return kind(**{**defaults, **changes})


# ---- reading constraints


@pytest.mark.parametrize(
    ("text", "constraint"),
    [
        ("safe>=0.2", Constraint("safe", "above", 0.2)),
        (" brief <= -1.5", Constraint("brief", "below", -1.5)),
        ("helpful==3e-1 ", Constraint("helpful", "equal", 0.3)),
    ],
)
def test_reads_constraints(text, constraint):
    assert parse_constraint(text, REWARD.objectives) == constraint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("save>=0.2", r"constraint 'save>=0.2': unknown objective 'save': did you mean 'safe'"),
        ("safe>0.2", r"constraint 'safe>0.2': expected OBJECTIVE>=NUMBER, .* as in helpful>=0.2"),
        ("safe=0.2", "expected OBJECTIVE>=NUMBER"),
        ("safe", "expected OBJECTIVE>=NUMBER"),
        ("safe>=much", "expected OBJECTIVE>=NUMBER"),
        (">=0.2", "expected OBJECTIVE>=NUMBER"),
        ("0<=safe<=1", "expected OBJECTIVE>=NUMBER"),
        ("safe>=nan", "must be finite"),
    ],
)
def test_refuses_constraints_that_cannot_be_read(text, message):
    with pytest.raises(InputError, match=message):
        parse_constraint(text, REWARD.objectives)


def test_refuses_no_constraint(tmp_path):
    with pytest.raises(InputError, match="constraints is empty"):
        settings(tmp_path)


def test_several_may_be_given_as_one_text(tmp_path):
    assert settings(tmp_path, constraints="safe>=0,brief<=1").constraints == ["safe>=0", "brief<=1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dual": "log_lamda"}, "did you mean 'log_lambda'"),
        ({"window": 0}, "window must be at least 1"),
        ({"cap": -1.0}, "cap must be positive"),
        ({"dual": "log_lambda", "initial": 0.0}, "initial must be positive"),
    ],
)
def test_refuses_a_dual_that_is_none(tiny_base, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        LagrangianTrainer(str(tiny_base), REWARD, settings(tmp_path, "safe>=0", **options), PROMPTS)


def test_refuses_to_steer_between_nothing(tiny_base, tmp_path):
    config = settings(tmp_path, "safe>=0", "brief>=-5", "helpful<=2", conditioning="adapter_mixture")
    with pytest.raises(InputError, match="nothing to steer between: set conditioning to none"):
        LagrangianTrainer(str(tiny_base), REWARD, config, PROMPTS)


# ---- the signal


def test_thresholds_go_through_the_normaliser(tiny_base, tmp_path):
    config = settings(tmp_path, "safe>=12", "brief==-3", max_steps=1)
    trainer = LagrangianTrainer(str(tiny_base), REWARD, config, PROMPTS, normalizer=UNITS)
    trainer.train()
    assert trainer.scalarizer.constraints == (Constraint("safe", "above", 0.5), Constraint("brief", "equal", 2.0))
    line = next(line for line in metrics(tmp_path) if "violation/safe_above" in line)
    # The logged violation is that of normalised rewards against 0.5: 12 - mean in the reward's units, by 4.
    assert_close(line["violation/safe_above"], (12 - line["rewards/safe/mean"]) / 4)
    assert_close(line["violation/brief_equal"], (line["rewards/brief/mean"] + 3) / 0.5)
    # First update: the integral moves by rate times violation, the proportional term adds half of it; the warm-up is over.
    assert_close(line["lambda/safe_above"], (0.05 + 0.5) * line["violation/safe_above"])
    assert line["lambda/brief_equal"] < 0  # all are too long, so brevity is pulled up


def test_an_inactive_constraint_changes_nothing(tiny_base, tmp_path):
    """Weights, to the bit, of plain training for the objective alone: a constraint that holds has the multiplier 0."""
    pair = FunctionReward({"helpful": vowels, "brief": brevity})
    options = {"normalizer": UNITS.select(pair.objectives)}
    config = settings(tmp_path / "ours", "brief>=-100", max_steps=3)
    ours = LagrangianTrainer(str(tiny_base), pair, config, PROMPTS, **options)
    start = parameters(ours)
    ours.train()
    assert ours.scalarizer.multipliers == (0.0,)
    plain = settings(tmp_path / "plain", kind=OnlineConfig, conditioning="none", preference="helpful=1.0", max_steps=3)
    theirs = OnlineTrainer(str(tiny_base), pair, plain, PROMPTS, **options)
    theirs.train()
    for name, value in parameters(theirs).items():
        assert torch.equal(value, parameters(ours)[name]), name
    assert any(not torch.equal(value, start[name]) for name, value in parameters(ours).items())


@pytest.mark.parametrize(
    ("preference", "expected"), [(None, 0.5 * 1.0 + 0.5 * 2.0), ("helpful=0.7,safe=0.3", 0.7 * 1.0 + 0.3 * 3.0)]
)
def test_what_is_maximised(tiny_base, tmp_path, preference, expected):
    """The unconstrained objectives evenly, or what the preference names, a constrained objective too."""
    config = settings(tmp_path, "safe>=0", preference=preference)
    trainer = LagrangianTrainer(str(tiny_base), REWARD, config, PROMPTS)
    weights = trainer.sampler.sample(1, 1).weights
    assert_close(trainer.scalarizer(torch.tensor([[1.0, 2.0, 3.0]]), weights), torch.tensor([expected]))
    assert trainer.describe()["preferences"] == (preference or "equal weights of helpful, brief")


def test_preferences_are_sampled_over_the_unconstrained_objectives(tiny_base, tmp_path):
    config = settings(tmp_path, "safe>=0", conditioning="adapter_mixture", max_steps=1)
    trainer = LagrangianTrainer(str(tiny_base), REWARD, config, PROMPTS)
    rows = trainer.sampler.sample(5, 4)
    assert torch.equal(rows.weights[:, 2], torch.zeros(20))
    assert_close(rows.weights.sum(1), torch.ones(20))
    assert len(rows.weights.unique(dim=0)) == 5
    trainer.train()
    assert trainer.report is not None
    assert trainer.describe()["preferences"] == "sampled, Dirichlet(1.0), over helpful, brief"


def test_all_under_constraints_stays_near_the_reference(tiny_base, tmp_path):
    """No objective is left: the signal of constraints that hold is 0, so that only the KL term acts."""
    config = settings(tmp_path, "safe>=-90", "brief>=-90", "helpful<=90", max_steps=1, beta=0.0)
    trainer = LagrangianTrainer(str(tiny_base), REWARD, config, PROMPTS)
    start = parameters(trainer)
    trainer.train()
    for name, value in parameters(trainer).items():
        assert torch.equal(value, start[name]), name
    assert trainer.describe()["preferences"] == "none: only the constraints and the reference count"


def test_its_sampler_goes_on_from_its_state():
    def sampler():
        return UnconstrainedSampler(PreferenceSampler(REWARD.objectives, seed=3), ["helpful", "brief"])

    first, again = sampler(), sampler()
    first.sample(2, 2)
    again.restore(first.state())
    assert torch.equal(first.sample(2, 2).weights, again.sample(2, 2).weights)
    with pytest.raises(InputError, match="nothing to steer between"):
        UnconstrainedSampler(PreferenceSampler(REWARD.objectives), [])


# ---- runs


def test_the_run_ends_with_a_report(tiny_base, tmp_path):
    held_out = Dataset.from_dict({"prompt": ["x y", "z", "x y"]})
    config = settings(tmp_path, "safe>=-50", "brief>=50", max_steps=3)
    trainer = LagrangianTrainer(str(tiny_base), REWARD, config, PROMPTS, held_out)
    trainer.train()
    trainer.save_model()
    report = json.loads((tmp_path / "constraints.json").read_text())
    safe, brief = report["constraints"]
    assert (safe["verdict"], safe["multiplier"], safe["n_prompts"], safe["n_completions"]) == ("held", 0.0, 2, 8)
    assert brief["verdict"] == "violated"
    assert [moment[0] for moment in report["history"]["brief_above"]] == [1, 2, 3]
    assert report["history"]["brief_above"][-1][1] == trainer.scalarizer.multipliers[1]
    assert (tmp_path / "constraints.png").read_bytes().startswith(b"\x89PNG")
    assert "| brief above 50 |" in (tmp_path / "constraints.md").read_text()
    card = (tmp_path / "README.md").read_text()
    assert "| constraint brief above 50 | violated: mean" in card
    assert "2 held-out prompts, 4 completions each" in card
    assert SteerablePolicy.from_pretrained(tmp_path).training["method"] == "lagrangian"


def test_hand_made_report(tiny_base, tmp_path):
    rewards = torch.tensor([[0.0, -3.0, 9.0], [2.0, -3.0, 11.0], [4.0, -3.1, 14.0], [6.0, -2.9, 14.0]])
    zeros = torch.zeros(4)
    answers = Answers(Samples([""] * 4, rewards, zeros, zeros, zeros), None, ["p", "p", "q", "q"], 2, "train_dataset")
    config = settings(tmp_path, "safe>=8", "brief==-3", tolerance=0.1)
    trainer = LagrangianTrainer(str(tiny_base), REWARD, config, PROMPTS, normalizer=UNITS)
    safe, brief = trainer.constraint_report(answers).results
    assert (safe.mean, safe.standard_error) == (12.0, 2.0)  # prompts' means 10 and 14, in the reward's own units
    assert safe.verdict == "not decided"  # two prompts: t is 12.7
    assert brief.tolerance == 0.05  # 0.1 of the normaliser's scale 0.5
    assert (brief.mean, brief.verdict) == (-3.0, "held")


def test_a_multiplier_at_its_cap_is_warned_of_once(tiny_base, tmp_path, caplog):
    config = settings(tmp_path, "brief>=100", cap=0.5, max_steps=3)
    with caplog.at_level(logging.WARNING, logger="moalign"):
        trainer = LagrangianTrainer(str(tiny_base), REWARD, config, PROMPTS)
        trainer.train()
    said = [record.getMessage() for record in caplog.records if "at its cap" in record.getMessage()]
    assert len(said) == 1
    assert "'brief above 100' is at its cap of 0.5 at step 0" in said[0]
    result = trainer.report.results[0]
    assert (result.verdict, result.at_cap, result.multiplier) == ("violated", True, 0.5)
    assert "The trained policy violates 'brief above 100'" in caplog.text


def test_a_report_that_cannot_be_made_does_not_lose_the_run(tiny_base, tmp_path, caplog):
    trainer = LagrangianTrainer(
        str(tiny_base), REWARD, settings(tmp_path, "brief>=-3", max_steps=1), PROMPTS.select([0] * 8)
    )
    with caplog.at_level(logging.WARNING, logger="moalign"):
        trainer.train()
    assert "fewer than 2 prompts" in caplog.text
    trainer.save_model()
    assert SteerablePolicy.from_pretrained(tmp_path).training["constraints"] == "brief>=-3"


def test_resumed_training_is_bit_equal(tiny_base, tmp_path):
    def trainer(name, *constraints):
        config = settings(tmp_path / name, *constraints, max_steps=4, save_steps=2, save_strategy="steps", window=24)
        return LagrangianTrainer(str(tiny_base), REWARD, config, PROMPTS)

    mine = ("brief>=-3", "safe==-0.5")
    whole, half = trainer("whole", *mine), trainer("half", *mine)
    whole.train()
    checkpoint = str(tmp_path / "whole" / "checkpoint-2")
    half.train(resume_from_checkpoint=checkpoint)
    assert whole.scalarizer.state() == half.scalarizer.state()
    assert min(map(abs, whole.scalarizer.multipliers)) > 0
    for name, value in parameters(whole).items():
        assert torch.equal(value, parameters(half)[name]), name
    report = json.loads((tmp_path / "half" / "constraints.json").read_text())
    first = json.loads((tmp_path / "whole" / "constraints.json").read_text())
    assert report["constraints"][0]["mean"] == first["constraints"][0]["mean"]
    with pytest.raises(InputError, match=r"trained under brief above -3; safe equal -0.5, this run has brief above -2"):
        trainer("other", "brief>=-2").train(resume_from_checkpoint=checkpoint)
