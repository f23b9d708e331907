import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontier.choose.elicit.answers import ANSWERS, AnswerModel, check_answer, number
from frontier.errors import InputError

NO_SLIPS = AnswerModel(rationality=10.0, tie=0.1, lapse=0.0)


def test_hand_computed():
    # beta (0.3 - 0.1) = 2 and beta (-0.3 - 0.1) = -4
    first, second = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(4))
    np.testing.assert_allclose(NO_SLIPS.probabilities(np.array(0.3)), [first, second, 1 - first - second], rtol=1e-14)
    # a slip is one of the other two: P(a) = 0.8 p + 0.2 (1 - p) / 2
    slips = AnswerModel(rationality=10.0, tie=0.1, lapse=0.2).probabilities(np.array(0.3))
    np.testing.assert_allclose(slips[0], 0.8 * first + 0.1 * (1 - first), rtol=1e-14)


def test_is_rao_kupper():
    """P(a) = A / (A + t B) for worths A = exp(beta u(a)), B and threshold t = exp(beta tau)."""
    a, b = math.exp(10 * 0.7), math.exp(10 * 0.5)
    t = math.exp(10 * 0.1)
    found = NO_SLIPS.probabilities(np.array(0.7 - 0.5))
    np.testing.assert_allclose(found[:2], [a / (a + t * b), b / (b + t * a)], rtol=1e-12)


@given(st.floats(-1, 1), st.floats(1, 200), st.floats(0.001, 0.2), st.floats(0, 0.5))
def test_properties(difference, rationality, tie, lapse):
    model = AnswerModel(rationality, tie=tie, lapse=lapse)
    p, mirrored = model.probabilities(np.array([difference, -difference])).T
    assert p.sum() == pytest.approx(1)
    assert (p >= lapse / 2 - 1e-12).all()
    np.testing.assert_allclose(p, mirrored[[1, 0, 2]], atol=1e-12)
    if difference > 0:
        assert p[0] >= p[1] - 1e-12


def test_someone_very_rational_is_undecided_within_the_tie():
    model = AnswerModel(rationality=1e4, tie=0.02, lapse=0.0)
    assert model.probabilities(np.array([0.01, 0.03, -0.03])).argmax(axis=0).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("name", "value"), [("rationality", 0.0), ("rationality", math.nan), ("spread", -1), ("tie", 0), ("lapse", 0.6), ("lapse", "x")]
)  # fmt: skip
def test_refuses(name, value):
    with pytest.raises(InputError, match=f"{name} must be a number"):
        AnswerModel(**{name: value})


def test_unknown_answer():
    assert [check_answer(answer) for answer in ANSWERS] == list(ANSWERS)
    with pytest.raises(InputError, match="unknown answer 'cant tell': did you mean 'cant_tell'"):
        check_answer("cant tell")


@pytest.mark.parametrize("value", [None, [], {}, "x", True, 10**400, math.inf, math.nan])
@pytest.mark.parametrize("name", ["rationality", "spread", "tie", "lapse"])
def test_refuses_what_is_no_number(name, value):
    with pytest.raises(InputError, match=f"{name} must be a number from"):
        AnswerModel(**{name: value})


def test_numbers_of_other_kinds_become_floats():
    model = AnswerModel(rationality=np.int64(20), lapse=np.float32(0.25))
    assert [type(v) for v in (model.rationality, model.lapse)] == [float, float]
    assert (model.rationality, model.lapse) == (20.0, 0.25)


def test_the_largest_may_be_left_out():
    assert number("x", 1, 0, 1) == 1.0
    with pytest.raises(InputError, match="x must be a number from 0 to below 1, found 1"):
        number("x", 1, 0, 1, below=True)
