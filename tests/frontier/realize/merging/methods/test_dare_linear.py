import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from frontier.realize.merging.methods import METHODS


def test_kept_entries_by_the_papers_rule(merge):
    base, model = torch.ones(4000), torch.full((4000,), 3.0)
    got = merge("dare_linear", [model], base, weight=0.5, density=0.25, rescale_norm="probability")
    # Dropped: the base; kept: 1 + 0.5 * 2 / 0.25.
    assert set(got.unique().tolist()) == {1.0, 5.0}
    kept = (got == 5.0).float().mean().item()
    assert abs(kept - 0.25) < 5 * (0.25 * 0.75 / 4000) ** 0.5


def test_expectation_is_the_delta(merge):
    torch.manual_seed(0)
    base, models = torch.randn(64), [torch.randn(64) for _ in range(2)]
    settings = {"weight": [0.3, 0.9], "density": [0.5, 0.2], "rescale_norm": "probability"}
    draws = torch.stack([merge("dare_linear", models, base, seed=s, **settings) for s in range(3000)])
    expected = merge("task_arithmetic", models, base, weight=[0.3, 0.9])
    error = draws.std(dim=0) / len(draws) ** 0.5
    assert ((draws.mean(dim=0) - expected).abs() < 5 * error).all()


def test_mergekits_rule_restores_the_l1_norm(merge):
    torch.manual_seed(0)
    model = torch.randn(500)
    got = merge("dare_linear", [model], torch.zeros(500), weight=1, density=0.3)
    assert_close(got.abs().sum(), model.abs().sum())
    kept = got != 0
    assert_close(got[kept] / model[kept], (got[kept] / model[kept])[:1].expand(int(kept.sum())))


def test_without_rescaling_entries_stay(merge):
    model = torch.randn(500)
    got = merge("dare_linear", [model], torch.zeros(500), weight=1, density=0.3, rescale=False)
    kept = got != 0
    assert torch.equal(got[kept], model[kept])


def test_limits(merge, models):
    tensors, base = models
    weights = [0.2, 0.3, 0.5]
    full = merge("dare_linear", tensors, base, weight=weights)
    assert_close(full, merge("task_arithmetic", tensors, base, weight=weights))
    for norm in ("l1", "probability"):
        assert torch.equal(merge("dare_linear", tensors, base, weight=weights, density=0, rescale_norm=norm), base)
    assert torch.equal(merge("dare_linear", tensors, base, weight=0, density=0.5), base)


def test_depends_on_the_seed_alone(merge, models):
    tensors, base = models
    first = merge("dare_linear", tensors, base, seed=1, weight=1, density=0.5)
    assert torch.equal(first, merge("dare_linear", tensors, base, seed=1, weight=1, density=0.5))
    assert not torch.equal(first, merge("dare_linear", tensors, base, seed=2, weight=1, density=0.5))
    # Models have masks of their own.
    same = torch.ones(2000)
    got = merge("dare_linear", [same, same], torch.zeros(2000), weight=1, density=0.5, rescale=False)
    assert set(got.unique().tolist()) == {0.0, 1.0, 2.0}


def test_a_known_mask(merge):
    """The stream of a seed is part of what a result means: another one would change published merges."""
    got = merge("dare_linear", [torch.ones(16)], torch.zeros(16), seed=7, weight=1, density=0.5, rescale=False)
    assert got.int().tolist() == [0, 1, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1]


def test_refusals(merge):
    with pytest.raises(InputError, match="unknown rescale_norm 'probabilty': did you mean 'probability'"):
        METHODS["dare_linear"].Parameters.of(1, {"weight": 1, "rescale_norm": "probabilty"})
