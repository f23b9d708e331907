import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from reward_heads.remote import JudgePrompt
from reward_heads.remote.yes_no import choice_of, has_log_probabilities, read_log_probabilities, read_text

PROMPT = JudgePrompt()


def position(token, **top):
    listed = [{"token": name.replace("_", " "), "logprob": math.log(p)} for name, p in top.items()]
    return {"token": token, "logprob": listed[0]["logprob"] if listed else -0.1, "top_logprobs": listed}


def choice(*positions, text="Yes", **more):
    return {"message": {"content": text}, "logprobs": {"content": list(positions)}, **more}


def read(*positions, min_mass=0.1, **more):
    return read_log_probabilities(choice(*positions, **more), PROMPT, min_mass)


def test_variants_are_added_up_by_hand():
    found = read(position("Yes", Yes=0.5, _yes=0.1, YES=0.05, No=0.2, no=0.05, Maybe=0.1))
    assert found.log_odds == pytest.approx(math.log(0.65 / 0.25))
    assert found.mass == pytest.approx(0.9)


@settings(deadline=None)
@given(st.floats(0.01, 0.99))
def test_log_odds_of_two_answers(p):
    found = read(position("Yes", Yes=p, No=1 - p))
    assert 1 / (1 + math.exp(-found.log_odds)) == pytest.approx(p)


def test_a_side_that_is_not_listed_gets_the_most_that_it_can_have():
    assert read(position("Yes", Yes=0.9, Sure=0.06, Well=0.01)).log_odds == pytest.approx(math.log(0.9 / 0.01))
    assert read(position("No", No=0.97, Well=0.02)).log_odds == pytest.approx(
        math.log(0.01 / 0.97)
    )  # 0.01 is left of 1
    assert read(position("Yes", Yes=1.0)).log_odds == pytest.approx(math.log(1e12))


def test_only_the_chosen_token_is_known():
    assert read({"token": "Yes", "logprob": math.log(0.8)}).log_odds == pytest.approx(math.log(0.8 / 0.2))


@pytest.mark.parametrize("first", ["\n", " ", "**", '"', "▁", "Ġ"])
def test_white_space_and_markup_come_before_the_answer(first):
    found = read(position(first, x=1.0), position("No", No=0.75, Yes=0.25))
    assert found.log_odds == pytest.approx(math.log(1 / 3))


def test_thoughts_are_passed_over():
    thinking = [position(token, x=1.0) for token in ("<think>", "Yes", "?", "No", "</think>", "\n")]
    assert read(*thinking, position("No", No=0.75, Yes=0.25)).log_odds == pytest.approx(math.log(1 / 3))
    cut = read(*thinking[:3])
    assert (cut.log_odds, cut.problem) == (None, "cut off")


def test_no_answer():
    assert read(position("I", I=0.9, Yes=0.05)).problem == "neither yes nor no"
    assert read(position("I", I=0.9, Yes=0.05), min_mass=0.01).log_odds is not None
    assert read(position("\n", x=1.0)).problem == "cut off"
    assert read(finish_reason="content_filter").problem == "refused"
    refused = {"message": {"content": None, "refusal": "I can't."}, "logprobs": {"content": []}}
    assert read_log_probabilities(refused, PROMPT, 0.1).problem == "refused"


def test_minus_infinity_is_no_chance():
    entry = {"token": "Yes", "logprob": 0.0, "top_logprobs": [{"token": "No", "logprob": -math.inf}]}
    assert read(entry).log_odds == pytest.approx(math.log(1e12))
    entry["top_logprobs"][0]["logprob"] = -9999.0
    assert read(entry).log_odds == pytest.approx(math.log(1e12))


@pytest.mark.parametrize(
    "entry",
    ["Yes", {"token": "Yes"}, {"token": "Yes", "logprob": "high"}, {"token": "Yes", "logprob": 0.5}, {"token": "Yes", "logprob": math.nan},
     {"token": "Yes", "logprob": -0.1, "top_logprobs": [3]}],
)  # fmt: skip
def test_refuses_garbage(entry):
    with pytest.raises(InputError, match="expected"):
        read(entry)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Yes", True),
        (" yes.", True),
        ("**NO**, because yes", False),
        ("No\nIt is rude.", False),
        ("<think>No? Hm.</think>\n\nYes", True),
    ],
)
def test_first_word(text, meaning):
    assert read_text(choice(text=text), PROMPT) == (meaning, None)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (choice(text="I think so"), "neither yes nor no"),
        (choice(text="Yesterday"), "neither yes nor no"),
        (choice(text=""), "neither yes nor no"),
        (choice(text="", finish_reason="length"), "cut off"),
        (choice(text="<think>Well", finish_reason="length"), "cut off"),
        (choice(text="Yes", finish_reason="content_filter"), "refused"),
        ({"message": {"content": None, "refusal": "no"}}, "refused"),
    ],
)
def test_text_without_an_answer(given, problem):
    assert read_text(given, PROMPT) == (None, problem)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"choices": []},
        {"choices": ["Yes"]},
        {"choices": [{"text": "Yes"}]},
        {"choices": [{"message": {"content": 3}}]},
    ],
)
def test_refuses_what_is_no_chat_completion(answer):
    with pytest.raises(InputError, match="expected a"):
        choice_of(answer)


def test_whether_there_are_log_probabilities():
    assert has_log_probabilities(choice(position("Yes", Yes=1.0)))
    assert has_log_probabilities(choice(text=""))  # an empty answer has no positions
    for without in (None, {}, {"content": None}, {"tokens": ["Yes"], "token_logprobs": [-0.1]}):
        assert not has_log_probabilities({"message": {"content": "Yes"}, "logprobs": without})
