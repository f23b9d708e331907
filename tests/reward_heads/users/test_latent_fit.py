import logging

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.users.latent import LatentConfig, fit_latent_users


def world(users=80, n=20, d=4, tastes=1, shared=1.5, size=1.5, seed=0):
    """Everybody wants the first feature; of the next `tastes` some want more and some less."""
    generator = torch.Generator().manual_seed(seed)
    wants = torch.zeros(users, d, dtype=torch.float64)
    wants[:, 0] = shared
    wants[:, 1 : 1 + tastes] = size * torch.randn(users, tastes, generator=generator, dtype=torch.float64)
    a, b = torch.randn(2, users * n, d, generator=generator, dtype=torch.float64)
    owner = torch.arange(users).repeat_interleave(n)
    chance = torch.sigmoid((wants[owner] * (a - b)).sum(1))
    labels = (torch.rand(users * n, generator=generator, dtype=torch.float64) < chance).double()
    return a, b, labels, [f"u{i}" for i in owner.tolist()], wants


QUICK = LatentConfig(dims=2, steps=60, ridge=0.1)


@pytest.fixture(scope="module")
def differing():
    data = world()
    return (*data, fit_latent_users(*data[:4], QUICK))


def test_finds_how_many_tastes_there_are_and_which(differing):
    *_, wants, model = differing
    assert model.names == ("shared", "taste1")
    assert model.active_units() == 1
    assert model.unit_variances()["taste1"] > 0.5
    direction = model.weights[1] / model.weights[1].norm()
    assert direction[1].abs() > 0.95
    assert model.weights[1, 1] > 0  # the sign of a taste is that of its largest weight
    assert model.weights[0, 0] == pytest.approx(1.5, abs=0.4)
    own = torch.stack([model.of(user).mean for user in model.users]) @ model.weights
    assert torch.corrcoef(torch.stack([own[:, 1], wants[:, 1]]))[0, 1] > 0.85
    gain, error = model.fit.gain
    assert gain > 3 * error
    assert model.fit.divergence > 0.02
    assert [row.groups for row in model.fit.likelihood] == [0, 1, 2]


def test_says_so_when_nobody_differs(caplog):
    with caplog.at_level(logging.WARNING):
        model = fit_latent_users(*world(users=40, n=25, tastes=0, seed=3)[:4], QUICK)
    assert model.active_units() == 0
    assert model.names == ("shared",)
    assert "none of 2 tastes is active" in caplog.text
    assert "0 of 2 tastes active: the pairs don't show that users differ" in model.table()
    assert model.fit.gain == (0.0, 0.0)


def test_intervals_cover_what_new_users_want(differing):
    *_, model = differing
    a, b, labels, users, wants = world(users=150, n=15, seed=9)
    delta, covered = model.components(a - b), 0
    for user in range(150):
        own = slice(15 * user, 15 * user + 15)
        assert users[own.start] == f"u{user}"
        low, high = model.posterior_of(delta[own], labels[own]).interval(0.9)[1]
        covered += bool(low < wants[user, 1] / model.weights[1, 1] < high)
    assert 0.83 < covered / 150 < 0.97  # nominal 0.9, standard error 0.025


def test_more_pairs_predict_a_new_user_better(differing):
    *_, model = differing
    a, b, labels, *_ = world(users=60, n=40, seed=5)
    delta = model.components(a - b).view(60, 40, -1)
    labels = labels.view(60, 40)
    right = []
    for n in (0, 3, 30):
        chances = [model.posterior_of(delta[u, :n], labels[u, :n]).prefers(delta[u, 30:]) for u in range(60)]
        right.append(((torch.stack(chances) > 0.5) == (labels[:, 30:] > 0.5)).double().mean().item())
    assert right[0] < right[1] < right[2]
    assert right[2] > right[0] + 0.04


def test_swapped_labels_flip_predictions(differing):
    a, b, labels, users, _, model = differing
    delta = model.components(a - b)
    swap = model.swap_test(delta, labels, users)
    assert swap.flipped > 0.85  # the population, which has not turned round, holds the others back
    assert swap.opposite < -0.85
    assert swap.n == len(labels)
    free = fit_latent_users(a, b, labels, users, LatentConfig(dims=2, steps=20, shared=False, held_out=0))
    exact = free.swap_test(free.components(a - b), labels, users, queries=free.components(a[:50] - b[:50]))
    assert exact.flipped == 1.0
    assert exact.opposite == pytest.approx(-1.0)
    assert free.names == ("taste1", "taste2")
    assert free.population().mean.tolist() == [0.0, 0.0]


def test_equal_seeds_give_equal_models_and_leave_the_global_state_alone(differing):
    a, b, labels, users, _, model = differing
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    again = fit_latent_users(a, b, labels, users, QUICK)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(again.weights, model.weights)
    assert torch.equal(again.means, model.means)


def test_units_of_features_do_not_matter():
    a, b, labels, users, _ = world(users=20, n=10)
    scale = torch.tensor([1.0, 100.0, 0.01, 1.0], dtype=torch.float64)
    config = LatentConfig(dims=1, steps=10, held_out=0)
    plain, scaled = (fit_latent_users(a * s, b * s, labels, users, config) for s in (torch.ones(4), scale))
    assert_close(plain.weights, scaled.weights * scale, atol=1e-8, rtol=1e-6)


def test_batches_of_users_and_a_rising_divergence():
    a, b, labels, users, _ = world(users=20, n=10)
    config = LatentConfig(dims=3, steps=12, batch_size=50, warmup=0.5)
    model = fit_latent_users(a, b, labels, users, config)
    assert model.weights.isfinite().all()
    assert len(model.fit.units) == 3
    assert list(model.fit.units) == sorted(model.fit.units, reverse=True)


def test_refuses():
    a, b, labels, users, _ = world(users=4, n=3)
    with pytest.raises(InputError, match=r"features must both be \[12, d\]"):
        fit_latent_users(a, b[:, :2], labels, users)
    with pytest.raises(InputError, match="only one: 'u0'"):
        fit_latent_users(a[:3], b[:3], labels[:3], users[:3])
    with pytest.raises(InputError, match="a feature is not finite"):
        fit_latent_users(a * torch.inf, b, labels, users)
    with pytest.raises(InputError, match=r"labels must be the probability in \[0, 1\]"):
        fit_latent_users(a, b, labels * 3, users)
