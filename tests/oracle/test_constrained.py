"""Constrained optima: KKT conditions, hand-worked multipliers, agreement with a general solver, refusals."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.oracle import OracleWorld
from moalign.oracle.constrained import Bound, constrained
from moalign.oracle.optimum import tilt

EVEN = torch.full((1, 2), math.log(0.5), dtype=torch.float64)


def test_multiplier_by_hand():
    """Nothing to gain, E[c] >= 0.5 for c = (1, 0) + beta 1: p = σ(λ) must be 0.75, so λ = log 3."""
    columns = torch.tensor([[[1.0], [0.0]]]).double()
    answer = constrained(EVEN, torch.zeros(1, 2).double(), columns, [Bound("c", "at_least", 0.75)], 1.0)
    assert answer.multipliers.item() == pytest.approx(math.log(3))
    assert answer.levels.item() == pytest.approx(0.75)
    assert answer.value == pytest.approx(-(0.75 * math.log(1.5) + 0.25 * math.log(0.5)))


@pytest.mark.parametrize(("kind", "sign"), [("at_most", 1), ("equal", -1)])
def test_signs_from_above_and_for_equality(kind, sign):
    columns = torch.tensor([[[1.0], [0.0]]]).double()
    answer = constrained(EVEN, torch.zeros(1, 2).double(), columns, [Bound("c", kind, 0.25)], 1.0)
    assert answer.multipliers.item() == pytest.approx(sign * math.log(3))
    assert answer.levels.item() == pytest.approx(0.25)


@pytest.mark.parametrize("beta", [0.1, 0.3, 1.0])
def test_kkt(default_world, beta):
    free = default_world.optimum("helpful=1", beta)
    assert float(default_world.expected(free.log_probs, ["harmless"])) < 0
    answer = default_world.constrained("helpful=1", beta, at_least={"harmless": 0.1, "warm": -5.0})
    assert answer.multipliers[0] > 0.01
    assert answer.multipliers[1] == 0  # slack: complementary
    assert answer.levels[0] == pytest.approx(0.1, abs=1e-8)
    assert all(abs(r) < 1e-8 for r in answer.residuals.values())
    # Stationarity: the policy is the optimum of the Lagrangian.
    tables = default_world.tables_of(["helpful", "harmless", "warm"])
    scores = tables[..., 0] + tables[..., 1:] @ answer.multipliers
    assert_close(answer.log_probs, tilt(default_world.log_reference, scores, beta)[0])
    assert answer.value < free.value


def test_multiplier_is_the_price_of_the_threshold(world):
    value = lambda d: world.constrained("helpful=1", 0.5, at_least={"harmless": d}).value  # noqa: E731
    price = world.constrained("helpful=1", 0.5, at_least={"harmless": 0.2}).multipliers.item()
    assert (value(0.2 - 1e-4) - value(0.2 + 1e-4)) / 2e-4 == pytest.approx(price, rel=1e-4)


def test_slack_constraint_changes_nothing(world):
    answer = world.constrained("helpful=1", 0.5, at_most={"harmless": 100.0})
    assert answer.multipliers.item() == 0
    assert_close(answer.log_probs, world.optimum("helpful=1", 0.5).log_probs)
    none = world.constrained("helpful=1", 0.5)
    assert none.value == pytest.approx(answer.value)


def test_agrees_with_slsqp_over_the_policy_itself():
    world = OracleWorld.covered(vocabulary=2, length=3, prompts=1, seed=1)
    p_ref, score = world.log_reference[0].exp().numpy(), world.rewards[0, :, 0].numpy()
    safe, warm = (world.tables_of([n])[0, :, 0].numpy() for n in ("harmless", "warm"))
    answer = world.constrained("helpful", 0.4, at_least={"harmless": 0.1}, equal={"warm": 0.2})
    found = minimize(
        lambda p: -(p @ score - 0.4 * (p * np.log(p / p_ref)).sum()),
        p_ref,
        bounds=[(1e-9, 1)] * 8,
        constraints=[
            {"type": "eq", "fun": lambda p: p.sum() - 1},
            {"type": "ineq", "fun": lambda p: p @ safe - 0.1},
            {"type": "eq", "fun": lambda p: p @ warm - 0.2},
        ],
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 1000},
    )
    assert found.success
    assert answer.value == pytest.approx(-found.fun, abs=1e-7)
    assert answer.log_probs[0].exp().tolist() == pytest.approx(found.x.tolist(), abs=1e-4)


def test_objective_by_name_or_weights(world):
    by_name = world.constrained("helpful", 0.5, at_least={"brief": 0.0})
    by_weights = world.constrained([1.0, 0.0, 0.0], 0.5, at_least={"brief": 0.0})
    assert_close(by_name.log_probs, by_weights.log_probs)
    assert by_name.score == pytest.approx(float(world.expected(by_name.log_probs)[0]))


def test_refuses_what_no_policy_can_keep(world):
    with pytest.raises(InputError, match="no policy keeps 'harmless' at least 9: its mean can be between"):
        world.constrained("helpful", 0.5, at_least={"harmless": 9.0})
    with pytest.raises(InputError, match="no policy keeps 'harmless' at most -9"):
        world.constrained("helpful", 0.5, at_most={"harmless": -9.0})
    most = float(world.rewards.amax(1).mean(0)[0])
    with pytest.raises(InputError, match="no policy keeps all constraints at once: helpful at least"):
        world.constrained("warm", 0.5, at_least={"helpful": 0.98 * most, "brief": 0.9 * most})
    with pytest.raises(InputError, match="no policy keeps all"):
        world.constrained("warm", 0.5, at_least={"helpful": 0.5}, at_most={"helpful": 0.4})


def test_refuses_names_and_numbers(world):
    with pytest.raises(InputError, match="did you mean 'harmless'"):
        world.constrained("helpful", 0.5, at_least={"harmles": 0.0})
    with pytest.raises(InputError, match="must be finite"):
        world.constrained("helpful", 0.5, at_least={"harmless": math.nan})
    with pytest.raises(InputError, match="allowed: at_least, at_most, equal"):
        Bound("harmless", "above", 0.0)
