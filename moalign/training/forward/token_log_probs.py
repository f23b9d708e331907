"""Log-probabilities of tokens straight from hidden states: the logits of all of them never exist at once, and the backward pass is one product by a scalar."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Logits that exist at once: what stays in the processor's caches, and what keeps a GPU busy.
_AT_ONCE = {"cpu": 2**20, "cuda": 2**26}
_FEWEST_ROWS = 64


def token_log_probs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    temperature: float = 1.0,
    entropies: bool = False,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    r"""Log-probabilities of N tokens under a frozen linear head, with a graph that ends at the hidden states.

    $$ \ell_i = z_{i, t_i} - \log \sum_v e^{z_{iv}}, \qquad z_i = (W h_i + b) / \tau, \qquad
       \frac{\partial \ell_i}{\partial h_i} = \frac{1}{\tau} \big( W_{t_i} - \textstyle\sum_v p_{iv} W_v \big) $$

    The gradient of a token's own log-probability is all that any loss on log-probabilities needs, so it is made in the forward pass while the logits of the
    chunk are at hand, `[N, H]` in all; the backward pass multiplies each row by what arrives. Two matrix products in total, nothing computed twice. The
    softmax is in float32 at least.

    Args:
        hidden (`Tensor`): `[N, H]`.
        weight (`Tensor`): `[V, H]`, of the head; no gradient reaches it.
        targets (`Tensor`): `[N]`, token ids.
        bias (`Tensor`, *optional*): `[V]`, of the head.
        temperature (`float`, *optional*, defaults to 1): τ.
        entropies (`bool`, *optional*, defaults to `False`): also the entropies of the distributions, which carry no graph.
        chunk (`int`, *optional*): rows at once; by default as many as suit the device.

    Returns:
        `tuple[Tensor, Tensor | None]`: `[N]` log-probabilities in nats and, where they were asked for, `[N]` entropies in nats.

    Example:
        >>> token_log_probs(torch.zeros(1, 2), torch.eye(4, 2), torch.tensor([3]))[0].exp()  # four tokens, all alike
        tensor([0.2500])
    """
    rows = chunk or max(_FEWEST_ROWS, _AT_ONCE.get(hidden.device.type, _AT_ONCE["cuda"]) // weight.shape[0])
    if not torch.is_autocast_enabled(hidden.device.type):
        hidden = hidden.to(weight.dtype)
    values, found = _TokenLogProbs.apply(
        hidden, weight.detach(), None if bias is None else bias.detach(), targets, temperature, entropies, rows
    )
    return values, found if entropies else None


class _TokenLogProbs(torch.autograd.Function):
    """The chunks of [`token_log_probs`]."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        entropies: bool,
        rows: int,
    ) -> tuple[Tensor, Tensor]:
        whole = torch.promote_types(hidden.dtype, torch.float32)
        values = torch.empty(len(hidden), dtype=whole, device=hidden.device)
        spread = torch.empty_like(values) if entropies else values.new_empty(0)
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(hidden), rows):
            some = slice(start, start + rows)
            logits = functional.linear(hidden[some], weight, bias).to(whole)
            if temperature != 1.0:
                logits.div_(temperature)
            log_probs, picked = logits.log_softmax(-1), targets[some].unsqueeze(-1)
            values[some] = log_probs.gather(-1, picked).squeeze(-1)
            if entropies:
                spread[some] = -torch.exp(log_probs, out=logits).mul_(log_probs).sum(-1)
            if slopes is not None:
                # In place: what is left of the chunk is Σ_v p_v W_v − W_t.
                error = log_probs.exp_()
                error[torch.arange(len(error), device=error.device), targets[some]] -= 1.0
                slopes[some] = torch.mm(error.to(weight.dtype), weight).div_(-temperature)
        ctx.mark_non_differentiable(spread)
        if slopes is not None:
            ctx.save_for_backward(slopes)
        return values, spread

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return (slopes * gradients[0].unsqueeze(-1).to(slopes.dtype), *[None] * 6)
