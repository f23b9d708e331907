import dataclasses

import numpy as np
import pytest
from scipy.stats import t

from frontier import FrontPoint, InputError, ParetoFront
from frontier.plot.curves import BINS, steering_curve
from frontier.prompt_rewards import PromptRewards


def point(weights, rewards, error=0.1, n=9):
    return FrontPoint(rewards, [error] * len(rewards), n, {"weights": dict(zip("abc", weights, strict=False))})


def test_two_objectives_by_hand():
    front = ParetoFront(("a", "b"), (point((1, 0), (2, 0)), point((0, 1), (0, 2)), point((0.5, 0.5), (1.5, 1.5))))
    curve = steering_curve(front, 0, 0)
    assert curve.weights.tolist() == [0, 0.5, 1]
    assert curve.means.tolist() == [0, 1.5, 2]
    arm = t.ppf(0.975, 8) * 0.1
    np.testing.assert_allclose(curve.high - curve.means, arm)
    np.testing.assert_allclose(curve.means - curve.low, arm)
    assert steering_curve(front, 0, 1).means.tolist() == [2, 1.5, 0]
    assert not curve.binned


def test_points_of_one_weight_are_averaged():
    points = (point((0.5, 0.5, 0), (1, 0, 0), 0.1), point((0.5, 0, 0.5), (3, 0, 0), 0.3), point((1, 0, 0), (5, 0, 0)))
    curve = steering_curve(ParetoFront(("a", "b", "c"), points), 0, 0)
    assert curve.means.tolist() == [2, 5]
    assert curve.counts.tolist() == [2, 1]
    # Fully correlated means are the worst case: the standard errors average.
    assert curve.high[0] - curve.means[0] == pytest.approx(t.ppf(0.975, 8) * 0.2)


def test_rewards_per_prompt_give_the_error_of_the_average():
    # Two points whose rewards cancel on every prompt: their average is known exactly.
    noise = np.random.default_rng(0).normal(size=(40, 3))
    rewards = np.stack([1 + noise, 3 - noise, 5 + noise])
    kept = PromptRewards(("a", "b", "c"), rewards, tuple(f"p{i}" for i in range(40)))
    asked = [{"weights": w} for w in ({"a": 0.5, "b": 0.5}, {"a": 0.5, "c": 0.5}, {"a": 1.0})]
    front = ParetoFront.of_prompt_rewards(kept, preferences=asked)
    curve = steering_curve(front, 0, 0)
    assert curve.means[0] == pytest.approx(2)
    assert curve.high[0] - curve.low[0] == pytest.approx(0, abs=1e-12)
    lone = t.ppf(0.975, 39) * rewards[2, :, 0].std(ddof=1) / np.sqrt(40)
    assert curve.high[1] - curve.means[1] == pytest.approx(lone)
    unpaired = dataclasses.replace(front, prompt_rewards=None)
    assert steering_curve(unpaired, 0, 0).high[0] > curve.high[0] + 0.1


def test_the_interval_rests_on_the_prompts_that_are_known():
    rewards = np.random.default_rng(0).normal(size=(1, 30, 2))
    rewards[:, 4:, 0] = np.nan
    kept = PromptRewards(("a", "b"), rewards, tuple(f"p{i}" for i in range(30)))
    front = ParetoFront.of_prompt_rewards(kept, preferences=[{"weights": {"a": 0.5, "b": 0.5}}])
    curve = steering_curve(front, 0, 0)
    error = rewards[0, :4, 0].std(ddof=1) / 2
    assert curve.high[0] - curve.means[0] == pytest.approx(t.ppf(0.975, 3) * error)


def test_many_weights_are_put_into_bins():
    weights = np.linspace(0, 1, 33)
    front = ParetoFront(("a", "b"), tuple(point((w, 1 - w), (w, 1 - w)) for w in weights))
    curve = steering_curve(front, 0, 0)
    assert curve.binned
    assert len(curve.weights) == BINS
    assert curve.counts.sum() == 33
    np.testing.assert_allclose(curve.means, curve.weights)  # the reward is the weight
    assert (np.diff(curve.weights) > 0).all()


def test_unknown_errors_and_single_prompts_have_no_interval():
    front = ParetoFront(("a", "b"), (point((1, 0), (2, 0), np.nan), point((0, 1), (0, 2), n=1)))
    curve = steering_curve(front, 0, 0)
    assert np.isnan(curve.low).all()
    assert curve.means.tolist() == [0, 2]


def test_points_without_weights_are_left_out():
    bare = FrontPoint((9, 9), (0.1, 0.1), 9)
    front = ParetoFront(("a", "b"), (bare, point((1, 0), (2, 0))))
    assert steering_curve(front, 0, 0).means.tolist() == [2]
    with pytest.raises(InputError, match="no point has weights"):
        steering_curve(ParetoFront(("a", "b"), (bare,)), 0, 0)
