"""Leave out the smallest changes of each model, and the very largest too."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frontier.realize.merging.methods.base import setting
from frontier.realize.merging.methods.deltas import DeltaMethod, SparseParameters
from frontier.realize.merging.methods.trimming import keep_largest


@dataclass(frozen=True)
class BreadcrumbsParameters(SparseParameters):
    """Settings of `breadcrumbs` and `breadcrumbs_ties`.

    Args:
        density (`tuple[float, ...]`): `[N]`, the share of each delta's entries that is kept.
        gamma (`tuple[float, ...]`, *optional*, defaults to 0.01): `[N]`, γ, the share of the largest that are left out.
    """

    gamma: tuple[float, ...] = setting(0.01, per_model=True, least=0, most=1)


class Breadcrumbs(DeltaMethod):
    r"""Model Breadcrumbs ([Davari and Belilovsky, 2023](https://huggingface.co/papers/2312.06795)), as mergekit's `breadcrumbs`.

    Of the n entries of a delta, in ascending order of magnitude (equal ones in the order of their places), the ⌊γ n⌋ largest are left out, then as many of
    the smallest that ⌊density · n⌋ stay; where these are too few, fewer of the largest are left out. What stays is added up:

    $$ \theta = \theta_0 + \lambda \sum_i w_i \, m_i \odot (\theta_i - \theta_0) $$

    Divided by Σ w_i where `normalize` is on (off by default). A density of 1 keeps everything, also the largest. Where ⌊γ n⌋ is 0 none of the largest is
    left out.
    """

    name = "breadcrumbs"
    Parameters = BreadcrumbsParameters

    def _masks(
        self, tensors: Sequence[Tensor], base: Tensor, parameters: Any, generator: torch.Generator | None
    ) -> list[Tensor | None]:
        origin = base.reshape(-1)
        return [
            None if density >= 1 else _middle(t.reshape(-1), origin, density, gamma)
            for t, density, gamma in zip(tensors, parameters.density, parameters.gamma, strict=True)
        ]


def _middle(tensor: Tensor, base: Tensor, density: float, gamma: float) -> Tensor:
    size = base.numel()
    kept = int(density * size)
    top = min(int(gamma * size), size - kept)
    mask = keep_largest(tensor, base, kept + top, prefer_last=True)
    if top:
        mask.sub_(keep_largest(tensor, base, top, prefer_last=True))
    return mask
