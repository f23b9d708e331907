r"""The score of a general preference: skew-symmetric, so that a beats b exactly as far as b loses to a.

$s(a \succ b) = \tfrac1\tau \sum_{j=1}^{k} \lambda_j\, (a_{2j-1} b_{2j} - a_{2j} b_{2j-1}) = \tfrac1\tau\, a^\top R\, b$ with $R$ block-diagonal, $R_j = \lambda_j \begin{pmatrix} 0 & 1 \\ -1 & 0 \end{pmatrix}$
([Zhang et al., 2025](https://huggingface.co/papers/2410.02197), who write it $\langle R^\succ v_a, v_b \rangle$).
"""

import torch
from torch import Tensor


def skew_score(a: Tensor, b: Tensor, scales: Tensor | None = None) -> Tensor:
    """Log-odds (before the temperature) that a is better.

    Args:
        a (`Tensor`): `[..., 2k]` embeddings.
        b (`Tensor`): `[..., 2k]`; shapes broadcast.
        scales (`Tensor`, *optional*): `[..., k]`, not negative, of the k blocks; by default 1.

    Returns:
        `Tensor`: `[...]`; swapping a and b changes the sign and nothing else, to the last bit.

    Example:
        >>> skew_score(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 1.0]))  # second coordinates 1: a difference of rewards, 3 − 2
        tensor(1.)
    """
    blocks = a[..., 0::2] * b[..., 1::2] - a[..., 1::2] * b[..., 0::2]
    return (blocks if scales is None else scales * blocks).sum(dim=-1)


def win_probability(scores: Tensor) -> Tensor:
    """Log-odds to probabilities, such that p(s) + p(−s) is exactly 1.

    Example:
        >>> win_probability(torch.tensor([0.0, torch.inf, -torch.inf]))
        tensor([0.5000, 1.0000, 0.0000])
    """
    # 1 − p is exact for p in [½, 1]; two separate sigmoids need not sum to 1.
    likely = torch.sigmoid(scores.abs())
    return torch.where(scores >= 0, likely, 1 - likely)
