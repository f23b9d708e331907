import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier import FrontPoint, InputError, ParetoFront
from frontier.choose.interpolate import Interpolator, interpolate
from frontier.measure.lattice import weight_lattice

NAMES = ("helpful", "safe", "brief", "kind")


def steered(weights, rewards, error=0.1, **kwargs):
    names = NAMES[: len(weights[0])]
    points = tuple(
        FrontPoint(
            tuple(map(float, r)), (error,) * len(names), 64, {"weights": dict(zip(names, map(float, w), strict=True))}
        )
        for w, r in zip(weights, rewards, strict=True)
    )
    return ParetoFront(names, points, **kwargs)


@pytest.fixture
def parabola():
    """r = (w², w (1 - w)) at w = 0, 0.25, ..., 1."""
    w = np.linspace(0, 1, 5)
    return steered(np.column_stack([w, 1 - w]), np.column_stack([w**2, w * (1 - w)]))


def test_by_hand(parabola):
    got = interpolate(parabola, {"helpful": 0.6, "safe": 0.4})
    # 0.4 of the way from 0.5 to 0.75: 0.6·(0.25, 0.25) + 0.4·(0.5625, 0.1875).
    assert got.rewards == pytest.approx((0.375, 0.225))
    assert sorted(zip(got.neighbours, got.shares, strict=True)) == [(2, pytest.approx(0.6)), (3, pytest.approx(0.4))]
    assert got.standard_error == pytest.approx((0.1, 0.1))  # no pairing known: as if the two varied together
    # Second derivatives 2 and -2: the chord is off by h²·λ(1 - λ) exactly, and leaving points out finds it.
    assert got.interpolation_error == pytest.approx((0.25**2 * 0.24,) * 2)
    assert abs(got.rewards[0] - 0.36) == pytest.approx(got.interpolation_error[0])
    assert got.error[0] == pytest.approx(math.hypot(0.1, 0.015))
    assert not got.extrapolated
    assert got.reason == (
        "Between points 2 (60%) and 3 (40%): helpful 0.375 ± 0.100 (interpolation ± 0.015), safe 0.225 ± 0.100 (interpolation ± 0.015)."
    )


@settings(deadline=None)
@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 9999))
def test_linear_rewards_are_exact(k, partitions, seed):
    rng = np.random.default_rng(seed)
    matrix, lattice = rng.normal(size=(k, k)), weight_lattice(k, partitions)
    asked = rng.dirichlet(np.ones(k))
    got = interpolate(steered(lattice, lattice @ matrix), tuple(asked))
    assert got.rewards == pytest.approx(tuple(asked @ matrix), abs=1e-9)
    assert sum(got.shares) == pytest.approx(1)
    if partitions == 1:
        assert all(math.isnan(e) for e in got.interpolation_error)  # no point lies between others
        assert "unknown" in got.reason
    else:
        assert got.interpolation_error == pytest.approx((0.0,) * k, abs=1e-8)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_measured_points_come_back_unchanged(k):
    lattice = weight_lattice(k, 3)
    front = steered(lattice, np.random.default_rng(0).normal(size=lattice.shape))
    ask = Interpolator(front)
    for i, w in enumerate(lattice):
        got = ask(tuple(w))
        assert got.rewards == pytest.approx(front.points[i].rewards)
        assert got.neighbours == (i,)
        assert got.interpolation_error == (0.0,) * k
        assert got.reason.startswith(f"Measured as point {i}")


def test_left_out_residuals_by_hand(parabola):
    left_out = Interpolator(parabola).left_out
    # w² at a point less the mean of its neighbours: -h²; the ends lie between no others.
    assert sorted(left_out[:, 0].tolist(), key=lambda x: (math.isnan(x), x))[:3] == pytest.approx([-(0.25**2)] * 3)
    assert np.isnan(left_out).all(axis=1).sum() == 2


@pytest.mark.parametrize(("k", "partitions"), [(2, 10), (3, 6)])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_stated_error_is_about_one_standard_deviation(k, partitions, noise):
    # The optimum of a softmax policy over 30 answers: smooth fronts whose truth is known everywhere.
    rng = np.random.default_rng(0)
    lattice, missed, stated = weight_lattice(k, partitions), [], []
    for _ in range(12):
        answers, beta = rng.normal(size=(30, k)), rng.choice([0.3, 1.0])

        def truth(w, answers=answers, beta=beta):
            logits = np.atleast_2d(w) @ answers.T / beta
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            return p / p.sum(axis=1, keepdims=True) @ answers

        exact = truth(lattice)
        ask = Interpolator(steered(lattice, exact + noise * rng.normal(size=exact.shape), error=noise))
        for w in rng.dirichlet(np.ones(k), 15):
            got = ask(tuple(w))
            missed.append(abs(np.array(got.rewards) - truth(w)[0]))
            stated.append(got.error)
    within = np.mean(np.array(missed) <= np.array(stated))
    assert 0.65 <= within <= 0.98
    assert 0.5 <= np.sqrt(np.mean(np.square(stated)) / np.mean(np.square(missed))) <= 2.5


