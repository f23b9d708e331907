import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from moalign.scalarize.gram_solvers import cagrad_weights, config_weights, project_on_dual_cone

numbers = st.floats(-5, 5).map(lambda x: round(x, 3))
jacobians = st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=2, max_size=4).map(np.array)


def test_projection_hand_computed():
    jacobian = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
    weights = project_on_dual_cone(jacobian @ jacobian.T, np.array([1.0, 0.0]))
    # The first gradient, less its part along the second: 1·g1 + (22 / 38)·g2.
    np.testing.assert_allclose(weights, [1, 22 / 38], rtol=1e-9)


@settings(deadline=None)
@given(jacobians, st.lists(st.floats(0.1, 1), min_size=4, max_size=4))
def test_projection_satisfies_the_optimality_conditions(jacobian, weights):
    gramian, u = jacobian @ jacobian.T, np.array(weights[: len(jacobian)])
    v = project_on_dual_cone(gramian, u)
    slopes, scale = gramian @ v, max(np.trace(gramian), 1e-9) * max(1, abs(v).max())
    assert (v >= u).all()
    assert (slopes >= -1e-7 * scale).all()  # no objective gets worse
    np.testing.assert_allclose((v - u) * slopes / scale, 0, atol=1e-6)  # complementary slackness


def test_gradients_that_agree_are_left_as_they_are():
    np.testing.assert_array_equal(project_on_dual_cone(np.ones((2, 2)), np.array([0.5, 0.5])), [0.5, 0.5])


@settings(deadline=None, max_examples=30)
@given(jacobians.filter(lambda j: len(j) == 2 and np.abs(j).sum(1).min() > 0.1), st.floats(0.05, 0.9))
def test_cagrad_beats_every_direction_of_a_fine_grid(jacobian, c):
    # Its definition: the d in the ball around the mean gradient that maximises the least slope.
    weights = cagrad_weights(jacobian @ jacobian.T, c)
    mean = jacobian.mean(0)
    direction, radius = weights @ jacobian, c * np.linalg.norm(mean)
    if np.linalg.norm(direction) < 1e-9:
        return
    assert np.linalg.norm(direction - mean) <= radius * (1 + 1e-5) + 1e-9
    least = (jacobian @ direction).min()
    for share in np.linspace(0, 1, 101):
        mixed = share * jacobian[0] + (1 - share) * jacobian[1]
        if np.linalg.norm(mixed) > 1e-6:
            other = mean + radius * mixed / np.linalg.norm(mixed)
            assert (jacobian @ other).min() <= least + 1e-4 * np.abs(jacobian).sum()


def test_cagrad_hand_computed():
    # Two orthogonal unit gradients: g_w is the mean's direction, and d = (1 + c) · mean.
    np.testing.assert_allclose(cagrad_weights(np.eye(2), 0.5), [0.75, 0.75], atol=1e-6)


def test_cagrad_with_radius_0_is_the_mean_and_stops_where_the_gradients_cancel():
    np.testing.assert_allclose(cagrad_weights(np.diag([1.0, 9.0]), 0.0), [0.5, 0.5])
    # g2 = -2 g1: the ball does not reach 0, and d = -g1 / 4 is its end that hurts the worst-off least.
    opposed = np.array([[1.0, -2.0], [-2.0, 4.0]])
    np.testing.assert_allclose(cagrad_weights(opposed, 0.5), [0.75, 0.5], atol=1e-6)
    stationary = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.3]])  # the first two can only both stand still
    np.testing.assert_array_equal(cagrad_weights(stationary @ stationary.T, 0.5), [0, 0, 0])
    np.testing.assert_array_equal(cagrad_weights(np.zeros((2, 2)), 0.5), [0.5, 0.5])


@pytest.mark.parametrize("c", [-0.1, 1.0, math.nan])
def test_cagrad_refuses_a_radius_out_of_range(c):
    with pytest.raises(InputError, match="at least 0 and less than 1"):
        cagrad_weights(np.eye(2), c)


def test_config_hand_computed():
    # Unit gradients (1, 0) and (0, 1): the direction lies between them, and the step is as long as the lengths along it sum to, (1 + 3) / √2.
    jacobian = np.array([[1.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(config_weights(jacobian @ jacobian.T, np.ones(2)) @ jacobian, [2.0, 2.0], rtol=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.lists(st.floats(0.1, 1), min_size=3, max_size=3))
def test_config_has_the_cosines_that_were_asked_for(seed, weights):
    jacobian = np.random.default_rng(seed).normal(size=(3, 50))
    step = config_weights(jacobian @ jacobian.T, np.array(weights)) @ jacobian
    cosines = jacobian @ step / np.linalg.norm(jacobian, axis=1)
    np.testing.assert_allclose(cosines / cosines.sum(), np.array(weights) / sum(weights), rtol=1e-6)


def test_config_of_opposed_agreeing_and_vanished_gradients():
    np.testing.assert_allclose(config_weights(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.ones(2)), 0, atol=1e-9)
    np.testing.assert_allclose(config_weights(np.full((2, 2), 4.0), np.ones(2)), [1.0, 1.0], rtol=1e-9)
    np.testing.assert_allclose(config_weights(np.diag([4.0, 0.0]), np.ones(2)), [1.0, 0.0], rtol=1e-9)
