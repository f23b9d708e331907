import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from reward_heads.users.latent_network import Gaussians, PairEncoder, Prior, divergence, evidence_bound, infer


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def learned_encoder(seed=0):
    """One that has moved away from where it starts."""
    torch.manual_seed(seed)
    encoder = PairEncoder(8)
    with torch.no_grad():
        encoder.outer.weight.normal_(std=0.3)
    return encoder


def answers(users, n, d=2, size=1.5, seed=0, mean=(1.0, 0.0), variance=(0.25, 1.0)):
    generator = torch.Generator().manual_seed(seed)
    prior = Prior(tensor(*mean), tensor(*variance))
    z = prior.mean + torch.randn(users, d, generator=generator, dtype=torch.float64) * prior.variance.sqrt()
    t = size * torch.randn(users * n, d, generator=generator, dtype=torch.float64)
    owner = torch.arange(users).repeat_interleave(n)
    draws = torch.rand(users * n, generator=generator, dtype=torch.float64)
    return t, (draws < torch.sigmoid((z[owner] * t).sum(1))).double(), owner, prior, z


ONE = (torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.bool))


def test_evidence_bound_by_hand():
    """Prior N(0, 1), one pair with difference 2 that a won."""
    owner, context = ONE
    prior = Prior(tensor(0.0), tensor(1.0))
    fit, kl = evidence_bound(PairEncoder(4), tensor(2.0)[:, None], tensor(1.0), owner, context, 1, prior, 0)
    precision = 1 + math.tanh(1) / 4 * 4  # λ(2) · 2 = tanh(1) / (2 · 2), times 2²
    mean = 0.5 * 2 / precision
    assert kl.item() == pytest.approx(0.5 * (1 / precision + mean**2 - 1 + math.log(precision)))
    z = torch.linspace(-10, 10, 40001, dtype=torch.float64)
    density = torch.exp(-0.5 * precision * (z - mean) ** 2)
    assert fit.item() == pytest.approx(float((F.logsigmoid(2 * z) * density).sum() / density.sum()), abs=1e-5)
    bound = (fit - kl).item()
    assert bound < math.log(0.5)  # the evidence: by symmetry a wins half of the time
    fit, kl = evidence_bound(PairEncoder(4), tensor(2.0)[:, None], tensor(1.0), owner, context, 1, prior, 30)
    assert bound < (fit - kl).item() < math.log(0.5)
    assert (fit - kl).item() == pytest.approx(math.log(0.5), abs=0.01)


def test_bound_on_queries_given_a_context_is_a_difference_of_evidences():
    t, labels, owner, prior, _ = answers(1, 6)
    context = torch.arange(6) < 3
    fit, kl = evidence_bound(PairEncoder(4), t, labels, owner, context, 1, prior, 30)
    grid = torch.cartesian_prod(*[torch.linspace(-6, 6, 401, dtype=torch.float64)] * 2)
    density = (-0.5 * (grid - prior.mean) ** 2 / prior.variance).sum(1).softmax(0).log()
    each = labels[:, None] * (t @ grid.T) - F.softplus(t @ grid.T)
    evidence = (density + each.sum(0)).logsumexp(0) - (density + each[:3].sum(0)).logsumexp(0)
    assert (fit - kl).item() == pytest.approx(evidence.item(), abs=0.02)


def test_without_pairs_it_is_the_prior_to_the_last_bit():
    t, labels, _, prior, _ = answers(1, 4, mean=(1.0, 0.3), variance=(0.3, 0.7))
    found = infer(learned_encoder(), t, labels, torch.ones(4, dtype=torch.long), 3, prior, 6)
    for user in (0, 2):
        assert torch.equal(found.mean[user], prior.mean)
        assert torch.equal(found.precision[user], torch.diag(1 / prior.variance))
    assert not torch.allclose(found.mean[1], prior.mean, atol=0.01)
    same = Gaussians(prior.mean[None], torch.diag(1 / prior.variance)[None])
    assert divergence(same, same).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("refine", [0, 6])
