"""The point on a sphere that is nearest to several models, by arcs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frontier.errors import InputError
from frontier.realize.merging.methods.angles import gram
from frontier.realize.merging.methods.base import MergeMethod, Parameters, setting, weighted_sum

Array = NDArray[np.float64]


@dataclass(frozen=True)
class KarcherParameters(Parameters):
    """Settings of `karcher`.

    Args:
        weight (`tuple[float, ...]`, *optional*, defaults to 1): `[N]`, w_i, not negative; divided by their sum. mergekit has equal ones only.
        max_iter (`int`, *optional*, defaults to 10): steps at most.
        tol (`float`, *optional*, defaults to 1e-5): radians; a step shorter than this is the last.
    """

    weight: tuple[float, ...] = setting(1.0, per_model=True, least=0)
    max_iter: int = setting(10, least=1, kind=int)
    tol: float = setting(1e-5, least=0)


class Karcher(MergeMethod):
    r"""Karcher (Riemannian) mean ([Karcher, 1977](https://doi.org/10.1002/cpa.3160300502)) of the directions, times the mean length; as mergekit's
    `karcher`, tensor by tensor.

    $$ \theta = \Big( \sum_i w_i \|\theta_i\| \Big) \arg\min_{\|u\| = 1} \sum_i w_i \, \varphi(u, u_i)^2, \qquad u_i = \frac{\theta_i}{\|\theta_i\|}, \;
    \sum_i w_i = 1 $$

    with φ the angle, found by gradient steps $u \leftarrow \exp_u\big( \sum_i w_i \log_u u_i \big)$ from the normalised mean. A tensor of norm 0 has no
    direction and counts only for the length. All happens in the span of the models, on their N × N inner products: the tensors are read twice.

    Raises:
        InputError: all weights are 0, or a model lies opposite to the mean, so that there is more than one.
    """

    name = "karcher"
    Parameters = KarcherParameters

    def _merge(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: KarcherParameters,
        generator: torch.Generator | None,
    ) -> Tensor:
        total = sum(parameters.weight)
        if total <= 0:
            raise InputError("karcher needs a weight above 0")
        if len(tensors) == 1:
            return weighted_sum(tensors, (1.0,))
        weights = np.array(parameters.weight) / total
        products = gram(tensors)
        norms = np.sqrt(products.diagonal())
        used = np.flatnonzero((norms > parameters.tol) & (weights > 0))
        if used.size == 0:
            return weighted_sum(tensors, (0.0,) * len(tensors))
        cosines = products[np.ix_(used, used)] / np.outer(norms[used], norms[used])
        mean = _mean(cosines, weights[used] / weights[used].sum(), parameters)
        factors = np.zeros(len(tensors))
        factors[used] = float(weights @ norms) * mean / norms[used]
        return weighted_sum(tensors, factors.tolist())


def _mean(cosines: Array, weights: Array, parameters: KarcherParameters) -> Array:
    """Coefficients of the mean in unit vectors that have these cosines."""

    def length(c: Array) -> float:
        return math.sqrt(max(0.0, float(c @ cosines @ c)))

    start = length(weights)
    mean = weights / start if start >= max(parameters.tol, 1e-7) else np.eye(len(weights))[0]
    for _ in range(parameters.max_iter):
        step = np.zeros(len(weights))
        for i, along in enumerate(np.clip(cosines @ mean, -1.0, 1.0)):
            angle = math.acos(along)
            if angle < parameters.tol:
                continue
            if math.pi - angle < 1e-6:
                raise InputError("karcher has no single mean: a model points exactly away from the others")
            step += weights[i] * angle / math.sin(angle) * (np.eye(len(weights))[i] - along * mean)
        size = length(step)
        if size < parameters.tol:
            break
        mean = math.cos(size) * mean + math.sin(size) / size * step
        mean = mean / length(mean)
    return mean
