"""Normalise every reward within its prompt group before summing, so that no reward is drowned by another's scale.

A plain sum of rewards (GRPO) lets the reward with the largest spread decide and forgets how many of them were met; decoupled normalisation gives every reward the
weight that was asked for:

    >>> import torch
    >>> rewards = torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]])  # 2 groups of 2 completions, 2 binary rewards
    >>> grpo_advantages(rewards, torch.ones(2))  # one reward met or two: the same
    tensor([[-0.7071,  0.7071],
            [-0.7071,  0.7071]])
    >>> mo_grpo_advantages(rewards, torch.ones(2))
    tensor([[-0.7071,  0.7071],
            [-1.4142,  1.4142]])
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.errors import InputError
from moalign.scalarize.base import Scalarizer
from moalign.scalarize.linear import Linear


def standardised(values: Tensor, dim: int, epsilon: float = 0.0) -> Tensor:
    """Subtract the mean and divide by the (unbiased) standard deviation along `dim`, over the known entries.

    Args:
        values (`Tensor`): any shape, NaN = not known (and NaN in the result).
        dim (`int`): the dimension to normalise along.
        epsilon (`float`, *optional*, defaults to 0.0): is added to the standard deviation.

    Returns:
        `Tensor`: the same shape; 0 where a slice has fewer than two known entries or does not vary beyond rounding.
    """
    known = ~values.isnan()
    count = known.sum(dim, keepdim=True)
    mean = values.nan_to_num().sum(dim, keepdim=True) / count.clamp(min=1)
    centred = (values - mean).masked_fill(~known, 0.0)
    deviation = (centred.square().sum(dim, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    # Equal values leave a deviation of a few ulps, which division would blow up to a full signal.
    noise = 8 * torch.finfo(values.dtype).eps * values.nan_to_num().abs().amax(dim, keepdim=True)
    constant = (deviation <= noise) | (count < 2)
    scaled = torch.where(
        constant, torch.zeros_like(centred), centred / (deviation + epsilon).masked_fill(constant, 1.0)
    )
    return scaled.masked_fill(~known, torch.nan)


def mo_grpo_advantages(rewards: Tensor, weights: Tensor, epsilon: float = 0.0) -> Tensor:
    r"""MO-GRPO's advantages ([Ichihara et al., 2025](https://arxiv.org/abs/2509.22047)): $A = \sum_k w_k (r_k - \bar r_k) / \sigma_k$ within each group.

    Unchanged by any $a_k r_k + b_k$ with $a_k > 0$. Deviation: $\epsilon$ is 0 (constant rewards give 0), since a positive one makes the invariance approximate.

    Args:
        rewards (`Tensor`): `[groups, group_size, K]`, NaN = not known: left out, the weights of the present ones scaled up.
        weights (`Tensor`): anything that broadcasts to the rewards' shape: `[K]`, `[groups, 1, K]` or one row each. Components may be negative (a direction).
        epsilon (`float`, *optional*, defaults to 0.0): is added to the standard deviations.

    Returns:
        `Tensor` `[groups, group_size]`: NaN where a completion has no known reward.

    Raises:
        InputError: a wrong shape, or a reward that is infinite.
    """
    _check(rewards, epsilon)
    return Linear()(standardised(rewards, 1, epsilon), weights.expand_as(rewards))


def gdpo_advantages(rewards: Tensor, weights: Tensor, epsilon: float = 0.0) -> Tensor:
    r"""GDPO's advantages ([Liu et al., 2026](https://arxiv.org/abs/2601.05242)): MO-GRPO's, then whitened over the whole batch.

    Whitening keeps the size of the step independent of the number of rewards. The paper adds $10^{-4}$ to both standard deviations (`epsilon=1e-4`);
    0 keeps the advantages exactly unchanged by $a_k r_k + b_k$, $a_k > 0$.

    Args:
        rewards (`Tensor`): `[groups, group_size, K]`, NaN = not known.
        weights (`Tensor`): anything that broadcasts to the rewards' shape.
        epsilon (`float`, *optional*, defaults to 0.0): is added to the standard deviations.

    Returns:
        `Tensor` `[groups, group_size]`: mean 0 and variance 1 over the batch's known entries.

    Raises:
        InputError: a wrong shape, or a reward that is infinite.
    """
    advantages = mo_grpo_advantages(rewards, weights, epsilon)
    return standardised(advantages.flatten(), 0, epsilon).view_as(advantages)


def grpo_advantages(rewards: Tensor, weights: Tensor, epsilon: float = 0.0) -> Tensor:
    """GRPO's advantages ([Shao et al., 2024](https://arxiv.org/abs/2402.03300)): the weighted sum first, then normalised within its group. The baseline that
    the decoupled ones mend.

    Args:
        rewards (`Tensor`): `[groups, group_size, K]`, NaN = not known.
        weights (`Tensor`): anything that broadcasts to the rewards' shape.
        epsilon (`float`, *optional*, defaults to 0.0): is added to the standard deviation.

    Returns:
        `Tensor` `[groups, group_size]`.

    Raises:
        InputError: a wrong shape, or a reward that is infinite.
    """
    _check(rewards, epsilon)
    return standardised(Linear()(rewards, weights.expand_as(rewards)), 1, epsilon)


@dataclass(frozen=True)
class GroupNormalised(Scalarizer):
    """The decoupled advantages as a scalarizer, for a batch in which the completions of a prompt stand next to each other.

    Args:
        group_size (`int`): completions per prompt, at least 2.
        whiten (`bool`, *optional*, defaults to `True`): GDPO; `False` is MO-GRPO.
        epsilon (`float`, *optional*, defaults to 0.0): is added to the standard deviations.

    Raises:
        InputError: `group_size` is less than 2 or `epsilon` negative.
    """

    group_size: int
    whiten: bool = True
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        if self.group_size < 2:
            raise InputError(f"group_size must be at least 2: one completion has no spread; found {self.group_size}")
        _check_epsilon(self.epsilon)

    def __call__(self, rewards: Tensor, weights: Tensor) -> Tensor:
        """`[B, K]` rewards and `[B, K]` weights to `[B]` advantages, B a multiple of the group size."""
        if rewards.ndim != 2 or len(rewards) % self.group_size:
            raise InputError(
                f"rewards must be [B, K] with B a multiple of group_size {self.group_size}, found {list(rewards.shape)}"
            )
        grouped = rewards.view(-1, self.group_size, rewards.shape[1])
        advantages = gdpo_advantages if self.whiten else mo_grpo_advantages
        return advantages(grouped, weights.expand_as(rewards).reshape(grouped.shape), self.epsilon).flatten()


def _check(rewards: Tensor, epsilon: float) -> None:
    if rewards.ndim != 3:
        raise InputError(f"rewards must be [groups, group_size, K], found shape {list(rewards.shape)}")
    if rewards.isinf().any():
        raise InputError("a reward is infinite: rewards must be finite, or NaN where unknown")
    _check_epsilon(epsilon)


def _check_epsilon(epsilon: float) -> None:
    if not 0 <= epsilon < float("inf"):
        raise InputError(f"epsilon must not be negative, found {epsilon}")
