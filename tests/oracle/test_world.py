"""The world as a trainer meets it: texts and rewards, saved folders, any policy's exact distribution."""

import doctest
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

import moalign.oracle
from frontier.errors import InputError
from moalign import SteerablePolicy
from moalign.conditioning.adapter_mixture import add_adapters
from moalign.oracle import OracleWorld
from reward_heads import VectorReward


@pytest.fixture
def policy(world):
    from peft import LoraConfig

    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model = add_adapters(world.model(), dict.fromkeys(world.objectives, config))
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.05)
    return SteerablePolicy(model, world.tokenizer, world.objectives)


def test_reward_on_texts(world):
    assert isinstance(world.reward, VectorReward)
    got = world.reward.score([world.prompts[1], "be helpful=0.7. " + world.prompts[1]], [world.completions[7]] * 2)
    assert got.dtype == torch.float32
    assert_close(got, world.rewards[1, 7].float().expand(2, -1))


def test_reward_of_other_texts(world):
    got = world.reward.score([world.prompts[0], "who?"], [" a1 a2", world.completions[0]])
    assert_close(got[0], world.rewards[0].amin(0).float())  # worst: no gain from writing something else
    assert got[1].isnan().all()
    with pytest.raises(InputError):
        world.reward.score([world.prompts[0]], [])
    with pytest.raises(InputError, match="unknown reward 'kind'"):
        world.reward_of(["kind"])
    with pytest.raises(InputError, match="found one string"):
        world.reward_of("helpful")


def test_saved_and_loaded(world, tmp_path):
    folder = world.save(tmp_path / "world")
    loaded = OracleWorld.load(folder)
    assert loaded.config == world.config
    for name in ("log_reference", "rewards", "group_rewards", "cost"):
        assert torch.equal(getattr(loaded, name), getattr(world, name))
    assert_close(loaded.policy_distribution(loaded.model()), world.policy_distribution(world.model()))
    (tmp_path / "world" / "oracle_world.json").unlink()
    with pytest.raises(InputError, match="holds no oracle world"):
        OracleWorld.load(folder)


def test_rare_survives_saving(tmp_path):
    world = OracleWorld.rare(vocabulary=5, length=4, prompts=1)
    loaded = OracleWorld.load(world.save(tmp_path / "w"))
    assert loaded.mode_probability("warm") == world.mode_probability("warm") <= 1e-3


def test_a_fresh_policy_is_the_reference(world):
    from peft import LoraConfig

    model = add_adapters(world.model(), dict.fromkeys(world.objectives, LoraConfig(r=2, target_modules="all-linear")))
    fresh = SteerablePolicy(model, world.tokenizer, world.objectives)
    assert world.gain(fresh, "helpful=1", 0.3) == pytest.approx(0, abs=1e-5)


def test_steered_distribution_is_the_one_of_single_scoring(world, policy):
    preference = "helpful=0.7,warm=0.3"
    exact = world.policy_distribution(policy, preference)
    assert_close(exact.exp().sum(1), torch.ones(2).double(), atol=1e-5, rtol=0)
    assert (exact - world.log_reference).abs().max() > 0.05
    for p, s in ((0, 3), (1, 20)):
        one = policy.log_probs([world.prompts[p]], [world.completions[s]], preference)
        assert one.item() == pytest.approx(float(exact[p, s]), abs=1e-3)
    assert_close(world.policy_distribution(policy), world.log_reference, atol=1e-3, rtol=0)  # None: the reference
    assert policy.mixture is not None


def test_gain_asks_the_policy_for_the_weights(world, policy):
    w = [0.2, 0.5, 0.3]
    by_hand = world.policy_distribution(policy, "helpful=0.2,brief=0.5,warm=0.3")
    assert world.gain(policy, w, 0.5) == pytest.approx(world.measure(by_hand, w, 0.5).gain)


def test_batches_do_not_matter(default_world):
    whole = default_world.policy_distribution(default_world.model())
    parts = default_world.policy_distribution(default_world.model(), batch_size=100)
    assert_close(whole, parts, atol=5e-4, rtol=0)


