import numpy as np
import pytest

from frontier import InputError
from frontier.measure.rows import filled, non_negative, on_simplex, paired


def test_passes_what_is_fine():
    rows = [[0.25, 0.75], [1.0, 0.0]]
    for check in (non_negative, on_simplex):
        np.testing.assert_array_equal(check(rows), rows)
    np.testing.assert_array_equal(filled(rows, "points", 2), rows)
    users, points = paired([[1, 2], [3, 4]], rows)
    np.testing.assert_array_equal(users, rows)
    np.testing.assert_array_equal(points, [[1, 2], [3, 4]])


def test_weights_with_six_decimals_are_on_the_simplex():
    assert on_simplex([[0.333333, 0.333333, 0.333333]]).shape == (1, 3)


@pytest.mark.parametrize(
    ("check", "rows", "message"),
    [
        (non_negative, [[1, 0], [1, -0.1]], "row 1 of the weights must be at least 0"),
        (non_negative, [[0, 0]], "not all 0"),
        (non_negative, [], "there are no weights"),
        (on_simplex, [[0.5, 0.6]], "must sum to 1, found .* which sum to 1.1"),
        (on_simplex, [[1.1, -0.1]], "at least 0"),
        (on_simplex, [[float("nan"), 1.0]], "row 0 of the weights is not finite"),
    ],
)
def test_refuses(check, rows, message):
    with pytest.raises(InputError, match=message):
        check(rows)
