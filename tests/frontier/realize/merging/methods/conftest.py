import pytest
import torch

from frontier.realize.merging.methods import method


def _merge(name, tensors, base=None, seed=0, **given):
    """Merge with settings as a file has them; `lambda_` stands for lambda."""
    chosen = method(name)
    given = {key.rstrip("_"): value for key, value in given.items()}
    parameters = chosen.Parameters.of(len(tensors), given)
    generator = torch.Generator().manual_seed(seed) if chosen.random else None
    return chosen(tensors, base, parameters, generator)


def _plain(deltas, weights, base, *, elect, normalize, lambda_=1.0):
    """mergekit's rule for deltas that were thinned already, written out entry by entry."""
    flat = [d.reshape(-1).double().tolist() for d in deltas]
    merged = []
    for column in zip(*flat, strict=True):
        votes = [w * d for w, d in zip(weights, column, strict=True)]
        sign = 1 if sum(votes) >= 0 else -1
        kept = [i for i, v in enumerate(votes) if not elect or v * sign > 0]
        divisor = sum(weights[i] for i in kept)
        if not normalize or divisor == 0 or (not elect and abs(divisor) < 1e-8):
            divisor = 1.0
        merged.append(lambda_ * sum(votes[i] for i in kept) / divisor)
    return base.double() + torch.tensor(merged, dtype=torch.float64).view(base.shape)


@pytest.fixture(scope="session")
def merge():
    return _merge


@pytest.fixture(scope="session")
def plain():
    return _plain


@pytest.fixture
def models():
    """Three models of a base, with a shape that no block size divides."""
    generator = torch.Generator().manual_seed(3)
    base = torch.randn(37, 53, generator=generator)
    return [base + 0.1 * torch.randn(37, 53, generator=generator) for _ in range(3)], base
