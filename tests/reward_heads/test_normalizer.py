import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.functions import FunctionReward
from reward_heads.normalizer import NormalizedReward, Normalizer

NAN = math.nan


def test_by_hand_with_missing_scores():
    scores = torch.tensor([[1.0, 10.0], [2.0, NAN], [3.0, 14.0]])
    normalizer = Normalizer.from_scores(scores, ["a", "b"], source="three completions")
    assert normalizer.location == (2.0, 12.0)
    assert normalizer.scale == pytest.approx((1.0, math.sqrt(8.0)))  # n - 1 below the line
    assert (normalizer.n, normalizer.source) == (3, "three completions")
    expected = torch.tensor([[-1.0, -2 / math.sqrt(8)], [0.0, NAN], [1.0, 2 / math.sqrt(8)]])
    assert_close(normalizer(scores), expected, equal_nan=True)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.floats(0.1, 100), st.floats(-100, 100))
def test_invariant_to_the_units_of_the_reward(seed, scale, shift):
    scores = torch.randn(20, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    names = ["a", "b", "c"]
    normalizer = Normalizer.from_scores(scores, names)
    rescaled = Normalizer.from_scores(scale * scores + shift, names)
    assert_close(rescaled(scale * scores + shift), normalizer(scores), atol=1e-9, rtol=1e-9)
    assert_close(normalizer.inverse(normalizer(scores)), scores)
    assert_close(normalizer(scores).mean(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)
    assert Normalizer.from_json(json.loads(json.dumps(normalizer.to_json()))) == normalizer


def test_works_on_any_leading_shape_and_keeps_the_dtype():
    normalizer = Normalizer(("a", "b"), (0.0, 1.0), (1.0, 2.0), 5)
    assert normalizer(torch.tensor([3.0, 3.0])).tolist() == [3.0, 1.0]
    assert normalizer(torch.zeros(2, 3, 2)).shape == (2, 3, 2)
    assert normalizer(torch.zeros(2, dtype=torch.float64)).dtype == torch.float64


def test_select_reorders():
    normalizer = Normalizer(("a", "b"), (0.0, 1.0), (1.0, 2.0), 5, "s")
    assert normalizer.select(["b", "a"]) == Normalizer(("b", "a"), (1.0, 0.0), (2.0, 1.0), 5, "s")
    with pytest.raises(InputError, match="unknown objective of the normalizer 'c'"):
        normalizer.select(["c"])


def test_is_immutable_and_hashable():
    normalizer = Normalizer(["a"], [0], [1], 5)
    assert hash(normalizer) == hash(Normalizer(("a",), (0.0,), (1.0,), 5))
    with pytest.raises(AttributeError):
        normalizer.n = 3


def test_refuses_a_constant_objective():
    with pytest.raises(InputError, match=r"objective 'b' is 0\.1 in all 4 scores"):
        Normalizer.from_scores(torch.tensor([[1.0, 0.1], [2.0, 0.1], [3.0, 0.1], [4.0, 0.1]]), ["a", "b"])
    noise = torch.tensor([[1000.0], [1000.0], [1000.00006]])  # one rounding step of float32
    with pytest.raises(InputError, match="constant has no scale"):
        Normalizer.from_scores(noise, ["a"])


def test_refuses_too_few_scores_and_a_wrong_shape():
    with pytest.raises(InputError, match="objective 'b' has 1 known scores"):
        Normalizer.from_scores(torch.tensor([[1.0, NAN], [2.0, 3.0]]), ["a", "b"])
    with pytest.raises(InputError, match=r"must be \[N, 2\] for a, b, found \[2, 3\]"):
        Normalizer.from_scores(torch.zeros(2, 3), ["a", "b"])
    with pytest.raises(InputError, match="must end in 1 objectives"):
        Normalizer(("a",), (0.0,), (1.0,), 5)(torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((("a",), (0.0, 1.0), (1.0,), 1), "location has 2 values for 1"),
        ((("a",), (NAN,), (1.0,), 1), "location of objective 'a' must be finite"),
        ((("a",), (0.0,), (0.0,), 1), "scale of objective 'a' must be positive and finite, found 0"),
        ((("a",), (0.0,), (-1.0,), 1), "must be positive"),
        ((("a",), (0.0,), (1.0,), -1), "n must not be negative"),
    ],
)
def test_refuses_invalid_states(arguments, message):
    with pytest.raises(InputError, match=message):
        Normalizer(*arguments)


def test_from_json_refuses_missing_and_unknown_fields():
    data = Normalizer(("a",), (0.0,), (1.0,), 5).to_json()
    with pytest.raises(InputError, match="unknown field of a normalizer 'scales': did you mean 'scale'"):
        Normalizer.from_json(data | {"scales": [1]})
    del data["location"]
    with pytest.raises(InputError, match="field 'location' is missing"):
        Normalizer.from_json(data)


def test_normalized_reward_takes_the_order_of_the_reward():
    reward = FunctionReward({"a": lambda p, c: len(c), "b": lambda p, c: None})
    normalized = NormalizedReward(reward, Normalizer(("b", "a"), (0.0, 1.0), (1.0, 2.0), 5))
    assert normalized.objectives == ("a", "b")
    assert_close(normalized.score(["p"], ["ccccc"]), torch.tensor([[2.0, NAN]]), equal_nan=True)
    with pytest.raises(InputError, match="normalizer 'b'"):
        NormalizedReward(reward, Normalizer(("a",), (1.0,), (2.0,), 5))
