"""Pick one point of a measured front for someone who knows what they want, and say in a sentence why it is this one.

Five ways to want: the best on something while something else stays good enough; as close as possible to (or as far as possible beyond) a wish for each
objective; the knee, where the trade-off turns; the least far from the best of everything; or the place that given weights name on the front. When nothing
satisfies the constraints the answer is the point that comes nearest, and says so.
"""

from collections.abc import Mapping

import numpy as np

from frontier.choose.aspiration import nearest_to_wish
from frontier.choose.compromise import nearest_to_ideal
from frontier.choose.constraints import best_within
from frontier.choose.knee import find_knee
from frontier.choose.pseudo_weights import nearest_to_place
from frontier.choose.selection import Selection, described
from frontier.errors import InputError
from frontier.front import ParetoFront

__all__ = ["Selection", "pick"]

WAYS = "maximize (with minimum and maximum), aspire, knee, compromise or pseudo_weights"


def pick(
    front: ParetoFront,
    *,
    minimum: Mapping[str, float] | None = None,
    maximum: Mapping[str, float] | None = None,
    maximize: str | Mapping[str, float] | None = None,
    aspire: Mapping[str, float] | None = None,
    knee: bool = False,
    compromise: bool | Mapping[str, float] | None = None,
    p: float | None = None,
    pseudo_weights: Mapping[str, float] | None = None,
    confidence: float | None = None,
    non_dominated_only: bool = True,
) -> Selection:
    r"""Pick a point. Give one of `maximize` (with `minimum` and `maximum` as constraints, or not), `aspire`, `knee`, `compromise` and `pseudo_weights`; or
    constraints alone.

    Args:
        front (`ParetoFront`): what there is to choose from.
        minimum (`Mapping[str, float]`, *optional*): the least mean reward, of each named objective.
        maximum (`Mapping[str, float]`, *optional*): the largest mean reward, where more is not wanted.
        maximize (`str` or `Mapping[str, float]`, *optional*): an objective, or non-negative weights of several, in the units of the front; the best point on
            it among those that satisfy the constraints. With constraints alone, all objectives weigh the same.
        aspire (`Mapping[str, float]`, *optional*): a wished mean reward $a_k$ per named objective. The point maximises the achievement scalarizing function
            ([Wierzbicki, 1980](https://doi.org/10.1007/978-3-642-48782-8_32)) over them,
            $\min_k (r_k - a_k)/\rho_k + 10^{-4} \sum_k (r_k - a_k)/\rho_k$, with $\rho_k$ the range of objective k over the front.
        knee (`bool`, *optional*): the point furthest beyond the hyperplane through the extreme points (see `frontier.choose.knee`).
        compromise (`bool` or `Mapping[str, float]`, *optional*): `True`, or weights that are not negative: the point nearest to the ideal, which has the
            best of every objective, in units of the ranges (compromise programming; see `frontier.choose.compromise`).
        p (`float`, *optional*): of the distance that `compromise` minimises, at least 1; 2 unless given. 1 sums the gaps, `math.inf` takes the largest.
        pseudo_weights (`Mapping[str, float]`, *optional*): weights that are not negative: the point whose place among the others is nearest to them, as the
            share of each objective in what the point is better than the worst (see `frontier.choose.pseudo_weights`).
        confidence (`float`, *optional*): between 0.5 and 1: constraints must hold for the one-sided confidence bound of the mean, $r_k - t \cdot se_k$ for a
            minimum and $r_k + t \cdot se_k$ for a maximum, with Student's $t$ on `n_prompts` - 1 degrees of freedom. Default: for the measured mean itself.
            The bound holds for one point taken alone; `frontier.certify` pays for having chosen among many.
        non_dominated_only (`bool`, *optional*, defaults to `True`): leave out points that another *admissible* point dominates. (Under a `maximum` a point
            may be dominated only by points that break it; such a point stays.)

    Raises:
        InputError: an objective is unknown, a number is not finite, a minimum lies above its maximum, the ways to choose are mixed or none is given,
            weights are negative, p is below 1, or `confidence` is asked for where a standard error is not known.
    """
    asked = {
        "maximize": maximize is not None,
        "aspire": aspire is not None,
        "knee": knee,
        "compromise": compromise is not None and compromise is not False,
        "pseudo_weights": pseudo_weights is not None,
    }
    ways = [name for name, given in asked.items() if given]
    constrained = minimum is not None or maximum is not None
    if len(ways) > 1 or (constrained and ways not in ([], ["maximize"])):
        given = [*ways, *(n for n, c in (("minimum", minimum), ("maximum", maximum)) if c is not None)]
        raise InputError(f"choose one way: {WAYS}; found {' and '.join(given)}")
    if not ways and not constrained:
        raise InputError(f"say what to choose by: {WAYS}")
    if confidence is not None and not constrained:
        raise InputError("confidence applies to minimum and maximum, and neither is given")
    if p is not None and not asked["compromise"]:
        raise InputError("p is the norm of compromise, which is not given")
    if knee:
        return _at_knee(front)
    if aspire is not None:
        return nearest_to_wish(front, aspire, non_dominated_only)
    if asked["compromise"]:
        weights = compromise if isinstance(compromise, Mapping) else None
        return nearest_to_ideal(front, weights, 2.0 if p is None else p, non_dominated_only)
    if pseudo_weights is not None:
        return nearest_to_place(front, pseudo_weights, non_dominated_only)
    return best_within(front, minimum, maximum, maximize, confidence, non_dominated_only)


def _at_knee(front: ParetoFront) -> Selection:
    rows = np.flatnonzero(front.non_dominated_mask())
    found = find_knee(front.rewards[rows])
    index = int(rows[found.row])
    return Selection(front.points[index], index, True, f"Point {index} {found.why}: {described(front, index)}.")
