"""One base and several models over its tensors that all compute the same thing: each row's own mixture of three experts."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from frontier.realize.adapters import AdapterMixture

NAMES = ("helpful", "brief", "warm")
RANK = 16
TARGETS = {"qv": ["q_proj", "v_proj"], "all": "all-linear"}


@dataclass(frozen=True)
class Size:
    """Of a Llama and of its inputs.

    Args:
        hidden (`int`), layers (`int`): of the model; heads of 64, the middle of an MLP 2.7 times as wide as the rest, 32000 words.
        rows (`int`): of the batch.
        prompt (`int`): tokens of each row before the one that is decoded.
    """

    hidden: int
    layers: int
    rows: int
    prompt: int

    def config(self) -> LlamaConfig:
        """The model's."""
        return LlamaConfig(
            vocab_size=32000,
            hidden_size=self.hidden,
            intermediate_size=self.hidden * 8 // 3 // 32 * 32,
            num_hidden_layers=self.layers,
            num_attention_heads=self.hidden // 64,
            num_key_value_heads=self.hidden // 64,
            max_position_embeddings=4096,
        )


def make_base(size: Size, device: str, dtype: torch.dtype) -> LlamaForCausalLM:
    """A random Llama, frozen as under adapters: PyTorch multiplies parameters that ask for gradients by other kernels, even where no gradient is computed."""
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(size.config())
    return cast("LlamaForCausalLM", model.to(device, dtype).eval().requires_grad_(False))


def over(base: LlamaForCausalLM) -> LlamaForCausalLM:
    """Another model on the same tensors."""
    return copy.deepcopy(base, {id(tensor): tensor for tensor in base.parameters()})


def with_experts(base: LlamaForCausalLM, targets: Any) -> PeftModel:
    """Plain PEFT: three experts of rank 16 over the base's tensors, the same numbers at each call."""
    model = None
    for name in NAMES:
        torch.manual_seed(len(name))
        config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets, init_lora_weights=False)
        if model is None:
            model = get_peft_model(over(base), config, adapter_name=name)
        else:
            model.add_adapter(name, config)
    assert model is not None
    # PEFT keeps adapters in float32; beside a base in half precision everyone serves them in its dtype.
    return model.to(base.dtype).eval().requires_grad_(False)


def lora_layers(model: PeftModel) -> list[tuple[str, Any]]:
    """Path in the base model and layer, of every layer with adapters."""
    base: Any = model.base_model.model
    return [(path, layer) for path, layer in base.named_modules() if isinstance(layer, LoraLayer)]


def mixture(base: LlamaForCausalLM, targets: Any) -> AdapterMixture:
    """Ours."""
    return AdapterMixture(with_experts(base, targets), NAMES)


def with_tensor_scalings(base: LlamaForCausalLM, targets: Any, weights: Tensor) -> PeftModel:
    """Stock PEFT with three active adapters whose scalings are tensors, one number a row."""
    model = with_experts(base, targets)
    cast("Any", model.base_model).set_adapter(list(NAMES))
    for _, layer in lora_layers(model):
        for k, name in enumerate(NAMES):
            layer.scaling[name] = (weights[:, k] * layer.scaling[name]).to(base.dtype)[:, None, None]
    return model.requires_grad_(False)


def with_one_adapter_a_row(base: LlamaForCausalLM, targets: Any, weights: Tensor) -> tuple[PeftModel, list[str]]:
    """Stock PEFT's mixed batch: one adapter for each row, the exact concatenation of the experts at the row's weights; and the `adapter_names` of a call."""
    experts = with_experts(base, targets)
    factors = {
        path: [(layer.lora_A[n].weight, layer.lora_B[n].weight, layer.scaling[n]) for n in NAMES]
        for path, layer in lora_layers(experts)
    }
    rank, names = RANK * len(NAMES), [f"row{i}" for i in range(len(weights))]
    model = None
    for i, name in enumerate(names):
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets)
        if model is None:
            model = get_peft_model(over(base), config, adapter_name=name)
        else:
            model.add_adapter(name, config)
        for path, parts in factors.items():
            layer = cast("Any", model.base_model.model).get_submodule(path)
            layer.lora_A[name].weight.data = torch.cat([down for down, _, _ in parts]).detach()
            scaled = [up * (s * float(weights[i, k])) for k, (_, up, s) in enumerate(parts)]
            layer.lora_B[name].weight.data = torch.cat(scaled, dim=1).detach()
    assert model is not None
    return model.to(base.dtype).eval().requires_grad_(False), names


class MergePerRequest:
    """One model whose weights become W0 + ΔW(w) for each row in turn, in one fused pass a layer."""

    def __init__(self, base: LlamaForCausalLM, targets: Any) -> None:
        experts = with_experts(base, targets)
        self.model = copy.deepcopy(base)
        own: Any = self.model
        self.parts = [
            (
                own.get_submodule(path).weight,
                layer.get_base_layer().weight,
                torch.cat([layer.lora_B[n].weight * layer.scaling[n] for n in NAMES], dim=1),
                torch.cat([layer.lora_A[n].weight for n in NAMES], dim=0),
            )
            for path, layer in lora_layers(experts)
        ]

    def merge(self, weights: Sequence[float]) -> None:
        """Write the weights of one row into the model."""
        each = torch.tensor(list(weights)).repeat_interleave(RANK)
        for target, original, up, down in self.parts:
            torch.addmm(original, up * each.to(up), down, out=target)
