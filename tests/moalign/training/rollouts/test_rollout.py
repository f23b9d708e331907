import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.methods.clp import CLPTrainer
from moalign.scalarize import GroupNormalised, Linear
from moalign.training.rollouts.rollout import (
    PreferenceSampler,
    check_group_size,
    leave_one_out,
    preference_sampler,
    reward_figures,
)

NAN = math.nan


def test_rows_of_a_group_share_a_preference_that_differs_between_groups():
    rows = PreferenceSampler(("helpful", "brief"), seed=1).sample(groups=3, group_size=4)
    assert rows.weights.shape == (12, 2)
    assert_close(rows.weights.sum(1), torch.ones(12))
    for group in rows.weights.view(3, 4, 2):
        assert torch.equal(group, group[:1].expand(4, -1))
    assert len(rows.weights.unique(dim=0)) == 3
    assert torch.equal(rows.mixture_weights, rows.weights)


def test_sampler_goes_on_from_its_state():
    sampler = PreferenceSampler(("helpful", "brief"), alpha_range=(0.1, 0.9), seed=1)
    sampler.sample(2, 2)
    state = sampler.state()
    expected = sampler.sample(2, 2)
    again = PreferenceSampler(("helpful", "brief"), alpha_range=(0.1, 0.9), seed=7)
    again.restore(state)
    got = again.sample(2, 2)
    assert torch.equal(got.weights, expected.weights)
    assert torch.equal(got.alpha, expected.alpha)


@pytest.mark.parametrize(
    "options",
    [{"concentration": 0.0}, {"alpha_range": (0.0, 0.5)}, {"alpha_range": (0.6, 0.5)}, {"alpha_range": (0.5, 1.0)}],
)
def test_sampler_refuses(options):
    with pytest.raises(InputError):
        PreferenceSampler(("helpful",), **options)


@pytest.mark.parametrize(
    ("preference", "message"),
    [
        ("helpful=0.9,brief=0.3", "1.2"),
        ("helpful=1.2,brief=-0.2", "negative"),
        ("helpful=nan,brief=0.3", "nan"),
        ("helpfull=1.0", "did you mean 'helpful'"),
    ],
)
def test_preferences_off_the_simplex_are_refused(quick, tmp_path, preference, message):
    with pytest.raises(InputError, match=message):
        preference_sampler(quick.settings(tmp_path, preference=preference), quick.objectives)


def test_an_unconditioned_policy_needs_a_preference_unless_something_decides(quick, tmp_path):
    args = quick.settings(tmp_path, conditioning="none")
    with pytest.raises(InputError, match=r"helpful=0\.5,brief=0\.5"):
        preference_sampler(args, quick.objectives)
    assert preference_sampler(args, ("helpful",)).fixed.tolist() == [1.0]
    assert preference_sampler(args, quick.objectives, decides_alone=True).fixed.tolist() == [0.5, 0.5]
    fixed = quick.settings(tmp_path, conditioning="none", preference="helpful=0.2,brief=0.8")
    assert_close(preference_sampler(fixed, quick.objectives).sample(2, 1).weights, torch.tensor([[0.2, 0.8]] * 2))


def test_leave_one_out_by_hand():
    rewards = torch.tensor([[1.0, 4.0], [2.0, NAN], [6.0, 2.0], [0.0, NAN], [3.0, 5.0], [3.0, NAN]])
    # Group 1: 1 - 4, 2 - 3.5, 6 - 1.5; 4 - 2, nothing, 2 - 4. Group 2: 0 - 3 and twice 3 - 1.5; a single 5 has nothing to compare with.
    expected = torch.tensor([[-3.0, 2.0], [-1.5, 0.0], [4.5, -2.0], [-3.0, 0.0], [1.5, 0.0], [1.5, 0.0]])
    assert_close(leave_one_out(rewards, 3), expected)


