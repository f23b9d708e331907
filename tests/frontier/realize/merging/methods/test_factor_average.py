import torch
from torch.testing import assert_close

from frontier.realize.merging.methods import METHODS


def test_has_cross_terms(merge):
    torch.manual_seed(0)
    a = [torch.randn(2, 5, dtype=torch.float64) for _ in range(2)]
    b = [torch.randn(6, 2, dtype=torch.float64) for _ in range(2)]
    product = merge("factor_average", b, weight=0.5) @ merge("factor_average", a, weight=0.5)
    expected = sum(0.25 * b[i] @ a[j] for i in range(2) for j in range(2))
    assert_close(product, expected)
    exact = 0.5 * (b[0] @ a[0] + b[1] @ a[1])
    assert (product - exact).norm() > 0.5 * exact.norm()


def test_says_that_it_is_for_factors():
    assert [name for name, m in METHODS.items() if m.on_factors] == ["factor_average"]
