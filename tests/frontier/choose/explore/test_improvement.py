import numpy as np
import pytest

from frontier.choose.explore import ExpectedImprovement, NoisyImprovement, simplex_lattice
from frontier.choose.explore.base import Measured
from frontier.choose.explore.surrogate import Kernel, Surrogate
from frontier.errors import InputError
from frontier.measure import hypervolume, reference_point


def circle(weights):
    return weights / np.linalg.norm(weights, axis=1, keepdims=True)


def finished(explorer, rewards=circle, batch=4):
    while not explorer.done:
        asked = explorer.ask(batch)
        explorer.tell(asked, rewards(asked))
    return explorer


def soup(coefficients):
    """Four ingredients of which two are good for one objective each, and two are good for none."""
    a, b, c, d = coefficients.T
    lost = 1.0 * (c + d) + 0.3 * (a * b)
    return np.column_stack([np.sqrt(a) - lost, np.sqrt(b) - lost])


def test_the_surrogate_is_the_textbook_posterior():
    rng = np.random.default_rng(0)
    weights, at = rng.random((6, 2)), rng.random((4, 2))
    rewards, errors = rng.normal(size=(6, 1)), np.full((6, 1), 0.1)
    kernel = Kernel(1.3, np.array([0.4, 0.7]))
    known = Measured(weights, rewards, errors, np.ones(6, dtype=np.int64))
    found = Surrogate(known, at, [kernel])
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    location, scale = rewards.mean(), rewards.std()
    model = GaussianProcessRegressor(
        ConstantKernel(1.3) * Matern([0.4, 0.7], nu=2.5), alpha=(0.1 / scale) ** 2 + 1e-8, optimizer=None
    )
    mean, deviation = model.fit(weights, (rewards[:, 0] - location) / scale).predict(at, return_std=True)
    np.testing.assert_allclose(found.rewards()[0][:, 0], mean * scale + location, atol=1e-8)
    np.testing.assert_allclose(found.rewards()[1][:, 0], deviation * scale, atol=1e-7)


def test_believing_narrows_and_moves_no_mean():
    rng = np.random.default_rng(0)
    weights = rng.random((5, 2))
    known = Measured(weights, rng.normal(size=(5, 2)), np.zeros((5, 2)), np.ones(5, dtype=np.int64))
    surrogate = Surrogate(known, rng.random((8, 2)), [Kernel(1.0, np.full(2, 0.5))] * 2)
    mean, before = surrogate.rewards()
    surrogate.believe(3)
    after = surrogate.rewards()
    np.testing.assert_array_equal(after[0], mean)
    assert (after[1] <= before + 1e-12).all()
    assert after[1][3].max() < 1e-3


def test_reaches_the_lattice_with_a_third_of_it_and_its_bound_says_so():
    lattice = simplex_lattice(4, 6)  # 84 soups, most of them useless
    full = soup(lattice)
    place = reference_point(full)
    explorer = finished(ExpectedImprovement(4, 2, candidates=6, epsilon=0.01), soup)
    known = explorer.measured
    assert len(known.weights) <= len(lattice) / 3
    assert hypervolume(known.rewards, place) >= 0.97 * hypervolume(full, place)


def test_knows_the_front_between_what_it_measured():
    explorer = finished(ExpectedImprovement(2, candidates=40, epsilon=0.03))
    at = simplex_lattice(2, 97)
    mean, deviation = explorer.predict(at)
    assert np.abs(mean - circle(at)).max() < 0.02
    assert deviation.max() < 0.05


def test_candidates_of_any_sign():
    table = np.array([[a, b] for a in np.linspace(-1, 2, 5) for b in np.linspace(-1, 2, 5)])
    explorer = ExpectedImprovement(2, candidates=table, epsilon=0)
    asked = explorer.ask(5)
    assert all(row.tolist() in table.tolist() for row in asked)
    explorer.tell(asked, -(asked**2))
    assert explorer.ask(2).shape == (2, 2)


def test_is_done_when_every_candidate_was_measured():
    explorer = ExpectedImprovement(2, candidates=6, epsilon=0)
    explorer = finished(explorer)
    assert len(explorer.measured.weights) == 7
    assert explorer.bound().value == 0


def test_everything_out_gives_no_more():
    explorer = ExpectedImprovement(2, candidates=4, epsilon=0, start=5)
    assert len(explorer.ask(9)) == 5
    assert explorer.ask(1).shape == (0, 2)


def test_asks_again_only_under_noise_and_as_often_as_allowed():
    def asked(repeats, error):
        rng = np.random.default_rng(0)
        explorer, count = ExpectedImprovement(2, candidates=4, epsilon=0, repeats=repeats), 0
        while not explorer.done and count < 30:
            rows = explorer.ask()
            noisy = circle(rows) + error * rng.standard_normal(rows.shape)
            explorer.tell(rows, noisy, np.full_like(noisy, error) if error else None)
            count += len(rows)
        return count, explorer.measured.times.max()

    assert asked(0, 0.1) == (5, 1)
    assert asked(2, 0.0) == (5, 1)
    assert asked(2, 0.1) == (15, 3)


def test_noise_is_shared_among_neighbours():
    rng = np.random.default_rng(0)
    lattice = simplex_lattice(2, 30)
    explorer = ExpectedImprovement(2, candidates=30)
    noisy = circle(lattice) + 0.1 * rng.standard_normal((31, 2))
    explorer.tell(lattice, noisy, np.full((31, 2), 0.1), unasked=True)
    smooth = explorer.predict(lattice)[0]
    assert np.abs(smooth - circle(lattice)).mean() < 0.5 * np.abs(noisy - circle(lattice)).mean()


def test_refuses_to_predict_from_nothing():
    with pytest.raises(InputError, match="at least 2 measured"):
        ExpectedImprovement(2).predict([[0.5, 0.5]])


@pytest.mark.slow
def test_botorch_asks_the_same_twice_and_improves():
    pytest.importorskip("botorch")
    from botorch.acquisition.multi_objective import logei

    explorer = NoisyImprovement(2, candidates=12, epsilon=0, draws=16)
    asked = explorer.ask(5)
    explorer.tell(asked, circle(asked), np.full_like(asked, 0.01))
    twin = NoisyImprovement.from_json(explorer.to_json())
    new = explorer.ask(2)
    np.testing.assert_array_equal(new, twin.ask(2))
    assert logei._C is None  # nothing was compiled
    place = np.array([-0.1, -0.1])
    gained = hypervolume(circle(np.vstack([asked, new])), place) - hypervolume(circle(asked), place)
    assert gained > 0
