"""Posteriors on the simplex against numerical integration, limits, and the two samplers against each other."""

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.users import Population
from reward_heads.users.simplex_posterior import Answers, draw, log_normal, mode_of, normal_points, refitted
from reward_heads.users.simplex_smc import tempered
from reward_heads.users.simplex_users import pairs_of, simplex_posterior


def two(log_temperature=1.5):
    mean, spread = torch.tensor([0.4]).double(), torch.tensor([[0.8]]).double()
    return Population(("helpful", "brief"), mean, spread, log_temperature)


def three():
    spread = torch.tensor([[1.0, 0.3, 0.0], [0.3, 0.7, 0.1], [0.0, 0.1, 0.2]]).double()
    return Population(("a", "b", "c"), torch.tensor([0.3, -0.2, 1.0]).double(), spread, None)


def answers(n, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, width, generator=generator, dtype=torch.float64)
    return x, (torch.rand(n, generator=generator) < torch.sigmoid(3 * x[:, 0])).double()


def on_a_grid(population, x, p, points=20001):
    """Mean, 5 % and 95 % points of the first weight, and the density's total, by numerical integration over the one coordinate."""
    u = torch.linspace(-8, 8, points, dtype=torch.float64)[:, None]
    prior = log_normal(u, population.mean, population.covariance.sqrt())
    margins = population.tastes(u) @ x.T
    log = prior + (p * torch.nn.functional.logsigmoid(margins)).sum(1)
    log = log + ((1 - p) * torch.nn.functional.logsigmoid(-margins)).sum(1)
    share = torch.softmax(log, 0)
    first = population.weights(u)[:, 0]  # rises with u
    below = share.cumsum(0)
    ends = [first[int((below < level).sum())].item() for level in (0.05, 0.95)]
    return (share * first).sum().item(), ends, (share[:, None] * torch.sigmoid(margins)).sum(0)


@pytest.mark.parametrize("n", [0, 1, 4, 30])
def test_agrees_with_integration_over_two_objectives(n):
    x, p = answers(n, 2, seed=n)
    mean, ends, predicted = on_a_grid(two(), x, p)
    found = simplex_posterior(two(), x, p, 2000, 0)
    assert found.n == n
    assert found.mean[0].item() == pytest.approx(mean, abs=1e-3)
    assert found.interval(0.9)[0].tolist() == pytest.approx(ends, abs=0.01)  # 2000 draws
    assert_close(found.prefers(x), predicted, atol=3e-3, rtol=0)
    assert found.effective is None or found.effective > 1000


def test_soft_labels_and_ties_count_by_their_probability():
    x, p = answers(6, 2)
    soft = 0.2 + 0.6 * p
    soft[0] = 0.5
    assert simplex_posterior(two(), x, soft, 2000, 0).mean[0].item() == pytest.approx(
        on_a_grid(two(), x, soft)[0], abs=1e-3
    )


def test_small_steps_agree_with_integration():
    x, p = answers(12, 2)
    known = Answers.of(x, p, torch.zeros(12, dtype=torch.long), 1)
    population = two()
    theta, survivors = tempered(
        population.mean,
        population.covariance.sqrt(),
        lambda t: known.log_likelihood(population.tastes(t)[None])[0],
        4000,
        0,
    )
    mean, ends, _ = on_a_grid(population, x, p)
    first = population.weights(theta)[:, 0]
    assert first.mean().item() == pytest.approx(mean, abs=0.01)
    assert first.quantile(torch.tensor([0.05, 0.95]).double()).tolist() == pytest.approx(ends, abs=0.02)
    assert 1000 < survivors <= 4000


def test_falls_back_to_small_steps(monkeypatch):
    from reward_heads.users import simplex_users

    x, p = answers(10, 3)
    usual = simplex_posterior(three(), x, p, 1000, 0)
    monkeypatch.setattr(simplex_users, "POOR", 2.0)
    assert_close(simplex_posterior(three(), x, p, 1000, 0).mean, usual.mean, atol=0.02, rtol=0)


def test_uninformative_pairs_leave_the_population():
    x = torch.ones(5, 3).double()  # both objectives differ alike: weights don't matter, the temperature does
    shared = Population(("a", "b", "c"), three().mean[:2], three().covariance[:2, :2], 0.0)
    none = simplex_posterior(shared, x[:0], torch.empty(0).double(), 2000, 0)
    found = simplex_posterior(shared, x, torch.ones(5).double(), 2000, 0)
    assert_close(found.mean, none.mean, atol=2e-3, rtol=0)
    assert_close(found.interval(), none.interval(), atol=0.04, rtol=0)  # ends of 2000 draws
    zero = simplex_posterior(three(), 0 * x, torch.ones(5).double(), 2000, 0)
    assert_close(zero.prefers(x[:1] - x[:1]), torch.tensor([0.5]).double())