def test_prompts_that_carry_words(world):
    longer = ["helpful=70 " + world.prompts[0], "brief=5, warm=10 " + world.prompts[1]]
    got = world.policy_distribution(world.model(), prompts=longer)
    assert_close(got.exp().sum(1), torch.ones(2).double(), atol=1e-5, rtol=0)
    assert (got.exp() - world.log_reference.exp()).abs().max() > 1e-3
    with pytest.raises(InputError, match="has 2 prompts, found 1"):
        world.policy_distribution(world.model(), prompts=longer[:1])
    with pytest.raises(InputError, match="a prompt is empty"):
        world.policy_distribution(world.model(), prompts=["", ""])


def test_a_function_is_a_policy_too(world):
    """A decoder that ignores the model: every token equally likely."""
    vocabulary = len(world.tokenizer)
    got = world.policy_distribution(lambda ids: torch.zeros(*ids.shape, vocabulary))
    assert_close(got, torch.full((2, 27), -3 * torch.log(torch.tensor(float(vocabulary))).item()).double())
    with pytest.raises(InputError, match="in all to the completions"):
        world.measure(got, "helpful=1", 1.0)
    with pytest.raises(InputError, match="give a SteerablePolicy, a model, or a function"):
        world.policy_distribution("helpful=1")
    with pytest.raises(InputError, match="needs a SteerablePolicy"):
        world.policy_distribution(world.model(), "helpful=1")


def test_model_returns_to_training_mode_and_copies_are_apart(world):
    model = world.model().train()
    world.policy_distribution(model)
    assert model.training
    with torch.no_grad():
        model.lm_head.weight.zero_()
    assert world.model().lm_head.weight.abs().max() > 0


def test_exact_gradients_reach_the_optimum():
    """Full gradients on the exact objective: a model can represent almost all of the gain, so a miss is a trainer's."""
    world = OracleWorld.covered(vocabulary=3, length=2, prompts=2)
    model, weights = world.model(), world.weights("helpful=0.5,brief=0.5")
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(120):
        log_probs = world.policy_distribution(model, gradients=True)
        reward = (log_probs.exp() * (world.rewards @ weights)).sum(1).mean()
        kl = (log_probs.exp() * (log_probs - world.log_reference)).sum(1).mean()
        optimizer.zero_grad()
        (0.3 * kl - reward).backward()
        optimizer.step()
    assert world.gain(model, weights, 0.3) > 0.99


def test_example_in_the_docstring():
    assert doctest.testmod(moalign.oracle).failed == 0


def test_import_is_light():
    code = "import sys, moalign.oracle; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    with pytest.raises(AttributeError):
        moalign.oracle.Nothing


def test_judged_by_a_score_of_your_own(world):
    """A weighted sum as the only reward has the optimum of those weights; a bent one has its own."""
    weights = world.weights("helpful=0.6,brief=0.4")
    judge = world.judged_by(world.rewards @ weights)
    best = world.optimum(weights, 0.5)
    assert judge.gain(best.log_probs, [1.0], 0.5) == pytest.approx(1.0, abs=1e-9)
    assert judge.optimum([1.0], 0.5).value == pytest.approx(best.value, abs=1e-9)
    bent = world.judged_by((world.rewards @ weights).clamp(max=0.0), "loss")
    assert bent.objectives == ("loss",)
    assert bent.gain(best.log_probs, "loss=1.0", 0.5) < 0.999
    scores = bent.reward.score([world.prompts[1]], [world.completions[5]])
    assert scores.item() == pytest.approx(min(0.0, float(world.rewards[1, 5] @ weights)), abs=1e-6)
    assert world.objectives != bent.objectives  # the world itself is as it was


@pytest.mark.parametrize("scores", [torch.zeros(3), torch.full((1, 1), torch.nan)])
def test_refuses_scores_of_another_shape(world, scores):
    with pytest.raises(InputError, match="scores must be finite and"):
        world.judged_by(scores)
