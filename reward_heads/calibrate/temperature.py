r"""Find the temperature of each head at which σ(Δ/T) is the probability of a preference.

$$ P(a \succ b) = \sigma(\Delta / T) $$

minimises the log loss on held-out pairs ([Guo et al., 2017](https://huggingface.co/papers/1706.04599)). $T > 1$: the head was too sure; $T < 1$: too timid. 1/T is the Bradley-Terry scale of
`reward_heads.bradley_terry`, which does the fit: after the division a unit of score is a nat. The ranking stays as it is.

The standard error is robust ([Huber, 1967](https://projecteuclid.org/euclid.bsmsp/1200512992); [Liang & Zeger, 1986](https://doi.org/10.1093/biomet/73.1.13)): with the residuals
$u_g = \sum_{i \in g} \Delta_i (p_i - \sigma(\alpha \Delta_i))$ of each cluster g and the information $H = \sum_i \Delta_i^2 \sigma(\alpha\Delta_i)\sigma(-\alpha\Delta_i)$,
$\mathrm{se}(\alpha) = \sqrt{\sum_g u_g^2} / H$ and $\mathrm{se}(T) = \mathrm{se}(\alpha) / \alpha^2$.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from frontier.errors import InputError
from reward_heads.bradley_terry import scale_of_differences
from reward_heads.diagnose.intervals import cluster_ids, column


@dataclass(frozen=True)
class Temperature:
    """What [`fit_temperature`] found for one objective.

    Args:
        objective (`str`): the head.
        temperature (`float`): score units per nat, positive.
        standard_error (`float`): over clusters; NaN with fewer than two.
        n (`int`): pairs with a label and unequal known scores.
    """

    objective: str
    temperature: float
    standard_error: float
    n: int

    @property
    def nats_per_unit(self) -> float:
        """The Bradley-Terry scale, 1/T."""
        return 1 / self.temperature


def fit_temperature(
    differences: ArrayLike,
    labels: ArrayLike,
    clusters: Sequence[Hashable] | NDArray | None = None,
    *,
    objective: str = "",
) -> Temperature:
    """Fit T to labelled pairs.

    Args:
        differences (`ArrayLike`): `[N]`, score of a minus score of b; NaN = not known.
        labels (`ArrayLike`): `[N]`, probability that a is better (0.5 = tie); NaN = missing.
        clusters (*optional*): `[N]`, what hangs together, for the standard error.
        objective (`str`, *optional*): the name in messages.

    Raises:
        InputError: no pair can be used; the labels follow the order of the scores without exception, so that no temperature is cold enough; or they oppose it, so that
            no temperature helps.

    Example:
        >>> round(fit_temperature([2.0] * 4, [1, 1, 1, 0]).temperature, 4)  # σ(2/T) = 3/4
        1.8205
    """
    d = column(differences, "differences")
    y = column(labels, "labels", len(d))
    fitted = scale_of_differences(torch.from_numpy(d)[:, None], torch.from_numpy(y)[:, None], (objective,))
    alpha = fitted.scale.item()
    if alpha <= 0:
        raise InputError(
            f"objective '{objective}' goes against its labels ({alpha:.3g} nats per unit): no temperature can mend that; check its sign, or leave it out"
        )
    used = ~(np.isnan(d) | np.isnan(y)) & (d != 0)
    ids = cluster_ids(cluster_ids(clusters, len(d))[used], int(used.sum()))
    d, y = d[used], y[used]
    q = expit(alpha * d)
    totals = np.bincount(ids, d * (y - q))
    error = math.sqrt(float(totals @ totals)) / float((d**2 * q * (1 - q)).sum()) if len(totals) > 1 else math.nan
    return Temperature(objective, 1 / alpha, error / alpha**2, int(used.sum()))
