"""Pull the average of fine-tuned models back to the base, as far as the angle between them says."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.realize.merging.methods.angles import gram
from frontier.realize.merging.methods.base import MergeMethod, Parameters, blocks, setting, weighted_sum, work_dtype

# mergekit's: shorter products of norms count as this, so that equal models give the base.
SMALL = 1e-6


@dataclass(frozen=True)
class ModelStockParameters(Parameters):
    """Settings of `model_stock`.

    Args:
        filter_wise (`bool`, *optional*, defaults to `False`): an angle for each row (along the last dimension; a vector is one row) instead of one for each
            tensor.
    """

    filter_wise: bool = setting(False, kind=bool)


class ModelStock(MergeMethod):
    r"""Model Stock ([Jang et al., 2024](https://huggingface.co/papers/2403.19522)), as mergekit's `model_stock`.

    $$ \theta = t \, \bar\theta + (1 - t) \, \theta_0, \qquad t = \frac{N \cos\varphi}{1 + (N - 1) \cos\varphi} $$

    with $\bar\theta$ the mean of the N ≥ 2 models and cos φ the mean of the cosines between all pairs of $\theta_i - \theta_0$, per tensor (or per row). It
    is not clipped: negative cosines step away from the mean. A product of norms below 1e-6 counts as 1e-6, so that models equal to the base give the base;
    deltas that cancel (a denominator of 0) do too. There are no weights.
    """

    name = "model_stock"
    needs_base = True
    least_models = 2
    Parameters = ModelStockParameters

    def _merge(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: ModelStockParameters,
        generator: torch.Generator | None,
    ) -> Tensor:
        assert base is not None  # checked by the caller
        n = len(tensors)
        if parameters.filter_wise and base.dim() > 1:
            return _by_row(tensors, base)
        products = torch.from_numpy(gram(tensors, base))
        t = float(_shares(products.unsqueeze(0))[0])
        return weighted_sum((*tensors, base), (*[t / n] * n, 1 - t))


def _shares(products: Tensor) -> Tensor:
    """`[rows, N, N]` inner products to `[rows]` t."""
    n = products.shape[-1]
    norms = products.diagonal(dim1=-2, dim2=-1).sqrt()
    first, second = torch.triu_indices(n, n, offset=1)
    lengths = (norms[:, first] * norms[:, second]).clamp_min(SMALL)
    cosine = (products[:, first, second] / lengths).clamp(-1, 1).mean(dim=1)
    below = 1 + (n - 1) * cosine
    return torch.where(below.abs() < 1e-9, torch.zeros_like(cosine), n * cosine / below)


def _by_row(tensors: Sequence[Tensor], base: Tensor) -> Tensor:
    columns = base.shape[-1]
    origin = base.reshape(-1, columns)
    rows = [t.reshape(-1, columns) for t in tensors]
    out = torch.empty(origin.shape, dtype=work_dtype(tensors, base), device=base.device)
    step = max(1, next(blocks(1 << 62, base.device)).stop // max(1, columns))
    for i in range(0, origin.shape[0], step):
        part = slice(i, i + step)
        deltas = torch.stack([r[part].to(torch.float64) for r in rows], dim=1) - origin[part].unsqueeze(1)
        t = _shares(deltas @ deltas.transpose(1, 2))
        out[part] = origin[part] + t.unsqueeze(1) * deltas.mean(dim=1)
    return out.view(base.shape)
