import pytest
import torch

from frontier.errors import InputError


def test_one_model_as_it_is_or_scaled(merge):
    given = torch.tensor([[1.0, -2.0]])
    assert torch.equal(merge("passthrough", [given]), given)
    assert torch.equal(merge("passthrough", [given], scale=0.5), torch.tensor([[0.5, -1.0]]))
    assert torch.equal(merge("passthrough", [given], scale=0.0), torch.zeros(1, 2))


def test_refuses_two_models(merge):
    with pytest.raises(InputError, match="exactly 1 model, found 2"):
        merge("passthrough", [torch.zeros(2), torch.zeros(2)])
