import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.choose.elicit import AnswerModel, Elicitation, Question
from frontier.errors import InputError
from frontier.front import FrontPoint, ParetoFront

ANGLES = np.linspace(0, np.pi / 2, 11)
ARC = np.column_stack([np.sin(ANGLES), np.cos(ANGLES)])


def converse(talk, utility, wrong=(), undecided=0.01):
    """Answer until it stops; the answers with these numbers are wrong."""
    asked = []
    while (question := talk.question()) is not None:
        difference = utility[question.a] - utility[question.b]
        right = (difference > 0) != (len(asked) in wrong)
        talk.answer(question, "cant_tell" if abs(difference) < undecided else "a" if right else "b")
        asked.append((question.a, question.b))
    return asked


def shortfall(talk, utility):
    return (utility.max() - utility[talk.choice().index]) / np.ptp(utility)


def mass_near(talk, weight):
    """The probability that the first weight is within 0.05 of this one."""
    posterior = talk.posterior
    return float(posterior.probabilities[np.abs(posterior.weights[:, 0] - weight) < 0.05].sum())


def test_three_candidates_by_hand():
    """The middle one is best for every weight between 1/3 and 2/3: someone with equal weights says so twice."""
    talk = Elicitation([[0.0, 1.0], [2 / 3, 2 / 3], [1.0, 0.0]], model="linear")
    asked = converse(talk, np.array([0.5, 2 / 3, 0.5]))
    assert talk.choice().index == 1
    assert len(asked) <= 3
    assert 1 / 3 < talk.choice().weights[0] < 2 / 3


@pytest.mark.parametrize("model", ["linear", "auto"])
@pytest.mark.parametrize("weight", [0.1, 0.5, 0.85])
def test_finds_what_linear_people_want_in_spite_of_a_wrong_answer(model, weight):
    utility = ARC @ [weight, 1 - weight]
    for wrong in ((), (1,), (3,)):
        talk = Elicitation(ARC, model=model)
        converse(talk, utility, wrong)
        assert shortfall(talk, utility) <= 0.05


def test_finds_what_no_weighted_sum_wants():
    """A front with a dent, and someone who wants balance: linear utilities reach only its ends."""
    dent = np.column_stack([ARC[:, 0], ARC[:, 1]])
    dent = 1 - dent[::-1]  # convex towards the origin
    utility = np.minimum(dent[:, 0], dent[:, 1])
    found = {}
    for model in ("linear", "gp", "auto"):
        talk = Elicitation(dent, model=model)
        converse(talk, utility)
        found[model] = shortfall(talk, utility)
    assert found["gp"] <= 0.05
    assert found["auto"] <= 0.05
    assert found["linear"] > 0.5


def test_answers_move_the_weights_the_right_way():
    talk = Elicitation(ARC, model="linear")
    before = talk.posterior.mean[0]
    talk.answer((10, 0), "a")  # 10 has all of the first objective
    assert talk.posterior.mean[0] > before + 0.1
    other = Elicitation(ARC, model="linear")
    other.answer((0, 10), "b")  # the same answer, the other way round
    np.testing.assert_allclose(other.posterior.mean, talk.posterior.mean, atol=1e-12)
    low, high = talk.choice().low, talk.choice().high
    assert all(lo < m < hi for lo, m, hi in zip(low, talk.choice().weights, high, strict=True))


def test_cant_tell_moves_the_weights_towards_indifference():
    talk = Elicitation(ARC, model="linear")
    assert mass_near(talk, 0.5) == pytest.approx(0.1, abs=0.01)  # uniform before
    talk.answer((0, 10), "cant_tell")  # indifferent between the ends: equal weights
    assert mass_near(talk, 0.5) > 0.15  # slips and a wide tie leave the rest
    assert talk.posterior.mean[0] == pytest.approx(0.5, abs=0.02)
    shifted = Elicitation(ARC, model="linear")
    shifted.answer((2, 10), "cant_tell")  # 0.309 w + 0.951 (1 - w) = w: w = 0.579
    assert mass_near(shifted, 0.579) > 0.15
    assert shifted.posterior.mean[0] > talk.posterior.mean[0]


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=2), st.lists(st.floats(-50, 50), min_size=2, max_size=2))
def test_units_do_not_matter(scale, shift):
    one, other = Elicitation(ARC, samples=256), Elicitation(ARC * scale + shift, samples=256)
    for _ in range(4):
        first, second = one.question(), other.question()
        assert (first.a, first.b) == (second.a, second.b)
        one.answer(first, "a")
        other.answer(second, "a")
    assert one.choice().index == other.choice().index
    np.testing.assert_allclose(one.choice().weights, other.choice().weights, atol=1e-6)


