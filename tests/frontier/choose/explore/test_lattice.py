import math

import numpy as np
import pytest

from frontier.choose.explore.lattice import simplex_lattice
from frontier.errors import InputError
from frontier.measure.lattice import partitions_for
from moalign.preference_sampling import lattice


def test_agrees_with_the_lattice_of_preferences():
    names = ("a", "b", "c")
    expected = np.array([p.as_tensor(names).tolist() for p in lattice(names, 4)])
    np.testing.assert_allclose(simplex_lattice(3, 4), expected)


@pytest.mark.parametrize(("count", "n"), [(2, 500), (3, 500), (5, 500), (5, 1)])
def test_the_finest_that_fits(count, n):
    partitions = partitions_for(count, n)
    size = math.comb(partitions + count - 1, count - 1)
    assert size <= n or partitions == 1
    assert math.comb(partitions + count, count - 1) > n


def test_refusals():
    with pytest.raises(InputError, match="at least 2 weights"):
        simplex_lattice(1, 4)
    with pytest.raises(InputError, match="more than 20,000"):
        simplex_lattice(6, 30)
