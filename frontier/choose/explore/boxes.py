"""The part of the reward space that a front leaves undominated, as disjoint boxes: then every hypervolume improvement is a sum of products."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Boxes:
    """Disjoint boxes that fill what the front leaves undominated above the reference point. Every objective is maximised.

    Args:
        low (`Array`): `[b, K]`, lower corners.
        high (`Array`): `[b, K]`, upper corners, infinite where the box is open.
    """

    low: Array
    high: Array

    def improvement(self, points: Array) -> Array:
        r"""`[c]` hypervolume that each of `[c, K]` points alone would add: $\sum_b \prod_k (\min(y_k, h_{bk}) - l_{bk})^+$."""
        sides = np.minimum(points[:, None, :], self.high) - self.low
        return np.maximum(sides, 0).prod(axis=2).sum(axis=1)

    def expected_improvement(self, mean: Array, deviation: Array) -> Array:
        r"""`[c]` expected hypervolume improvement of independent normal rewards, in closed form.

        $$ \sum_b \prod_k \big( \psi(l_{bk}) - \psi(h_{bk}) \big), \quad \psi(a) = E[(Y_k - a)^+] = \sigma_k \varphi(t) + (\mu_k - a) \Phi(t), \quad t = (\mu_k - a) / \sigma_k $$

        ([Yang et al., 2019](https://doi.org/10.1007/s10898-019-00798-7)).

        Args:
            mean (`Array`): `[c, K]`.
            deviation (`Array`): `[c, K]` standard deviations; 0 is a certain reward.
        """
        total = np.zeros(len(mean))
        step = max(1, 2_000_000 // max(1, len(self.low)))
        for start in range(0, len(mean), step):
            rows = slice(start, start + step)
            product = np.ones((len(mean[rows]), len(self.low)))
            for k in range(mean.shape[1]):
                mu, sigma = mean[rows, k, None], deviation[rows, k, None]
                product *= np.maximum(_excess(mu, sigma, self.low[:, k]) - _excess(mu, sigma, self.high[:, k]), 0)
            total[rows] = product.sum(axis=1)
        return total


def undominated_boxes(points: Array, reference_point: Array) -> Boxes:
    """Split what the points leave undominated above the reference point into disjoint boxes.

    By the local bounds of [Lacour et al., 2017](https://doi.org/10.1016/j.cor.2016.08.008): at most 2n + 1 boxes for 3 objectives, of order n^(K/2) beyond. Applied once to the points it gives
    the corners of the undominated region, applied again to those corners it gives its boxes.

    Args:
        points (`Array`): `[n, K]`; dominated ones, duplicates, and those that are not above the reference point change nothing.
        reference_point (`Array`): `[K]`.
    """
    above = points[(points > reference_point).all(axis=1)]
    corners, _ = _local_bounds(-above, -reference_point)
    ceiling = np.full(len(reference_point), np.inf)
    upper, defining = _local_bounds(-corners, ceiling)
    low, high = np.empty_like(upper), upper.copy()
    low[:, 0], high[:, 0] = defining[:, 0, 0], np.inf
    for k in range(1, upper.shape[1]):
        low[:, k] = defining[:, :k, k].max(axis=1)
    full = (high > low).all(axis=1)
    return Boxes(low[full], high[full])


def _local_bounds(points: Array, ceiling: Array) -> tuple[Array, Array]:
    """Local upper bounds of minimised points below a ceiling: `[b, K]`, and the points `[b, K, K]` that define each of their coordinates."""
    k_all = np.arange(len(ceiling))
    bounds = ceiling[None].copy()
    defining = np.full((1, len(ceiling), len(ceiling)), -np.inf)
    defining[0, k_all, k_all] = ceiling
    for point in points:
        hit = (point < bounds).all(axis=1)
        if not hit.any():
            continue
        new_bounds, new_defining = [bounds[~hit]], [defining[~hit]]
        for k in k_all:
            others = np.delete(defining[hit], k, axis=1)[:, :, k].max(axis=1)
            keep = point[k] >= others
            made, by = bounds[hit][keep], defining[hit][keep]
            made[:, k], by[:, k] = point[k], point
            new_bounds.append(made)
            new_defining.append(by)
        bounds, defining = np.concatenate(new_bounds), np.concatenate(new_defining)
    return bounds, defining


def _excess(mu: Array, sigma: Array, level: Array) -> Array:
    """E[(Y - level)^+] of Y normal; 0 at an infinite level."""
    from scipy.special import ndtr

    gap = mu - np.where(np.isinf(level), 0.0, level)
    safe = np.where(sigma > 0, sigma, 1.0)
    t = gap / safe
    smooth = safe * np.exp(-0.5 * t * t) / np.sqrt(2 * np.pi) + gap * ndtr(t)
    return np.where(np.isinf(level), 0.0, np.where(sigma > 0, smooth, np.maximum(gap, 0)))
