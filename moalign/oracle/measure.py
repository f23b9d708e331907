"""How good a policy is, exactly: its rewards, its distance from the reference, and how much of the possible gain it reaches."""

from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.errors import InputError
from moalign.oracle.optimum import expected, kl_divergence, optimum

LEAST_MASS = 0.99


@dataclass(frozen=True)
class Measurement:
    r"""A policy's exact figures, averaged over prompts.

    Args:
        rewards (`Tensor`): `[K]`, E[r].
        kl (`float`): KL(π ‖ π_ref) in nats.
        value (`float`): J(π) = E[w·r] − β KL.
        reference_value (`float`): J(π_ref) = E_ref[w·r].
        best_value (`float`): J*(w).
        mass (`float`): probability that the policy gives to the world's completions, least over prompts; the figures above are of the policy
            conditioned on them. 1 but for rounding, unless training broke the model.
    """

    rewards: Tensor
    kl: float
    value: float
    reference_value: float
    best_value: float
    mass: float

    @property
    def gain(self) -> float:
        """(J(π) − J(π_ref)) / (J* − J(π_ref)): 0 for the reference, 1 for the optimum, negative for worse than doing nothing; NaN where nothing can be gained."""
        possible = self.best_value - self.reference_value
        return (self.value - self.reference_value) / possible if possible > 1e-12 else float("nan")


def measure(log_probs: Tensor, log_reference: Tensor, rewards: Tensor, weights: Tensor, beta: float) -> Measurement:
    """Measure a policy against the optimum at these weights.

    Args:
        log_probs (`Tensor`): `[P, S]`, the policy; normalised here, after its mass is recorded.
        log_reference (`Tensor`): `[P, S]`.
        rewards (`Tensor`): `[P, S, K]`.
        weights (`Tensor`): `[K]`.
        beta (`float`): the KL coefficient.

    Raises:
        InputError: wrong shape, NaN, or a policy that puts less than 99 % or more than 101 % of its probability on the completions.
    """
    if log_probs.shape != log_reference.shape:
        raise InputError(
            f"log-probabilities must be {list(log_reference.shape)} (prompts, completions), found {list(log_probs.shape)}"
        )
    log_probs = log_probs.detach().cpu().double()
    if log_probs.isnan().any():
        raise InputError("the policy's log-probabilities contain NaN")
    log_mass = log_probs.logsumexp(1, keepdim=True)
    mass = log_mass.exp()
    if not ((mass > LEAST_MASS) & (mass < 2 - LEAST_MASS)).all():
        worst = float(mass[(mass - 1).abs().argmax()])
        raise InputError(
            f"the policy gives probability {worst:.4g} in all to the completions of a prompt, which must be 1 up to 1 %: "
            "it writes something else, or these are not log-probabilities"
        )
    log_probs = log_probs - log_mass
    best = optimum(log_reference, rewards, weights, beta)
    got = expected(log_probs, rewards)
    kl = float(kl_divergence(log_probs, log_reference).mean())
    return Measurement(
        rewards=got,
        kl=kl,
        value=float(weights @ got) - beta * kl,
        reference_value=float(weights @ expected(log_reference, rewards)),
        best_value=best.value,
        mass=float(mass.min()),
    )


def as_weights(weights: object, objectives: tuple[str, ...]) -> Tensor:
    """`[K]` float64 weights from a preference in any form, or from K numbers in objective order (of any sign and sum).

    Raises:
        InputError: an unknown objective, or not K finite numbers.
    """
    from collections.abc import Mapping

    from moalign.preference import Preference

    if isinstance(weights, Preference | str | Mapping):
        return Preference.coerce(weights, objectives).as_tensor(objectives, dtype=torch.float64)
    numbers = torch.as_tensor(weights, dtype=torch.float64).detach().cpu()
    if numbers.shape != (len(objectives),) or not numbers.isfinite().all():
        raise InputError(
            f"weights must be {len(objectives)} finite numbers ({', '.join(objectives)}), found {numbers.tolist()}"
        )
    return numbers
