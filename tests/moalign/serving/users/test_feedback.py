import pytest
from pydantic import ValidationError

from frontier.front import FrontPoint, ParetoFront
from moalign.preference import Preference
from moalign.serving.bodies import FeedbackBody
from moalign.serving.errors import ApiError
from moalign.serving.pick import FrontMenu
from moalign.serving.request import FieldError
from moalign.serving.rewards import RewardHeads
from moalign.serving.users.feedback import FeedbackReader
from reward_heads import Normalizer
from reward_heads.functions import FunctionReward

NAMES = ("helpful", "brief")
HALF = Preference({"helpful": 0.5, "brief": 0.5})
UNITS = Normalizer(NAMES, (1.0, -2.0), (2.0, 4.0), 9)
REWARD = FunctionReward(
    {
        "helpful": lambda prompt, completion: None if "?" in completion else completion.split().count(prompt),
        "brief": lambda prompt, completion: -len(completion.split()),
    }
)


def make_front(normalizer=None):
    rows = [(0.0, (0.0, 4.0)), (0.5, (3.0, 3.0)), (1.0, (4.0, 0.0))]
    points = [FrontPoint(r, (0.1, 0.1), 9, {"weights": {"helpful": w, "brief": 1 - w}}) for w, r in rows]
    return ParetoFront(NAMES, tuple(points), normalizer=None if normalizer is None else normalizer.to_json())


def read(heads=True, front=None, normalizer=None, current=HALF, keep_texts=False, **fields):
    scores = RewardHeads(REWARD, NAMES, normalizer) if heads else None
    reader = FeedbackReader(FrontMenu(front, NAMES), scores, keep_texts)
    return reader.read(FeedbackBody(user="ann", **fields), current)


PAIR = {"prompt": "w1", "chosen": "w1 w1", "rejected": "w1 w2 w3"}
PREFERENCES = {"chosen_preference": {"helpful": 1.0}, "rejected_preference": "helpful=0.5,brief=0.5"}


def test_a_pair_of_texts():
    found = read(**PAIR)
    assert (found.kind, found.label, found.texts) == ("pair", 1.0, None)
    assert found.differences == {"helpful": 1.0, "brief": 1.0}  # 2 - 1 mentions, -2 + 3 words
    assert read(**PAIR, normalizer=UNITS).differences == found.differences  # kept in units of the heads


def test_two_preferences_by_what_the_front_expects():
    found = read(heads=False, front=make_front(), **PREFERENCES)
    assert (found.kind, found.differences) == ("preferences", {"helpful": 1.0, "brief": -3.0})
    found = read(heads=False, front=make_front(UNITS), **PREFERENCES)
    assert found.differences == {"helpful": 2.0, "brief": -12.0}  # back in units of the heads
    between = {"chosen_preference": {"helpful": 0.75, "brief": 0.25}, "rejected_preference": {"brief": 1}}
    assert read(heads=False, front=make_front(), **between).differences == {"helpful": 3.5, "brief": -2.5}


def test_texts_count_before_their_preferences_where_heads_can_score_them():
    assert read(front=make_front(), **PAIR, **PREFERENCES).differences == {"helpful": 1.0, "brief": 1.0}
    assert read(heads=False, front=make_front(), **PAIR, **PREFERENCES).differences == {"helpful": 1.0, "brief": -3.0}


def test_a_thumb_is_against_what_was_to_be_expected():
    thumb = {"prompt": "w1", "completion": "w1 w1", "rating": "down"}
    found = read(front=make_front(), **thumb)
    assert (found.kind, found.label) == ("rating", 0.0)
    assert found.differences == {"helpful": 2 - 3.0, "brief": -2 - 3.0}
    assert read(front=make_front(), **thumb, preference={"helpful": 1.0}).differences == {
        "helpful": -2.0,
        "brief": -2.0,
    }
    assert read(front=make_front(), current=Preference.only("brief"), **thumb).differences == {
        "helpful": 2,
        "brief": -6,
    }
    assert read(front=make_front(UNITS), **thumb).differences == {"helpful": 2 - 7.0, "brief": -2 - 10.0}
    # Without a front: the reference policy's mean.
    assert read(normalizer=UNITS, **thumb).differences == {"helpful": 1.0, "brief": 0.0}
    assert read(front=make_front(), **{**thumb, "rating": "up"}).label == 1.0


