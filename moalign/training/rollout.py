"""Which preference each row of a rollout batch is generated, rewarded and held to the reference by."""

from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.errors import InputError
from moalign.preference import Preference
from moalign.preference_sampling import dirichlet_weights


@dataclass(frozen=True)
class RolloutRows:
    """Per-row conditioning of one rollout batch; every row of a prompt group carries the same.

    Args:
        weights (`Tensor`): `[B, K]`, the preference.
        alpha (`Tensor`): `[B]`, CLP's KL weight in [0, 1); 0 in every row without KL-mixing.
    """

    weights: Tensor
    alpha: Tensor

    @property
    def mixture_weights(self) -> Tensor:
        """What the adapters are mixed with: (1 − α) w, so that α pulls the policy's weights back to the reference's."""
        return (1 - self.alpha).unsqueeze(1) * self.weights

    def rows(self, start: int, stop: int) -> "RolloutRows":
        """The rows of one process or chunk."""
        return RolloutRows(self.weights[start:stop], self.alpha[start:stop])


class PreferenceSampler:
    """Draw a preference (and with KL-mixing a KL weight α) per prompt group, from a generator of its own that a checkpoint can restore.

    Args:
        objectives (`tuple[str, ...]`): the K names.
        concentration (`float`): of the symmetric Dirichlet; 1 is uniform on the simplex, below 1 favours its corners.
        preference (`Preference`, *optional*): always this one instead of sampling.
        alpha_range (`tuple[float, float]`, *optional*): draw α uniformly from it (KL-mixing); no KL-mixing otherwise.
        seed (`int`): of the generator.
    """

    def __init__(
        self,
        objectives: tuple[str, ...],
        concentration: float = 1.0,
        preference: Preference | None = None,
        alpha_range: tuple[float, float] | None = None,
        seed: int = 0,
    ) -> None:
        if not concentration > 0:
            raise InputError(f"concentration must be positive, found {concentration}")
        if alpha_range is not None and not 0 < alpha_range[0] <= alpha_range[1] < 1:
            raise InputError(f"alpha_range must satisfy 0 < low <= high < 1, found {alpha_range}")
        self.objectives = objectives
        self.concentration = concentration
        self.fixed = preference.as_tensor(objectives) if preference is not None else None
        self.alpha_range = alpha_range
        self.generator = torch.Generator().manual_seed(seed)

    def sample(self, groups: int, group_size: int) -> RolloutRows:
        """Rows for `groups` prompts of `group_size` completions each, a prompt's rows next to each other."""
        if self.fixed is not None:
            weights = self.fixed.expand(groups, -1)
        else:
            weights = dirichlet_weights(groups, len(self.objectives), self.concentration, self.generator).float()
        if self.alpha_range is None:
            alpha = torch.zeros(groups)
        else:
            low, high = self.alpha_range
            alpha = low + (high - low) * torch.rand(groups, generator=self.generator)
        return RolloutRows(weights.repeat_interleave(group_size, 0), alpha.repeat_interleave(group_size, 0))

    def state(self) -> str:
        """The generator's state as hexadecimal text."""
        return bytes(self.generator.get_state().tolist()).hex()

    def restore(self, state: str) -> None:
        """Go on exactly where `state` was taken."""
        self.generator.set_state(torch.tensor(list(bytes.fromhex(state)), dtype=torch.uint8))
