"""Bradley-Terry: the log-odds that a beats b are the difference of their scores."""

import torch.nn.functional as F
from torch import Tensor

from reward_heads.losses.outcomes import Outcomes


def bradley_terry(differences: Tensor, margins: Tensor | float = 0.0) -> Outcomes:
    r"""What each outcome costs ([Bradley & Terry, 1952](https://doi.org/10.2307/2334029)), with the margin of [Llama 2](https://huggingface.co/papers/2307.09288) (eq. 2).

    $$ \ell_a = -\log \sigma(\Delta - m), \qquad \ell_b = -\log \sigma(-\Delta - m) $$

    The winner is asked for a lead of m nats, whoever it is. A probability p as label gives $p\,\ell_a + (1 - p)\,\ell_b$, so with p = 0.5 a margin only adds cost to both sides
    and leaves $\Delta = 0$ the best. With m = 0 and p: $\mathrm{softplus}(\Delta) - p \Delta$.

    Args:
        differences (`Tensor`): Δ, score of a minus score of b, in nats.
        margins (`Tensor` or `float`, *optional*, defaults to 0): m >= 0, in nats.
    """
    return Outcomes(F.softplus(margins - differences), F.softplus(differences + margins), None)
