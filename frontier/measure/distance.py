"""Measure how far a front falls short of another one: how much it would have to gain to be as good everywhere.

Three indicators with one convention: `points` is the front to judge, `reference_front` is what it is held against (the true front, or the best of everything
that was measured). Everything is maximised, and a smaller value is better. All three are weakly Pareto-compliant: a front that is at least as good
everywhere never gets a worse value. Computed with moocore.
"""

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.errors import InputError
from frontier.measure.rows import filled


def igd_plus(points: ArrayLike, reference_front: ArrayLike) -> float:
    r"""IGD+: the mean distance by which the points fall short of the reference front, counting only objectives in which they do.

    $$ IGD^+(P, R) = \frac{1}{|R|} \sum_{z \in R} \min_{p \in P} \sqrt{\textstyle\sum_k \max(z_k - p_k, 0)^2} $$

    ([Ishibuchi et al., 2015](https://doi.org/10.1007/978-3-319-15892-1_8), turned to maximisation.) It is 0 exactly when every reference point is weakly
    dominated by some point. Plain IGD also punishes being better than the reference, so it can prefer a dominated front; that is why it is not here.
    Objectives on different scales must be brought to one before.

    Args:
        points (`ArrayLike`): $P$, `[n, m]`, finite, at least one.
        reference_front (`ArrayLike`): $R$, `[r, m]`, finite, at least one. Put in only what is worth reaching: a dominated row counts like any other.

    Raises:
        InputError: either is empty or not finite, or their columns differ.

    Example:
        >>> igd_plus([[1, 1]], [[0, 2], [4, 0], [1, 1]])  # short by 1, by 3 and by nothing
        1.3333333333333333
    """
    front, reference = _two_fronts(points, reference_front)
    return float(moocore.igd_plus(front, reference, maximise=True))


def epsilon_additive(points: ArrayLike, reference_front: ArrayLike) -> float:
    r"""Additive epsilon: the least amount that, taken off every reward of the reference front, makes the points weakly dominate all of it.

    $$ \varepsilon_+(P, R) = \max_{z \in R} \min_{p \in P} \max_k (z_k - p_k) $$

    ([Zitzler et al., 2003](https://doi.org/10.1109/TEVC.2003.810758), turned to maximisation.) In the unit of the rewards, so the objectives must share a
    scale. A non-dominated front has 0 against itself; below 0, every reference point is beaten by so much in every objective. No user with weights on the
    simplex loses more than this (`mul` is never larger).

    Args:
        points (`ArrayLike`): $P$, `[n, m]`, finite, at least one.
        reference_front (`ArrayLike`): $R$, `[r, m]`, finite, at least one.

    Raises:
        InputError: either is empty or not finite, or their columns differ.

    Example:
        >>> epsilon_additive([[1, 1]], [[0, 2], [4, 0]])
        3.0
    """
    front, reference = _two_fronts(points, reference_front)
    return float(moocore.epsilon_additive(front, reference, maximise=True))


def epsilon_multiplicative(points: ArrayLike, reference_front: ArrayLike) -> float:
    r"""Multiplicative epsilon: the least factor that, dividing every reward of the reference front, makes the points weakly dominate all of it.

    $$ \varepsilon_\times(P, R) = \max_{z \in R} \min_{p \in P} \max_k z_k / p_k $$

    ([Zitzler et al., 2003](https://doi.org/10.1109/TEVC.2003.810758), turned to maximisation.) It has no unit: each objective may keep its own scale. A
    non-dominated front has 1 against itself; below 1, every reference point is beaten by that factor in every objective. A ratio needs rewards above 0, so
    it suits probabilities and rates, and not normalised rewards, whose zero is arbitrary.

    Args:
        points (`ArrayLike`): $P$, `[n, m]`, finite and above 0, at least one.
        reference_front (`ArrayLike`): $R$, `[r, m]`, finite and above 0, at least one.

    Raises:
        InputError: either is empty or not finite, holds a value that is not above 0 (the message names the row), or their columns differ.

    Example:
        >>> epsilon_multiplicative([[1, 1]], [[0.5, 2], [4, 0.5]])
        4.0
    """
    front, reference = _two_fronts(points, reference_front)
    for rows, what in ((front, "points"), (reference, "reference points")):
        bad = np.flatnonzero((rows <= 0).any(axis=1))
        if bad.size:
            raise InputError(
                f"row {int(bad[0])} of the {what} must be above 0 in every objective for a ratio to mean something, found {rows[bad[0]].tolist()}; "
                "epsilon_additive takes any rewards"
            )
    return float(moocore.epsilon_mult(front, reference, maximise=True))


def _two_fronts(points: ArrayLike, reference_front: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    front = filled(points, "points")
    return front, filled(reference_front, "reference points", front.shape[1])
