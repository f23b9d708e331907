import pytest
import torch

from frontier.realize.merging.methods import dropping
from frontier.realize.merging.methods.dropping import Draws, keep_ranked, keep_some

CPU = torch.device("cpu")


def draws(seed=0):
    return Draws(torch.Generator().manual_seed(seed), CPU)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.999])
def test_share_and_independence(p):
    mask = keep_some(200_000, p, draws()).double()
    assert abs(mask.mean().item() - p) < 5 * (p * (1 - p) / 200_000) ** 0.5
    # Neighbours know nothing of each other.
    together = ((mask[1:] - p) * (mask[:-1] - p)).mean().item()
    assert abs(together) < 5 * p * (1 - p) / 200_000**0.5


def test_certain_probabilities():
    assert keep_some(10, 0, draws()).sum() == 0
    assert keep_some(10, 1, draws()).sum() == 10


def test_uniform_stays_below_one():
    numbers = draws().uniform(1_000_001)
    assert numbers.shape == (1_000_001,)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(numbers.mean().item() - 0.5) < 5 * (1 / 12) ** 0.5 / 1000


def rates(tensor, density, epsilon, times=4000):
    base, source = torch.zeros_like(tensor), draws()
    total = sum(keep_ranked(tensor, base, density, epsilon, source).float() for _ in range(times))
    return (total / times).view(tensor.shape)


def test_rates_by_rank_in_each_row():
    tensor = torch.tensor([[0.1, -5.0, 3.0, -2.0, 1.0], [9.0, 7.0, -8.0, 5.0, 6.0]])
    # Places in ascending order of magnitude; from 0.3 to 0.7 in steps of 0.1.
    expected = torch.tensor([[0.3, 0.7, 0.6, 0.5, 0.4], [0.7, 0.5, 0.6, 0.3, 0.4]])
    assert (rates(tensor, 0.5, 0.2) - expected).abs().max() < 5 * 0.5 / 4000**0.5


def test_a_vector_is_one_row_and_higher_dimensions_run_along_the_second():
    vector = torch.tensor([3.0, 1.0, 2.0])
    assert (rates(vector, 0.5, 0.4) - torch.tensor([0.9, 0.1, 0.5])).abs().max() < 0.05
    cube = torch.stack([vector, -vector.flip(0)], dim=1).view(1, 3, 2)
    expected = torch.tensor([[[0.9, 0.5], [0.1, 0.1], [0.5, 0.9]]])
    assert (rates(cube, 0.5, 0.4) - expected).abs().max() < 0.05
    assert (rates(torch.tensor([2.0]), 0.25, 0.2) - 0.25).abs().max() < 0.05


def test_many_rows_and_ties():
    torch.manual_seed(0)
    ties = torch.randint(0, 4, (50, 20)).float()
    assert torch.equal(dropping._ascending(ties), ties.argsort(dim=-1, stable=True))
    # More entries than are ranked at a time; each row still has its own ranks.
    scales = torch.logspace(-3, 3, 700).unsqueeze(1)
    tensor = scales * torch.randn(700, 1000)
    mask = keep_ranked(tensor, torch.zeros_like(tensor), 0.5, 0.4, draws()).view(700, 1000).float()
    large = (tensor / scales).abs() > (tensor / scales).abs().median(dim=1, keepdim=True).values
    for rows in (slice(0, 100), slice(600, 700)):
        assert abs(mask[rows].mean().item() - 0.5) < 0.01
        assert abs(mask[rows][large[rows]].mean().item() - 0.7) < 0.02


def test_float64_ranks():
    tensor = torch.tensor([[1.0, 1.0 + 1e-12, 0.5]], dtype=torch.float64)
    assert dropping._ascending(tensor).tolist() == [[2, 0, 1]]


def test_unbiased_marks_average_to_one():
    torch.manual_seed(0)
    tensor, base, source = torch.randn(4, 6), torch.zeros(4, 6), draws()
    total = sum(keep_ranked(tensor, base, 0.5, 0.3, source, unbiased=True) for _ in range(6000)) / 6000
    # The smallest of a row has probability 0.2, hence a standard deviation of 2.
    assert (total - 1).abs().max() < 5 * 2 / 6000**0.5


@pytest.mark.parametrize("p", [0.5, 3 / 256, 3.3 / 256, 255.7 / 256, 0.4 / 256])
def test_a_share_between_two_bytes_is_exact(p):
    """Eight bits decide at first; a share that is no multiple of 1/256 needs the further ones."""
    n = 4_000_000
    kept = keep_some(n, p, draws()).sum().item() / n
    assert abs(kept - p) < 4.5 * (p * (1 - p) / n) ** 0.5
