"""The best policy for a score: the reference tilted by it, with its value, rewards and distance, all in closed form."""

from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.errors import InputError


@dataclass(frozen=True)
class Optimum:
    r"""The exact solution of $\max_\pi E_\pi[w^\top r] - \beta\, KL(\pi \| \pi_{ref})$, averaged over prompts.

    Args:
        weights (`Tensor`): `[K]`, w.
        beta (`float`): the KL coefficient, in units of reward per nat.
        log_probs (`Tensor`): `[P, S]`, log π*(y|x).
        value (`float`): J*(w) = β log E_ref exp(w·r/β).
        rewards (`Tensor`): `[K]`, E[r] under π*.
        kl (`float`): KL(π* ‖ π_ref) in nats.
    """

    weights: Tensor
    beta: float
    log_probs: Tensor
    value: float
    rewards: Tensor
    kl: float


def check_beta(beta: float) -> float:
    """A KL coefficient that has an optimum.

    Raises:
        InputError: it is not a positive finite number.
    """
    if not 0 < beta < float("inf"):
        raise InputError(f"beta must be positive and finite, found {beta}")
    return beta


def tilt(log_reference: Tensor, scores: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    r"""The reference tilted by a score: $\pi^*(y|x) \propto \pi_{ref}(y|x) \exp(s(x, y) / \beta)$.

    Args:
        log_reference (`Tensor`): `[P, S]` log-probabilities.
        scores (`Tensor`): `[P, S]`, maximised.
        beta (`float`): the KL coefficient.

    Returns:
        `Tensor` `[P, S]`: log π*; `Tensor` `[P]`: the values β log E_ref exp(s/β) of the prompts.
    """
    unnormalised = log_reference + scores / check_beta(beta)
    log_normaliser = unnormalised.logsumexp(1, keepdim=True)
    return unnormalised - log_normaliser, beta * log_normaliser.squeeze(1)


def kl_divergence(log_probs: Tensor, log_reference: Tensor) -> Tensor:
    """KL(π ‖ π_ref) in nats for every prompt, `[P]`; completions of probability 0 count 0."""
    probabilities = log_probs.exp()
    gap = torch.where(probabilities > 0, log_probs - log_reference, torch.zeros_like(log_probs))
    return (probabilities * gap).sum(1)


def expected(log_probs: Tensor, tables: Tensor) -> Tensor:
    """E_π[tables], averaged over prompts: `[P, S]` log-probabilities and `[P, S, K]` tables to `[K]`."""
    return torch.einsum("ps,psk->k", log_probs.exp(), tables) / len(log_probs)


def optimum(log_reference: Tensor, rewards: Tensor, weights: Tensor, beta: float) -> Optimum:
    """The exact optimum at given weights, which may have any sign and sum.

    Args:
        log_reference (`Tensor`): `[P, S]`, float64.
        rewards (`Tensor`): `[P, S, K]`, float64.
        weights (`Tensor`): `[K]`, float64.
        beta (`float`): the KL coefficient.
    """
    log_probs, values = tilt(log_reference, rewards @ weights, beta)
    return Optimum(
        weights=weights,
        beta=beta,
        log_probs=log_probs,
        value=float(values.mean()),
        rewards=expected(log_probs, rewards),
        kl=float(kl_divergence(log_probs, log_reference).mean()),
    )
