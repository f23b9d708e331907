"""A linear layer (or GPT-2's Conv1D) whose LoRA adapters are mixed per row: LoRA, rsLoRA, `lora_bias` and DoRA."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from frontier.realize.adapters.fused_linear import fused_linear, is_fusible, scaled
from frontier.realize.adapters.rows import Columns, RowWeights, row_weights


@dataclass(frozen=True)
class Stack:
    """All experts of a layer side by side.

    Args:
        columns (`Columns`): of each expert its column in the weights, its rank and its scaling s_k.
        down (`Tensor`): all A_k transposed, `[d_in, Σ r]`: small batches read a matrix faster in this order.
        up (`Tensor`): all B_k transposed, `[Σ r, d_out]`; with DoRA, of g_k ⊙ B_k.
        gain (`tuple[Columns, Tensor]`, *optional*): g_k − 1 of the DoRA experts, `[n, d_out]`.
        bias (`tuple[Columns, Tensor]`, *optional*): b_k of the experts with `lora_bias`, `[n, d_out]`.
    """

    columns: Columns
    down: Tensor
    up: Tensor
    gain: tuple[Columns, Tensor] | None = None
    bias: tuple[Columns, Tensor] | None = None


@dataclass(frozen=True)
class Plan:
    """What a forward needs of the weights for batches of one number of rows and dimensions: a stack and each row's diagonals."""

    down: Tensor
    up: Tensor
    scale: Tensor
    gain: Tensor | None
    bias: Tensor | None

    def fits(self, base: nn.Module, x: Tensor) -> bool:
        """Whether base layer and experts can be one differentiable step."""
        plain = self.gain is None and self.bias is None
        return plain and is_fusible(base, x, self.down, self.up, self.scale)


