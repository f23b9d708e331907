import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymoo.mcdm.pseudo_weights import PseudoWeights

from frontier import FrontPoint, InputError, ParetoFront, pick
from frontier.choose.pseudo_weights import pseudo_weights
from frontier.measure import non_dominated

NAMES = ("helpful", "safe", "brief", "kind")


def front_of(rewards):
    return ParetoFront(NAMES[: len(rewards[0])], tuple(FrontPoint(tuple(r), (0.1,) * len(r), 64) for r in rewards))


@pytest.fixture
def front():
    return front_of([(0.0, 1.0), (0.5, 0.9), (0.8, 0.6), (1.0, 0.0)])


def test_by_hand():
    # Ranges 10 and 1: (0.5, 0.75) of them, shares 0.4 and 0.6.
    got = pseudo_weights([[0, 1.0], [5, 0.75], [10, 0.0]])
    np.testing.assert_allclose(got, [[0, 1], [0.4, 0.6], [1, 0]])


@settings(deadline=None)
@given(st.integers(2, 4), st.integers(0, 9999))
def test_against_pymoo(k, seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(15, k))
    points = points[non_dominated(points)]
    if len(points) < 3:
        return
    wanted = rng.dirichlet(np.ones(k))
    index, values = PseudoWeights(wanted).do(-points, return_pseudo_weights=True)
    np.testing.assert_allclose(pseudo_weights(points), values, atol=1e-12)
    assert pick(front_of(points), pseudo_weights=dict(zip(NAMES, wanted.tolist(), strict=False))).index == index


def test_a_constant_objective_counts_nothing():
    # pymoo gives NaN for all of it.
    points = [[0.0, 1.0, 5.0], [0.6, 0.7, 5.0], [1.0, 0.0, 5.0]]
    np.testing.assert_allclose(pseudo_weights(points)[:, :2], pseudo_weights([p[:2] for p in points]))
    got = pick(front_of(points), pseudo_weights={"helpful": 0.25, "safe": 0.25, "brief": 0.5})
    assert got.index == 1
    assert got.reason == (
        "Point 1 lies nearest to the wanted place (helpful 0.5, safe 0.5, brief 0): its pseudo-weights are helpful 0.462, safe 0.538, brief 0.000, "
        "its rewards helpful 0.600 ± 0.100, safe 0.700 ± 0.100, brief 5.000 ± 0.100. All points agree in brief, which therefore does not count."
    )
    with pytest.raises(InputError, match="all points agree in brief, so weights on that alone name no place"):
        pick(front_of(points), pseudo_weights={"brief": 1.0})


def test_weights_walk_along_the_front(front):
    chosen = [pick(front, pseudo_weights={"helpful": w, "safe": 1 - w}).index for w in (0.0, 0.35, 0.6, 1.0)]
    assert chosen == [0, 1, 2, 3]
    assert pick(front, pseudo_weights={"helpful": 7, "safe": 13}).index == 1  # scaled to sum 1


def test_a_place_in_a_concave_part_is_found():
    # No weighted sum chooses the middle point.
    front = front_of([(0.0, 1.0), (0.3, 0.3), (1.0, 0.0)])
    assert pick(front, pseudo_weights={"helpful": 1, "safe": 1}).index == 1
    assert pick(front, maximize={"helpful": 0.5, "safe": 0.5}).index != 1


def test_dominated_points_are_left_out_unless_asked_for():
    rewards = [(0.0, 1.0), (0.4, 0.4), (0.9, 0.8), (1.0, 0.0)]
    assert pick(front_of(rewards), pseudo_weights={"helpful": 1, "safe": 1}).index == 2
    # Equal weights are exactly the place of the dominated point.
    assert pick(front_of(rewards), pseudo_weights={"helpful": 1, "safe": 1}, non_dominated_only=False).index == 1


def test_of_points_in_one_place_the_one_further_out():
    # One objective that varies: all have the pseudo-weight 1, the worst none.
    rewards = [(0.0, 2.0), (0.5, 2.0), (1.0, 2.0)]
    assert np.isnan(pseudo_weights(rewards)[0]).all()
    assert pick(front_of(rewards), pseudo_weights={"helpful": 1}, non_dominated_only=False).index == 2


def test_points_that_agree_in_everything():
    got = pick(front_of([(0.3, 0.4)]), pseudo_weights={"helpful": 1})
    assert (got.index, got.reason) == (
        0,
        "Point 0 is the only point to choose: helpful 0.300 ± 0.100, safe 0.400 ± 0.100.",
    )
    twins = front_of([(0.3, 0.4), (0.3, 0.4)])
    assert "as good as every other" in pick(twins, pseudo_weights={"safe": 1}, non_dominated_only=False).reason


@settings(deadline=None)
@given(st.integers(0, 9999), st.sampled_from([0.25, 8.0]), st.integers(-4, 4))
def test_units_do_not_matter(seed, scale, shift):
    points = np.round(np.random.default_rng(seed).normal(size=(10, 3)), 2)
    units = scale ** np.arange(3)
    np.testing.assert_allclose(pseudo_weights(points * units + shift), pseudo_weights(points), atol=1e-9)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"helpfull": 1}, "unknown objective 'helpfull': did you mean 'helpful'"),
        ({"safe": -0.5, "helpful": 1.5}, "pseudo_weights needs weights that are not negative"),
        ({}, "not all 0"),
        ({"safe": math.inf}, "pseudo_weights of safe must be a finite number"),
    ],
)
def test_refuses(front, asked, message):
    with pytest.raises(InputError, match=message):
        pick(front, pseudo_weights=asked)


def test_refuses_bad_points():
    with pytest.raises(InputError, match="there are no points"):
        pseudo_weights([])
    with pytest.raises(InputError, match="row 0 of the points is not finite"):
        pseudo_weights([[math.nan, 1.0]])
