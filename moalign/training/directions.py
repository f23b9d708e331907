"""Draw the directions that a policy is trained at: unit vectors near a primary objective, or within the positive orthant."""

import math

import numpy as np
import torch
from scipy.special import betainc, betaincinv
from torch import Tensor

from frontier.errors import InputError, unknown_name
from moalign.preference_sampling import dirichlet_weights
from moalign.training.rollouts.rollout import PreferenceSampler, RolloutRows


def draw_directions(
    n: int, k: int, generator: torch.Generator | None = None, primary: int = 0, max_angle: float = 45.0
) -> Tensor:
    r"""Directions drawn uniformly from the cap of the unit sphere around one axis: $\|v\|_2 = 1$, $v_{primary} \geq \cos(\text{max\_angle})$.

    For K = 2 the angle is uniform within ± `max_angle`, as in Directional Preference Alignment
    ([Wang et al., 2024](https://huggingface.co/papers/2402.18571)); for K > 2 every equal piece of the cap is as likely.

    Args:
        n (`int`): how many.
        k (`int`): K, the number of objectives.
        generator (`torch.Generator`, *optional*): where the randomness comes from; torch's global generator by default.
        primary (`int`, *optional*, defaults to 0): position of the objective in the middle of the cap.
        max_angle (`float`, *optional*, defaults to 45): in degrees, in (0, 90].

    Returns:
        `Tensor`: `[n, k]`, float32.

    Raises:
        InputError: `max_angle` is out of range.
    """
    if not 0 < max_angle <= 90:
        raise InputError(f"max_angle must be in (0, 90] degrees, found {max_angle}")
    quantile = torch.rand(n, generator=generator, dtype=torch.float64).numpy()
    sideways = torch.randn(n, k - 1, generator=generator, dtype=torch.float64).numpy()
    if k == 1:
        return torch.ones(n, 1)
    # sin² of the angle follows Beta((K - 1) / 2, 1 / 2) on the half sphere; cut off at the cap's edge and inverted.
    a, b = (k - 1) / 2, 0.5
    sine_squared = betaincinv(a, b, quantile * betainc(a, b, math.sin(math.radians(max_angle)) ** 2))
    sideways *= np.sqrt(sine_squared / (sideways**2).sum(1))[:, None]
    found = np.insert(sideways, primary, np.sqrt(1 - sine_squared), axis=1)
    return torch.from_numpy(found).float()


class DirectionSampler(PreferenceSampler):
    """Draw a direction per prompt group, from a generator of its own that a checkpoint can restore.

    Args:
        objectives (`tuple[str, ...]`): the K names.
        primary (`str`, *optional*): the objective in the middle of the cap of directions; the first by default.
        max_angle (`float`, *optional*, defaults to 45): of a direction to the primary objective, in degrees. `None`: directions have no negative
            component, being Dirichlet weights scaled to unit length.
        concentration (`float`, *optional*, defaults to 1): of that Dirichlet.
        seed (`int`): of the generator.

    Raises:
        InputError: an unknown objective, an angle or a concentration that is out of range.
    """

    def __init__(
        self,
        objectives: tuple[str, ...],
        primary: str | None = None,
        max_angle: float | None = 45.0,
        concentration: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(objectives, concentration, seed=seed)
        if primary is not None and primary not in objectives:
            raise unknown_name("primary objective", primary, objectives)
        if max_angle is not None and not 0 < max_angle <= 90:
            raise InputError(f"max_angle must be in (0, 90] degrees, found {max_angle}")
        self.primary = objectives.index(primary) if primary is not None else 0
        self.max_angle = max_angle

    def sample(self, groups: int, group_size: int) -> RolloutRows:
        """Rows for `groups` prompts of `group_size` completions each, a prompt's rows next to each other."""
        k = len(self.objectives)
        if self.max_angle is None:
            weights = dirichlet_weights(groups, k, self.concentration, self.generator, torch.float64)
            weights = (weights / weights.norm(dim=1, keepdim=True)).float()
        else:
            weights = draw_directions(groups, k, self.generator, self.primary, self.max_angle)
        return RolloutRows(weights.repeat_interleave(group_size, 0), torch.zeros(groups * group_size))

    def middle(self) -> Tensor:
        """`[K]`, the direction in the middle of those that are drawn."""
        k = len(self.objectives)
        if self.max_angle is None:
            return torch.full((k,), k**-0.5)
        return torch.eye(k)[self.primary]
