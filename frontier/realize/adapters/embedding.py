"""An input embedding whose LoRA adapters are mixed per row."""

from typing import Any, cast

import torch
from peft.tuners.lora import Embedding as LoraEmbedding
from torch import Tensor, nn
from torch.nn import functional

from frontier.realize.adapters.rows import Columns, RowWeights, row_weights


class SteerableEmbedding(LoraEmbedding):
    r"""A PEFT LoRA embedding whose adapters are mixed per row inside an `AdapterMixture.steer` context.

    $$ E = E_0 + \sum_k w_k \Delta E_k, \qquad \Delta E_k = s_k (B_k A_k)^\top $$

    with $A_k$ `[r, V]` and $B_k$ `[d, r]`; a DoRA adapter's own change is $\Delta E_k = (E_0 + s_k (B_k A_k)^\top) \odot g_k - E_0$ with $g_k = m_k$ over the
    norms of the d columns. Models that scale their embeddings scale the change as well.

    Where the base ties its output layer to this embedding, the output layer stays at E_0: an adapter changes the layer that it sits on, as in PEFT's own forward pass.
    """

    mixture_id: int

    def down(self, name: str) -> nn.Parameter:
        """A of one adapter, `[r, V]`."""
        return cast("nn.Parameter", self.lora_embedding_A[name])

    def up(self, name: str) -> nn.Parameter:
        """B of one adapter, `[d, r]`."""
        return cast("nn.Parameter", self.lora_embedding_B[name])

    def adapter_parameters(self, name: str) -> list[nn.Parameter]:
        """What of this layer belongs to one adapter: A, B and where it has them its DoRA magnitudes."""
        if name not in self.lora_embedding_A:
            return []
        found = [self.down(name), self.up(name)]
        if name in self.lora_magnitude_vector:
            found.append(cast("nn.Parameter", self.lora_magnitude_vector[name].weight))
        return found

    def gain(self, name: str) -> Tensor:
        """The g of a DoRA adapter, `[d]`: gradients reach the magnitudes only."""
        up, down = self.up(name).detach(), self.down(name).detach()
        whole = torch.promote_types(up.dtype, torch.float32)
        base = cast("Tensor", self.get_base_layer().weight).detach().to(whole)
        change = (up.to(whole) @ down.to(whole)).T * float(self.scaling[name])
        norm = torch.linalg.vector_norm(base + change, dim=0)
        return cast("Tensor", self.lora_magnitude_vector[name].weight).to(whole) / norm

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """`[N, T]` or `[N]` token ids to the same with d values each: the base embedding plus each row's own mixture of the experts.

        Raises:
            RuntimeError: outside a `steer` context, or with merged adapters.
        """
        if self._disable_adapters:
            return super().forward(x, *args, **kwargs)
        if self.merged_adapters:
            raise RuntimeError("adapters are merged into the base weights: unmerge them before steering")
        active = row_weights(self.mixture_id)
        result: Tensor = self.base_layer(x, *args, **kwargs)
        present = [(k, name) for k, name in enumerate(active.names) if name in self.lora_embedding_A]
        if not present:
            return result
        rows, dims = result.shape[0], result.dim()
        # Looked up one by one: stacking would copy r numbers for every word of the vocabulary.
        thin = torch.cat([self._embed(x, self.down(name).T) for _, name in present], dim=-1)
        columns: Columns = tuple((k, self.r[name], float(self.scaling[name])) for k, name in present)
        thin = (thin * active.scale(columns, rows, dims, thin)).to(thin.dtype)
        ups, changed = [], result
        for k, name in present:
            up: Tensor = self.up(name)
            if name in self.lora_variant:
                gain = self._gain(active, name)
                changed = changed + result * active.combine(((k, 1, 1.0),), gain[None] - 1, rows, dims)
                up = (up * gain[:, None]).to(up.dtype)
            ups.append(up)
        delta = functional.linear(thin, torch.cat(ups, dim=1))
        embed_scale = self._get_embed_scale()
        if embed_scale is not None:
            delta = delta * embed_scale.to(delta.dtype)
        return (changed + delta).to(result.dtype)

    def _gain(self, active: RowWeights, name: str) -> Tensor:
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.gain(name)
        return active.keep((id(self), name), lambda: self.gain(name))
