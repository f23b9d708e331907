"""The best policy for the worst-off group, with the proof that there is none better."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from frontier.errors import InputError
from moalign.oracle.dual import Dual, minimise
from moalign.oracle.optimum import check_beta, expected, kl_divergence


@dataclass(frozen=True)
class MaxMin:
    r"""The exact max-min policy $\max_\pi \min_g E_\pi[r_g] - \beta\, KL(\pi \| \pi_{ref})$.

    Args:
        weights (`Tensor`): `[G]`, the worst-case mixture w*; the policy is the linear optimum at it.
        value (`float`): the optimal value, by duality $\min_w J^*(w)$.
        rewards (`Tensor`): `[G]`, E[r_g]: equal for all groups with a positive weight, no less for the others.
        kl (`float`): in nats.
        log_probs (`Tensor`): `[P, S]`.
        gap (`float`): upper bound minus lower bound of the value; proves the answer to that accuracy.
    """

    weights: Tensor
    value: float
    rewards: Tensor
    kl: float
    log_probs: Tensor
    gap: float

    @property
    def worst(self) -> float:
        """E[r_g] of the worst-off group."""
        return float(self.rewards.min())


def max_min(log_reference: Tensor, group_rewards: Tensor, beta: float) -> MaxMin:
    r"""Solve max-min alignment over groups ([MaxMin-RLHF, Chakraborty et al., 2024](https://huggingface.co/papers/2402.08925)).

    $E_\pi[r_g]$ is linear in π and the KL convex, so max and min change places: the value is $\min_{w \in \Delta} J^*(w)$, a smooth convex
    problem in G numbers.

    Args:
        log_reference (`Tensor`): `[P, S]`, float64.
        group_rewards (`Tensor`): `[P, S, G]`, float64.
        beta (`float`): the KL coefficient.

    Raises:
        InputError: there is no group, or beta is not positive.
    """
    groups = group_rewards.shape[-1]
    if groups < 1:
        raise InputError("max-min needs at least one group, found none")
    zeros = torch.zeros(groups, dtype=torch.float64)
    dual = Dual(log_reference, torch.zeros_like(log_reference), group_rewards, zeros, check_beta(beta))
    weights = minimise(dual, np.full(groups, 1 / groups), [0.0] * groups, total=1.0)
    weights = weights / weights.sum()
    log_probs = dual.policy(weights)
    rewards = expected(log_probs, group_rewards)
    kl = float(kl_divergence(log_probs, log_reference).mean())
    upper, lower = dual.value_and_gradient(weights)[0], float(rewards.min()) - beta * kl
    return MaxMin(torch.from_numpy(weights), lower, rewards, kl, log_probs, max(upper - lower, 0.0))
