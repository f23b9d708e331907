"""Expected information by brute force, batches by enumeration, ties, refusals."""

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.users import UserPosterior, expected_best, expected_information, next_pair, next_pairs
from reward_heads.users.questions import answer_chances

SAMPLES = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.5, 0.5], [1.0, 1.0]], dtype=torch.float64)
KNOWN = UserPosterior(("a", "b"), SAMPLES, 0)
PAIRS = torch.tensor([[1.0, -1.0], [1.0, 1.0], [0.0, 0.0], [3.0, -2.0], [-1.0, 1.0]], dtype=torch.float64)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def joint_information(indices, indifference=0.0):
    """I(answers; draw) in nats, by enumerating all answers to all questions in plain Python."""

    def chances(draw, pair):
        delta = sum(t * d for t, d in zip(draw, pair, strict=True))
        a, b = sigmoid(delta - indifference), sigmoid(-delta - indifference)
        return (a, b, 1 - a - b) if indifference else (a, b)

    table = [[chances(draw, PAIRS[i].tolist()) for i in indices] for draw in SAMPLES.tolist()]
    total = 0.0
    for outcome in itertools.product(range(3 if indifference else 2), repeat=len(indices)):
        each = [math.prod(row[q][answer] for q, answer in enumerate(outcome)) for row in table]
        mean = sum(each) / len(each)
        total += sum(p * math.log(p / mean) for p in each) / len(each)
    return total


@pytest.mark.parametrize("indifference", [0.0, 0.7])
def test_expected_information_by_brute_force(indifference):
    expected = torch.tensor([joint_information([i], indifference) for i in range(len(PAIRS))], dtype=torch.float64)
    assert_close(expected_information(KNOWN, PAIRS, indifference), expected)
    found = next_pair(KNOWN, PAIRS, indifference=indifference)
    assert found.pair == int(expected.argmax())
    assert found.information == pytest.approx(float(expected.max()))


@pytest.mark.parametrize("indifference", [0.0, 0.7])
def test_a_batch_by_enumeration(indifference):
    chosen, told = next_pairs(KNOWN, PAIRS, 3, indifference=indifference)
    assert len(set(chosen)) == 3
    assert told == pytest.approx(joint_information(chosen, indifference))
    for count in (1, 2, 3):  # greedy: nothing adds more at any point
        best = max(
            joint_information([*chosen[: count - 1], i], indifference) for i in range(5) if i not in chosen[: count - 1]
        )
        assert joint_information(chosen[:count], indifference) == pytest.approx(best)


def test_a_batch_that_is_too_long_to_enumerate_is_drawn(monkeypatch):
    many = torch.randn(12, 2, generator=torch.Generator().manual_seed(0)).double()
    exact = next_pairs(KNOWN, many, 7)
    monkeypatch.setattr("reward_heads.users.questions.HISTORIES", 64)
    drawn = next_pairs(KNOWN, many, 7)
    assert drawn == next_pairs(KNOWN, many, 7)
    assert drawn.information == pytest.approx(exact.information, rel=0.15)
    assert exact.information <= math.log(4) + 1e-9  # no more than there is to know


def test_what_all_agree_on_is_no_question():
    information = expected_information(KNOWN, torch.tensor([[0.0, 0.0], [200.0, 200.0], [50.0, -50.0]]))
    assert information[:2].max() < 1e-6
    assert information[2] > 0.1
    assert information.max() <= math.log(2)
    sure = UserPosterior(("a", "b"), SAMPLES[:1], 9)
    assert expected_information(sure, PAIRS).abs().max() < 1e-12


def test_answers_with_ties():
    chances = answer_chances(KNOWN, PAIRS, 0.7)
    assert_close(chances.sum(dim=-1), torch.ones(4, 5).double())
    assert_close(chances[0, 0, 0].item(), sigmoid(2 - 0.7))
    assert_close(answer_chances(KNOWN, PAIRS, 1e-9)[..., :2], answer_chances(KNOWN, PAIRS), atol=1e-8, rtol=0)


def test_asked_pairs_are_left_out():
    first = next_pair(KNOWN, PAIRS).pair
    assert next_pair(KNOWN, PAIRS, asked=[first]).pair != first
    assert first not in next_pairs(KNOWN, PAIRS, 4, asked=[first]).pairs


def test_the_best_of_two_hand_computed():
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    # Draws value a at 2, 0, .5, 1 and b at 0, 1, .5, 1.
    assert expected_best(KNOWN, a, b).item() == pytest.approx((2 + 1 + 0.5 + 1) / 4)


def test_refuses():
    with pytest.raises(InputError, match="no candidate is left"):
        next_pair(KNOWN, PAIRS[:1], asked=[0])
    with pytest.raises(InputError, match="no candidate is left"):
        next_pair(KNOWN, PAIRS[:0])
    with pytest.raises(InputError, match="asked names candidate 7"):
        next_pair(KNOWN, PAIRS, asked=[7])
    with pytest.raises(InputError, match="between 1 and the 4 candidates that are left, found 5"):
        next_pairs(KNOWN, PAIRS, 5, asked=[0])
    with pytest.raises(InputError, match="indifference must be a number of nats, 0 or more, found -1"):
        expected_information(KNOWN, PAIRS, -1)
    with pytest.raises(InputError, match="both completions of each pair"):
        expected_best(KNOWN, PAIRS, PAIRS[:2])
