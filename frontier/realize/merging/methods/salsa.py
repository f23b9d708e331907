"""Make the reference of RLHF a soup of two fine-tuned models, so that the policy may go further."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.realize.merging.methods.base import MergeMethod, Parameters, setting, weighted_sum


@dataclass(frozen=True)
class SalsaParameters(Parameters):
    """Settings of `salsa`.

    Args:
        alpha (`float`, *optional*, defaults to 0.5): the share of the first model, 0 to 1; the policy starts from that model.
    """

    alpha: float = setting(0.5, least=0, most=1)


class Salsa(MergeMethod):
    r"""SALSA's reference soup ([Chegini et al., 2024](https://huggingface.co/papers/2411.01798)): the average of two supervised models as the KL reference.

    $$ \theta_{\text{ref}} = \alpha \, \theta_{\text{SFT 1}} + (1 - \alpha) \, \theta_{\text{SFT 2}}, \qquad \alpha = ½ $$

    Exactly two models.
    """

    name = "salsa"
    elementwise = True
    least_models, most_models = 2, 2
    Parameters = SalsaParameters

    def _merge(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: SalsaParameters,
        generator: torch.Generator | None,
    ) -> Tensor:
        return weighted_sum(tensors, (parameters.alpha, 1 - parameters.alpha))
