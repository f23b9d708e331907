"""Weigh opponents by how strong they are: the mixture that no completion beats, of the game whose pay-off is a preference."""

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from frontier.errors import InputError


def nash_weights(probabilities: Tensor) -> Tensor:
    r"""The Nash equilibrium of "choose a completion each; the preferred one wins", by linear programming.

    $\max_w \min_j \sum_i w_i P_{ij}$ over the simplex (Munos et al., [2023](https://huggingface.co/papers/2312.00886); the von Neumann winner of Dudik et al.,
    [2015](https://arxiv.org/abs/1502.06362)). Where one completion beats all others, it gets all the weight; in rock-paper-scissors each gets a third.

    Args:
        probabilities (`Tensor`): `[M, M]`, that i is preferred over j; P + Pᵀ = 1.

    Returns:
        `Tensor`: `[M]` float64, not negative, sum 1.

    Raises:
        InputError: not square, not finite, or not the probabilities of a preference.

    Example:
        >>> nash_weights(torch.tensor([[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]])).mul(3).round()
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    p = probabilities.detach().double().cpu()
    if p.dim() != 2 or p.shape[0] != p.shape[1] or not len(p):
        raise InputError(f"probabilities must be [M, M], found {list(p.shape)}")
    if not p.isfinite().all() or not torch.allclose(p + p.T, torch.ones(()).double(), atol=1e-4):
        raise InputError("probabilities must be finite, and of i over j and of j over i sum to 1")
    m = len(p)
    # Variables: w and the value v; maximise v with Pᵀ w ≥ v.
    objective = np.append(np.zeros(m), -1.0)
    limits = np.hstack([-p.numpy().T, np.ones((m, 1))])
    simplex = np.append(np.ones(m), 0.0)[None]
    found = linprog(objective, limits, np.zeros(m), simplex, [1.0], bounds=[(0, None)] * m + [(None, None)])
    if not found.success:
        raise RuntimeError(f"the linear programme of a symmetric game has a solution, but: {found.message}")
    weights = torch.from_numpy(found.x[:m]).clamp(min=0)
    return weights / weights.sum()
