"""Give each block of layers its own share of the trained models: less tax for the same reward."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.realize.merging.methods.base import MergeMethod, Parameters, setting, weighted_sum

_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|block)\.(\d+)\.")
_EMBEDDING = re.compile(r"(?:^|\.)(?:embed\w*|wte|wpe|\w*_embeddings?)(?:\.|$)")


def layer_of(name: str) -> int | None:
    """The transformer layer that a tensor belongs to, from 0; `None` outside of the layers.

    Example:
        >>> layer_of("model.layers.3.mlp.up_proj.weight"), layer_of("transformer.h.0.ln_1.bias"), layer_of("lm_head.weight")
        (3, 0, None)
    """
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def block_of(name: str, n_layers: int, n_blocks: int) -> int:
    """The block that a tensor belongs to, of as many consecutive blocks of layers, as equal as can be.

    Embeddings count to the first block, the last norm and the head to the last.

    Args:
        name (`str`): the tensor's.
        n_layers (`int`): L.
        n_blocks (`int`): K, between 1 and L.

    Raises:
        InputError: more blocks than layers, or a layer that the model doesn't have.

    Example:
        >>> [block_of(f"model.layers.{i}.mlp.up_proj.weight", 6, 3) for i in range(6)]
        [0, 0, 1, 1, 2, 2]
        >>> block_of("model.embed_tokens.weight", 6, 3), block_of("lm_head.weight", 6, 3)
        (0, 2)
    """
    if not 1 <= n_blocks <= max(1, n_layers):
        raise InputError(f"{n_layers} layers can't be cut into {n_blocks} blocks")
    layer = layer_of(name)
    if layer is None:
        return 0 if _EMBEDDING.search(name) else n_blocks - 1
    if layer >= n_layers:
        raise InputError(f"tensor '{name}' is of layer {layer}, but the model has {n_layers} layers")
    return layer * n_blocks // n_layers


@dataclass(frozen=True)
class LayerwiseParameters(Parameters):
    """Settings of `layerwise`.

    Args:
        ratios (`tuple[tuple[float, ...], ...]`): `[N, K]`, α_ik: how much of model i goes into block k. One list for all models, or a list for each.
        block (`int`): k of this tensor, from 0; set by whoever merges (`block_of`).
    """

    ratios: tuple[tuple[float, ...], ...] = setting(per_model=True, kind=tuple)
    block: int = setting(0, least=0, kind=int, from_engine=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = sorted({len(r) for r in self.ratios})
        if len(counts) > 1 or counts == [0]:
            raise InputError(f"every model needs as many ratios as there are blocks, found {counts}")
        if counts and self.block >= counts[0]:
            raise InputError(f"the tensor is of block {self.block}, but there are ratios for {counts[0]} blocks")

    @property
    def n_blocks(self) -> int:
        """K."""
        return len(self.ratios[0])


class Layerwise(MergeMethod):
    r"""Layer-wise averaging: Adaptive (Heterogeneous) Model Averaging of [Lin et al., 2023](https://huggingface.co/papers/2309.06256), on any number of models.

    $$ \theta^{(k)} = \theta_0^{(k)} + \sum_i \alpha_{ik} \big( \theta_i^{(k)} - \theta_0^{(k)} \big) $$

    in block k of the layers. With one model this is the paper's $\alpha_k \theta_{\text{RLHF}} + (1 - \alpha_k) \theta_{\text{SFT}}$, the supervised model
    being the base. The paper then searches the α_k, with their mean held fixed, for the most reward; the search is not done here. Nothing is normalised.
    """

    name = "layerwise"
    elementwise = True
    needs_base = True
    Parameters = LayerwiseParameters

    def _merge(
        self,
        tensors: Sequence[Tensor],
        base: Tensor | None,
        parameters: LayerwiseParameters,
        generator: torch.Generator | None,
    ) -> Tensor:
        assert base is not None  # checked by the caller
        ratios = [r[parameters.block] for r in parameters.ratios]
        return weighted_sum((*tensors, base), (*ratios, 1 - sum(ratios)))
