r"""Find the smallest penalty that takes an order out of a reward: exactly, by bisection on the data, from both sides.

For a reward r and what it should not follow, v, let $g(\lambda) = \mathrm{Spearman}(r - \lambda v,\, v)$. As $\lambda$ grows, $r - \lambda v$ changes its order only where two rows meet,
at $\lambda = (r_i - r_j)/(v_i - v_j)$, and each time the row with the larger v falls below the other. So g is a step function that never rises, from 1 to −1, and bisection finds the first
$\lambda$ at which $|g| \le$ threshold. ArmoRM ([Wang et al., 2024](https://huggingface.co/papers/2406.12845)) tries 24 fixed values instead and stops at any $g \le$ threshold, also at −1.
"""

from collections.abc import Callable

from torch import Tensor

from reward_heads.decorrelate.rank_correlation import RankCorrelation

_BISECTIONS = 200
_SCAN = 64


def smallest_penalty(scores: Tensor, against: Tensor, threshold: float) -> float:
    r"""The $\lambda$ closest to 0 with $|\mathrm{Spearman}(r - \lambda v, v)| \le$ threshold; negative where r opposes v.

    With few rows the steps can be wider than the threshold; then the better side of the step that crosses 0.

    Args:
        scores (`Tensor`): `[N]`, r, all known.
        against (`Tensor`): `[N]`, v, all known and not constant.
        threshold (`float`): in [0, 1).

    Example:
        >>> import torch
        >>> v = torch.tensor([1.0, 2.0, 3.0, 4.0])
        >>> round(smallest_penalty(2 * v + torch.tensor([0.0, 1.0, -1.0, 0.0]), v, 0.5), 6)  # 2, 5, 5, 8 − 1.5 · (1, 2, 3, 4) has two ties
        1.5
    """
    r, v = scores.double(), against.double()
    correlation = RankCorrelation(v)
    start = correlation(r)
    if abs(start) <= threshold:
        return 0.0
    side = 1.0 if start > 0 else -1.0

    def excess(size: float) -> float:
        return side * correlation(r - side * size * v)

    # Pairs meet at slopes of about this size; doubling finds the end.
    high = float(r.std() / v.std()) or 1.0
    while excess(high) > threshold and high < 1e12:
        high *= 2
    return side * _first(excess, 0.0, high, threshold)


def smallest_strength(correlation_at: Callable[[float], float], largest: float, threshold: float) -> float:
    """The smallest strength in [0, largest] at which a correlation is within the threshold, where it need not fall steadily: a scan, then bisection.

    Where none is, the strength with the smallest absolute correlation (0 = leave it alone).

    Args:
        correlation_at: from a strength to a correlation.
        largest (`float`): where the search ends.
        threshold (`float`): in [0, 1).
    """
    start = correlation_at(0.0)
    if abs(start) <= threshold:
        return 0.0
    side = 1.0 if start > 0 else -1.0
    best, lowest, before = 0.0, abs(start), 0.0
    for step in range(1, _SCAN + 1):
        strength = largest * step / _SCAN
        value = side * correlation_at(strength)
        if value <= threshold:
            return _first(lambda s: side * correlation_at(s), before, strength, threshold)
        if abs(value) < lowest:
            best, lowest = strength, abs(value)
        before = strength
    return best


def _first(excess: Callable[[float], float], low: float, high: float, threshold: float) -> float:
    """Where `excess` falls to the threshold between `low` (above it) and `high` (at or below it)."""
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if excess(middle) > threshold else (low, middle)
    # The step may lead from above the threshold to below minus the threshold.
    return high if abs(excess(high)) <= max(threshold, abs(excess(low))) else low
