"""Ordered levels: ratings of 1 to 5 say what is better, not by how much, and the distance between levels is learned."""

import torch
import torch.nn.functional as F
from torch import Tensor


def ordinal(scores: Tensor, levels: Tensor, thresholds: Tensor) -> Tensor:
    r"""Cost of the proportional-odds model ([McCullagh, 1980](https://doi.org/10.1111/j.2517-6161.1980.tb01109.x)): $P(y \le j) = \sigma(\tau_j - s)$.

    With M levels, $\tau_{-1} = -\infty < \tau_0 < \dots < \tau_{M-2} < \tau_{M-1} = \infty$,

    $$ \ell = -\log\big[ \sigma(\tau_j - s) - \sigma(\tau_{j-1} - s) \big] = \mathrm{softplus}(s - \tau_j) + \mathrm{softplus}(\tau_{j-1} - s) - \log\big(1 - e^{-(\tau_j - \tau_{j-1})}\big) $$

    (the right side is exact and does not cancel). The score is a log-odds, as with pairs: one nat more multiplies the odds of "better than level j" by e, for every j.
    With M = 2 and $\tau_0 = 0$ it is [`binary`].

    Args:
        scores (`Tensor`): `[..., K]`.
        levels (`Tensor`): `[..., K]` int64, positions 0 ... M−1 of the ratings among the levels, the worst first.
        thresholds (`Tensor`): `[K, T]`, ascending; an objective with fewer than T thresholds has infinity for the rest.
    """
    ends = thresholds.new_full((len(thresholds), 1), torch.inf)
    bounds = torch.cat([-ends, thresholds, ends], dim=1)
    column = torch.arange(len(thresholds), device=thresholds.device)
    lower, upper = bounds[column, levels], bounds[column, levels + 1]
    inside = torch.log(-torch.expm1(lower - upper))
    return F.softplus(scores - upper) + F.softplus(lower - scores) - inside


def level_probabilities(scores: Tensor, thresholds: Tensor) -> Tensor:
    """How likely each level is.

    Args:
        scores (`Tensor`): `[...]`, of one objective.
        thresholds (`Tensor`): `[M − 1]`, ascending.

    Returns:
        `Tensor`: `[..., M]`, each row sums to 1.
    """
    # Differences of survival functions on the upper side would do as well; float64 keeps the far levels from cancelling to 0.
    below = torch.sigmoid(thresholds.double() - scores.double()[..., None])
    zero, one = torch.zeros_like(below[..., :1]), torch.ones_like(below[..., :1])
    return torch.cat([below, one], dim=-1).sub(torch.cat([zero, below], dim=-1)).to(scores.dtype)
