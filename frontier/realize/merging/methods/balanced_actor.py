"""Start RLHF of a distilled reasoning model from a balanced merge, so that its answers don't collapse."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.realize.merging.methods.base import MergeMethod, Parameters, setting, weighted_sum


@dataclass(frozen=True)
class BalancedActorParameters(Parameters):
    """Settings of `balanced_actor`.

    Args:
        alpha (`float`, *optional*, defaults to 0.5): the first model's (instruction-tuned) share of the first stage, 0 to 1.
        beta (`float`, *optional*, defaults to 0.5): the first stage's share of the second, 0 to 1; the pretrained model has the rest.
    """

    alpha: float = setting(0.5, least=0, most=1)
    beta: float = setting(0.5, least=0, most=1)


class BalancedActor(MergeMethod):
    r"""Balanced Actor Initialization ([Zheng et al., 2025](https://huggingface.co/papers/2509.00309)): a weighted merge in two stages.

    $$ \theta_1 = \alpha \, \theta_{\text{instruct}} + (1 - \alpha) \, \theta_{\text{reasoning}}, \qquad
       \theta = \beta \, \theta_1 + (1 - \beta) \, \theta_{\text{pretrained}} $$

    The models in this order: instruction-tuned, then distilled for reasoning; the pretrained model is the base. The paper finds balanced ratios best, hence the
    defaults; the letters are ours.
    """

    name = "balanced_actor"
    elementwise = True
    needs_base = True
    least_models, most_models = 2, 2
    Parameters = BalancedActorParameters

    def _merge(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: BalancedActorParameters,
        generator: torch.Generator | None,
    ) -> Tensor:
        assert base is not None  # checked by the caller
        alpha, beta = parameters.alpha, parameters.beta
        return weighted_sum((*tensors, base), (beta * alpha, beta * (1 - alpha), 1 - beta))