def test_endless_evidence_finds_the_truth_and_its_temperature():
    truth = torch.tensor([0.6, 0.3, 0.1]).double()
    x = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)).double()
    found = simplex_posterior(three(), x, torch.sigmoid(4 * x @ truth), 1000, 0)
    assert_close(found.mean, truth, atol=0.01, rtol=0)
    assert found.tastes.sum(dim=1).mean().item() == pytest.approx(4, rel=0.02)
    assert (found.interval()[:, 1] - found.interval()[:, 0]).max() < 0.06


def test_draws_of_many_users_are_those_of_each():
    x, p = answers(9, 3)
    owner = torch.tensor([0, 2, 2, 0, 2, 0, 2, 2, 2])  # user 1 said nothing
    together = Answers.of(x, p, owner, 3)
    base = normal_points(512, 3, 0)[None]
    every = draw(three(), together, mode_of(three(), together), base)
    for user in range(3):
        mine = owner == user
        alone = Answers.of(x[mine], p[mine], torch.zeros(int(mine.sum()), dtype=torch.long), 1)
        one = draw(three(), alone, mode_of(three(), alone), base)
        assert_close(one.log_weight[0], every.log_weight[user], atol=1e-3, rtol=1e-3)
    assert (every.effective > 100).all()
    assert (draw(three(), together, refitted(every), base).effective > 100).all()


def test_equal_seeds_give_equal_draws_and_other_seeds_equal_answers():
    x, p = answers(8, 3)
    first, again, other = (simplex_posterior(three(), x, p, 1000, seed) for seed in (0, 0, 1))
    assert torch.equal(first.samples, again.samples)
    assert not torch.equal(first.samples, other.samples)
    assert_close(first.mean, other.mean, atol=5e-3, rtol=0)


def test_rows_of_pairs():
    pair = {"prompt": "p", "completion_a": "x", "completion_b": "y"}
    examples, labels = pairs_of([pair, {**pair, "labels": {"liked": 1.0}}, {**pair, "labels": {"liked": None}}], None)
    assert len(examples) == 3
    assert labels.isnan().tolist() == [True, False, True]
    assert pairs_of([{**pair, "labels": {"liked": 1, "brief": 0}}], "brief")[1].item() == 0
    with pytest.raises(InputError, match="row 0: labelled for liked, brief"):
        pairs_of([{**pair, "labels": {"liked": 1, "brief": 0}}], None)
    with pytest.raises(InputError, match="row 0: is a rating"):
        pairs_of([{"prompt": "p", "completion": "x", "scores": {}}], None)
    with pytest.raises(InputError, match="row 0: must be a dictionary"):
        pairs_of(["no"], None)


def test_many_users_at_once_are_each_by_itself_and_are_not_padded_to_the_longest(monkeypatch):
    from reward_heads.users import simplex_posterior

    x, p = answers(300, 3)
    owner = torch.cat([torch.full((260,), 7), torch.arange(40) % 20])
    base = normal_points(64, 3, 0).expand(20, -1, -1)
    whole = draw(three(), Answers.of(x, p, owner, 20), mode_of(three(), Answers.of(x, p, owner, 20)), base)
    sizes, of = [], Answers.of
    monkeypatch.setattr(simplex_posterior, "CHUNK", 2000)
    monkeypatch.setattr(Answers, "of", lambda *args: sizes.append(of(*args)) or sizes[-1])
    found = simplex_posterior.draw_all(three(), x, p, owner, base)
    assert_close(found.log_likelihood, whole.log_likelihood, atol=1e-3, rtol=1e-3)
    assert_close(found.theta, whole.theta, atol=1e-3, rtol=1e-3)
    assert sum(some.labels.numel() for some in sizes) < 2 * 300 < 20 * 262


def test_the_likelihood_is_that_of_all_pairs_however_few_fit_at_once(monkeypatch):
    from reward_heads.users import simplex_posterior

    x, p = answers(30, 3)
    tastes = torch.rand(1, 11, 3, generator=torch.Generator().manual_seed(0)).double()
    monkeypatch.setattr(simplex_posterior, "CHUNK", 44)
    found = Answers.of(x, p, torch.zeros(30, dtype=torch.long), 1).log_likelihood(tastes)[0]
    margins = tastes[0] @ x.T
    by_hand = (p * margins.sigmoid().log() + (1 - p) * (-margins).sigmoid().log()).sum(dim=1)
    assert_close(found, by_hand)