def test_order_of_pairs_does_not_matter_and_users_do_not_mix(refine):
    t, labels, owner, prior, _ = answers(3, 5)
    encoder, order = learned_encoder(), torch.randperm(15, generator=torch.Generator().manual_seed(1))
    found = infer(encoder, t, labels, owner, 3, prior, refine)
    again = infer(encoder, t[order], labels[order], owner[order], 3, prior, refine)
    assert_close(found, again, atol=1e-12, rtol=0)
    alone = infer(encoder, t[5:10], labels[5:10], torch.zeros(5, dtype=torch.long), 1, prior, refine)
    assert_close(found.mean[1], alone.mean[0], atol=1e-12, rtol=0)


def test_every_pair_adds_precision():
    t, labels, owner, prior, _ = answers(1, 12)
    encoder = learned_encoder()
    before = torch.diag(1 / prior.variance)
    for n in range(1, 13):
        after = infer(encoder, t[:n], labels[:n], owner[:n], 1, prior, 0).precision[0]
        assert torch.linalg.eigvalsh(after - before).min() > -1e-12
        assert torch.trace(after) > torch.trace(before)
        before = after
    refined = infer(encoder, t, labels, owner, 1, prior, 6).precision[0]
    assert torch.linalg.eigvalsh(refined - torch.diag(1 / prior.variance)).min() > 0


@pytest.mark.parametrize("refine", [0, 6])
def test_swapping_sides_with_the_label_changes_nothing_at_all(refine):
    t, labels, owner, prior, _ = answers(2, 7)
    labels[3] = 0.5
    turned = torch.arange(14) % 3 == 0
    sign = torch.where(turned, -1.0, 1.0).double()
    encoder = learned_encoder()
    found = infer(encoder, t, labels, owner, 2, prior, refine)
    again = infer(encoder, sign[:, None] * t, torch.where(turned, 1 - labels, labels), owner, 2, prior, refine)
    assert_close(found, again, atol=1e-13, rtol=0)


@pytest.mark.parametrize("refine", [0, 6])
def test_turning_all_labels_round_turns_the_taste_round(refine):
    t, labels, owner, prior, _ = answers(2, 7, mean=(0.0, 0.0), variance=(1.0, 1.0))
    encoder = learned_encoder()
    found, opposite = (infer(encoder, t, y, owner, 2, prior, refine) for y in (labels, 1 - labels))
    assert_close(found.mean, -opposite.mean, atol=1e-12, rtol=0)
    assert_close(found.precision, opposite.precision, atol=1e-12, rtol=0)
    # With a population that has a taste: if that turns round too.
    prior, contrary = (Prior(tensor(m, 0.0), tensor(0.25, 1.0)) for m in (1.0, -1.0))
    found = infer(encoder, t, labels, owner, 2, prior, refine)
    opposite = infer(encoder, t, 1 - labels, owner, 2, contrary, refine)
    assert_close(found.mean, -opposite.mean, atol=1e-12, rtol=0)
    assert found.mean.abs().max() > 0.1


def test_is_nearly_the_exact_posterior_and_covers_the_truth():
    """400 users with 20 pairs each, drawn from the prior: mean, spread and coverage against a grid."""
    t, labels, owner, prior, z = answers(400, 20, size=2.0)
    grid = torch.cartesian_prod(*[torch.linspace(-5, 5, 101, dtype=torch.float64)] * 2)
    each = labels[:, None] * (t @ grid.T) - F.softplus(t @ grid.T)
    total = torch.zeros(400, len(grid), dtype=torch.float64).index_add_(0, owner, each)
    weight = (total - 0.5 * ((grid - prior.mean) ** 2 / prior.variance).sum(1)).softmax(1)
    mean = weight @ grid
    spread = (weight @ grid**2 - mean**2).sqrt()

    def compare(refine):
        found = infer(PairEncoder(4), t, labels, owner, 400, prior, refine)
        own = found.covariance().diagonal(dim1=1, dim2=2).sqrt()
        covered = ((z - found.mean).abs() < 1.645 * own).double().mean()
        return ((found.mean - mean).abs() / spread).mean().item(), (own / spread).mean().item(), covered.item()

    error, ratio, covered = compare(6)
    assert error < 0.03
    assert 0.96 < ratio < 1.01
    assert 0.87 < covered < 0.93  # nominal 0.9, standard error 0.011
    blunt = compare(0)
    assert blunt[0] > 2 * error  # what reading pairs one by one costs
    assert blunt[1] < ratio
