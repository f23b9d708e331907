"""Go from one model to another along an arc instead of a chord."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.realize.merging.methods.angles import gram
from frontier.realize.merging.methods.base import MergeMethod, Parameters, setting, weighted_sum

# Nearer to parallel than this a line is as good as an arc, and far better conditioned; mergekit's threshold.
PARALLEL = 0.9995


@dataclass(frozen=True)
class SlerpParameters(Parameters):
    """Settings of `slerp`.

    Args:
        t (`float`): how far to go from the base (or the first model) at 0 to the other model at 1.
    """

    t: float = setting(least=0, most=1)


class Slerp(MergeMethod):
    r"""Spherical linear interpolation (Shoemake, *Animating rotation with quaternion curves*, 1985), as mergekit's `slerp`, tensor by tensor.

    $$ \theta = \frac{\sin((1 - t) \varphi)}{\sin \varphi} \theta_a + \frac{\sin(t \varphi)}{\sin \varphi} \theta_b, \qquad
       \cos \varphi = \frac{\theta_a \cdot \theta_b}{\|\theta_a\| \|\theta_b\|} $$

    The angle is that of the normalised tensors, the sum that of the tensors themselves. With |cos φ| > 0.9995, or a tensor of norm 0, it is (1 − t) θ_a + t
    θ_b. Two models in all: the base and one more, or two without a base.
    """

    name = "slerp"
    takes_base = True
    most_models = 2
    Parameters = SlerpParameters

    def _merge(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: SlerpParameters,
        generator: torch.Generator | None,
    ) -> Tensor:
        ends = list(tensors) if base is None else [base, *tensors]
        if len(ends) != 2:
            found = f"{len(tensors)} model{'s' * (len(tensors) != 1)} {'without' if base is None else 'and'} a base"
            raise InputError(f"slerp goes between two models: a base and one more, or two; found {found}")
        products, t = gram(ends), parameters.t
        norms = math.sqrt(products[0, 0] * products[1, 1])
        cosine = products[0, 1] / norms if norms > 0 else 1.0
        if abs(cosine) > PARALLEL:
            return weighted_sum(ends, (1 - t, t))
        angle = math.acos(cosine)
        return weighted_sum(ends, (math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)))
