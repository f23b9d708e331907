r"""Make one score of several members' scores: their mean, the worst of them, or the mean less what they disagree about.

For the scores $r_1, \dots, r_M$ of the members that know a completion, all maximised ([Coste et al., 2024](https://huggingface.co/papers/2310.02743), section 4):

| `combine` | score | |
|---|---|---|
| `"mean"` | $\bar r = \frac1M \sum_m r_m$ | less noise |
| `"worst"` | $\min_m r_m$ | worst-case optimisation (WCO): no member may be fooled |
| `"uncertainty_weighted"` | $\bar r - \lambda \cdot \frac1M \sum_m (r_m - \bar r)^2$ | uncertainty-weighted optimisation (UWO) |
"""

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name

COMBINATIONS = ("mean", "worst", "uncertainty_weighted")


def check_combination(combine: str, penalty: float) -> None:
    """Refuse a rule that doesn't exist, or a penalty that would reward disagreement.

    Raises:
        InputError: names what was found and what is allowed.
    """
    if combine not in COMBINATIONS:
        raise unknown_name("combine", str(combine), COMBINATIONS)
    if not 0 <= penalty < float("inf"):
        raise InputError(f"penalty must be a finite number that is not negative, found {penalty}")


def combine_members(scores: Tensor, combine: str = "mean", penalty: float = 1.0) -> Tensor:
    r"""Members' scores on one scale to one score; a member that doesn't know (NaN) is left out.

    Args:
        scores (`Tensor`): `[M, ...]`, of M members.
        combine (`str`, *optional*, defaults to `"mean"`): `"mean"`, `"worst"` or `"uncertainty_weighted"`.
        penalty (`float`, *optional*, defaults to 1.0): $\lambda \ge 0$ of `"uncertainty_weighted"`, in 1 / (unit of the scores); 0 is the mean.

    Returns:
        `Tensor`: `[...]` float32, NaN where no member knows.

    Raises:
        InputError: an unknown rule, or a penalty that is negative or not finite.

    Example:
        >>> combine_members(torch.tensor([1.0, 2.0, 6.0]), "uncertainty_weighted", penalty=0.5)  # mean 3, variance 14 / 3
        tensor(0.6667)
    """
    check_combination(combine, penalty)
    found = scores.double()
    mean = found.nanmean(dim=0)
    if combine == "worst":
        worst = found.nan_to_num(nan=torch.inf).amin(dim=0)
        return worst.where(worst.isfinite(), torch.nan).float()
    if combine == "uncertainty_weighted":
        # As in the paper: the mean square, not the unbiased estimate, so that one member alone is not penalised.
        return (mean - penalty * (found - mean).square().nanmean(dim=0)).float()
    return mean.float()


def member_std(scores: Tensor) -> Tensor:
    r"""How much the members differ: $\sqrt{\sum_m (r_m - \bar r)^2 / (M - 1)}$ over those that know.

    If each member was trained on its own bootstrap (or half) of the data, this estimates the standard error of one model trained on all of it, as far as that comes from the choice
    of data; what all members get wrong alike does not show.

    Args:
        scores (`Tensor`): `[M, ...]`.

    Returns:
        `Tensor`: `[...]` float32, NaN where fewer than two members know.
    """
    found = scores.double()
    known = (~found.isnan()).sum(dim=0)
    squares = (found - found.nanmean(dim=0)).square().nansum(dim=0)
    return (squares / (known - 1).clamp(min=1)).sqrt().masked_fill(known < 2, torch.nan).float()