def test_paired_prompts_give_the_error_of_the_mixture():
    # What one point gains on a prompt the other loses: the mean of both does not vary at all.
    noise = np.random.default_rng(0).normal(size=16)
    rewards = np.stack([np.column_stack([s * noise, noise]) for s in (1, -1)])
    weights = [{"weights": {"helpful": 1.0}}, {"weights": {"safe": 1.0}}]
    from frontier.prompt_rewards import PromptRewards

    front = ParetoFront.of_prompt_rewards(
        PromptRewards(("helpful", "safe"), rewards, tuple(f"p{i}" for i in range(16))), preferences=weights
    )
    got = interpolate(front, (0.5, 0.5))
    assert got.standard_error[0] == pytest.approx(0.0, abs=1e-12)
    assert got.standard_error[1] == pytest.approx(noise.std(ddof=1) / 4)


def test_equal_weights_are_averaged():
    front = steered([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], [[0, 4], [2, 0], [4, 0]])
    got = interpolate(front, (1.0, 0.0))
    assert got.rewards == pytest.approx((3.0, 0.0))
    assert got.neighbours == (1, 2)
    assert got.shares == pytest.approx((0.5, 0.5))


def test_points_without_weights_are_left_out(parabola):
    more = ParetoFront(NAMES[:2], (FrontPoint((9.0, 9.0), (0.1, 0.1), 64), *parabola.points))
    got = interpolate(more, (0.6, 0.4))
    assert got.rewards == pytest.approx((0.375, 0.225))
    assert sorted(got.neighbours) == [3, 4]


def test_outside_is_refused_or_flagged():
    w = np.array([0.2, 0.5, 0.8])
    front = steered(np.column_stack([w, 1 - w]), np.column_stack([w**2, 1 - w]))
    with pytest.raises(InputError, match=r"helpful=0.9,safe=0.1 lie outside .*helpful 0.2 to 0.8.*allow extrapolation"):
        interpolate(front, (0.9, 0.1))
    got = interpolate(front, (0.9, 0.1), extrapolate=True)
    assert got.extrapolated
    assert got.rewards == pytest.approx((0.64 + 0.39 / 3, 0.1))  # slope (0.64 - 0.25)/0.3 for another 0.1
    assert got.interpolation_error[0] >= 0.81 - 0.77  # 0.04 too little, and it says at least that
    assert sorted(got.shares) == pytest.approx([-1 / 3, 4 / 3])
    assert got.reason.startswith("Extrapolated beyond the measured weights")


def test_weights_with_six_decimals():
    # A line across the simplex whose rows stray from it by rounding, and a question that sums to 0.999999.
    line = np.round([[0.8, 0.1, 0.1], [1 / 3, 1 / 3, 1 / 3], [0.1, 0.45, 0.45]], 6)
    front = steered(line, line)
    assert interpolate(front, (0.333333, 0.333333, 0.333333)).rewards == pytest.approx((1 / 3,) * 3, abs=1e-5)
    assert interpolate(front, (0.5, 0.25, 0.25)).rewards == pytest.approx((0.5, 0.25, 0.25), abs=1e-5)


def test_a_line_across_the_simplex_answers_only_on_the_line():
    line = np.array([[0.8, 0.1, 0.1], [0.5, 0.25, 0.25], [0.2, 0.4, 0.4]])
    front = steered(line, line)
    assert interpolate(front, (0.6, 0.2, 0.2)).rewards == pytest.approx((0.6, 0.2, 0.2))
    for extrapolate in (False, True):
        with pytest.raises(InputError, match=r"outside of those that were measured .*measure there$"):
            interpolate(front, (0.5, 0.5, 0.0), extrapolate=extrapolate)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"helpfull": 1.0}, "unknown objective 'helpfull': did you mean 'helpful'"),
        ({"helpful": 0.6}, "must sum to 1"),
        ((1.5, -0.5), "at least 0"),
        ((0.5, math.nan), "not finite"),
        ((0.2, 0.3, 0.5), "2 columns, found 3"),
    ],
)
def test_refuses(parabola, weights, message):
    with pytest.raises(InputError, match=message):
        interpolate(parabola, weights)


def test_a_front_without_weights_is_refused():
    with pytest.raises(InputError, match="nothing to interpolate between"):
        Interpolator(ParetoFront(("helpful",), (FrontPoint((1.0,), (0.1,), 4),)))


def test_two_spellings_of_a_third_are_one_point_to_leave_out():
    weights = [(1, 0), (0.666667, 0.333333), (0.5, 0.5), (0.333333, 0.666667), (0, 1), (2 / 3, 1 / 3), (1 / 3, 2 / 3)]
    w = np.array(weights)
    rewards = np.column_stack([w[:, 0], 1 - w[:, 0] ** 2]) + 0.02 * np.random.default_rng(3).normal(size=(7, 2))
    ask = Interpolator(steered(weights, rewards))
    assert len(ask.left_out) == 5
    assert max(ask((0.6, 0.4)).interpolation_error) < 0.05
    # Both are averaged before they are left out: as if they had been measured at one place.
    merged = np.vstack(
        [rewards[0], (rewards[1] + rewards[5]) / 2, rewards[2], (rewards[3] + rewards[6]) / 2, rewards[4]]
    )
    alone = Interpolator(steered(weights[:5], merged))
    assert ask((0.6, 0.4)).interpolation_error == pytest.approx(alone((0.6, 0.4)).interpolation_error, rel=1e-3)
    # What is interpolated keeps both.
    assert ask((2 / 3, 1 / 3)).neighbours == (5,)
