"""Best-of-n: one draw is the policy itself, ties are shared, sampling agrees."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.oracle import best_of_n
from moalign.oracle.optimum import kl_divergence
from moalign.oracle.sampling import draw_completions


def test_by_hand_with_a_tie():
    log_probs = torch.tensor([[0.5, 0.3, 0.2]]).double().log()
    scores = torch.tensor([[0.0, 1.0, 1.0]]).double()
    # Of two draws both are the worst with probability 1/4; the rest is shared 3 to 2.
    assert_close(best_of_n(log_probs, scores, 2).exp(), torch.tensor([[0.25, 0.45, 0.30]]).double())


def test_one_draw_is_the_policy(world):
    assert_close(world.best_of_n("helpful=1", 1), world.log_reference)


@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 2000), seed=st.integers(0, 1000))
def test_is_a_distribution_within_the_known_kl(world, n, seed):
    scores = torch.randn(2, 27, generator=torch.Generator().manual_seed(seed)).double().round(decimals=1)
    got = best_of_n(world.log_reference, scores, n)
    assert_close(got.exp().sum(1), torch.ones(2).double())
    assert (kl_divergence(got, world.log_reference) <= math.log(n) - (n - 1) / n + 1e-9).all()


def test_agrees_with_sampling(world, generator):
    scores = (2 * world.rewards[..., 0]).round() / 2  # coarse, so that there are ties
    prompts, drawn = draw_completions(200_000, world.log_reference, generator, 4)
    chosen = scores[prompts[:, None], drawn].argmax(1, keepdim=True)
    winners = drawn.gather(1, chosen).squeeze(1)
    exact = best_of_n(world.log_reference, scores, 4).exp()
    for p in range(2):
        seen = torch.bincount(winners[prompts == p], minlength=27) / (prompts == p).sum()
        assert (seen - exact[p]).abs().max() < 0.006


def test_more_draws_score_more_until_the_best(world):
    rewards = [float(world.expected(world.best_of_n("warm=1", n))[2]) for n in (1, 2, 8, 64, 10**7)]
    assert rewards == sorted(rewards)
    assert rewards[-1] == pytest.approx(float(world.rewards[..., 2].amax(1).mean()), abs=1e-6)


def test_from_another_policy_and_tiny_masses(world):
    twice = world.best_of_n("warm=1", 2, world.best_of_n("warm=1", 2))
    assert_close(twice, world.best_of_n("warm=1", 4), atol=1e-9, rtol=1e-9)  # no ties here: best of best is best
    sure = torch.tensor([[0.0, -60.0, -torch.inf]]).double()
    got = best_of_n(sure, torch.tensor([[1.0, 0.0, 2.0]]).double(), 3)
    assert not got.isnan().any()
    assert got[0, 0] == pytest.approx(0)


def test_refuses_no_draw(world):
    with pytest.raises(InputError, match="n must be at least 1"):
        world.best_of_n("warm=1", 0)