def test_leave_one_out_marks_what_nobody_knows():
    rewards = torch.tensor([[1.0, NAN], [3.0, NAN]])
    got = leave_one_out(rewards, 2)
    assert got[:, 0].tolist() == [-2.0, 2.0]
    assert got[:, 1].isnan().all()
    assert leave_one_out(rewards, 1).tolist() == [[0, 0], [0, 0]]


def test_figures_by_hand():
    weights = torch.tensor([[0.1, 0.9], [0.5, 0.5], [0.9, 0.1]]).repeat_interleave(2, 0)
    rewards = torch.tensor([[0.0, 1.0], [2.0, NAN], [2.0, 2.0], [4.0, 2.0], [1.0, 3.0], [2.5, 3.0]])
    figures = reward_figures(("helpful", "brief"), weights, rewards, 2)
    # Group means 1, 3, 1.75 against ranks 1, 2, 3: 1 - 6 (0 + 1 + 1) / 24; brief rises while its weight falls.
    assert figures["steering/helpful"] == pytest.approx(0.5)
    assert figures["steering/brief"] == pytest.approx(-1)
    assert figures["steering_error"] == pytest.approx(1.25)
    assert figures["missing/helpful"] == 0
    assert figures["missing/brief"] == pytest.approx(1 / 6)
    constant = reward_figures(("helpful", "brief"), weights[:1].expand(6, -1), rewards, 2)
    assert set(constant) == {"missing/helpful", "missing/brief"}


def test_group_sizes_must_agree(quick, tmp_path):
    args = quick.settings(tmp_path)
    check_group_size(GroupNormalised(4), args, evaluates=True)
    check_group_size(Linear(), args, evaluates=True)
    with pytest.raises(InputError, match="groups of 2 completions, but num_generations is 4"):
        check_group_size(GroupNormalised(2), args, evaluates=False)
    other = quick.settings(tmp_path, num_generations_eval=2)
    check_group_size(GroupNormalised(4), other, evaluates=False)
    with pytest.raises(InputError, match="num_generations_eval is 2"):
        check_group_size(GroupNormalised(4), other, evaluates=True)


@pytest.mark.parametrize("conditioned", ["full", "logits"])
def test_gradient_checkpointing_changes_nothing(quick, tiny_base, tmp_path, conditioned):
    """TRL turns it off and on around each rollout; the recomputed forward still sees its rows' weights."""

    def end(**options):
        config = quick.settings(tmp_path, conditioned=conditioned, **quick.sgd, **options)
        trainer = CLPTrainer(str(tiny_base), quick.reward, config, quick.prompts)
        trainer.train()
        assert trainer.policy.base.is_gradient_checkpointing == bool(options)
        return quick.parameters(trainer)

    plain, checkpointed = end(), end(gradient_checkpointing=True)
    for name, value in plain.items():
        assert_close(checkpointed[name], value, atol=1e-6, rtol=1e-5)


def test_checkpoints_come_where_an_update_and_a_rollout_end_together(quick, tmp_path):
    """Updates of 2 batches, rollouts of 3: 1.5 updates a rollout, so that only every third update ends with one."""
    uneven = {"steps_per_generation": 3, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}
    for save_steps in (1, 2):
        with pytest.raises(InputError, match=f"save_steps must be a multiple of 3, .* found {save_steps}"):
            quick.settings(tmp_path, save_strategy="steps", save_steps=save_steps, **uneven)
    assert quick.settings(tmp_path, save_strategy="steps", save_steps=3, **uneven).save_steps == 3


def test_refuses_checkpoints_in_the_middle_of_a_rollout(quick, tmp_path):
    """What is left of a rollout is in no checkpoint, so that the run could not be resumed exactly."""
    rollout = {"num_iterations": 2, "save_strategy": "steps"}
    with pytest.raises(InputError, match="save_steps must be a multiple of 2"):
        quick.settings(tmp_path, save_steps=3, **rollout)
    assert quick.settings(tmp_path, save_steps=4, **rollout).save_steps == 4