def test_same_seed_same_conversation():
    utility = ARC @ [0.3, 0.7]
    talks = [Elicitation(ARC, seed=seed) for seed in (1, 1, 2)]
    asked = [converse(talk, utility) for talk in talks]
    assert asked[0] == asked[1]
    assert talks[0].choice() == talks[1].choice()
    assert not np.array_equal(talks[0].posterior.weights, talks[2].posterior.weights)


@pytest.mark.parametrize("model", ["linear", "auto"])
def test_json_goes_on_at_every_step(model):
    utility = ARC @ [0.3, 0.7]
    talk = Elicitation(
        ARC * 3, model=model, samples=256, answers=AnswerModel(lapse=0.05), regret=0.0
    )  # renews its sample
    for step in range(8):
        copy = Elicitation.from_json(json.dumps(talk.to_json(), allow_nan=False))
        assert copy.to_json() == talk.to_json()
        assert copy.history == talk.history
        assert copy.choice() == talk.choice()
        question = talk.question()
        assert copy.question() == question
        talk.answer(question, "cant_tell" if step == 2 else "a" if utility[question.a] > utility[question.b] else "b")


def test_no_pair_is_asked_twice_and_it_stops():
    talk = Elicitation(ARC[:5], max_questions=100, regret=0.0, samples=256)
    asked = []
    while (question := talk.question()) is not None:
        asked.append(frozenset((question.a, question.b)))
        talk.answer(question, "cant_tell")  # tells nothing about which is better
    assert len(asked) == len(set(asked)) <= 10


def test_stops_when_the_choice_is_good_enough():
    utility = ARC @ [0.5, 0.5]
    counts = []
    for regret in (0.2, 0.03, 0.0):
        talk = Elicitation(ARC, regret=regret, model="linear")
        counts.append(len(converse(talk, utility)))
        assert talk.choice().regret <= regret or counts[-1] == 12
    assert counts[0] < counts[1] <= counts[2] == 12
    assert len(converse(Elicitation(ARC, max_questions=2, regret=0.0), utility)) == 2


def test_regret_is_what_the_posterior_expects():
    talk = Elicitation(ARC)
    talk.answer((0, 5), "b")
    posterior, choice = talk.posterior, talk.choice()
    expected = posterior.probabilities @ (posterior.utilities.max(1) - posterior.utilities[:, choice.index])
    assert choice.regret == pytest.approx(expected)
    assert choice.probability == pytest.approx(posterior.probabilities @ (posterior.utilities[:, choice.index] >= 0.98))


def test_dominated_and_equal_candidates_are_left_out():
    points = [[0.0, 1.0], [0.0, 0.9], [1.0, 0.0], [1.0, 0.0]]
    talk = Elicitation(points, regret=0.0)
    question = talk.question()
    assert {question.a, question.b} == {0, 2}
    talk.answer(question, "a" if question.a == 2 else "b")
    assert talk.question() is None  # no other pair
    assert talk.choice().index == 2
    with pytest.raises(InputError, match=r"no candidate 1 to ask about; found 1, allowed: 0, 2"):
        talk.answer((0, 1), "a")


def test_one_candidate_that_dominates_all_needs_no_question():
    talk = Elicitation([[1.0, 1.0], [0.0, 0.5]])
    assert talk.question() is None
    assert (talk.choice().index, talk.choice().regret, talk.choice().probability) == (0, 0.0, 1.0)


def test_an_objective_on_which_all_agree_changes_nothing():
    talk = Elicitation(np.column_stack([ARC, np.ones(11)]), model="linear")
    utility = ARC @ [0.2, 0.8]
    converse(talk, utility)
    assert shortfall(talk, utility) <= 0.05


