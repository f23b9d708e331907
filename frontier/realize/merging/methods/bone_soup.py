"""Serve a preference from backbones that were each trained for a mixture of rewards."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frontier.errors import InputError
from frontier.realize.merging.methods.base import MergeMethod, Parameters, setting, weighted_sum


def backbone_rewards(n_objectives: int, beta: float) -> NDArray[np.float64]:
    """The weights of the rewards that each backbone is to be trained for.

    Args:
        n_objectives (`int`): K, at least 2.
        beta (`float`): the share of a backbone's main reward; the others have (1 − β)/(K − 1) each.

    Returns:
        `NDArray[np.float64]`: `[K, K]`, a row for each backbone; symmetric and circulant.

    Raises:
        InputError: K is less than 2, or β is 1/K, for which all backbones are one.

    Example:
        >>> backbone_rewards(2, 0.75).tolist()
        [[0.75, 0.25], [0.25, 0.75]]
    """
    if n_objectives < 2:
        raise InputError(f"bone_soup needs at least 2 objectives, found {n_objectives}")
    if abs(beta - 1 / n_objectives) < 1e-6:
        raise InputError(f"with beta {beta:g} all {n_objectives} backbones are trained for the same reward")
    other = (1 - beta) / (n_objectives - 1)
    return np.full((n_objectives, n_objectives), other) + (beta - other) * np.eye(n_objectives)


@dataclass(frozen=True)
class BoneSoupParameters(Parameters):
    """Settings of `bone_soup`.

    Args:
        preference (`tuple[float, ...]`): μ, `[K]`: the weights that the soup is asked for, one for each objective.
        beta (`float`, *optional*, defaults to 0.6): the share of its main reward that each backbone was trained with; the paper tries 0.6, 0.7 and 0.8.
        rewards (`tuple[tuple[float, ...], ...]`, *optional*): `[N, K]`, the weights of the rewards that each backbone was trained for, where they are not
            `backbone_rewards(K, beta)`.
        extrapolation (`tuple[float, ...]`, *optional*): a_k, `[K]`, each in [0, 1): go beyond the soup, away from the base, by 1/(1 − a_k). None by default.
    """

    preference: tuple[float, ...] = setting(kind=tuple)
    beta: float = setting(0.6, least=0, most=1)
    rewards: tuple[tuple[float, ...], ...] = setting((), per_model=True, kind=tuple)
    extrapolation: tuple[float, ...] = setting((), kind=tuple)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.extrapolation and len(self.extrapolation) != len(self.preference):
            found, wanted = len(self.extrapolation), len(self.preference)
            raise InputError(f"extrapolation needs one value for each of the {wanted} objectives, found {found}")
        if any(not 0 <= a < 1 for a in self.extrapolation):
            raise InputError(f"extrapolation must be at least 0 and less than 1, found {list(self.extrapolation)}")


class BoneSoup(MergeMethod):
    r"""Bone Soup ([Xie et al., 2025](https://huggingface.co/papers/2502.10762)): merging coefficients that undo the mixture in the backbones' rewards.

    $$ \theta(\mu) = \sum_k \mu_k \Big( \kappa_k \sum_i c_{ik} \theta_i + (1 - \kappa_k) \theta_0 \Big), \qquad
       \sum_i c_{ik} b_{ij} = [j = k], \qquad \kappa_k = \frac{1}{1 - a_k} $$

    where $b_i$ are the weights of the rewards that backbone i was trained for. So the coefficients solve $B^\top c = \mu$: a preference equal to a
    backbone's own rewards gives that backbone, and one for a single reward extrapolates, with negative coefficients. With two objectives and extrapolation
    this is what the published code computes; for more, β on the diagonal and equal shares elsewhere is our reading of the paper's "symmetric circulant
    matrix"; give `rewards` for another. The base $\theta_0$, the supervised model, is needed only to extrapolate.

    Raises:
        InputError: as many backbones as objectives are needed, with independent rewards; a base is missing.
    """

    name = "bone_soup"
    elementwise = True
    takes_base = True
    least_models = 2
    Parameters = BoneSoupParameters

    def coefficients(self, parameters: BoneSoupParameters, n_models: int) -> tuple[tuple[float, ...], float]:
        """The factor of each backbone, and that of the base.

        Raises:
            InputError: the rewards of the backbones don't determine the coefficients.
        """
        mu = np.array(parameters.preference)
        if n_models != len(mu):
            raise InputError(
                f"bone_soup needs one backbone for each of the {len(mu)} objectives, found {n_models} models"
            )
        if any(parameters.rewards):
            rewards = np.array([_row(r, len(mu)) for r in parameters.rewards])
        else:
            rewards = backbone_rewards(len(mu), parameters.beta)
        if np.linalg.cond(rewards) > 1e8:
            raise InputError(f"the rewards of the backbones are not independent: {rewards.tolist()}")
        kappa = 1 / (1 - np.array(parameters.extrapolation or (0.0,) * len(mu)))
        factors = np.linalg.solve(rewards.T, mu * kappa)
        return tuple(factors.tolist()), float(mu @ (1 - kappa))

    def _merge(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: BoneSoupParameters,
        generator: torch.Generator | None,
    ) -> Tensor:
        factors, rest = self.coefficients(parameters, len(tensors))
        if rest == 0:
            return weighted_sum(tensors, factors)
        if base is None:
            raise InputError("bone_soup extrapolates away from the base model; none was given")
        return weighted_sum((*tensors, base), (*factors, rest))


def _row(rewards: tuple[float, ...], n_objectives: int) -> tuple[float, ...]:
    if len(rewards) != n_objectives:
        raise InputError(f"each backbone needs the weights of its {n_objectives} rewards, found {list(rewards)}")
    return rewards
