import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_heads import rules

ALL = [
    rules.flesch_reading_ease,
    rules.flesch_kincaid_grade,
    rules.coleman_liau_grade,
    rules.automated_readability_grade,
]


def test_one_syllable_words():
    # 6 words, 1 sentence, 6 syllables, 17 letters
    text = "The cat sat on the mat."
    assert rules.flesch_reading_ease("", text) == pytest.approx(206.835 - 1.015 * 6 - 84.6 * 1)
    assert rules.flesch_kincaid_grade("", text) == pytest.approx(0.39 * 6 + 11.8 - 15.59)
    assert rules.coleman_liau_grade("", text) == pytest.approx(0.0588 * (17 / 6 * 100) - 0.296 * (100 / 6) - 15.8)
    assert rules.automated_readability_grade("", text) == pytest.approx(4.71 * 17 / 6 + 0.5 * 6 - 21.43)


def test_a_sentence_with_a_published_score():
    # 16 words; syllables by hand: 1 2 2 1 1 2 2 2 2 1 2 1 1 1 1 1 = 23; the published reading ease is 69
    text = "This sentence, taken as a reading passage unto itself, is being used to prove a point."
    assert rules.flesch_reading_ease("", text) == pytest.approx(206.835 - 1.015 * 16 - 84.6 * 23 / 16)
    assert round(rules.flesch_reading_ease("", text)) == 69


def test_two_sentences():
    # 4 words, 2 sentences, syllables 1 + 3 + 2 + 1
    text = "A computer? Being bad!"
    assert rules.flesch_reading_ease("", text) == pytest.approx(206.835 - 1.015 * 2 - 84.6 * 7 / 4)


@pytest.mark.parametrize("rule", ALL)
@pytest.mark.parametrize("text", ["", "...", " ?! "])
def test_no_word_no_readability(rule, text):
    assert rule("a prompt", text) is None


@settings(deadline=None)
@given(st.text(max_size=100))
def test_finite_for_any_text(text):
    for rule in ALL:
        value = rule("", text)
        assert value is None or abs(value) < 1e4


def test_news_is_harder_than_stories(shared_data):
    stories = "\n".join(shared_data.tinystories()[:50])
    news = "\n".join(row["src"] for row in shared_data.summeval()[:160:16])
    assert rules.flesch_reading_ease("", stories) > rules.flesch_reading_ease("", news) + 20
    for grade in ALL[1:]:
        assert grade("", stories) < grade("", news) - 3
    assert 0 < rules.flesch_kincaid_grade("", stories) < 5  # written for children of three and four