class SteerableLinear(LoraLinear):
    r"""A PEFT LoRA layer whose adapters are mixed per row inside an `AdapterMixture.steer` context.

    $$ y = W_0 x + b_0 + \sum_{k} w_k \left( \Delta W_k \, x + s_k b_k \right), \qquad \Delta W_k = s_k B_k A_k $$

    with $b_k$ the adapter's own bias (`lora_bias`, 0 otherwise). For a DoRA adapter ([Liu et al., 2024](https://huggingface.co/papers/2402.09353)) ΔW_k is the
    change that the adapter alone makes to the weight, so that weights mix as for full models:

    $$ \Delta W_k = g_k \odot (W_0 + s_k B_k A_k) - W_0, \qquad g_k = \frac{m_k}{\lVert W_0 + s_k B_k A_k \rVert_{row}} $$

    It has full rank, yet splits into $(g_k - 1) \odot W_0 x$, a diagonal on the base layer's own output, and $g_k \odot B_k$ in the thin product: a mixture
    with DoRA costs one more product with a diagonal. The norm counts as a constant in the gradient, as in the paper's section 4.3 and in PEFT.

    `AdapterMixture` turns existing layers into this class in place; parameters, their names and saving stay PEFT's own.
    """

    mixture_id: int
    frozen: Stack | None
    routed: bool

    def down(self, name: str) -> nn.Parameter:
        """A of one adapter, `[r, d_in]`."""
        return cast("nn.Parameter", self.lora_A[name].weight)

    def up(self, name: str) -> nn.Parameter:
        """B of one adapter, `[d_out, r]`."""
        return cast("nn.Parameter", self.lora_B[name].weight)

    def adapter_parameters(self, name: str) -> list[nn.Parameter]:
        """What of this layer belongs to one adapter: A, B, and where it has them its bias and its DoRA magnitudes."""
        if name not in self.lora_A:
            return []
        found = [self.down(name), self.up(name)]
        if self.lora_B[name].bias is not None:
            found.append(cast("nn.Parameter", self.lora_B[name].bias))
        if name in self.lora_magnitude_vector:
            found.append(cast("nn.Parameter", self.lora_magnitude_vector[name].weight))
        return found

    def is_low_rank(self, name: str) -> bool:
        """Whether the adapter changes this layer by s·B·A and nothing else."""
        return name not in self.lora_variant and self.lora_B[name].bias is None

    def base_weight(self) -> Tensor:
        """W0 as `[d_out, d_in]`; Conv1D keeps it the other way round."""
        weight = cast("Tensor", self.get_base_layer().weight)
        return weight.T if self.fan_in_fan_out else weight

    def gain(self, name: str) -> Tensor:
        """The g of a DoRA adapter, `[d_out]`: gradients reach the magnitudes only."""
        up, down = self.up(name).detach(), self.down(name).detach()
        whole = torch.promote_types(up.dtype, torch.float32)
        weight = self.base_weight().detach().to(whole)
        norm = torch.linalg.vector_norm(weight + (up.to(whole) @ down.to(whole)) * float(self.scaling[name]), dim=1)
        return cast("Tensor", self.lora_magnitude_vector[name].weight).to(whole) / norm

    def stack(self, names: Sequence[str]) -> Stack | None:
        """The experts side by side; `None` where none of them touches the layer."""
        present = [(k, name) for k, name in enumerate(names) if name in self.lora_A]
        if not present:
            return None
        downs, ups = [self.down(name) for _, name in present], []
        gains: list[tuple[tuple[int, int, float], Tensor]] = []
        biases: list[tuple[tuple[int, int, float], Tensor]] = []
        for k, name in present:
            up: Tensor = self.up(name)
            if name in self.lora_variant:
                gain = self.gain(name)
                up = (up * gain[:, None]).to(up.dtype)
                gains.append(((k, 1, 1.0), gain - 1))
            if self.lora_B[name].bias is not None:
                biases.append(((k, 1, float(self.scaling[name])), cast("Tensor", self.lora_B[name].bias)))
            ups.append(up)
        return Stack(
            tuple((k, self.r[name], float(self.scaling[name])) for k, name in present),
            torch.cat([down.t() for down in downs], dim=1),
            torch.cat([up.t() for up in ups], dim=0),
            _together(gains),
            _together(biases),
        )

    def plan(self, active: RowWeights, rows: int, dims: int) -> Plan | None:
        """Everything that the weights decide, for inputs with `rows` rows and `dims` dimensions."""
        if self.routed and active.weights.shape[0] > 1:
            raise ValueError(
                "a layer inside a mixture of experts sees the tokens of all rows in another order: steer with one row of weights"
            )
        stack = self.stack(active.names) if self.frozen is None else self.frozen
        if stack is None:
            return None
        return Plan(
            stack.down,
            stack.up,
            active.scale(stack.columns, rows, dims, stack.down),
            None if stack.gain is None else active.combine(*stack.gain, rows, dims),
            None if stack.bias is None else active.combine(*stack.bias, rows, dims),
        )

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """`[N, T, d_in]` or `[N, d_in]` to the same with `d_out`: the base layer plus each row's own mixture of the experts.

        Raises:
            RuntimeError: outside a `steer` context (an unsteered forward would silently add up all adapters), or with merged adapters.
        """
        if self._disable_adapters:
            return super().forward(x, *args, **kwargs)
        if self.merged_adapters:
            raise RuntimeError("adapters are merged into the base weights: unmerge them before steering")
        active = row_weights(self.mixture_id)
        rows, dims = x.shape[0], x.dim()
        recorded = torch.is_grad_enabled() or torch.compiler.is_compiling()
        if recorded:
            plan = self.plan(active, rows, dims)
        else:  # one look-up a layer: generation runs the same plan for every token
            plan = active.keep((id(self), rows, dims), lambda: self.plan(active, rows, dims))
        base, drops = self.base_layer, self.training and self._drops(active.names)
        if recorded and plan is not None and not (drops or args or kwargs) and plan.fits(base, x):
            return fused_linear(base, x, plan.down, plan.up, plan.scale)
        result: Tensor = base(x, *args, **kwargs)
        if plan is None:  # touched only by adapters outside the mixture
            return result
        if drops:
            return self._with_dropout(result, x, active, plan)
        if plan.gain is not None:
            result = _amplified(result, base, plan.gain)
        if plan.bias is not None:
            result = (result + plan.bias).to(result.dtype)
        if recorded:
            return _added(result, x, plan)
        return _added_in_place(result, x, plan, fresh=type(base) in (nn.Linear, Conv1D) and not base._forward_hooks)

    def _drops(self, names: Sequence[str]) -> bool:
        return any(name in self.lora_A and not isinstance(self.lora_dropout[name], nn.Identity) for name in names)

    def _with_dropout(self, result: Tensor, x: Tensor, active: RowWeights, plan: Plan) -> Tensor:
        """Each expert has its own dropout mask, as in PEFT, so their inputs differ and cannot share one product."""
        dtype, base = plan.down.dtype, self.base_layer
        x = x.to(dtype)
        thin, changed = [], result
        for k, name in enumerate(active.names):
            if name not in self.lora_A:
                continue
            dropped = self.lora_dropout[name](x)
            thin.append(functional.linear(dropped, self.down(name).to(dtype)))
            if name in self.lora_variant:
                gain = active.combine(((k, 1, 1.0),), self.gain(name)[None] - 1, x.shape[0], x.dim())
                seen = result if dropped is x else base(dropped.to(result.dtype))
                changed = changed + _without_bias(seen, base) * gain
        if plan.bias is not None:
            changed = changed + plan.bias
        mixed = (torch.cat(thin, dim=-1) * plan.scale).to(dtype)
        return (changed + torch.matmul(mixed, plan.up)).to(result.dtype)