def test_a_front_that_offers_no_point_is_none():
    thumb = {"prompt": "w1", "completion": "w1 w1", "rating": "down"}
    soups = ParetoFront(NAMES, (FrontPoint((3.0, 3.0), (0.1, 0.1), 9), FrontPoint((4.0, 2.0), (0.1, 0.1), 9)))
    assert read(front=soups, normalizer=UNITS, **thumb).differences == {"helpful": 1.0, "brief": 0.0}
    with pytest.raises(ApiError) as caught:
        read(front=soups, **thumb)
    assert (caught.value.status, caught.value.param, caught.value.code) == (404, "rating", "no_front")


def test_an_unknown_reward_says_nothing():
    assert read(prompt="w1", chosen="?", rejected="w1 w2").differences == {"helpful": 0.0, "brief": 1.0}


def test_messages_are_texts_and_texts_are_kept_only_when_asked():
    turns = {"prompt": [{"role": "user", "content": "w1"}], "chosen": [{"role": "assistant", "content": "w1"}]}
    found = read(**turns, rejected="w1 w2", keep_texts=True)
    assert found.differences == {"helpful": 0.0, "brief": 1.0}
    assert found.texts["prompt"] == [{"role": "user", "content": "w1"}]
    assert set(found.texts) == {"prompt", "chosen", "rejected"}


@pytest.mark.parametrize(
    ("heads", "front", "fields", "code"),
    [
        (False, True, PAIR, "no_reward_heads"),
        (False, True, {"prompt": "w1", "completion": "w1", "rating": "up"}, "no_reward_heads"),
        (True, False, {"prompt": "w1", "completion": "w1", "rating": "up"}, "no_front"),
        (True, False, PREFERENCES, "no_front"),
    ],
)
def test_what_is_missing_is_said(heads, front, fields, code):
    with pytest.raises(ApiError) as caught:
        read(heads=heads, front=make_front() if front else None, **fields)
    assert (caught.value.status, caught.value.code) == (404, code)


def test_two_that_are_alike_tell_nothing():
    for fields in ({**PAIR, "rejected": "w1 w1"}, {**PREFERENCES, "rejected_preference": {"helpful": 1.0}}):
        with pytest.raises(ApiError, match="same rewards") as caught:
            read(front=make_front(), **fields)
        assert (caught.value.status, caught.value.code) == (400, "no_difference")


@pytest.mark.parametrize(
    "wrong", [{"helpful": 2}, {"maximize": "helpful"}, "x", {"safe": 1.0}, {"direction": {"helpful": 1.0}}, [1]]
)
def test_preferences_that_are_none(wrong):
    with pytest.raises(FieldError) as caught:
        read(front=make_front(), chosen_preference=wrong, rejected_preference={"brief": 1})
    assert caught.value.field == "chosen_preference"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "say what was better"),
        ({"prompt": "w1"}, "say what was better"),
        ({"prompt": "w1", "chosen": "a"}, "rejected: is missing beside chosen, prompt"),
        ({"chosen": "a", "rejected": "b"}, "prompt: is missing"),
        ({"prompt": "w1", "completion": "a"}, "rating: is missing"),
        ({"prompt": "w1", "completion": "a", "rating": "up", "chosen": "b"}, "chosen: does not belong to"),
        ({"chosen_preference": {}}, "rejected_preference: is missing"),
        ({**PAIR, "chosen_preference": {}}, "rejected_preference: is missing"),
        ({**PAIR, "preference": {}}, "preference: does not belong to"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "must be a text or a list of messages"),
        ({"prompt": "w1", "completion": "a", "rating": "meh"}, "'up' or 'down'"),
    ],
)
def test_bodies_that_are_incomplete(fields, message):
    with pytest.raises(ValidationError, match=message):
        FeedbackBody(user="ann", **fields)
