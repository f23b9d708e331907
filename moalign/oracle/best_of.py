"""What best-of-n does, exactly: the distribution of the best of n independent completions."""

import torch
from torch import Tensor

from frontier.errors import InputError


def best_of_n(log_probs: Tensor, scores: Tensor, n: int) -> Tensor:
    r"""Log-probabilities of the completion that wins among n draws.

    The winner lies on a score level with probability $F(\text{level})^n - F(\text{below})^n$, where F is the probability of that level or a lower one; among
    draws of the same score each is as likely to be taken, so a level's completions keep their proportions.

    Args:
        log_probs (`Tensor`): `[P, S]`, the policy that is drawn from.
        scores (`Tensor`): `[P, S]`, the greatest wins.
        n (`int`): draws; 1 gives `log_probs` back.

    Returns:
        `Tensor`: `[P, S]`, float64.

    Raises:
        InputError: `n` is below 1.
    """
    if n < 1:
        raise InputError(f"n must be at least 1, found {n}")
    return torch.stack([_one_prompt(p.double(), s.double(), n) for p, s in zip(log_probs, scores, strict=True)])


def _one_prompt(log_probs: Tensor, scores: Tensor, n: int) -> Tensor:
    levels, level_of = scores.unique(return_inverse=True)
    mass = torch.zeros(len(levels), dtype=torch.float64).scatter_add(0, level_of, log_probs.exp())
    # F is summed from whichever end it is small at: 1 - F would round to 0 near the top, F near the bottom.
    none = torch.zeros(1, dtype=torch.float64)
    upto = mass.cumsum(0)
    above = torch.cat([mass.flip(0).cumsum(0).flip(0)[1:], none]).clamp(max=1.0)  # P(score > level)
    log_upto = torch.where(upto < 0.5, upto.log(), torch.log1p(-above))
    log_below = torch.cat([none - torch.inf, log_upto[:-1]])
    # log(F(below) / F(level)) from the level's own mass where that is small, so that rare levels keep their digits.
    share = mass / log_upto.exp()
    log_ratio = torch.where(share < 0.5, torch.log1p(-share), log_below - log_upto)
    log_level = n * log_upto + torch.log(-torch.expm1(n * log_ratio))
    # A completion's share of its level; what the policy never draws never wins.
    possible = log_probs > -torch.inf
    return torch.where(possible, log_probs - mass.log()[level_of] + log_level[level_of], log_probs)
