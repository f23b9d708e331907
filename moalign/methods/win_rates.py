"""How often does a group prefer the policy's answer to the reference's?"""

import torch
from torch import Tensor

from frontier.errors import InputError


def win_rates(policy: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    r"""The probability that a reward prefers the policy's answer to the reference's on the same prompt, ties counting half.

    $$ \hat p = \frac1P \sum_x \frac1{mn} \sum_{i,j} \big( [r(y_{xi}) > r(y'_{xj})] + \tfrac12 [r(y_{xi}) = r(y'_{xj})] \big) $$

    over the m answers of the policy and the n of the reference to each of P prompts; every pair counts, so that a few answers say much. The standard error
    is that of the mean over prompts, which alone are independent.

    Args:
        policy (`Tensor`): `[P, m, K]` rewards of the policy's answers, NaN = not known.
        reference (`Tensor`): `[P, n, K]` rewards of the reference's.

    Returns:
        `Tensor` `[K]`: the win rates, 0.5 for the reference itself, NaN where no pair is known; `Tensor` `[K]`: their standard errors, NaN for a single prompt.

    Raises:
        InputError: the two are not of the same prompts and rewards.
    """
    if policy.ndim != 3 or reference.ndim != 3 or policy.shape[::2] != reference.shape[::2]:
        raise InputError(
            f"win rates compare [prompts, answers, rewards] of the same prompts and rewards, found {list(policy.shape)} and {list(reference.shape)}"
        )
    gap = policy.double().unsqueeze(2) - reference.double().unsqueeze(1)
    wins = ((torch.sign(gap) + 1) / 2).masked_fill(gap.isnan(), torch.nan)  # the sign of NaN would be 0, a tie
    by_prompt = wins.flatten(1, 2).nanmean(1)
    return mean_and_error(by_prompt)


def mean_and_error(by_prompt: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over prompts and its standard error, `[K]` each, from `[P, K]` with NaN = not known; the error of fewer than 2 prompts is NaN."""
    known = ~by_prompt.isnan()
    count = known.sum(0).double()
    mean = by_prompt.nansum(0) / count
    spread = (by_prompt - mean).nan_to_num().masked_fill(~known, 0.0).square().sum(0)
    return mean, (spread / (count - 1) / count).sqrt().masked_fill(count < 2, torch.nan)
