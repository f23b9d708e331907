"""Average the directions of several models, and their lengths by themselves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.realize.merging.methods.angles import gram
from frontier.realize.merging.methods.base import MergeMethod, Parameters, setting, weighted_sum


@dataclass(frozen=True)
class MultiSlerpParameters(Parameters):
    """Settings of `multislerp`.

    Args:
        weight (`tuple[float, ...]`): `[N]`, w_i.
        normalize_weights (`bool`, *optional*, defaults to `True`): divide the weights by their sum.
        eps (`float`, *optional*, defaults to 1e-8): a mean direction shorter than this counts as none.
    """

    weight: tuple[float, ...] = setting(per_model=True)
    normalize_weights: bool = setting(True, kind=bool)
    eps: float = setting(1e-8, least=0)


class MultiSlerp(MergeMethod):
    r"""Spherical average of any number of models, as [mergekit's `multislerp`](https://goddard.blog/posts/multislerp-wow-what-a-cool-idea), tensor by tensor.

    $$ \theta = \Big( \sum_i w_i \|\theta_i\| \Big) \frac{m}{\|m\|}, \qquad m = \sum_i w_i \frac{\theta_i}{\|\theta_i\|} $$

    mergekit then interpolates in the tangent space at m; but the weighted mean of the tangent vectors there is always 0, m being their own mean, so that
    this is all of it (`karcher` is the true mean on the sphere). With a base everything is measured from the base. One model is returned as it is; two
    opposite models whose directions cancel are averaged linearly.

    Raises:
        InputError: the directions of three or more models cancel, or the weights sum to 0.
    """

    name = "multislerp"
    takes_base = True
    Parameters = MultiSlerpParameters

    def _merge(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: MultiSlerpParameters,
        generator: torch.Generator | None,
    ) -> Tensor:
        if len(tensors) == 1:
            return weighted_sum(tensors, (1.0,))
        weights = np.array(parameters.weight)
        if parameters.normalize_weights:
            if abs(weights.sum()) < 1e-8:
                raise InputError(f"multislerp can't normalise weights that sum to 0: {weights.tolist()}")
            weights = weights / weights.sum()
        products = gram(tensors, base)
        norms = np.sqrt(products.diagonal())
        if not norms.any():
            return spread(tensors, base, np.zeros(len(tensors)))
        shares = np.where(norms > 0, weights / np.where(norms > 0, norms, 1.0), 0.0)
        length = math.sqrt(max(0.0, float(shares @ products @ shares)))
        # Cancelling directions leave what float64 can't tell from 0, which is a little more than mergekit's 1e-8.
        if length < max(parameters.eps, 1e-7 * float(abs(weights).sum())):
            if len(tensors) > 2:
                raise InputError(
                    "multislerp has no direction: the weighted directions of the models cancel. Change the weights or leave a model out"
                )
            return spread(tensors, base, weights)
        return spread(tensors, base, shares * float(weights @ norms) / length)


def spread(
    tensors: Sequence[Tensor], base: Tensor | None, factors: "np.ndarray[tuple[int], np.dtype[np.float64]]"
) -> Tensor:
    """Σ f_i θ_i, or θ_0 + Σ f_i (θ_i − θ_0)."""
    given = tuple(float(f) for f in factors)
    if base is None:
        return weighted_sum(tensors, given)
    return weighted_sum((*tensors, base), (*given, 1 - sum(given)))
