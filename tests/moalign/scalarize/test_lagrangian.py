import json
import math

import pytest
import torch
from asserts import (
    assert_homogeneous,
    assert_monotone_in_each_reward,
    assert_permutation_equivariant,
    assert_rows_are_independent,
    cases,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.scalarize.lagrangian import Constraint, Lagrangian
from moalign.scalarize.smooth_tchebycheff import SmoothTchebycheff

NAN = math.nan
SAFE = Constraint("safe", "above", 0.5)


def lagrangian(*constraints, **settings):
    return Lagrangian(["helpful", "safe"], constraints or [SAFE], **settings)


def climb(problem, steps=2000, speed=0.1, target=(2.0,)):
    """Ascend -|x - target|²/2 under constraints on the coordinates: the signal's gradient in x, then the dual step."""
    x = torch.zeros(len(target), dtype=torch.float64)
    weights = torch.full((len(target) + 1,), 1 / (len(target) + 1), dtype=torch.float64)
    path = []
    for _ in range(steps):
        x = x.detach().requires_grad_()
        value = -(x - torch.tensor(target, dtype=torch.float64)).square().sum() / 2
        problem(torch.cat([value.view(1), x]), weights).backward()
        x = x + speed * x.grad
        problem.update(torch.cat([value.view(1), x]))
        path.append((x.tolist(), problem.multipliers))
    return path


def swing(path, i=0):
    """Peak-to-peak of multiplier i in the last third."""
    tail = [multipliers[i] for _, multipliers in path[-len(path) // 3 :]]
    return max(tail) - min(tail)


def test_hand_computed_signal():
    s = lagrangian(initial=3.0)
    rewards, weights = torch.tensor([2.0, 0.1]), torch.tensor([0.5, 0.5])
    assert_close(s(rewards, weights), torch.tensor((2.0 - 3.0 * 0.4) / 4.0))  # the weight of `safe` goes to `helpful`
    assert_close(lagrangian(initial=3.0, normalise=False)(rewards, weights), torch.tensor(0.8))
    assert_close(
        lagrangian(initial=3.0, normalise=False, keep_weights=True)(rewards, weights), torch.tensor(1.05 - 1.2)
    )


def test_hand_computed_dual_steps():
    batch = torch.tensor([[0.0, 0.0], [0.0, 0.4]])  # mean 0.2: violated by 0.3
    assert lagrangian(dual="lambda", rate=0.1, initial=2.0).update(batch) == pytest.approx((2.03,))
    assert lagrangian(dual="exponentiated", rate=0.1, initial=2.0).update(batch) == pytest.approx((2 * math.exp(0.03),))
    assert lagrangian(dual="log_lambda", rate=0.1, initial=2.0).update(batch) == pytest.approx((2 * math.exp(0.06),))
    damped = lagrangian(dual="lambda", rate=0.1, initial=2.0, proportional=0.5, derivative=10.0, window=2)
    assert damped.update(batch) == pytest.approx((2.03 + 0.15,))  # no derivative yet
    assert damped.update(batch - 0.1) == pytest.approx((2.07 + 0.2 + 1.0,))
    assert damped.update(batch) == pytest.approx((2.10 + 0.15,))  # it got better: the derivative is left out


def test_signs_of_above_below_and_equal():
    for kind, sign in (("above", 1.0), ("below", -1.0)):
        s = lagrangian(Constraint("safe", kind, 0.0), normalise=False)
        assert_close(s(torch.tensor([0.0, 2.0]), torch.ones(2)), torch.tensor(2.0 * sign))
        assert s.update(torch.tensor([[0.0, -1.0 * sign]]))[0] > 1 > s.update(torch.tensor([[0.0, 9.0 * sign]]))[0]
    s = lagrangian(Constraint("safe", "equal", 1.0), rate=0.5)
    assert s.multipliers == (0.0,)
    assert s.update(torch.tensor([[0.0, 3.0]])) == (1.0,)  # too much of it: push down
    assert s.update(torch.tensor([[0.0, -9.0]])) == (-1.0,)  # the window's mean is -3


@settings(deadline=None)
@given(cases())
def test_properties(case):
    def make(point, scale):
        # Objective 0's name travels with its column under a permutation: names are told apart by their thresholds.
        names = [f"{value / scale:.9g}" for value in point.tolist()]
        there = [f"{value:.9g}" for value in case.point.tolist()]
        if len(set(names)) < 3 or set(names) != set(there):
            names = there
        constraints = [
            Constraint(n, "above", float(v)) for n, v in zip(names, point.tolist(), strict=True) if n != there[0]
        ]
        return Lagrangian(names, constraints, initial=2.0)

    if len({f"{value:.9g}" for value in case.point.tolist()}) < 3:
        return
    assert_monotone_in_each_reward(make, case)
    assert_permutation_equivariant(make, case)
    assert_homogeneous(make, case)
    assert_rows_are_independent(make, case)


def test_missing_rewards():
    s = lagrangian(initial=1.0)
    weights = torch.tensor([0.5, 0.5])
    assert_close(s(torch.tensor([2.0, NAN]), weights), s(torch.tensor([2.0, 0.5]), weights))  # as on the threshold
    assert_close(s(torch.tensor([NAN, 0.1]), weights), torch.tensor(-0.2))
    assert s(torch.tensor([NAN, NAN]), weights).isnan()
    before = s.multipliers
    assert s.update(torch.tensor([[1.0, NAN]])) == before
    assert s.update(torch.tensor([[1.0, NAN], [1.0, 0.5]])) == before  # exactly on the threshold
    assert s.update(torch.tensor([[1.0, 0.0]])) > before


@pytest.mark.parametrize("dual", ["lambda", "exponentiated", "log_lambda"])
@pytest.mark.parametrize(("kind", "threshold"), [("below", 1.0), ("above", 3.0)])
def test_finds_the_known_multiplier_of_a_convex_problem(dual, kind, threshold):
    # max -(x - 2)²/2 with x held at the threshold: the optimum has lambda* = |2 - threshold| = 1.
    problem = Lagrangian(["f", "x"], [Constraint("x", kind, threshold)], dual, rate=0.03, initial=0.3, window=1)
    x, multipliers = climb(problem)[-1]
    assert x == pytest.approx([threshold], abs=1e-4)
    assert multipliers == pytest.approx((1.0,), abs=1e-3)


def test_equality_finds_a_multiplier_of_either_sign():
    for threshold, expected in ((3.0, -1.0), (1.0, 1.0)):
        problem = Lagrangian(["f", "x"], [Constraint("x", "equal", threshold)], rate=0.03, window=1)
        x, multipliers = climb(problem)[-1]
        assert x == pytest.approx([threshold], abs=1e-4)
        assert multipliers == pytest.approx((expected,), abs=1e-3)


def test_several_constraints_and_one_that_does_not_bind():
    constraints = [Constraint("x", "below", 1.0), Constraint("y", "above", 2.5), Constraint("x", "above", -5.0)]
    problem = Lagrangian(["f", "x", "y"], constraints, "lambda", rate=0.03, window=1)
    x, multipliers = climb(problem, target=(2.0, 2.0))[-1]
    assert x == pytest.approx([1.0, 2.5], abs=1e-3)
    assert multipliers == pytest.approx((1.0, 0.5, 0.0), abs=1e-3)
    assert [s["held"] for s in problem.status(tolerance=0.01)] == [True, True, True]


def test_damping_stops_the_oscillation_that_plain_dual_ascent_falls_into():
    settings = {"rate": 0.15, "initial": 1.0, "window": 20, "normalise": False}
    constraint = [Constraint("x", "below", 1.0)]
    plain = climb(Lagrangian(["f", "x"], constraint, "lambda", **settings), steps=600)
    pid = climb(Lagrangian(["f", "x"], constraint, "lambda", proportional=1.0, **settings), steps=600)
    both = climb(Lagrangian(["f", "x"], constraint, "lambda", proportional=1.0, derivative=2.0, **settings), steps=600)
    assert swing(plain) > 1.0
    assert swing(pid) < 0.01
    assert swing(both) < 0.01
    assert pid[-1][1] == pytest.approx((1.0,), abs=0.01)


def test_the_logarithm_without_its_factor_is_not_sticky():
    violated = torch.tensor([[0.0, -0.5]])
    sticky, free = (lagrangian(dual=dual, initial=0.01, rate=0.1) for dual in ("log_lambda", "exponentiated"))
    for _ in range(30):
        sticky.update(violated)
        free.update(violated)
    assert sticky.multipliers[0] < 0.0105
    assert free.multipliers[0] > 0.19


def test_window_delay_and_cap():
    s = lagrangian(dual="lambda", rate=1.0, window=3, delay=1, cap=2.0)
    assert s.update(torch.tensor([[0.0, 9.0], [0.0, 0.0], [0.0, 0.0]])) == (1.0,)  # delayed, but remembered
    assert s.mean(0) == 3.0
    assert s.update(torch.tensor([[0.0, 0.0]])) == pytest.approx((1.5,))  # the 9 has left the window
    for _ in range(5):
        s.update(torch.tensor([[0.0, -3.0]]))
    assert s.multipliers == (2.0,)
    assert s.status()[0] == {
        "constraint": "safe above 0.5",
        "multiplier": 2.0,
        "mean": -3.0,
        "violation": 3.5,
        "held": False,
        "saturated": True,
    }


def test_it_does_not_wind_up_beyond_its_cap():
    s = lagrangian(dual="lambda", rate=1.0, window=1, cap=2.0)
    for _ in range(100):
        s.update(torch.tensor([[0.0, -10.0]]))
    assert s.update(torch.tensor([[0.0, 1.5]])) == (1.0,)


@pytest.mark.parametrize("dual", ["lambda", "exponentiated", "log_lambda"])
def test_a_constraint_that_nothing_satisfies_stays_finite(dual):
    s = lagrangian(dual=dual, rate=10.0, window=1)
    for _ in range(50):
        s.update(torch.tensor([[0.0, -1e6]]))
    assert math.isfinite(s.multipliers[0])
    for _ in range(3):
        s.update(torch.tensor([[0.0, 1e9]]))
    low = s.multipliers[0]
    assert 0 <= low < 1e-9
    if dual != "log_lambda":  # that one is stuck near 0
        assert s.update(torch.tensor([[0.0, -1.0]]))[0] > low


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(-3, 3), min_size=1, max_size=4), min_size=1, max_size=6), st.integers(0, 6))
def test_restored_from_json_it_goes_on_bit_by_bit_the_same(batches, cut):
    def fresh():
        constraints = [SAFE, Constraint("safe", "equal", 0.7)]
        return lagrangian(*constraints, rate=0.37, window=3, delay=1, proportional=0.1, derivative=0.2, cap=5.0)

    straight, first, second = fresh(), fresh(), fresh()
    batches = [torch.tensor([[0.0, value] for value in batch]) for batch in batches]
    for batch in batches:
        straight.update(batch)
    for batch in batches[:cut]:
        first.update(batch)
    second.restore(json.loads(json.dumps(first.state())))
    for batch in batches[cut:]:
        second.observe(batch)
    assert second.multipliers == straight.multipliers
    assert second.state() == straight.state()


