import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError


def test_is_the_exact_mixture_of_adapters(merge):
    torch.manual_seed(0)
    base = torch.randn(6, 5, dtype=torch.float64)
    deltas = [torch.randn(6, 2, dtype=torch.float64) @ torch.randn(2, 5, dtype=torch.float64) for _ in range(2)]
    got = merge("rewarded_soups", [base + d for d in deltas], weight=[0.3, 0.7])
    assert_close(got, base + 0.3 * deltas[0] + 0.7 * deltas[1])


@pytest.mark.parametrize("weight", [[0.5, 0.6], [1.5, -0.5]])
def test_refuses_what_is_no_preference(merge, weight):
    with pytest.raises(InputError, match=r"sums to 1|between 0 and 1"):
        merge("rewarded_soups", [torch.ones(2), torch.ones(2)], weight=weight)
