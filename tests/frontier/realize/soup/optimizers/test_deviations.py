import numpy as np
import pytest
from numpy.testing import assert_allclose

from frontier.choose.explore.surrogate import Kernel
from frontier.realize.soup.optimizers.deviations import DeviationModel, Deviations, rotated
from frontier.realize.soup.space import SoupSpace

KERNEL = Kernel(1.0, np.array([0.5]))


def test_rotation_by_hand():
    # Two blocks of one expert: the mean, and half of the first minus the second, up to its sign.
    assert_allclose(np.abs(rotated(np.array([[0.9, 0.5]]), 2)), [[0.7, 0.2]])
    one, other = (np.tile(np.array([row]), 3) for row in ([0.2, 0.8], [1.0, 0.3]))
    between = rotated(one, 3) - rotated(other, 3)
    assert_allclose(np.linalg.norm(between), np.linalg.norm([0.8, 0.5]))
    assert_allclose(between[:, 2:], 0, atol=1e-12)


def fitted(values, deviations, noise=1e-8):
    deviations = np.asarray(deviations, dtype=float)[:, None]
    return DeviationModel(np.zeros_like(deviations), deviations, np.asarray(values, dtype=float), noise, KERNEL)


def test_what_is_not_known_of_a_deviation_is_expected_to_be_nothing():
    model = DeviationModel(np.array([[0.0], [1.0]]), np.zeros((2, 1)), np.array([2.0, -1.0]), np.full(2, 1e-8), KERNEL)
    mean, deviation = model(np.zeros((3, 1)), np.array([[0.0], [0.1], [0.4]]))
    assert_allclose(mean, 2.0, atol=1e-6)
    assert deviation[0] < 1e-3 < deviation[1] < deviation[2]


def test_a_quadratic_is_learned_from_three_points():
    where = np.array([-0.2, 0.0, 0.2])
    model = fitted(1 + 0.5 * where - 2 * where**2, where, np.full(3, 1e-10))
    mean, _ = model(np.zeros((1, 1)), np.array([[0.3]]))
    assert mean[0] == pytest.approx(1 + 0.15 - 0.18, abs=1e-3)


def test_a_strong_effect_shortens_the_length():
    where = np.array([-0.1, 0.0, 0.1])
    steep, flat = (fitted(slope * where, where, np.full(3, 1e-8)) for slope in (8.0, 0.05))
    assert steep.length < flat.length


SPACE = SoupSpace(("a", "b"), ("layers 0-0", "layers 1-1"))
SHARES = np.linspace(0, 1, 7)


def world(vectors):
    """Quadratics of the mean share of a, and what the difference between the blocks adds to one and takes from the other."""
    first, second = vectors[:, 0], vectors[:, 2]
    mean, apart = (first + second) / 2, (first - second) / 2
    return np.stack([1 - (1 - mean) ** 2 + apart, 1 - mean**2 - 0.5 * apart], axis=1)


def measured():
    """Soups alike in both blocks, and three that are not."""
    pairs = [*zip(SHARES, SHARES, strict=True), (0.4, 0.2), (0.6, 0.7), (0.8, 0.7)]
    vectors = np.array([[a, 1 - a, b, 1 - b] for a, b in pairs])
    return vectors, Deviations(SPACE, vectors, world(vectors), np.zeros((len(vectors), 2)))


def test_what_a_deviation_brought_is_taken_off():
    vectors, known = measured()
    without = world(SPACE.alike(known.means))
    assert np.abs(world(vectors) - without)[-3:].min() > 0.02
    assert_allclose(known.alike_rewards, without, atol=0.01)
    assert (known.alike_errors[:-3] < 1e-6).all()
    assert (known.alike_errors[-3:] > 1e-3).all()


def test_deviations_that_pay_are_taken():
    """The first block should have more of a, as one reward gains more from that than the other loses."""
    vectors, known = measured()
    seen = {tuple(v) for v in vectors.tolist()}
    chosen = known.choose(np.array([[0.55, 0.45]]), vectors, seen, np.random.default_rng(0))
    assert chosen[0, 0] > chosen[0, 2] + 0.05
