import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.preference import Preference
from moalign.preference_sampling import (
    dirichlet_weights,
    lattice,
    lattice_at_least,
    riesz,
    sample_dirichlet,
    sample_uniform,
    snap,
)

OBJECTIVES = ["helpful", "brief", "safe"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def matrix(preferences, objectives=OBJECTIVES):
    return torch.stack([p.as_tensor(objectives, dtype=torch.float64) for p in preferences])


@given(st.integers(1, 8), st.sampled_from([1e-6, 1e-3, 0.05, 0.1, 0.5, 1.0, 10.0, 1e6]), st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_draws_lie_on_the_simplex(k, concentration, seed):
    names = [f"o{i}" for i in range(k)]
    drawn = matrix(sample_dirichlet(names, 20, concentration, seeded(seed)), names)  # constructing them checks them
    assert drawn.shape == (20, k)
    assert (drawn >= 0).all()
    assert_close(drawn.sum(1), torch.ones(20, dtype=torch.float64), atol=1e-12, rtol=0)
    assert_close(dirichlet_weights(20, k, concentration, seeded(seed)), drawn.float())
    assert_close(dirichlet_weights(20, k, concentration, seeded(seed), dtype=torch.float64), drawn, atol=0, rtol=0)


def test_moments_of_the_dirichlet():
    """Mean a_k / a_0 and variance m (1 - m) / (a_0 + 1), a_0 being the sum."""
    alpha = np.array([0.5, 1.0, 2.5])
    drawn = dirichlet_weights(40_000, 3, alpha.tolist(), seeded(), dtype=torch.float64).numpy()
    mean = alpha / alpha.sum()
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.005)
    np.testing.assert_allclose(drawn.var(0), mean * (1 - mean) / (alpha.sum() + 1), atol=0.003)
    named = sample_dirichlet(OBJECTIVES, 50, {"safe": 2.5, "helpful": 0.5, "brief": 1.0}, seeded())
    assert_close(matrix(named), dirichlet_weights(50, 3, alpha.tolist(), seeded(), dtype=torch.float64))


def test_uniform_is_flat():
    """The share of the simplex with w_1 > t is (1 - t)^(K - 1)."""
    drawn = dirichlet_weights(40_000, 3, 1.0, seeded(1))
    for t in (0.25, 0.5, 0.75):
        assert (drawn[:, 0] > t).float().mean().item() == pytest.approx((1 - t) ** 2, abs=0.01)
    assert sample_uniform(OBJECTIVES, 5, seeded(3)) == sample_dirichlet(OBJECTIVES, 5, 1.0, seeded(3))


def test_concentration_moves_from_the_vertices_to_the_middle():
    assert (dirichlet_weights(100, 3, 1e-4, seeded()).amax(1) > 0.99).float().mean() > 0.95
    assert_close(dirichlet_weights(100, 3, 1e8, seeded()), torch.full((100, 3), 1 / 3), atol=1e-3, rtol=0)


def test_the_torch_generator_state_is_all_the_state():
    generator = seeded(7)
    first = sample_dirichlet(OBJECTIVES, 4, 0.5, generator)
    state = generator.get_state()
    rest = [sample_uniform(OBJECTIVES, 3, generator), dirichlet_weights(2, 3, 0.5, generator).tolist()]
    np.random.seed(123)  # numpy's global state plays no part
    torch.manual_seed(99)  # nor does torch's, when a generator is given
    resumed = torch.Generator()
    resumed.set_state(state)
    assert [sample_uniform(OBJECTIVES, 3, resumed), dirichlet_weights(2, 3, 0.5, resumed).tolist()] == rest
    assert first == sample_dirichlet(OBJECTIVES, 4, 0.5, seeded(7))
    assert first != sample_dirichlet(OBJECTIVES, 4, 0.5, generator)
    assert first != sample_dirichlet(OBJECTIVES, 4, 0.5, seeded(8))


def test_without_a_generator_manual_seed_decides():
    torch.manual_seed(5)
    first = sample_uniform(OBJECTIVES, 3)
    second = sample_uniform(OBJECTIVES, 3)
    torch.manual_seed(5)
    assert [sample_uniform(OBJECTIVES, 3), sample_uniform(OBJECTIVES, 3)] == [first, second]
    assert first != second


def test_no_draws_is_fine():
    assert sample_uniform(OBJECTIVES, 0) == []
    assert dirichlet_weights(0, 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("n", "concentration", "message"),
    [
        (-1, 1.0, "n must be a whole number of at least 0, found -1"),
        (2.5, 1.0, "n must be a whole number"),
        (True, 1.0, "n must be a whole number"),
        (2, 0.0, "must be positive and finite, found 0.0"),
        (2, math.nan, "must be positive and finite, found nan"),
        (2, [1.0, 1.0, -1.0], "must be positive and finite"),
        (2, [1.0, 1.0], "must be one number or 3"),
        (2, {"helpful": 1.0, "brief": 1.0}, "must name helpful, brief, safe, found helpful, brief"),
        (2, {"helpful": 1.0, "brief": 1.0, "safe": 1.0, "kind": 1.0}, "must name helpful, brief, safe, found"),
    ],
)
def test_sampling_refuses(n, concentration, message):
    with pytest.raises(InputError, match=message):
        sample_dirichlet(OBJECTIVES, n, concentration)


@pytest.mark.parametrize(("k", "partitions"), [(1, 4), (2, 1), (2, 10), (3, 7), (4, 5), (5, 3)])
def test_lattice_is_every_multiple_of_the_step(k, partitions):
    names = [f"o{i}" for i in range(k)]
    points = lattice(names, partitions)
    wanted = {c for c in itertools.product(range(partitions + 1), repeat=k) if sum(c) == partitions}
    if k == 1:
        wanted = {(partitions,)}
    got = [tuple(round(v * partitions) for v in p.values.values()) for p in points]
    assert len(got) == len(wanted) == math.comb(partitions + k - 1, k - 1)
    assert set(got) == wanted
    assert [list(p.values.values()) for p in points] == [[c / partitions for c in counts] for counts in got]
    assert {Preference.only(name) for name in names} <= set(points)
    assert points == lattice(names, partitions)


def test_lattice_at_least_is_the_smallest():
    assert len(lattice_at_least(OBJECTIVES, 1)) == 3
    assert len(lattice_at_least(OBJECTIVES, 21)) == 21  # 5 partitions: C(7, 2)
    assert len(lattice_at_least(OBJECTIVES, 22)) == 28
    assert len(lattice_at_least(["a", "b"], 21)) == 21
    assert lattice_at_least(["a"], 1) == [Preference.only("a")]


def test_lattices_refuse():
    with pytest.raises(InputError, match="partitions must be a whole number of at least 1, found 0"):
        lattice(OBJECTIVES, 0)
    with pytest.raises(InputError, match="more than 1,000,000"):
        lattice([f"o{i}" for i in range(12)], 30)
    with pytest.raises(InputError, match="one preference, found n=2"):
        lattice_at_least(["a"], 2)
    with pytest.raises(InputError, match="n must be a whole number of at least 3, found 2"):
        riesz(OBJECTIVES, 2)
    with pytest.raises(InputError, match="one preference, found n=2"):
        riesz(["a"], 2)
    with pytest.raises(InputError, match="twice"):
        lattice(["a", "a"], 2)


def test_riesz_is_exact_in_number_spread_and_repeatable():
    state = np.random.get_state()[1].copy()
    points = riesz(OBJECTIVES, 10, seed=1)
    assert (np.random.get_state()[1] == state).all()
    assert points == riesz(OBJECTIVES, 10, seed=1)
    assert len(set(points)) == 10
    assert {Preference.only(name) for name in OBJECTIVES} <= set(points)
    distances = torch.cdist(matrix(points), matrix(points)).fill_diagonal_(math.inf).amin(1)
    # Ten points of the triangular lattice with 3 partitions are sqrt(2) / 3 apart; a random ten come much closer.
    assert distances.min() > 0.8 * math.sqrt(2) / 3
    assert riesz(OBJECTIVES, 3) == [Preference.only(name) for name in OBJECTIVES]


def test_snap_by_hand():
    points = lattice(["a", "b"], 4)
    assert snap(Preference({"a": 0.7, "b": 0.3}), points) == Preference({"a": 0.75, "b": 0.25})
    assert snap(Preference({"a": 0.99, "b": 0.01}), points) == Preference.only("a")
    # 0.375 is exactly between 0.25 and 0.5: the first of the two in the list.
    tie = Preference({"a": 0.375, "b": 0.625})
    assert snap(tie, points).values["a"] == 0.25
    assert snap(tie, points[::-1]).values["a"] == 0.5


def test_snap_counts_unnamed_objectives_as_zero_and_ignores_the_order():
    points = [Preference.only("a"), Preference({"b": 0.5, "a": 0.5})]
    assert snap(Preference({"b": 0.4, "a": 0.6}), points) == points[1]
    assert snap(Preference.only("c"), points) == points[1]  # squared distances 2 and 1.5


@given(st.integers(0, 2**31), st.integers(1, 6))
@settings(deadline=None, max_examples=30)
def test_snap_finds_the_nearest_and_keeps_members(seed, partitions):
    points = lattice(OBJECTIVES, partitions)
    p = sample_uniform(OBJECTIVES, 1, seeded(seed))[0]
    distances = (matrix(points) - p.as_tensor(OBJECTIVES, dtype=torch.float64)).norm(dim=1)
    assert distances[points.index(snap(p, points))] <= distances.min() + 1e-12
    assert all(snap(member, points) == member for member in points)


def test_snap_refuses():
    with pytest.raises(InputError, match="empty"):
        snap(Preference.only("a"), [])
    with pytest.raises(InputError, match="cannot snap direction"):
        snap(Preference.direction({"a": 1}), [Preference.only("a")])
