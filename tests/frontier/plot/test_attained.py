import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from frontier.measure import hypervolume
from frontier.plot.attained import attained_shares

ZERO = np.zeros(2)


def test_by_hand():
    # Boxes of 1 × 2 and 2 × 1 share the unit square.
    shares = attained_shares(np.array([[1.0, 2.0]]), np.array([[2.0, 1.0]]), ZERO)
    assert (shares.only_first, shares.only_second, shares.both) == (1.0, 1.0, 1.0)
    assert shares.edges.tolist() == [0, 1, 2]
    assert (shares.first.tolist(), shares.second.tolist()) == ([2, 0], [1, 1])


def test_nothing_above_the_reference_point():
    shares = attained_shares(np.array([[1.0, -1.0]]), np.array([[0.0, 5.0]]), ZERO)
    assert (shares.only_first, shares.only_second, shares.both) == (0.0, 0.0, 0.0)


@pytest.mark.filterwarnings("ignore:every point lies below the reference point")
@settings(deadline=None, max_examples=60)
@given(
    *(arrays(np.float64, st.tuples(st.integers(1, 8), st.just(2)), elements=st.floats(-2, 3, width=16)) for _ in "ab")
)
def test_agrees_with_hypervolumes(first, second):
    place = np.array([-1.0, -0.5])
    shares = attained_shares(first, second, place)
    together = hypervolume(np.concatenate([first, second]), place)
    assert shares.only_first == pytest.approx(together - hypervolume(second, place), abs=1e-9)
    assert shares.only_second == pytest.approx(together - hypervolume(first, place), abs=1e-9)
    assert shares.only_first + shares.only_second + shares.both == pytest.approx(together, abs=1e-9)
