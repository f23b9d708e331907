import pytest

from frontier.errors import InputError
from reward_heads import rules


def test_keyword_coverage():
    rule = rules.KeywordCoverage(["Refund", "next week", "sorry", "tax"])
    assert rule("tax", "Sorry! The refund comes next Week, the refund.") == 3 / 4
    assert rule("", "next, a week") == 0
    assert rule("", "refunds") == 0  # words, not letters


@pytest.mark.parametrize("keywords", [[], "refund", ["--"]])
def test_refuses(keywords):
    with pytest.raises(InputError, match="keywords"):
        rules.KeywordCoverage(keywords)


def test_symbols_belong_to_the_keyword():
    rule = rules.KeywordCoverage(["C++", "C"])
    assert rule("", "I like C.") == 0.5
    assert rule("", "I like C++ and C.") == 1.0
