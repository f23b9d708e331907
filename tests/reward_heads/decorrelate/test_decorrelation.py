import json
import math

import pytest
import torch

from frontier.errors import InputError
from reward_heads.decorrelate import Curve, Decorrelation, Length
from reward_heads.transforms import Transform

LINE = Curve((0.0, 1.0), (0.0, 2.0))
BY_LENGTH = Decorrelation(("good", "kind"), Length(), (LINE, 0.0))
BY_OBJECTIVE = Decorrelation(("good", "wordy"), "wordy", (0.5, 0.0))


def test_hand_computed_by_length():
    scores = torch.tensor([[5.0, 1.0], [5.0, 1.0]])
    expected = [[5.0, 1.0], [5.0 - 2 * math.log(4), 1.0]]  # no word and three words
    assert torch.allclose(BY_LENGTH(scores, ["p", "p"], ["", "a b c"]), torch.tensor(expected))


def test_hand_computed_by_objective_and_its_matrix():
    scores = torch.tensor([[3.0, 2.0], [0.0, -4.0]])
    found = BY_OBJECTIVE(scores, ["p", "p"], ["a", "b"])
    assert found.tolist() == [[2.0, 2.0], [2.0, -4.0]]
    assert BY_OBJECTIVE.matrix.tolist() == [[1.0, 0.0], [-0.5, 1.0]]  # I − e_wordy λᵀ
    assert torch.equal(scores.double() @ BY_OBJECTIVE.matrix, found.double())


def test_is_a_transform_and_treats_rows_alone():
    assert isinstance(BY_LENGTH, Transform)
    assert Decorrelation.kind == "decorrelation"
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(33, 2, generator=generator)
    texts = ["word " * n for n in range(33)]
    for transform in (BY_LENGTH, BY_OBJECTIVE):
        together = transform(scores, [""] * 33, texts)
        alone = torch.cat([transform(scores[i : i + 1], [""], texts[i : i + 1]) for i in range(33)])
        assert torch.equal(together, alone)


def test_what_is_not_known_stays_so():
    scores = torch.tensor([[math.nan, 1.0], [1.0, math.nan]])
    assert BY_LENGTH(scores, ["", ""], ["a", "b"]).isnan().tolist() == [[True, False], [False, True]]
    # Without the verbosity there is no telling what the score is without it.
    assert BY_OBJECTIVE(scores, ["", ""], ["a", "b"]).isnan().tolist() == [[True, False], [True, True]]
    spared = Decorrelation(("good", "wordy"), "wordy", (0.0, 0.0))
    assert torch.equal(spared(scores, ["", ""], ["a", "b"]).isnan(), scores.isnan())


@pytest.mark.parametrize("transform", [BY_LENGTH, BY_OBJECTIVE, Decorrelation(("a",), Length("characters"), (LINE,))])
def test_json_comes_back_exactly(transform):
    assert Decorrelation.from_json(json.loads(json.dumps(transform.to_json()))) == transform


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((("good", "wordy"), "word", (0.5, 0.0)), "unknown objective to decorrelate from 'word': did you mean 'wordy'"),
        ((("good", "wordy"), "wordy", (0.5,)), "one term for each of 2 objectives, found 1"),
        ((("good", "wordy"), "wordy", (0.5, 1.0)), "can't be decorrelated from itself"),
        ((("good", "wordy"), "wordy", (LINE, 0.0)), "a penalty is needed"),
        ((("good",), Length(), (0.5,)), "a curve over the length is needed, found 0.5"),
        ((("good", "wordy"), "wordy", (math.nan, 0.0)), "must be finite"),
    ],
)
def test_refuses_what_is_no_decorrelation(arguments, message):
    with pytest.raises(InputError, match=message):
        Decorrelation(*arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"against": {"lenght": "words"}}, "must be {'length': unit} or {'objective': name}"),
        ({"against": "length"}, "must be {'length': unit}"),
        ({"term": 1}, "did you mean 'terms'"),
        ({"against": {"length": "tokens"}}, "unknown unit of length"),
    ],
)
def test_refuses_broken_json(change, message):
    with pytest.raises(InputError, match=message):
        Decorrelation.from_json(BY_LENGTH.to_json() | change)
    with pytest.raises(InputError, match="'terms' is missing"):
        Decorrelation.from_json({"objectives": ["a"], "against": {"length": "words"}})


def test_refuses_other_shapes_and_a_matrix_of_length():
    with pytest.raises(InputError, match=r"must be \[1, 2\]"):
        BY_LENGTH(torch.zeros(1, 3), [""], ["a"])
    with pytest.raises(InputError, match="no matrix"):
        _ = BY_LENGTH.matrix
