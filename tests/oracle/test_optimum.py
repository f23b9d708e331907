"""The tilted reference is the optimum: by hand, by brute force, by its gradient, by convexity."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.oracle import OracleWorld
from moalign.oracle.measure import measure
from moalign.oracle.optimum import kl_divergence, optimum, tilt

numbers = st.floats(-2, 2)


def test_by_hand():
    """Two completions, even odds, rewards 1 and 0, beta 1/log 3: odds 3 to 1."""
    beta = 1 / math.log(3)
    reference = torch.full((1, 2), math.log(0.5), dtype=torch.float64)
    best = optimum(reference, torch.tensor([[[1.0], [0.0]]]).double(), torch.ones(1).double(), beta)
    assert_close(best.log_probs.exp(), torch.tensor([[0.75, 0.25]]).double())
    assert best.rewards.item() == pytest.approx(0.75)
    assert best.value == pytest.approx(beta * math.log(2))  # E exp(r/beta) = (3 + 1) / 2
    assert best.kl == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_brute_force_on_two_tokens_of_length_two():
    world = OracleWorld.covered(vocabulary=2, length=2, prompts=2, seed=5)
    best = world.optimum([0.5, 0.2, 0.3], 0.7)
    for p in range(2):
        masses = [
            math.exp(world.log_reference[p, s])
            * math.exp(sum(w * r for w, r in zip([0.5, 0.2, 0.3], row, strict=True)) / 0.7)
            for s, row in enumerate(world.rewards[p].tolist())
        ]
        assert best.log_probs[p].exp().tolist() == pytest.approx([m / sum(masses) for m in masses])


@settings(deadline=None, max_examples=25)
@given(w=st.lists(numbers, min_size=3, max_size=3), beta=st.floats(0.2, 5))
def test_value_is_reward_less_kl(world, w, beta):
    best = world.optimum(w, beta)
    assert best.value == pytest.approx(float(best.weights @ best.rewards) - beta * best.kl, abs=1e-9)
    assert_close(best.log_probs.logsumexp(1), torch.zeros(2).double(), atol=1e-12, rtol=0)
    assert best.kl >= -1e-12


@settings(deadline=None, max_examples=25)
@given(a=st.lists(numbers, min_size=3, max_size=3), b=st.lists(numbers, min_size=3, max_size=3), t=st.floats(0, 1))
def test_value_is_convex_in_the_weights(world, a, b, t):
    middle = [t * x + (1 - t) * y for x, y in zip(a, b, strict=True)]
    value = lambda w: world.optimum(w, 0.5).value  # noqa: E731
    assert value(middle) <= t * value(a) + (1 - t) * value(b) + 1e-9


def test_gradient_vanishes_at_the_optimum_and_not_at_the_reference(world):
    w = world.weights("helpful=0.6,warm=0.4")

    def gradient(start):
        logits = start.clone().requires_grad_()
        log_probs = logits.log_softmax(1)
        reward = (log_probs.exp() * (world.rewards @ w)).sum(1).mean()
        (reward - 0.4 * kl_divergence(log_probs, world.log_reference).mean()).backward()
        return logits.grad.abs().max()

    assert gradient(world.optimum(w, 0.4).log_probs) < 1e-12
    assert gradient(world.log_reference) > 1e-3


def test_gradient_of_the_value_is_the_rewards(world):
    w = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    step = 1e-5 * torch.eye(3).double()
    slope = [(world.optimum(w + d, 0.5).value - world.optimum(w - d, 0.5).value) / 2e-5 for d in step]
    assert slope == pytest.approx(world.optimum(w, 0.5).rewards.tolist(), abs=1e-6)


def test_limits(world):
    w = [1.0, 0.0, 0.0]
    assert_close(world.optimum(w, 1e6).log_probs, world.log_reference, atol=1e-5, rtol=0)
    assert world.optimum(w, 1e-3).rewards[0] == pytest.approx(float(world.rewards[..., 0].amax(1).mean()), abs=1e-6)


def test_gain_of_reference_and_optimum(world):
    for beta in (0.3, 1.0):
        best = world.optimum("brief=1", beta)
        assert world.gain(world.log_reference, "brief=1", beta) == pytest.approx(0, abs=1e-12)
        assert world.gain(best.log_probs, "brief=1", beta) == pytest.approx(1, abs=1e-12)
        assert world.gain(world.optimum("helpful=1", beta).log_probs, "brief=1", beta) < 0


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), size=st.floats(0, 3))
def test_no_policy_gains_more_than_everything(world, seed, size):
    noise = torch.randn(2, 27, generator=torch.Generator().manual_seed(seed)).double()
    best = world.optimum("helpful=0.5,warm=0.5", 0.5)
    assert world.gain((best.log_probs + size * noise).log_softmax(1), "helpful=0.5,warm=0.5", 0.5) <= 1 + 1e-12


def test_front_is_not_dominated(world):
    points = world.front(["helpful=1", "helpful=0.5,brief=0.5", "brief=1"], 0.5)
    assert points[0].rewards[0] > points[1].rewards[0] > points[2].rewards[0]
    assert points[0].rewards[1] < points[1].rewards[1] < points[2].rewards[1]


def test_measure_conditions_on_the_completions_and_reports_the_mass(world):
    leaky = world.optimum("helpful=1", 0.5).log_probs + math.log(0.995)
    got = world.measure(leaky, "helpful=1", 0.5)
    assert got.mass == pytest.approx(0.995)
    assert got.gain == pytest.approx(1)


def test_measure_survives_impossible_completions(world):
    sure = torch.full_like(world.log_reference, -torch.inf)
    sure[:, 4] = 0.0
    got = world.measure(sure, "helpful=1", 0.5)
    assert got.kl == pytest.approx(float(-world.log_reference[:, 4].mean()))


def test_refusals(world):
    with pytest.raises(InputError, match="beta must be positive"):
        tilt(world.log_reference, world.cost, 0.0)
    with pytest.raises(InputError, match=r"must be \[2, 27\]"):
        world.measure(world.log_reference[:1], "helpful=1", 1.0)
    with pytest.raises(InputError, match="in all to the completions"):
        world.measure(world.log_reference - 1, "helpful=1", 1.0)
    with pytest.raises(InputError, match="NaN"):
        world.measure(world.log_reference * torch.nan, "helpful=1", 1.0)
    with pytest.raises(InputError, match="did you mean 'helpful'"):
        world.optimum("helpfull=1", 1.0)
    with pytest.raises(InputError, match="3 finite numbers"):
        world.optimum([1.0, 0.0], 1.0)
    none = measure(world.log_reference, world.log_reference, world.rewards, torch.zeros(3).double(), 1.0)
    assert math.isnan(none.gain)
