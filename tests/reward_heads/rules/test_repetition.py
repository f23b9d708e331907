import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from reward_heads import rules

FEW_WORDS = st.lists(st.sampled_from("ab"), max_size=24) | st.lists(st.sampled_from("abcdef"), max_size=24)


@pytest.mark.parametrize(
    ("n", "text", "score"),
    [
        (1, "a b a c", 3 / 4),
        (2, "a b a b", 2 / 3),
        (2, "a", None),
        (3, "a b c", 1.0),
        (2, "", None),
        (2, "A b, a B", 2 / 3),
    ],
)
def test_distinct_ngrams(n, text, score):
    assert rules.DistinctNgrams(n)("", text) == score


def test_refuses_no_words():
    with pytest.raises(InputError, match="n must be at least 1"):
        rules.DistinctNgrams(0)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("", 0.0),
        ("one", 0.0),
        ("one two", 0.0),
        ("one one", -1.0),
        ("I see the cat. You see the cat?", -3.0),
        ("a a a a a", -4.0),
    ],
)
def test_longest_repeat(text, score):
    assert rules.longest_repeat("", text) == score


def slowest_repeat(found):
    runs = lambda size: [tuple(found[i : i + size]) for i in range(len(found) - size + 1)]  # noqa: E731
    return max((size for size in range(1, len(found)) if len(set(runs(size))) < len(runs(size))), default=0)


@settings(deadline=None)
@given(FEW_WORDS)
def test_longest_repeat_is_that_of_a_plain_search(found):
    assert rules.longest_repeat("", " ".join(found)) == -slowest_repeat(found)


def test_longest_repeat_of_a_long_loop():
    assert rules.longest_repeat("", "word " * 5000) == -4999.0


def test_compression_ratio():
    loop, prose = (
        "the same again " * 40,
        "It was a bright day in April, and nobody on the hill had yet seen the smoke behind the mill. " * 1,
    )
    assert rules.compression_ratio("", loop) < 0.1 < 0.5 < rules.compression_ratio("", prose) <= 1
    assert rules.compression_ratio("", " \n") is None


@settings(deadline=None)
@given(st.text(max_size=60))
def test_ranges(text):
    distinct, ratio = rules.DistinctNgrams(2)("", text), rules.compression_ratio("", text)
    assert distinct is None or 0 < distinct <= 1
    assert ratio is None or 0 < ratio <= 1
    assert -len(rules.words(text)) <= rules.longest_repeat("", text) <= 0
