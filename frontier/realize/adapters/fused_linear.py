"""A frozen linear layer with its mixed adapters as one differentiable step: less to add up and to copy than for the products one by one."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

_PLAIN = (Tensor, nn.Parameter)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_fusible(base: nn.Module, x: Tensor, down: Tensor, up: Tensor, scale: Tensor) -> bool:
    """Whether `fused_linear` computes what the base layer and the thin products compute one by one.

    Not so for layers that are quantised, trained, watched by hooks or moved about by them; for tensors without values or spread over processes; for dtypes
    that differ and under autocast, which changes them; where gradients of the weights per row are wanted; and in a compiler, which fuses on its own.
    """
    if type(base) not in (nn.Linear, Conv1D) or "forward" in vars(base) or any(getattr(base, name) for name in _HOOKS):
        return False
    weight: Any = base.weight
    bias: Any = base.bias
    if any(p is not None and (p.requires_grad or type(p) not in _PLAIN) for p in (weight, bias)) or scale.requires_grad:
        return False
    if type(x) not in _PLAIN or x.is_meta or not x.dtype == weight.dtype == down.dtype == up.dtype:
        return False
    return not (torch.compiler.is_compiling() or torch.is_autocast_enabled(x.device.type))


def fused_linear(base: nn.Module, x: Tensor, down: Tensor, up: Tensor, scale: Tensor) -> Tensor:
    r"""The base layer's output plus the thin products, $y = W_0 x + b_0 + U^\top (d \odot (D^\top x))$, for what `is_fusible`.

    Autograd alone would write y twice, and the gradient of x three times (through W0, through D, and their sum). Here the second product of each pair is
    summed into the first one's memory; in half precision that is in float32, rounded once.

    Args:
        base (`nn.Module`): an `nn.Linear` or a `Conv1D`, frozen.
        x (`Tensor`): `[N, ..., d_in]`.
        down (`Tensor`): D, `[d_in, r]`.
        up (`Tensor`): U, `[r, d_out]`.
        scale (`Tensor`): d of each row, `[N or 1, 1..., r]`, in float32 where the others are in half precision.
    """
    weight: Any = base.weight
    bias: Any = base.bias
    out: Tensor = _FusedLinear.apply(x, weight.t() if type(base) is Conv1D else weight, bias, down, up, scale)[0]
    return out


def scaled(thin: Tensor, scale: Tensor, like: Tensor) -> Tensor:
    """Each row of the `[n, r]` thin product times the diagonal of the row of `like`, `[N, ..., d]`, that it belongs to."""
    rank = thin.shape[-1]
    return (thin.view(*like.shape[:-1], rank) * scale).to(thin.dtype).view(-1, rank)


class _FusedLinear(torch.autograd.Function):
    """Gives also the scaled thin product, which the gradient of `up` needs; nobody else should use it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`[N, ..., d_out]` and `[n, r]`."""
        mixed = scaled(torch.mm(x.reshape(-1, x.shape[-1]), down), scale, x)
        out = functional.linear(x, weight, bias)
        out.view(-1, out.shape[-1]).addmm_(mixed, up)
        return out, mixed

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep what the gradients are made of: nothing that autograd would not keep as well."""
        x, weight, _, down, up, scale = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(x, weight, down, up, scale, output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
        """Gradients of x, `down` and `up`."""
        if gradient is None:
            return None, None, None, None, None, None
        x, weight, down, up, scale, mixed = ctx.saved_tensors
        flat = gradient.reshape(-1, up.shape[1])
        needs_x, _, _, needs_down, needs_up, _ = ctx.needs_input_grad
        into_x = into_down = into_up = None
        if needs_x or needs_down:
            thin = scaled(torch.mm(flat, up.t()), scale, x)
        if needs_x:
            into_x = torch.mm(flat, weight).addmm_(thin, down.t()).view(x.shape)
        if needs_down:
            into_down = torch.mm(x.reshape(-1, x.shape[-1]).t(), thin)
        if needs_up:
            if torch.is_grad_enabled():  # for gradients of gradients: what was kept knows nothing of x and `down`
                mixed = scaled(torch.mm(x.reshape(-1, x.shape[-1]), down), scale, x)
            into_up = torch.mm(mixed.t(), flat)
        return into_x, None, None, into_down, into_up, None
