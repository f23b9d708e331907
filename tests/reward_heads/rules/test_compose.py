import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from reward_heads import rules
from reward_heads.rules import Band, Clipped, Otherwise, Scaled, WeightedSum, minus

finite = st.floats(-1e6, 1e6)


def constant(value):
    return lambda prompt, completion: value


def test_minus():
    assert minus(rules.brevity)("", "one two") == 2.0
    assert minus(rules.sentence_length)("", "") is None
    assert str(minus(rules.word_count)("", "")) == "0.0"  # not -0.0


@settings(deadline=None)
@given(finite, finite, finite)
def test_scaled(value, factor, offset):
    assert Scaled(constant(value), factor, offset)("", "") == factor * value + offset
    assert minus(minus(constant(value)))("", "") == value


@settings(deadline=None)
@given(finite, finite, finite)
def test_clipped(value, a, b):
    low, high = min(a, b), max(a, b)
    found = Clipped(constant(value), low, high)("", "")
    assert low <= found <= high
    assert found == value or not low <= value <= high
    assert Clipped(constant(value))("", "") == value


@settings(deadline=None)
@given(finite, finite, finite)
def test_band(value, a, b):
    low, high = min(a, b), max(a, b)
    found = Band(constant(value), low, high)("", "")
    assert found <= 0
    assert (found == 0) == (low <= value <= high)
    assert found == -abs(value - Clipped(constant(value), low, high)("", ""))


def test_weighted_sum():
    assert (
        WeightedSum([(2.0, rules.word_count), (-0.5, rules.sentence_count)])("", "One two. Three.") == 2 * 3 - 0.5 * 2
    )
    assert WeightedSum([(1.0, constant(1)), (1.0, constant(None))])("", "") is None


def test_otherwise():
    assert Otherwise(rules.sentence_length, -9.0)("", "") == -9.0
    assert Otherwise(rules.sentence_length, -9.0)("", "One two.") == 2.0


@pytest.mark.parametrize("make", [lambda r: Scaled(r, 2), lambda r: Clipped(r, 0, 1), lambda r: Band(r, 0, 1), minus])
def test_what_is_not_known_stays_so(make):
    assert make(constant(None))("", "") is None


def test_composed_rules_compare_and_print():
    assert Band(rules.word_count, 1, 2) == Band(rules.word_count, 1, 2) != Band(rules.word_count, 1, 3)
    assert "factor=-1.0" in repr(minus(rules.VocabularyRichness(5)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: minus(3), "a rule must be a function"),
        (lambda: Scaled(rules.brevity, math.inf), "factor must be finite"),
        (lambda: Clipped(rules.brevity, 2, 1), "low must not be above high, found 2 and 1"),
        (lambda: Band(rules.brevity, math.nan, 1), "low must not be above high"),
        (lambda: WeightedSum([]), "at least one"),
        (lambda: WeightedSum([(math.nan, rules.brevity)]), "weight must be finite"),
        (lambda: Otherwise(rules.brevity, math.nan), "value must be finite"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(InputError, match=message):
        make()
