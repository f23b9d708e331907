import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from reward_heads import FunctionReward, rules


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("  The  ANSWER. ", "the answer"),
        ("“Paris!”", "paris"),
        ("ﬁve", "five"),
        ("-5", "-5"),
        ("50%", "50%"),
        ("STRASSE", "strasse"),
        ("...", ""),
    ],
)
def test_normalised(text, plain):
    assert rules.normalised(text) == plain


@settings(deadline=None)
@given(st.text())
def test_normalising_twice_changes_nothing_more(text):
    assert rules.normalised(rules.normalised(text)) == rules.normalised(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3-4 and -5 or −7", [3, 4, -5, -7]),
        ("(-3), x-3, $1,250.50", [-3, 3, 1250.5]),
        ("12,345,678 but 1,2,3", [12345678, 1, 2, 3]),
        ("0.5 .5 5. 1e3 2E-2", [0.5, 0.5, 5, 1000, 0.02]),
        ("H2O v2.0 No.5", [5]),
        ("2024-01-02 at 50%", [2024, 1, 2, 50]),
        ("none, 1e999", []),
    ],
)
def test_numbers(text, found):
    assert rules.numbers(text) == found


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_reads_back_what_python_writes(value):
    assert rules.numbers(f"It is {value!r}.") == [value]


def test_exact_match():
    rule = rules.ExactMatch({"Capital of France?": "Paris", "Colour?": ["grey", "gray"]})
    assert rule("Capital of France?", " paris. ") == 1.0
    assert rule("Capital of France?", "It is Paris.") == 0.0
    assert rule("Colour?", "Gray") == rule("Colour?", "GREY") == 1.0
    assert rule("Another prompt", "Paris") is None


def test_extract_takes_the_last_match():
    rule = rules.ExactMatch({"q": "Paris"}, extract=r"<answer>(.*?)</answer>")
    assert rule("q", "<answer>Rome</answer> no: <answer>\nParis</answer>") == 1.0
    assert rule("q", "<answer>Paris</answer><answer>Rome</answer>") == 0.0
    assert rule("q", "Paris") == 0.0


def test_numeric_match():
    rule = rules.NumericMatch({"q": 42, "worked": "6 times 7 #### 42", "third": [0.3333], "zero": "0"}, relative=1e-3)
    assert rule("q", "First 6, then 7: 42.0 apples") == 1.0
    assert rule("q", "42 of 50") == 0.0  # the last number counts
    assert rule("q", "no number") == 0.0
    assert rule("worked", "42") == 1.0
    assert rule("third", "about 0.3334") == 1.0
    assert rule("third", "about 0.334") == 0.0
    assert rule("zero", "0.0") == 1.0
    assert rule("zero", "0.001") == 0.0
    assert rule("other", "42") is None


def test_the_tolerance_is_relative_to_the_answer():
    rule = rules.NumericMatch({"q": 100}, relative=0.1)
    assert [rule("q", text) for text in ("90", "110", "110.1", "89.9")] == [1.0, 1.0, 0.0, 0.0]


def test_answers_from_rows():
    rows = [
        {"prompt": "q", "answer": "a"},
        {"prompt": [{"role": "user", "content": "q"}], "answer": ["b", "c"]},
        {"prompt": "unknown", "answer": None},
    ]
    answers = rules.answers_from_rows(rows)
    assert answers == {"q": ["a", "b", "c"]}
    reward = FunctionReward({"right": rules.ExactMatch(answers)})
    scores = reward.score(["q", [{"role": "user", "content": "q"}], "unknown"], ["A", "d", "a"])
    assert scores[:2, 0].tolist() == [1.0, 0.0]
    assert math.isnan(scores[2, 0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rules.ExactMatch({}), "at least one prompt"),
        (lambda: rules.ExactMatch({"q": "..."}), "prompt 'q' has an empty answer"),
        (lambda: rules.ExactMatch({"q": []}), "empty list of answers"),
        (lambda: rules.ExactMatch({"q": "a"}, extract="(["), "not a regular expression"),
        (lambda: rules.ExactMatch({"q": "a"}, extract="a"), "must have one group, the answer, found 0"),
        (lambda: rules.NumericMatch({"q": "none"}), "prompt 'q' must hold a finite number, found 'none'"),
        (lambda: rules.NumericMatch({"q": math.inf}), "finite number"),
        (lambda: rules.NumericMatch({"q": []}), "empty list of answers"),
        (lambda: rules.NumericMatch({"q": 1}, relative=-1), "relative must be a tolerance"),
        (lambda: rules.NumericMatch({"q": 1}, absolute=math.nan), "absolute must be a tolerance"),
        (lambda: rules.answers_from_rows([{"prompt": "q"}]), "row 0: no column 'answer', found prompt"),
        (lambda: rules.answers_from_rows([{"prompt": "q", "answer": None}]), "no row has an answer"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(InputError, match=message):
        make()
