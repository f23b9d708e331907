import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError


def test_by_hand(merge):
    # At most 0.5 towards the other: 0.25 of the way to +2, all of the way to -0.1, and equal entries stay.
    base, other = torch.tensor([1.0, 1.0, 1.0, 1.0]), torch.tensor([3.0, 0.9, 1.0, -1.0])
    assert_close(merge("nearswap", [other], base, t=0.5), torch.tensor([1.5, 0.9, 1.0, 0.5]))


def test_limits(merge, models):
    (other, *_), base = models
    assert torch.equal(merge("nearswap", [other], base, t=0), base)
    assert_close(merge("nearswap", [other], base, t=1e3), other)


def test_one_model_and_a_step_that_is_no_negative(merge, models):
    with pytest.raises(InputError, match="exactly 1 model, found 3"):
        merge("nearswap", models[0], models[1], t=0.1)
    with pytest.raises(InputError, match="t must be finite and at least 0"):
        merge("nearswap", models[0][:1], models[1], t=-0.1)
