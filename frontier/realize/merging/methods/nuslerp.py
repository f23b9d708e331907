"""Go from one model to another along an arc, by weights instead of a place, and for whole tensors or row by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frontier.realize.merging.methods.base import MergeMethod, Parameters, setting, work_dtype

# mergekit's: shorter vectors count as this long, weights with a smaller sum as equal.
SHORT = 1e-7
CANCELLED = 1e-6
# Nearer to parallel (or opposite) than this sine a chord takes the arc's place: float64 can't tell less from 0.
COLLINEAR = 1e-7


@dataclass(frozen=True)
class NuSlerpParameters(Parameters):
    """Settings of `nuslerp`.

    Args:
        weight (`tuple[float, ...]`): `[2]`; t is the second's share of their sum.
        nuslerp_flatten (`bool`, *optional*, defaults to `True`): one angle for the whole tensor; else one for each of its vectors.
        nuslerp_row_wise (`bool`, *optional*, defaults to `False`): without `nuslerp_flatten`, vectors run along the first dimension; else along the last.
    """

    weight: tuple[float, ...] = setting(per_model=True)
    nuslerp_flatten: bool = setting(True, kind=bool)
    nuslerp_row_wise: bool = setting(False, kind=bool)


class NuSlerp(MergeMethod):
    r"""Spherical interpolation by weights, as mergekit's `nuslerp`, of two models or, where there is a base, of their differences from it.

    $$ \theta = \frac{\sin((1 - t) \varphi)}{\sin \varphi} \theta_a + \frac{\sin(t \varphi)}{\sin \varphi} \theta_b, \qquad t = \frac{w_b}{w_a + w_b} $$

    with φ the angle between the two (`slerp` takes t itself, and the base as one of its ends). Weights that cancel give t = ½; of parallel or opposite vectors
    it is (1 − t) θ_a + t θ_b.
    """

    name = "nuslerp"
    takes_base = True
    least_models, most_models = 2, 2
    Parameters = NuSlerpParameters

    def _merge(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: Any,
        generator: torch.Generator | None,
    ) -> Tensor:
        total = sum(parameters.weight)
        t = 0.5 if abs(total) < CANCELLED else parameters.weight[1] / total
        dtype = work_dtype(tensors, base)
        first, second = (x.to(dtype) if base is None else x.to(dtype) - base for x in tensors)
        if parameters.nuslerp_flatten or first.dim() == 0:
            made = _arc(first.reshape(1, -1), second.reshape(1, -1), t, -1).view(first.shape)
        else:
            made = _arc(first, second, t, 0 if parameters.nuslerp_row_wise else -1)
        return made if base is None else made.add_(base)


def _arc(first: Tensor, second: Tensor, t: float, dim: int) -> Tensor:
    # In float64: fine-tuned models are nearly parallel, and float32 would lose the angle between them.
    dot, one, two = (_inner(a, b, dim) for a, b in ((first, second), (first, first), (second, second)))
    cosine = (dot / (one.sqrt().clamp_min(SHORT) * two.sqrt().clamp_min(SHORT))).clamp(-1, 1)
    chord = 1 - cosine.square() <= COLLINEAR**2
    angle = torch.where(chord, torch.ones_like(cosine), cosine).acos()
    angle = torch.where(chord, torch.ones_like(angle), angle)  # any but 0: the chord is taken below
    before = torch.where(chord, 1 - t, ((1 - t) * angle).sin() / angle.sin())
    after = torch.where(chord, t, (t * angle).sin() / angle.sin())
    return (first * before.to(first.dtype)).add_(second * after.to(first.dtype))


def _inner(first: Tensor, second: Tensor, dim: int) -> Tensor:
    return (first.double() * second.double()).sum(dim, keepdim=True)
