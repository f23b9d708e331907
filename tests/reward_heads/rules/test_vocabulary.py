import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from reward_heads import rules


@pytest.mark.parametrize(
    ("window", "text", "score"),
    [
        (None, "a b a c", 3 / 4),
        (2, "a a b", (1 / 2 + 1) / 2),
        (10, "a b a c", 3 / 4),
        (1, "a a a", 1.0),
        (None, "", None),
        (None, "The the", 1 / 2),
    ],
)
def test_vocabulary_richness(window, text, score):
    assert rules.VocabularyRichness(window)("", text) == score


def test_windowed_richness_does_not_fall_with_length_and_the_plain_one_does():
    once, often = "a b c d", "a b c d " * 10
    assert rules.VocabularyRichness(4)("", often) == rules.VocabularyRichness(4)("", once) == 1
    assert rules.VocabularyRichness()("", often) == 0.1


@settings(deadline=None)
@given(st.text(max_size=200))
def test_within_range(text):
    richness = rules.VocabularyRichness(5)("", text)
    assert richness is None or 0 < richness <= 1


def test_refuses_an_empty_window():
    with pytest.raises(InputError, match="window must be at least 1"):
        rules.VocabularyRichness(0)
