import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_heads.rules import syllables

BY_HAND = {
    "the be used times called tried eyes whole queue make don't strengths": 1,
    "table boxes wanted idle agreed studied people nation special region being doing player saying lion because over": 2,
    "radio various piano computer vehicle another family important different together": 3,
    "temperature education information interesting available american material": 4,
    "university readability": 5,
}


@pytest.mark.parametrize(("word", "count"), [(word, count) for line, count in BY_HAND.items() for word in line.split()])
def test_common_words(word, count):
    assert syllables(word) == count


@pytest.mark.parametrize(("word", "count"), [("well-known", 2), ("42", 1), ("hmm", 1), ("", 1), ("bad-tempered", 3)])
def test_other_words(word, count):
    assert syllables(word) == count


@settings(deadline=None)
@given(st.text(max_size=40))
def test_between_one_and_the_letters(word):
    assert 1 <= syllables(word) <= max(1, 2 * len(word))
