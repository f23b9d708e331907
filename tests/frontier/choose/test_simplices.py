import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.choose.simplices import Simplices
from frontier.measure.lattice import weight_lattice


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(1, 3), st.integers(0, 9999))
def test_shares_give_back_the_weights(k, partitions, seed):
    rng = np.random.default_rng(seed)
    corners = np.unique(np.concatenate([weight_lattice(k, partitions), rng.dirichlet(np.ones(k), 3)]), axis=0)
    asked = rng.dirichlet(np.ones(k))
    place = Simplices(corners).locate(asked)
    assert place.inside
    assert (place.shares > 0).all()
    assert place.shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(place.shares @ corners[place.rows], asked, atol=1e-9)
    # The same place when the objectives are named in another order.
    turned = Simplices(corners[:, ::-1]).locate(asked[::-1])
    np.testing.assert_allclose(turned.shares @ corners[turned.rows], asked, atol=1e-9)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_every_corner_and_every_edge_is_inside(k):
    lattice = weight_lattice(k, 4)
    simplices = Simplices(lattice)
    for row, corner in enumerate(lattice):
        place = simplices.locate(corner)
        assert (place.rows.tolist(), place.inside, place.reach) == ([row], True, 0.0)
        assert simplices.locate((corner + np.eye(k)[0]) / 2).inside


def test_reach_by_hand():
    # Half way between (0, 1) and (1, 0): each is √½ away. A quarter of the way: 3/4 · 1/8 + 1/4 · 9/8.
    segment = Simplices(np.eye(2))
    assert segment.locate(np.array([0.5, 0.5])).reach == pytest.approx(0.5)
    assert segment.locate(np.array([0.25, 0.75])).reach == pytest.approx(3 / 32 + 9 / 32)


def test_outside_and_off_the_flat():
    edge = Simplices(np.array([[0.8, 0.2, 0.0], [0.5, 0.5, 0.0], [0.3, 0.7, 0.0]]))
    assert edge.locate(np.array([0.6, 0.4, 0.0])).inside
    beyond = edge.locate(np.array([0.9, 0.1, 0.0]))
    assert not beyond.inside
    np.testing.assert_allclose(sorted(beyond.shares), [-1 / 3, 4 / 3])
    assert edge.locate(np.array([0.4, 0.4, 0.2])) is None


def test_one_point():
    alone = Simplices(np.array([[0.4, 0.6]]))
    assert alone.locate(np.array([0.4, 0.6])).rows.tolist() == [0]
    assert alone.locate(np.array([0.5, 0.5])) is None
    assert alone.neighbours(0).size == 0


def test_neighbours():
    lattice = weight_lattice(2, 4)  # from (1, 0) to (0, 1)
    assert Simplices(lattice).neighbours(2).tolist() == [1, 3]
    triangle = weight_lattice(3, 3)
    centre = int(np.flatnonzero(np.isclose(triangle, 1 / 3).all(axis=1))[0])
    assert len(Simplices(triangle).neighbours(centre)) == 6