def test_metrics_for_the_log():
    s = lagrangian()
    assert s.metrics() == {"lambda/safe_above": 1.0}
    s.update(torch.tensor([[0.0, 0.25]]))
    assert s.metrics()["violation/safe_above"] == 0.25


def test_normalised_constraint_means_the_same():
    constraint = Constraint("safe", "above", 5.0).normalised(location=3.0, scale=4.0)
    assert constraint.threshold == 0.5
    assert constraint.held(0.5)
    assert not constraint.held(0.4)
    assert Constraint("safe", "equal", 1.0).held(0.8, tolerance=0.3)
    assert not Constraint("safe", "equal", 1.0).held(1.4, tolerance=0.3)


def test_any_scalarizer_can_be_the_objective():
    objective = SmoothTchebycheff(torch.tensor([1.0, 9.0]))
    s = lagrangian(initial=1.0, normalise=False, objective=objective)
    rewards, weights = torch.tensor([0.0, 0.5]), torch.tensor([0.5, 0.5])
    assert_close(s(rewards, weights), torch.tensor(-1.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"constraints": []}, "at least one constraint"),
        ({"constraints": [Constraint("saef", "above", 0.0)]}, "did you mean 'safe'"),
        ({"constraints": [SAFE, Constraint("safe", "above", 1.0)]}, "given twice"),
        ({"dual": "log"}, "unknown dual 'log'"),
        ({"rate": 0.0}, "rate must be positive"),
        ({"rate": NAN}, "rate must be positive"),
        ({"initial": 0.0}, "initial must be positive"),
        ({"initial": 3.0, "cap": 2.0}, "at most the cap"),
        ({"cap": -1.0}, "cap must be positive"),
        ({"window": 0}, "window must be at least 1"),
        ({"delay": -1}, "delay must be at least 0"),
        ({"proportional": -1.0}, "proportional must be at least 0"),
        ({"derivative": NAN}, "derivative must be at least 0"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        Lagrangian(**({"objectives": ["helpful", "safe"], "constraints": [SAFE]} | arguments))


def test_refuses_bad_constraints_rewards_and_a_foreign_checkpoint():
    with pytest.raises(InputError, match="did you mean 'above'"):
        Constraint("safe", "abov", 0.0)
    with pytest.raises(InputError, match="threshold of 'safe' must be finite"):
        Constraint("safe", "above", NAN)
    with pytest.raises(InputError, match="reward 'safe' is infinite"):
        lagrangian().update(torch.tensor([[0.0, math.inf]]))
    with pytest.raises(InputError, match="for 2 rewards"):
        lagrangian().update(torch.zeros(3))
    with pytest.raises(InputError, match=r"checkpoint holds safe below 1, this run safe above 0\.5"):
        lagrangian().restore(lagrangian(Constraint("safe", "below", 1.0)).state())
