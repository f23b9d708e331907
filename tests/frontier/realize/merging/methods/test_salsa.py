import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError

A, B = torch.tensor([1.0, 4.0]), torch.tensor([3.0, -2.0])


def test_by_hand(merge):
    assert_close(merge("salsa", [A, B]), torch.tensor([2.0, 1.0]))
    assert_close(merge("salsa", [A, B], alpha=0.75), torch.tensor([1.5, 2.5]))
    assert torch.equal(merge("salsa", [A, B], alpha=1), A)


def test_refuses_three_models(merge):
    with pytest.raises(InputError, match="salsa merges exactly 2 models, found 3"):
        merge("salsa", [A, B, A])
