"""What must hold for every scalarizer, whatever its formula.

`make(point, scale)` builds the scalarizer under test around a vector in reward units (a utopia point, thresholds, anchors; ignored where there is none), with every
other parameter in reward units multiplied by `scale`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

NAN = math.nan
Make = Callable[[Tensor, float], Callable[[Tensor, Tensor], Tensor]]


@dataclass
class Case:
    rewards: Tensor
    weights: Tensor
    point: Tensor
    k: int
    more: float
    scale: float
    order: list[int]


def _vector(low, high):
    numbers = st.floats(low, high, allow_subnormal=False)
    return st.lists(numbers, min_size=3, max_size=3).map(lambda x: torch.tensor(x, dtype=torch.float64))


def cases():
    return st.builds(
        Case,
        rewards=_vector(-20, 20),
        weights=_vector(0.01, 1).map(lambda w: w / w.sum()),
        point=_vector(-5, 5),
        k=st.integers(0, 2),
        more=st.floats(0, 10),
        scale=st.floats(0.1, 10),
        order=st.permutations(range(3)),
    )


def near(got: Tensor, expected: Tensor) -> None:
    assert_close(got, expected, atol=1e-8, rtol=1e-8, equal_nan=True)


def assert_monotone_in_each_reward(make: Make, case: Case) -> None:
    scalarizer = make(case.point, 1.0)
    better = case.rewards.clone()
    better[case.k] += case.more
    assert scalarizer(better, case.weights) >= scalarizer(case.rewards, case.weights) - 1e-9


def assert_permutation_equivariant(make: Make, case: Case) -> None:
    there = make(case.point[case.order], 1.0)(case.rewards[case.order], case.weights[case.order])
    near(there, make(case.point, 1.0)(case.rewards, case.weights))


def assert_missing_objective_is_left_out(make: Make, case: Case) -> None:
    """As if the objective did not exist and its weight were shared out among the others."""
    rewards = case.rewards.clone()
    rewards[case.k] = NAN
    others = [k for k in range(3) if k != case.k]
    weights = case.weights[others] / case.weights[others].sum()
    near(make(case.point, 1.0)(rewards, case.weights), make(case.point[others], 1.0)(rewards[others], weights))


def assert_homogeneous(make: Make, case: Case, degree: int = 1) -> None:
    """Changing the unit of all rewards by a factor changes the signal by that factor (degree 1) or not at all (degree 0)."""
    scaled = make(case.point * case.scale, case.scale)(case.rewards * case.scale, case.weights)
    near(scaled, case.scale**degree * make(case.point, 1.0)(case.rewards, case.weights))


def assert_rows_are_independent(make: Make, case: Case) -> None:
    """A batch of any shape gives what each row gives alone; a row of which nothing is known is NaN and harms no other."""
    scalarizer = make(case.point, 1.0)
    nothing = torch.full((3,), NAN, dtype=torch.float64)
    batch = torch.stack([case.rewards, nothing, case.rewards.flip(0), case.rewards + 1]).view(2, 2, 3)
    got = scalarizer(batch, case.weights.expand(2, 2, 3))
    assert got.shape == (2, 2)
    assert got[0, 1].isnan()
    near(got[0, 0], scalarizer(case.rewards, case.weights))
    near(got[1, 0], scalarizer(case.rewards.flip(0), case.weights))
    near(got[1, 1], scalarizer(case.rewards + 1, case.weights))


def assert_scalarizer(make: Make, case: Case) -> None:
    assert_monotone_in_each_reward(make, case)
    assert_permutation_equivariant(make, case)
    assert_missing_objective_is_left_out(make, case)
    assert_homogeneous(make, case)
    assert_rows_are_independent(make, case)
