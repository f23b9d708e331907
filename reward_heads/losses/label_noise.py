"""Learn from pair labels of which a known share is flipped: three corrections, from unbiased to cautious."""

import torch
from torch import Tensor

from frontier.errors import unknown_name
from reward_heads.losses.outcomes import Outcomes

CORRECTIONS = ("unbiased", "forward", "conservative")


def robust(outcomes: Outcomes, noise: Tensor, correction: str = "unbiased") -> Outcomes:
    r"""The costs of *observed* outcomes, where a win is recorded as a loss with probability $\varepsilon$. Ties aren't flipped.

    | correction | cost of an observed win of a | |
    |---|---|---|
    | `unbiased` | $\big[(1 - \varepsilon)\,\ell_a - \varepsilon\,\ell_b\big] / (1 - 2\varepsilon)$ | its mean over flips is the clean loss ([Natarajan et al., 2013](https://papers.nips.cc/paper/5073-learning-with-noisy-labels); as in [robust DPO](https://huggingface.co/papers/2403.00409), eq. 9). Falls without bound on a pair whose score runs ahead of its label |
    | `forward` | $-\log\big[(1 - \varepsilon)\,e^{-\ell_a} + \varepsilon\,e^{-\ell_b}\big]$ | the likelihood of the label as it was recorded ([Patrini et al., 2017](https://huggingface.co/papers/1609.03683), section 4.2): never below $-\log(1 - \varepsilon)$, and a confident contradiction stops pulling |
    | `conservative` | $(1 - \varepsilon)\,\ell_a + \varepsilon\,\ell_b$ | label smoothing ([conservative DPO](https://ericmitchell.ai/cdpo.pdf)): shrinks scores towards $\sigma(\Delta) = 1 - \varepsilon$, and differences are no longer the true log-odds |

    All three are the clean loss at $\varepsilon = 0$, and a label that is a probability mixes the costs of the two sure ones as ever.

    Args:
        outcomes (`Outcomes`): under clean labels, `[..., K]`.
        noise (`Tensor`): `[K]`, $\varepsilon$ in [0, 0.5).
        correction (`str`, *optional*, defaults to `"unbiased"`): which.

    Raises:
        InputError: there is no such correction.
    """
    a, b = outcomes.first, outcomes.second
    kept = 1 - noise
    if correction == "unbiased":
        share = 1 - 2 * noise
        return outcomes._replace(first=(kept * a - noise * b) / share, second=(kept * b - noise * a) / share)
    if correction == "forward":
        log_kept, log_flipped = kept.log(), noise.log()
        return outcomes._replace(
            first=-torch.logaddexp(log_kept - a, log_flipped - b),
            second=-torch.logaddexp(log_kept - b, log_flipped - a),
        )
    if correction == "conservative":
        return outcomes._replace(first=kept * a + noise * b, second=kept * b + noise * a)
    raise unknown_name("noise_correction", correction, CORRECTIONS)
