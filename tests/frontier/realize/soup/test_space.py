import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frontier.errors import InputError
from frontier.realize.soup import Soup, SoupSpace

BLOCKS = ("layers 0-1", "layers 2-3")
NAMES = ("a", "b", "c")


@given(arrays(np.float64, (4, 6), elements=st.floats(-3, 3, width=32)))
def test_whatever_is_repaired_is_in_the_space_and_stays(rows):
    simplex, box = SoupSpace(NAMES, BLOCKS), SoupSpace(NAMES, BLOCKS, limits=(-0.5, 1.5))
    made = simplex.repair(rows)
    assert (made >= 0).all()
    assert np.allclose(made.reshape(-1, 3).sum(axis=1), 1, atol=1e-12)
    assert (box.repair(rows) >= -0.5).all()
    assert (box.repair(rows) <= 1.5).all()
    for space in (simplex, box):
        once = space.repair(rows)
        assert (space.repair(once) == once).all()
        assert (once == np.round(once, 3)).all()


def test_rounding_by_hand():
    space = SoupSpace(NAMES)
    # Thirds round to 0.333 each; the first gets the thousandth that is missing.
    assert space.repair([1, 1, 1]).tolist() == [[0.334, 0.333, 0.333]]
    assert space.repair([0, -2, 0]).tolist() == [[0.334, 0.333, 0.333]]  # nothing of anything is the mean
    assert SoupSpace(NAMES, limits=(0, 1.5)).repair([2, -1, 0.12345]).tolist() == [[1.5, 0, 0.123]]


def test_lattices():
    assert len(SoupSpace(("a", "b")).lattice(11)) == 11
    assert len(SoupSpace(NAMES).lattice(20)) == 15  # 4 partitions; 5 would make 21
    assert SoupSpace(NAMES, BLOCKS).lattice(3).tolist() == [[1, 0, 0] * 2, [0, 1, 0] * 2, [0, 0, 1] * 2]


def test_vectors_and_soups_are_one():
    space = SoupSpace(NAMES, BLOCKS, limits=(-1, 2))
    drawn = space.random(5, np.random.default_rng(0))
    assert drawn.min() < 0
    assert drawn.max() > 1
    assert [space.vector(soup).tolist() for soup in space.soups(drawn)] == drawn.tolist()
    with pytest.raises(InputError, match="not of a, b, c in layers 0-1"):
        space.vector(Soup.alike(NAMES, (1, 0, 0)))


def test_refuses():
    with pytest.raises(InputError, match="at least 2 experts, found a"):
        SoupSpace(("a",))
    with pytest.raises(InputError, match="least and the largest"):
        SoupSpace(NAMES, limits=(1, 0))
