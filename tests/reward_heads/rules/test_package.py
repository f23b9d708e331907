"""Every ready rule, whatever its family."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_heads import FunctionReward, rules

READY = [
    rules.brevity, rules.word_count, rules.character_count, rules.sentence_count, rules.sentence_length,
    rules.flesch_reading_ease, rules.flesch_kincaid_grade, rules.coleman_liau_grade, rules.automated_readability_grade,
    rules.Sentiment({"good": 1.0}), rules.VocabularyRichness(3), rules.KeywordCoverage(["good"]), rules.BannedWords(["bad"]),
    rules.FormatMatch("a*"), rules.ValidJSON(["a"]), rules.Tags(["a"]), rules.CodeFence(), rules.list_items, rules.ends_with_punctuation,
    rules.asks_question, rules.DistinctNgrams(), rules.longest_repeat, rules.compression_ratio, rules.ascii_share, rules.ScriptShare(),
    rules.ExactMatch({"p": "a"}), rules.NumericMatch({"p": 1}), rules.Band(rules.word_count, 2, 3), rules.minus(rules.brevity),
]  # fmt: skip


@settings(deadline=None)
@given(st.text(max_size=120))
def test_rules_are_total_finite_and_deterministic(text):
    for rule in READY:
        value = rule("p", text)
        assert value is None or math.isfinite(value)
        assert rule("p", text) == value


def test_the_whole_battery_is_one_reward():
    reward = FunctionReward({f"rule{i}": rule for i, rule in enumerate(READY)})
    assert reward.score(["p"], ["A good day. Is it?"]).shape == (1, len(READY))


@pytest.mark.parametrize("name", rules.__all__)
def test_public_names_exist(name):
    assert getattr(rules, name) is not None
