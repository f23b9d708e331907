"""The scale of a reward in nats, against hand computation, scikit-learn and scipy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads import FunctionReward
from reward_heads.bradley_terry import bradley_terry_scale, scale_of_differences


def column(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1)


def draws(n, scale, seed=0, columns=1):
    generator = torch.Generator().manual_seed(seed)
    d = torch.randn(n, columns, generator=generator, dtype=torch.float64)
    chance = torch.sigmoid(scale * d)
    return d, (torch.rand(n, columns, generator=generator, dtype=torch.float64) < chance).double()


def test_hand_computed():
    # Three of four labels follow a difference of 2: σ(2α) = 3/4, so 2α = log 3; the information is 4 · 2² · 3/4 · 1/4 = 3.
    found = scale_of_differences(column(2, 2, 2, 2), column(1, 1, 1, 0))
    assert found.scale.item() == pytest.approx(math.log(3) / 2, abs=1e-12)
    assert found.standard_error.item() == pytest.approx(3**-0.5, abs=1e-12)
    assert found.n.tolist() == [4]


def test_agrees_with_scikit_learn():
    d, y = draws(500, 1.7)
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(d.numpy(), y.ravel().numpy())
    assert scale_of_differences(d, y).scale.item() == pytest.approx(model.coef_.item(), rel=1e-5)


def test_soft_labels_and_weights_agree_with_scipy():
    d, _ = draws(60, 1.0, seed=1)
    generator = torch.Generator().manual_seed(2)
    p, v = (torch.rand(60, 1, generator=generator, dtype=torch.float64) for _ in range(2))

    def loss(a):
        return (v * (torch.nn.functional.softplus(a * d) - p * a * d)).sum().item()

    best = minimize_scalar(loss, bracket=(-1, 1), tol=1e-12)
    found = scale_of_differences(d, p, weights=v)
    assert found.scale.item() == pytest.approx(best.x, abs=1e-6)
    curvature = (loss(best.x + 1e-3) - 2 * loss(best.x) + loss(best.x - 1e-3)) / 1e-6
    assert found.standard_error.item() == pytest.approx(curvature**-0.5, rel=1e-3)


def test_a_weight_counts_like_repeated_pairs():
    once = scale_of_differences(column(1, -2, 0.5), column(1, 1, 0), weights=torch.tensor([3.0, 1.0, 0.0]))
    repeated = scale_of_differences(column(1, 1, 1, -2), column(1, 1, 1, 1))
    assert_close(once.scale, repeated.scale)
    assert_close(once.standard_error, repeated.standard_error)
    assert once.n.tolist() == [2]  # the pair of weight 0 is not used


def test_the_standard_error_is_the_spread_over_draws():
    found = [scale_of_differences(*draws(200, 0.8, seed=s)) for s in range(200)]
    scales = torch.cat([f.scale for f in found])
    claimed = torch.cat([f.standard_error for f in found]).mean()
    assert scales.std().item() == pytest.approx(claimed.item(), rel=0.2)
    assert scales.mean().item() == pytest.approx(0.8, abs=4 * claimed.item() / 200**0.5 + 0.02)


@settings(max_examples=30, deadline=None)
@given(unit=st.floats(1e-6, 1e6), seed=st.integers(0, 50))
def test_the_unit_of_the_reward_cancels_and_flipped_labels_flip_it(unit, seed):
    d, y = draws(40, 0.5, seed)
    plain, scaled = scale_of_differences(d, y), scale_of_differences(unit * d, y)
    assert_close(scaled.scale * unit, plain.scale, rtol=1e-8, atol=1e-12)
    assert_close(scaled.standard_error * unit, plain.standard_error, rtol=1e-8, atol=1e-12)
    assert_close(scale_of_differences(d, 1 - y).scale, -plain.scale, rtol=1e-8, atol=1e-10)
    assert_close(scale_of_differences(-d, y).scale, -plain.scale, rtol=1e-8, atol=1e-10)


def test_missing_entries_are_left_out_per_objective():
    d, y = draws(50, 1.0, columns=2)
    labels, differences = y.clone(), d.clone()
    labels[::3, 0] = math.nan
    differences[1::5, 1] = math.nan
    found = scale_of_differences(differences, labels, ["a", "b"])
    first, second = torch.ones(50, dtype=torch.bool), torch.ones(50, dtype=torch.bool)
    first[::3], second[1::5] = False, False
    assert found.n.tolist() == [33, 40]
    assert_close(found.scale[0], scale_of_differences(d[first, :1], y[first, :1]).scale[0])
    assert_close(found.scale[1], scale_of_differences(d[second, 1:], y[second, 1:]).scale[0])


def test_survives_extreme_differences():
    d = column(1e-3, 1e4, -1e4, 2.0)
    found = scale_of_differences(d, column(0, 1, 0, 1))
    assert found.scale.isfinite().all()
    assert (found.standard_error > 0).all()


@pytest.mark.parametrize(
    ("d", "p", "scale", "message"),
    [
        (column(1, -2), column(1, 0), math.inf, "'liked' is separable: the labels of all 2 pairs follow"),
        (column(1, -2), column(0, 1), -math.inf, "'liked' is separable: the labels of all 2 pairs oppose"),
        (column(0, 0), column(1, 0), math.nan, "none of its 2 labelled pairs has two different scores"),
        (column(1, 2), column(math.nan, math.nan), math.nan, "no pair has both a label and known scores"),
    ],
)
def test_says_when_there_is_no_finite_scale(d, p, scale, message):
    with pytest.raises(InputError, match=message):
        scale_of_differences(d, p, ["liked"])
    found = scale_of_differences(d, p, ["liked"], strict=False)
    assert found.scale.tolist() == pytest.approx([scale], nan_ok=True)
    assert found.standard_error.tolist() == [math.inf]


def test_a_tie_makes_separable_labels_finite():
    assert scale_of_differences(column(1, 1, 1), column(1, 1, 0.5)).scale.item() == pytest.approx(math.log(5))


def test_of_a_reward():
    reward = FunctionReward({"brief": lambda p, c: -len(c), "loud": lambda p, c: 2.0 * c.isupper()})
    row = {"prompt": "Ask.", "completion_a": "no", "completion_b": "NO!"}
    pairs = [row | {"labels": {"brief": 0.75, "loud": 0.25, "warm": 1.0}}, row | {"labels": {"brief": None}}]
    found = bradley_terry_scale(reward, pairs)
    assert found.objectives == ("brief", "loud")
    assert found.scale.tolist() == pytest.approx([math.log(3), math.log(3) / 2])  # σ(α · 1) = 3/4; σ(−2α) = 1/4
    assert found.n.tolist() == [1, 1]


def test_refusals():
    one = column(1.0)
    reward = FunctionReward({"brief": lambda p, c: -len(c)})
    with pytest.raises(InputError, match=r"must both be \[N, 1\], found \[1, 1\] and \[2, 1\]"):
        scale_of_differences(one, column(1, 0))
    with pytest.raises(InputError, match=r"labels must be in \[0, 1\]"):
        scale_of_differences(one, column(1.5))
    with pytest.raises(InputError, match="not negative"):
        scale_of_differences(one, one, weights=torch.tensor([-1.0]))
    with pytest.raises(InputError, match=r"weights must be \[N\] or \[N, 1\] with N = 1, found \[2\]"):
        scale_of_differences(one, one, weights=torch.ones(2))
    with pytest.raises(InputError, match="row 0: is a rating"):
        bradley_terry_scale(reward, [{"prompt": "a", "completion": "b", "scores": {"brief": 1.0}}])
    with pytest.raises(InputError, match="objective 'brief' has no scale"):
        bradley_terry_scale(reward, [])
