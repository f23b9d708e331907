import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError

INSTRUCT, REASONING, PRETRAINED = torch.tensor([4.0, 0.0]), torch.tensor([0.0, 4.0]), torch.tensor([8.0, 8.0])


def test_by_hand(merge):
    # First (2, 2), then half way to (8, 8).
    assert_close(merge("balanced_actor", [INSTRUCT, REASONING], PRETRAINED), torch.tensor([5.0, 5.0]))


def test_is_two_linear_merges(merge):
    first = merge("linear", [INSTRUCT, REASONING], weight=[0.2, 0.8])
    second = merge("linear", [first, PRETRAINED], weight=[0.7, 0.3])
    assert_close(merge("balanced_actor", [INSTRUCT, REASONING], PRETRAINED, alpha=0.2, beta=0.7), second)


def test_limits(merge):
    assert torch.equal(merge("balanced_actor", [INSTRUCT, REASONING], PRETRAINED, beta=0), PRETRAINED)
    assert torch.equal(merge("balanced_actor", [INSTRUCT, REASONING], PRETRAINED, alpha=0, beta=1), REASONING)


def test_refuses_one_model(merge):
    with pytest.raises(InputError, match="balanced_actor merges exactly 2 models, found 1"):
        merge("balanced_actor", [INSTRUCT], PRETRAINED)
