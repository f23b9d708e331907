import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from reward_heads import rules

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def test_format_match():
    assert rules.FormatMatch(r"Dear \w+,.*")("", " Dear Ann,\nall is well. ") == 1.0
    assert rules.FormatMatch(r"Dear \w+,")("", "Dear Ann, all is well.") == 0.0
    assert rules.FormatMatch(r"\d{4}", whole=False)("", "in 1999") == 1.0


@settings(deadline=None)
@given(st.text(max_size=200))
def test_everything_matches_the_pattern_for_everything(text):
    assert rules.FormatMatch(".*")("", text) == 1


@settings(deadline=None)
@given(JSON)
def test_what_json_writes_is_valid(value):
    text = json.dumps(value, indent=1)
    assert rules.ValidJSON()("", text) == 1.0
    assert rules.ValidJSON()("", f"```json\n{text}\n```") == 1.0
    assert rules.ValidJSON(fenced=False)("", f"```json\n{text}\n```") == 0.0


@pytest.mark.parametrize(
    "text", ["", "yes", "{'a': 1}", "[1,]", '{"a": 1', "NaN", "[1e5, Infinity]", 'Sure! {"a": 1}', "[" * 100_000]
)
def test_what_is_not_json(text):
    assert rules.ValidJSON()("", text) == 0.0


def test_keys_of_the_object():
    rule = rules.ValidJSON(["name", "age", "town"])
    assert rule("", '{"name": "Ada", "town": null, "other": 1}') == pytest.approx(2 / 3)
    assert rule("", '["name", "age", "town"]') == 0.0
    assert rule("", '"name"') == 0.0


THOUGHT = "<think>2 + 2</think>\n<answer>4</answer>"


@pytest.mark.parametrize(
    ("text", "anywhere", "whole"),
    [
        (THOUGHT, 1.0, 1.0),
        ("So: " + THOUGHT, 1.0, 0.0),
        (THOUGHT + THOUGHT, 0.0, 0.0),
        ("<answer>4</answer><think>2 + 2</think>", 0.0, 0.0),
        ("<think>2 + 2<answer>4</answer></think>", 0.0, 0.0),
        ("<think>2 + 2</think><answer>4", 0.0, 0.0),
        ("<think></think><answer><b>4</b></answer>", 1.0, 1.0),
        ("", 0.0, 0.0),
    ],
)
def test_tags(text, anywhere, whole):
    assert rules.Tags(["think", "answer"])("", text) == anywhere
    assert rules.Tags(["think", "answer"], whole=True)("", text) == whole


@pytest.mark.parametrize(
    ("text", "any_language", "python"),
    [
        ("Here:\n```python\nx = 1\n```\nDone.", 1.0, 1.0),
        ("```Python3\nx\n```", 1.0, 0.0),
        ("```\nx\n```\n```PYTHON\ny\n```", 1.0, 1.0),
        ("```python\nx = 1", 0.0, 0.0),  # left open
        ("````\n```python\n````", 1.0, 0.0),  # a longer fence holds a shorter one
        ("~~~python\nx\n~~~", 1.0, 1.0),
        ("use `x = 1`", 0.0, 0.0),
        ("``` inline ```", 0.0, 0.0),
    ],
)
def test_code_fence(text, any_language, python):
    assert rules.CodeFence()("", text) == any_language
    assert rules.CodeFence("python")("", text) == python


def test_list_items():
    text = "Buy:\n- milk\n  * eggs\n3) bread\n10. tea\n• jam\n-5 degrees\n---\n1.5 litres\n"
    assert rules.list_items("", text) == 5.0
    assert rules.Band(rules.list_items, 3, 4)("", text) == -1.0


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("It is.", 1),
        ('He said "no."  \n', 1),
        ("Really?)", 1),
        ("And then the", 0),
        ("", 0),
        ("好。", 1),
        ("**Done!**", 1),
        ("a, b:", 0),
        ("3.5", 0),
    ],
)
def test_ends_with_punctuation(text, score):
    assert rules.ends_with_punctuation("", text) == score


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Why? Because.", 1),
        ('He asked "why?"', 1),
        ("No.", 0),
        ("see example.com/?q=1", 0),
        ("真的？", 1),
        ("你好吗？我很好。", 1),
        ("", 0),
    ],
)
def test_asks_question(text, score):
    assert rules.asks_question("Why?", text) == score


@pytest.mark.parametrize(
    "make",
    [
        lambda: rules.FormatMatch("(["),
        lambda: rules.ValidJSON("name"),
        lambda: rules.Tags([]),
        lambda: rules.Tags("think"),
        lambda: rules.Tags(["<think>"]),
    ],
)
def test_refuses(make):
    with pytest.raises(InputError):
        make()
