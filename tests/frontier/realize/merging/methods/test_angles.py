import numpy as np
import torch

from frontier.realize.merging.methods import base as module
from frontier.realize.merging.methods.angles import gram


def test_against_numpy(monkeypatch):
    monkeypatch.setattr(module, "CPU_BLOCK", 64)
    torch.manual_seed(0)
    tensors, base = [torch.randn(7, 50) for _ in range(3)], torch.randn(7, 50).bfloat16()
    rows = torch.stack([t.double().view(-1) for t in tensors]).numpy()
    np.testing.assert_allclose(gram(tensors), rows @ rows.T, rtol=1e-12)
    rows = rows - base.double().view(-1).numpy()
    np.testing.assert_allclose(gram(tensors, base), rows @ rows.T, rtol=1e-12)


def test_small_angles_survive():
    a = torch.randn(10_000, dtype=torch.float64)
    b = a + 1e-6 * torch.randn(10_000, dtype=torch.float64)
    products = gram([a, b])
    cosine = products[0, 1] / np.sqrt(products[0, 0] * products[1, 1])
    assert 0.3e-6 < np.arccos(min(1.0, cosine)) < 3e-6
