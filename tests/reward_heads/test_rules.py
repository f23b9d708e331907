import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontier.errors import InputError
from reward_heads import rules


def test_words():
    assert rules.words("It’s a well-known fact: 3 snake_cases, née 2024!") == [
        "it's", "a", "well-known", "fact", "3", "snake", "cases", "née", "2024",
    ]  # fmt: skip
    assert rules.words(" -- ... ' ") == []


def test_sentences():
    assert rules.sentences('He said "no." Then he left... ') == ['He said "no', "Then he left"]
    assert rules.sentences("Version 2.5 works. !!!") == ["Version 2.5 works"]
    assert rules.sentences("") == []


@pytest.mark.parametrize(("text", "score"), [("", 0.0), ("one", -1.0), ("one, two; don't!", -3.0)])
def test_brevity(text, score):
    assert rules.brevity("ignored prompt", text) == score


@pytest.mark.parametrize(("text", "score"), [("", None), ("...", None), ("One two three. Four.", 2.0), ("no end", 2.0)])
def test_sentence_length(text, score):
    assert rules.sentence_length("", text) == score


def test_sentiment():
    rule = rules.Sentiment({"Good": 2.0, "bad": -1.0, "fine": 1})
    assert rule("", "good GOOD bad, unknown") == pytest.approx((2 + 2 - 1) / 3)
    assert rule("good", "nothing known") == 0.0
    assert rules.Sentiment({"good": 2.0}, neutral=None)("", "nothing known") is None


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


def test_keyword_coverage():
    rule = rules.KeywordCoverage(["Refund", "next week", "sorry", "tax"])
    assert rule("tax", "Sorry! The refund comes next Week, the refund.") == 3 / 4
    assert rule("", "next, a week") == 0
    assert rule("", "refunds") == 0  # words, not letters


def test_banned_words():
    rule = rules.BannedWords(["darn", "shut up"])
    assert rule("", "Darn, darn it: shut up! Shut the door up.") == -3.0
    assert str(rule("", "all is well")) == "0.0"


def test_format_match():
    assert rules.FormatMatch(r"Dear \w+,.*")("", " Dear Ann,\nall is well. ") == 1.0
    assert rules.FormatMatch(r"Dear \w+,")("", "Dear Ann, all is well.") == 0.0
    assert rules.FormatMatch(r"\d{4}", whole=False)("", "in 1999") == 1.0


def test_minus():
    assert rules.minus(rules.brevity)("", "one two") == 2.0
    assert rules.minus(rules.sentence_length)("", "") is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: rules.Sentiment({}),
        lambda: rules.VocabularyRichness(0),
        lambda: rules.KeywordCoverage([]),
        lambda: rules.KeywordCoverage("refund"),
        lambda: rules.BannedWords(["ok", "!!"]),
        lambda: rules.FormatMatch("(["),
    ],
)
def test_refuses(make):
    with pytest.raises(InputError):
        make()


@given(st.text(max_size=200))
def test_rules_are_total_and_within_range(text):
    assert rules.brevity("", text) <= 0
    richness = rules.VocabularyRichness(5)("", text)
    assert richness is None or 0 < richness <= 1
    length = rules.sentence_length("", text)
    assert length is None or length >= 1
    assert -1 <= rules.Sentiment({"a": 1, "b": -1})("", text) <= 1
    assert rules.FormatMatch(".*")("", text) == 1