def test_takes_a_front():
    points = tuple(FrontPoint(tuple(row), (0.1, 0.1), 8) for row in ARC.tolist())
    talk = Elicitation(ParetoFront(("helpful", "brief"), points))
    np.testing.assert_array_equal(talk.candidates, ARC)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([[1.0, 2.0]], "at least 2 candidates, found 1"),
        ([], "must have the shape"),
        ([1.0, 2.0], "must have the shape"),
        ([[1.0, 2.0], [math.nan, 1.0]], "must be finite, found .* at 1"),
        ([[1.0, math.inf], [0.0, 1.0]], "must be finite, found .* at 0"),
        ([[1.0, 2.0], [1.0]], "rows of numbers, all of one length"),
        (np.zeros((600, 2)), "at most 512 candidates"),
    ],
)
def test_refuses_candidates(candidates, message):
    with pytest.raises(InputError, match=message):
        Elicitation(candidates)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "gpp"}, "unknown model 'gpp': did you mean 'gp'"),
        ({"criterion": "euboo"}, "did you mean 'eubo'"),
        ({"max_questions": 0}, "max_questions must be from 1 to 200"),
        ({"samples": 1000}, "power of 2"),
        ({"regret": math.nan}, "regret must be a number"),
        ({"max_question": 3}, "unknown setting of an elicitation 'max_question': did you mean 'max_questions'"),
        ({"seed": 1.5}, "seed must be a whole number"),
    ],
)
def test_refuses_settings(options, message):
    with pytest.raises(InputError, match=message):
        Elicitation(ARC, **options)


def test_refuses_answers():
    talk = Elicitation(ARC)
    with pytest.raises(InputError, match="unknown answer 'c'"):
        talk.answer((0, 1), "c")
    with pytest.raises(InputError, match="no candidate 11"):
        talk.answer((0, 11), "a")
    with pytest.raises(InputError, match="compares two candidates, found 3 twice"):
        talk.answer((3, 3), "a")
    talk.answer(Question(0, 1, 0.0), "a")
    with pytest.raises(InputError, match="candidates 1 and 0 were compared before"):
        talk.answer((1, 0), "b")
    assert len(talk.history) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "x"}, "must have schema 'frontier.Elicitation'"),
        ({"schema_version": 2}, "schema_version 1"),
        ({"history": {}}, "history must be a list"),
        ({"history": [3]}, r"history\[0\] must be an object"),
        ({"settings": {}}, "field 'model' is missing"),
        ({"more": 1}, "unknown field 'more'"),
        ({"candidates": [[1.0, None], [0.0, 1.0]]}, "must be finite"),
    ],
)
def test_refuses_states(change, message):
    with pytest.raises(InputError, match=message):
        Elicitation.from_json(Elicitation(ARC).to_json() | change)
    with pytest.raises(InputError, match="not valid JSON"):
        Elicitation.from_json("{")


@pytest.mark.parametrize("value", [None, [], {}, "x", True, 10**400, math.inf, math.nan])
def test_refuses_settings_of_another_kind(value):
    document = Elicitation(ARC).to_json()
    for part, names in (("settings", document["settings"]), ("answers", document["answers"])):
        for name in names:
            with pytest.raises(InputError, match=name):
                Elicitation.from_json(document | {part: document[part] | {name: value}})
    if value is not True:  # which NumPy takes for a 1
        with pytest.raises(InputError, match="candidates must"):
            Elicitation.from_json(document | {"candidates": [[1.0, value], [value, 2.0], [0.0, 0.0]]})
    with pytest.raises(InputError):
        Elicitation.from_json(document | {"history": [{"a": value, "b": 1, "answer": "a"}]})


def test_any_number_stays_json():
    talk = Elicitation(ARC, regret=np.float32(0.25), seed=np.int64(3))
    assert json.loads(json.dumps(talk.to_json()))["settings"]["regret"] == 0.25


def test_regret_is_a_share_of_the_range_of_what_may_be_chosen():
    """A candidate far below all others, that nobody would choose, changes nothing."""
    near, far = Elicitation(ARC), Elicitation(np.vstack([ARC, [-1000.0, -1000.0]]))
    near.answer((0, 10), "a")
    far.answer((0, 10), "a")
    assert near.choice() == far.choice()
