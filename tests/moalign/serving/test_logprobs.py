import math

import torch

from moalign.serving.logprobs import token_logprobs
from moalign.serving.request import TokenLogprob


class Letters:
    def decode(self, token_ids, skip_special_tokens=False):
        assert not skip_special_tokens
        return "".join("abcd"[i] for i in token_ids)


def test_hand_computed():
    logits = torch.tensor([[1.0, 2.0, 4.0, 1.0], [1.0, 1.0, 1.0, 5.0]]).log()
    first, second = token_logprobs(logits, [0, 3], [2, 0], Letters())
    assert (first.token_id, first.text, second.text) == (0, "a", "d")
    assert math.isclose(first.logprob, math.log(1 / 8), rel_tol=1e-6)
    assert math.isclose(second.logprob, math.log(5 / 8), rel_tol=1e-6)
    assert [(t.token_id, t.text) for t in first.top] == [(2, "c"), (1, "b")]
    assert isinstance(first.top[0], TokenLogprob)
    assert math.isclose(first.top[0].logprob, math.log(1 / 2), rel_tol=1e-6)
    assert second.top == ()


def test_impossible_tokens_are_left_out_and_small_vocabularies_suffice():
    logits = torch.tensor([[0.0, -torch.inf, 0.0, -torch.inf]])
    [told] = token_logprobs(logits, [2], [20], Letters())
    assert [t.token_id for t in told.top] == [0, 2]
