"""Choose the point that comes closest to a wish for each objective, or goes furthest beyond it."""

from collections.abc import Mapping

import numpy as np

from frontier.choose.selection import Selection, by_column, candidates, described, ranges, shortfalls
from frontier.errors import InputError
from frontier.front import ParetoFront

# Breaks ties between points that fall short by the same amount in their worst objective; small enough to decide nothing else.
AUGMENTATION = 1e-4


def nearest_to_wish(front: ParetoFront, aspire: Mapping[str, float], non_dominated_only: bool = True) -> Selection:
    r"""The point that maximises the achievement scalarizing function ([Wierzbicki, 1980](https://doi.org/10.1007/978-3-642-48782-8_32)).

    $$ \min_k (r_k - a_k)/\rho_k + 10^{-4} \sum_k (r_k - a_k)/\rho_k $$

    Args:
        front (`ParetoFront`): what there is to choose from, maximised.
        aspire (`Mapping[str, float]`): $a_k$, the wished mean reward of each named objective, in the units of the front; $\rho_k$ is the range of objective
            k over the front.
        non_dominated_only (`bool`, *optional*, defaults to `True`): leave out points that another dominates.

    Raises:
        InputError: an objective is unknown, none is named, or a wish is not finite.
    """
    if not aspire:
        raise InputError("aspire needs at least one objective")
    wish = by_column(front, "aspire", aspire)
    columns = np.flatnonzero(np.isfinite(wish))
    surplus = (front.rewards[:, columns] - wish[columns]) / ranges(front.rewards)[columns]
    achievement = surplus.min(axis=1) + AUGMENTATION * surplus.sum(axis=1)
    rows = candidates(front, non_dominated_only)
    index = int(rows[np.argmax(achievement[rows])])
    shortfall = np.maximum(0.0, np.where(np.isfinite(wish), wish - front.rewards[index], 0.0))
    violations = shortfalls(front, shortfall)
    if not violations:
        reason = f"Point {index} reaches every aspiration and goes furthest beyond the one it exceeds least"
    else:
        by = " and ".join(f"{name} by {amount:.3g}" for name, amount in violations.items())
        reason = f"No point reaches every aspiration. Point {index} comes nearest, missing {by}"
    return Selection(front.points[index], index, not violations, f"{reason}: {described(front, index)}.", violations)
