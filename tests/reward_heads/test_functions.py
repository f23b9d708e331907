import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.functions import FunctionReward, VectorFunctionReward

NAN = math.nan


def test_one_function_per_objective_in_order():
    reward = FunctionReward({"long": lambda p, c: len(c), "same": lambda p, c: p == c})
    scores = reward.score(["ab", "ab"], ["ab", "abc"])
    assert reward.objectives == ("long", "same")
    assert_close(scores, torch.tensor([[2.0, 1.0], [3.0, 0.0]]))
    assert reward.score([], []).shape == (0, 2)


def test_none_and_nan_are_not_known():
    reward = FunctionReward({"a": lambda p, c: None, "b": lambda p, c: NAN, "c": lambda p, c: 1})
    assert_close(reward.score(["p"], ["c"]), torch.tensor([[NAN, NAN, 1.0]]), equal_nan=True)


def test_conversations_arrive_as_text_unless_raw():
    seen = []
    prompt = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    completion = [{"role": "assistant", "content": [{"type": "text", "text": "Hello."}, {"type": "image"}]}]

    def note(prompt, completion):
        seen.append((prompt, completion))
        return 0

    FunctionReward({"a": note}).score([prompt], [completion])
    FunctionReward({"a": note}, raw=True).score([prompt], [completion])
    assert seen == [("Be kind.\nHi", "Hello."), (prompt, completion)]


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e39, "high", object()])
def test_refuses_what_is_not_a_finite_number_and_names_the_objective(value):
    reward = FunctionReward({"fine": lambda p, c: 0, "bad": lambda p, c: value})
    with pytest.raises(InputError, match=r"objective 'bad': a reward must be .* for the completion 'the text'"):
        reward.score(["p"], ["the text"])


def test_refuses_what_is_not_a_function():
    with pytest.raises(InputError, match="reward of objective 'a' must be a function"):
        FunctionReward({"a": 3})
    with pytest.raises(InputError, match="at least one objective"):
        FunctionReward({})
    with pytest.raises(InputError, match="must be a function"):
        VectorFunctionReward(["a"], 3)


def test_lengths_must_agree():
    with pytest.raises(InputError, match="found 1 prompts and 2 completions"):
        FunctionReward({"a": lambda p, c: 0}).score(["p"], ["c", "d"])


def test_a_vector_function_returns_a_sequence_or_a_mapping():
    ordered = VectorFunctionReward(["a", "b"], lambda p, c: [len(p), None])
    assert_close(ordered.score(["xyz"], ["c"]), torch.tensor([[3.0, NAN]]), equal_nan=True)
    named = VectorFunctionReward(["a", "b"], lambda p, c: {"b": len(c)})
    assert_close(named.score(["xyz"], ["cc"]), torch.tensor([[NAN, 2.0]]), equal_nan=True)


def test_a_vector_function_must_return_the_named_objectives():
    with pytest.raises(InputError, match=r"expected 2 scores \(a, b\), found 3"):
        VectorFunctionReward(["a", "b"], lambda p, c: [1, 2, 3]).score(["p"], ["c"])
    with pytest.raises(InputError, match="unknown objective 'helpfull': did you mean 'helpful'"):
        VectorFunctionReward(["helpful"], lambda p, c: {"helpfull": 1}).score(["p"], ["c"])
    with pytest.raises(InputError, match=r"objective 'b'.*found inf"):
        VectorFunctionReward(["a", "b"], lambda p, c: [1, math.inf]).score(["p"], ["c"])


def test_refuses_a_text_of_another_kind():
    reward = FunctionReward({"a": lambda p, c: 0})
    with pytest.raises(InputError, match="a string or a list of chat messages"):
        reward.score(["p"], [3])
    with pytest.raises(InputError, match="content of a chat message"):
        reward.score(["p"], [[{"role": "user", "content": 3}]])
