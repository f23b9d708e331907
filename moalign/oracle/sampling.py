"""Draws preference pairs and ratings from a world's truth, in the record formats that every trainer reads."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError


def draw_completions(n: int, log_probs: Tensor, generator: torch.Generator, count: int = 1) -> tuple[Tensor, Tensor]:
    """Prompts drawn uniformly and `count` independent completions for each.

    Args:
        n (`int`): how many prompts.
        log_probs (`Tensor`): `[P, S]`, the policy that completions come from.
        generator (`torch.Generator`): where the randomness comes from.
        count (`int`, *optional*, defaults to 1): completions per prompt.

    Returns:
        `Tensor` `[n]` prompt positions; `Tensor` `[n, count]` completion positions.
    """
    if n < 1:
        raise InputError(f"n must be at least 1, found {n}")
    prompts = torch.randint(len(log_probs), (n,), generator=generator)
    cumulative = log_probs.double().exp().cumsum(1)
    uniform = torch.rand(n, count, generator=generator, dtype=torch.float64)
    drawn = torch.empty(n, count, dtype=torch.long)
    for prompt, row in enumerate(cumulative):
        mine = prompts == prompt
        drawn[mine] = torch.searchsorted(row, uniform[mine] * row[-1], right=True)
    return prompts, drawn.clamp(max=log_probs.shape[1] - 1)


def bradley_terry(
    rewards_a: Tensor, rewards_b: Tensor, generator: torch.Generator, *, scale: float = 1.0, probabilities: bool = False
) -> Tensor:
    r"""Labels of Bradley-Terry annotators: 1 (a is better) with probability $\sigma(\text{scale} (r_a - r_b))$, else 0.

    Args:
        rewards_a (`Tensor`): of the first completions, any shape.
        rewards_b (`Tensor`): of the second ones.
        generator (`torch.Generator`): where the randomness comes from.
        scale (`float`, *optional*, defaults to 1): nats per unit of reward; large values make annotators sure of themselves.
        probabilities (`bool`, *optional*, defaults to `False`): return the probabilities themselves, labels without noise.
    """
    chance = torch.sigmoid(scale * (rewards_a - rewards_b)).double()
    if probabilities:
        return chance
    return (torch.rand(chance.shape, generator=generator, dtype=torch.float64) < chance).double()


def hide(values: Tensor, missing: float, generator: torch.Generator) -> Tensor:
    """`values` with each entry NaN (not known) with probability `missing`, but never a whole row.

    Raises:
        InputError: `missing` is not in [0, 1).
    """
    if not 0 <= missing < 1:
        raise InputError(f"missing must be at least 0 and below 1, found {missing}")
    if missing == 0:
        return values
    hidden = torch.rand(values.shape, generator=generator) < missing
    kept = torch.randint(values.shape[1], (len(values),), generator=generator)
    hidden[torch.arange(len(values)), kept] = False
    return values.masked_fill(hidden, torch.nan)


def by_name(names: Sequence[str], row: Sequence[float]) -> dict[str, Any]:
    """One record's values by objective, `None` where not known."""
    return {name: None if value != value else value for name, value in zip(names, row, strict=True)}


def assign_groups(users: int, shares: Sequence[float], generator: torch.Generator) -> list[int]:
    """The group of each user, in random order: sizes follow the shares, and no group is left without a user.

    Args:
        users (`int`): at least one per group.
        shares (`Sequence[float]`): each group's share, with sum 1.
        generator (`torch.Generator`): where the order comes from.

    Raises:
        InputError: there are fewer users than groups.
    """
    groups = len(shares)
    if users < groups:
        raise InputError(f"users must be at least {groups}, one per group, found {users}")
    # One user each, then whoever lacks most of its share.
    sizes = [1] * groups
    for _ in range(users - groups):
        lacking = [share * users - size for share, size in zip(shares, sizes, strict=True)]
        sizes[lacking.index(max(lacking))] += 1
    members = [group for group, size in enumerate(sizes) for _ in range(size)]
    return [members[i] for i in torch.randperm(users, generator=generator).tolist()]
