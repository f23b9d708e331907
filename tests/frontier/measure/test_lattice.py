import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontier import InputError
from frontier.measure.lattice import weight_lattice


def test_three_objectives_by_hand():
    assert weight_lattice(3, 2).tolist() == [
        [1.0, 0.0, 0.0],
        [0.5, 0.5, 0.0],
        [0.5, 0.0, 0.5],
        [0.0, 1.0, 0.0],
        [0.0, 0.5, 0.5],
        [0.0, 0.0, 1.0],
    ]
    assert weight_lattice(1, 4).tolist() == [[1.0]]


@given(st.integers(1, 5), st.integers(1, 6))
def test_every_multiple_once(k, partitions):
    rows = weight_lattice(k, partitions)
    assert len(rows) == math.comb(partitions + k - 1, k - 1) == len(np.unique(rows, axis=0))
    assert rows.min() >= 0
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    np.testing.assert_array_equal(rows * partitions, np.round(rows * partitions))


@pytest.mark.parametrize(("k", "partitions"), [(0, 3), (3, 0), (True, 3), (2, 2.0), (2, "3")])
def test_refuses(k, partitions):
    with pytest.raises(InputError, match="whole number of at least 1"):
        weight_lattice(k, partitions)


def test_refuses_more_than_fits():
    with pytest.raises(InputError, match="take fewer partitions"):
        weight_lattice(10, 50)


def test_integers_of_numpy():
    assert weight_lattice(np.int64(3), np.int32(2)).tolist() == weight_lattice(3, 2).tolist()