def _together(found: list[tuple[tuple[int, int, float], Tensor]]) -> tuple[Columns, Tensor] | None:
    return (tuple(c for c, _ in found), torch.stack([v for _, v in found])) if found else None


def _without_bias(result: Tensor, base: nn.Module) -> Tensor:
    bias = cast("Tensor | None", base.bias)
    return result if bias is None else result - bias


def _amplified(result: Tensor, base: nn.Module, gain: Tensor) -> Tensor:
    """DoRA's diagonal acts on W0 x alone, not on the base layer's bias."""
    return (result + _without_bias(result, base) * gain).to(result.dtype)


def _added(result: Tensor, x: Tensor, plan: Plan) -> Tensor:
    """The two thin products, the second of them summed into the base layer's `[N, ..., d_out]` result (in half precision: in float32, rounded once)."""
    down, up = plan.down, plan.up
    thin = torch.mm((x if x.dtype == down.dtype else x.to(down.dtype)).reshape(-1, down.shape[0]), down)
    thin = scaled(thin, plan.scale, x)
    if result.dtype == thin.dtype == up.dtype:
        return torch.addmm(result.view(-1, up.shape[1]), thin, up).view(result.shape)
    return (result + torch.mm(thin, up).view(result.shape)).to(result.dtype)


def _added_in_place(result: Tensor, x: Tensor, plan: Plan, fresh: bool) -> Tensor:
    """The same where no gradient flows, with as few steps as possible: beside a single token's products each of them counts.

    Args:
        result (`Tensor`): `[N, ..., d_out]`.
        x (`Tensor`): `[N, ..., d_in]`.
        plan (`Plan`): of these rows.
        fresh (`bool`): nobody else holds `result`, so that it may be written over.
    """
    down, up, scale = plan.down, plan.up, plan.scale
    thin = torch.mm((x if x.dtype == down.dtype else x.to(down.dtype)).reshape(-1, down.shape[0]), down)
    # In place keeps the dtype and multiplies in float32; a product would have to be rounded back.
    if scale.shape[0] in (1, thin.shape[0]):  # one token a row
        thin.mul_(scale.view(scale.shape[0], -1))
    else:
        thin.view(*x.shape[:-1], -1).mul_(scale)
    if result.dtype == thin.dtype == up.dtype:
        flat = result.view(-1, up.shape[1])
        if fresh:
            flat.addmm_(thin, up)
            return result
        return torch.addmm(flat, thin, up).view(result.shape)
    delta = torch.mm(thin, up).view(result.shape)
    return result.add_(delta) if fresh else (result + delta).to(result.dtype)
