import math

import numpy as np
import pytest
import torch

from frontier.errors import InputError
from reward_heads.decorrelate.curve import Curve, fit_curve


def test_hand_computed_between_and_beyond_the_knots():
    curve = Curve((0.0, 1.0, 3.0), (0.0, 2.0, 3.0))
    x = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, 5.0], dtype=torch.float64)
    assert curve(x).tolist() == [-2.0, 0.0, 1.0, 2.0, 2.5, 4.0]


def test_agrees_with_numpy_between_the_knots():
    knots, values = (0.1, 0.5, 2.0, 2.5), (1.0, -1.0, 4.0, 0.0)
    x = np.linspace(0.1, 2.5, 57)
    np.testing.assert_allclose(
        Curve(knots, values)(torch.from_numpy(x)).numpy(), np.interp(x, knots, values), atol=1e-12
    )


def test_finds_a_bent_mean():
    generator = torch.Generator().manual_seed(0)
    x = 4 * torch.rand(3000, generator=generator, dtype=torch.float64)
    truth = lambda x: 2 * (x - 2).abs()  # noqa: E731
    y = truth(x) + torch.randn(3000, generator=generator, dtype=torch.float64)
    at = torch.linspace(0.2, 3.8, 30, dtype=torch.float64)
    # A straight line would be 2 wrong at the bend; knots at quantiles can't sit on it exactly.
    assert (fit_curve(x, y, knots=12)(at) - truth(at)).abs().max() < 0.35


def test_two_knots_are_least_squares():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.rand(2, 50, generator=generator, dtype=torch.float64)
    slope, level = np.polyfit(x.numpy(), y.numpy(), 1)
    at = torch.tensor([0.0, 1.0], dtype=torch.float64)
    np.testing.assert_allclose(fit_curve(x, y, knots=2)(at).numpy(), [level, level + slope], atol=1e-6)


def test_noise_alone_costs_little_more_than_a_line():
    errors = []
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        x = torch.rand(400, generator=generator, dtype=torch.float64)
        y = torch.randn(400, generator=generator, dtype=torch.float64)
        errors.append((fit_curve(x, y)(x) ** 2).mean().item())
    # In expectation 2/400 for a straight line, 8/400 for eight free knots.
    assert 1.5 < 400 * np.mean(errors) < 4


def test_few_distinct_lengths_merge_their_knots():
    x = torch.tensor([0.0] * 9 + [1.0])
    assert fit_curve(x, x * 3).knots == (0.0, 1.0)


def test_json_comes_back_exactly():
    curve = Curve((0.1, 1 / 3), (math.pi, -1e-17))
    assert Curve.from_json(curve.to_json()) == curve


def test_scaled():
    assert Curve((0.0, 1.0), (1.0, 3.0)).scaled(2.0, shift=1.0).values == (0.0, 4.0)


@pytest.mark.parametrize(
    ("knots", "values", "message"),
    [
        ((0.0,), (1.0,), "at least 2 knots"),
        ((0.0, 1.0), (1.0,), "at least 2 knots, found 2 and 1"),
        ((1.0, 1.0), (1.0, 2.0), "increase"),
        ((0.0, math.nan), (1.0, 2.0), "finite"),
        ((0.0, 1.0), (1.0, math.inf), "finite"),
    ],
)
def test_refuses_what_is_no_curve(knots, values, message):
    with pytest.raises(InputError, match=message):
        Curve(knots, values)


def test_refuses_a_constant_and_an_unknown_field():
    with pytest.raises(InputError, match="two different x, found 2 in all 5 rows"):
        fit_curve(torch.full((5,), 2.0), torch.rand(5))
    with pytest.raises(InputError, match="knots must be at least 2"):
        fit_curve(torch.rand(5), torch.rand(5), knots=1)
    with pytest.raises(InputError, match="did you mean 'knots'"):
        Curve.from_json({"knot": [], "values": []})


@pytest.mark.parametrize(
    "data", [{"knots": [0, 1]}, {"knots": 3, "values": [1, 2]}, {"knots": [0, 1], "values": [1, "2"]}]
)
def test_refuses_json_that_is_no_curve(data):
    with pytest.raises(InputError, match=r"field '(knots|values)' of a curve must be a list of numbers"):
        Curve.from_json(data)
