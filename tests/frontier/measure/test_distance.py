import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pymoo.indicators.igd_plus import IGDPlus

from frontier import InputError
from frontier.measure import non_dominated
from frontier.measure.distance import epsilon_additive, epsilon_multiplicative, igd_plus

ALL = [igd_plus, epsilon_additive, epsilon_multiplicative]


@st.composite
def two_fronts(draw, low=1, high=9):
    """Two small sets on a grid, so that duplicates, ties and dominance all happen; positive, so that ratios exist."""
    m = draw(st.integers(1, 6))
    cells = st.integers(low, high).map(float)
    return tuple(draw(arrays(np.float64, (draw(st.integers(1, 8)), m), elements=cells)) for _ in range(2))


def test_igd_plus_by_hand():
    # (0, 3): nearest is (1, 1), short by 2 in the second only; (2, 2): short by (1, 1) of (1, 1) and by (0, 2) of (3, 0).
    assert igd_plus([[1, 1], [3, 0]], [[0, 3], [2, 2]]) == pytest.approx((2 + math.sqrt(2)) / 2)


def test_epsilon_by_hand():
    points, reference = [[2.0, 2.0], [8.0, 1.0]], [[4.0, 3.0], [6.0, 1.0]]
    # (4, 3): short by max(2, 1) of the first and max(-4, 2) of the second: 2; (6, 1): the second has it.
    assert epsilon_additive(points, reference) == 2.0
    # (4, 3): factors max(2, 1.5) and max(0.5, 3): 2; (6, 1): max(0.75, 1) = 1.
    assert epsilon_multiplicative(points, reference) == 2.0


def test_better_everywhere_goes_below_the_neutral_value():
    points, reference = [[3.0, 4.0]], [[1.0, 2.0], [2.0, 1.0]]
    assert igd_plus(points, reference) == 0.0
    assert epsilon_additive(points, reference) == -1.0  # (2, 1) is beaten by 1 in the first
    assert epsilon_multiplicative(points, reference) == pytest.approx(2 / 3)


@settings(deadline=None)
@given(two_fronts())
def test_against_the_formulas_and_pymoo(case):
    points, reference = case
    short = reference[:, None, :] - points[None, :, :]
    assert igd_plus(points, reference) == pytest.approx(
        np.linalg.norm(np.maximum(short, 0), axis=2).min(axis=1).mean(), rel=1e-10, abs=1e-12
    )
    assert epsilon_additive(points, reference) == pytest.approx(short.max(axis=2).min(axis=1).max(), rel=1e-10)
    ratio = reference[:, None, :] / points[None, :, :]
    assert epsilon_multiplicative(points, reference) == pytest.approx(ratio.max(axis=2).min(axis=1).max(), rel=1e-10)
    assert igd_plus(points, reference) == pytest.approx(float(IGDPlus(-reference)(-points)), rel=1e-10, abs=1e-12)


@settings(deadline=None)
@given(two_fronts())
def test_a_front_against_itself(case):
    front = case[0][non_dominated(case[0])]
    assert igd_plus(front, front) == 0.0
    assert epsilon_additive(front, front) == 0.0
    assert epsilon_multiplicative(front, front) == 1.0


@settings(deadline=None)
@given(two_fronts())
def test_igd_plus_and_epsilon_are_neutral_exactly_when_weakly_dominating(case):
    points, reference = case
    covered = all((points >= z).all(axis=1).any() for z in reference)
    assert (igd_plus(points, reference) == 0.0) == covered
    assert (epsilon_additive(points, reference) <= 0.0) == covered
    assert (epsilon_multiplicative(points, reference) <= 1.0) == covered


@settings(deadline=None)
@given(two_fronts(), st.randoms(use_true_random=False))
def test_more_points_never_hurt_and_order_and_duplicates_do_not_matter(case, random):
    points, reference = case
    for measure in ALL:
        value = measure(points, reference)
        assert measure(np.concatenate([points, reference[:1]]), reference) <= value + 1e-12
        shuffled = points[random.sample(range(len(points)), len(points))]
        assert measure(np.concatenate([shuffled, points[:1]]), reference) == pytest.approx(value, rel=1e-12)


@settings(deadline=None)
@given(two_fronts(), st.sampled_from([0.5, 4.0]), st.integers(-3, 3))
def test_shift_and_scale(case, scale, shift):
    points, reference = case
    for measure in (igd_plus, epsilon_additive):
        got = measure(points * scale + shift, reference * scale + shift)
        assert got == pytest.approx(scale * measure(points, reference), rel=1e-9, abs=1e-9)
    scales = scale ** np.arange(points.shape[1])
    assert epsilon_multiplicative(points * scales, reference * scales) == pytest.approx(
        epsilon_multiplicative(points, reference)
    )


def test_the_logarithm_of_the_factor_is_the_amount_between_logarithms():
    rng = np.random.default_rng(0)
    points, reference = rng.uniform(0.1, 2, (5, 3)), rng.uniform(0.1, 2, (7, 3))
    assert math.log(epsilon_multiplicative(points, reference)) == pytest.approx(
        epsilon_additive(np.log(points), np.log(reference))
    )


@pytest.mark.parametrize("measure", ALL)
def test_refuses(measure):
    with pytest.raises(InputError, match="there are no points"):
        measure([], [[1, 1]])
    with pytest.raises(InputError, match="there are no reference points"):
        measure([[1, 1]], np.zeros((0, 2)))
    with pytest.raises(InputError, match="row 1 of the points is not finite"):
        measure([[1, 1], [math.nan, 1]], [[1, 1]])
    with pytest.raises(InputError, match="row 0 of the reference points is not finite"):
        measure([[1, 1]], [[1, math.inf]])
    with pytest.raises(InputError, match="2 columns, found 3"):
        measure([[1, 1]], [[1, 1, 1]])


def test_a_ratio_needs_rewards_above_zero():
    with pytest.raises(InputError, match=r"row 1 of the points must be above 0.*epsilon_additive"):
        epsilon_multiplicative([[1, 1], [0, 2]], [[1, 1]])
    with pytest.raises(InputError, match="row 0 of the reference points must be above 0"):
        epsilon_multiplicative([[1, 1]], [[1, -1]])
