import numpy as np
import pytest

from frontier import InputError
from frontier.measure.rows import filled, non_negative, on_simplex, paired, spans, whole_number


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


def test_a_range_is_more_than_rounding():
    assert spans(np.array([[1, 0.1 + 0.2, 1e9], [5, 0.3, 1e9 + 1e-2]])).tolist() == [
        4.0,
        0.0,
        pytest.approx(1e-2, rel=1e-4),
    ]
    assert spans(np.zeros((2, 1))).tolist() == [0.0]


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_of_any_type(value):
    found = whole_number(value, "n", 1)
    assert (found, type(found)) == (3, int)


@pytest.mark.parametrize("value", [0, True, np.True_, 3.0, "3", None, np.array([1, 2])])
def test_refuses_what_is_no_count(value):
    with pytest.raises(InputError, match="n must be a whole number of at least 1, found"):
        whole_number(value, "n", 1)
