"""Which weights of a reward model are trained: all, LoRA layers and the heads, or the heads alone; and plain weights again in the end."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from frontier.errors import InputError, unknown_name
from reward_heads.model import TransformerReward

TRAINABLE = ("all", "lora", "heads")
_ADAPTER = "default"


def set_trainable(
    reward: TransformerReward,
    trainable: str,
    lora_rank: int,
    seed: int,
    *,
    lora_alpha: float | None = None,
    target_modules: Sequence[str] | None = None,
) -> None:
    """Let gradients flow into all weights, into new LoRA layers and the heads, or into the heads alone.

    An encoder's pooler counts as part of the heads: masked language models come without one, and it starts from random weights.

    Args:
        reward (`TransformerReward`): its model is changed in place.
        trainable (`str`): `"all"`, `"lora"` or `"heads"`.
        lora_rank (`int`): r.
        seed (`int`): of the LoRA's first factors; the global random state is left alone.
        lora_alpha (`float`, *optional*): the update is scaled by alpha / r; by default 2 r.
        target_modules (`Sequence[str]`, *optional*): ends of the names of the trunk's linear layers that get one (`"q_proj"`), by default all.

    Raises:
        InputError: LoRA is asked for, and the trunk has no linear layer or none of such a name.
    """
    if trainable not in TRAINABLE:
        raise unknown_name("trainable", trainable, TRAINABLE)
    model = reward.model
    if trainable == "lora":
        from peft import LoraConfig, inject_adapter_in_model

        alpha = 2 * lora_rank if lora_alpha is None else lora_alpha
        layers = lora_layers(model, target_modules)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(LoraConfig(r=lora_rank, lora_alpha=alpha, target_modules=layers), model)  # type: ignore[arg-type]
    for name, weight in model.named_parameters():
        weight.requires_grad_(trainable == "all" or not in_trunk(model, name) or "lora_" in name)


def lora_layers(model: PreTrainedModel, target_modules: Sequence[str] | None = None) -> list[str]:
    """The full names of the trunk's linear layers that a LoRA goes to.

    Args:
        model (`PreTrainedModel`): a sequence classifier.
        target_modules (`Sequence[str]`, *optional*): ends of names, as PEFT reads them; by default (or `["all-linear"]`) every one.

    Raises:
        InputError: there is none at all, or none of such a name.
    """
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and in_trunk(model, name)
    ]
    if not layers:
        raise InputError(f"{type(model).__name__} has no linear layer for a LoRA: use trainable all or heads")
    if target_modules is None or list(target_modules) == ["all-linear"]:
        return layers
    for target in target_modules:
        if not any(_ends(layer, target) for layer in layers):
            leaves = sorted({layer.rpartition(".")[2] for layer in layers})
            raise unknown_name("linear layer of the trunk", target, leaves)
    return [layer for layer in layers if any(_ends(layer, target) for target in target_modules)]


def in_trunk(model: PreTrainedModel, name: str) -> bool:
    """Whether a module or weight of this name belongs to the trunk rather than to the heads."""
    return name.startswith(f"{model.base_model_prefix}.") and ".pooler." not in f".{name}."


def has_lora(model: PreTrainedModel) -> bool:
    """Whether any layer carries a LoRA."""
    return any("lora_" in name for name, _ in model.named_parameters())


def merge_lora(model: PreTrainedModel) -> None:
    """Put plain linear layers, LoRA added, back into the places of those that carry one."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer) and isinstance(module, nn.Module):
            module.merge()
            place, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(place), leaf, module.get_base_layer())
    # So that it saves as the ordinary model that it is again.
    for attribute in ("_hf_peft_config_loaded", "peft_config"):
        if attribute in vars(model):
            delattr(model, attribute)


def merged_state_dict(model: PreTrainedModel) -> dict[str, Tensor]:
    """What `state_dict` would be after [`merge_lora`], while training goes on with the model as it is."""
    from peft.tuners.lora import LoraLayer

    deltas = {
        f"{name}.base_layer.weight": module.get_delta_weight(_ADAPTER)  # type: ignore[operator]
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer) and isinstance(module, nn.Module)
    }
    merged = {}
    with torch.no_grad():
        for name, weight in model.state_dict().items():
            if "lora_" in name:
                continue
            plain = name.replace(".base_layer.", ".")
            merged[plain] = weight + deltas[name].to(weight.dtype) if name in deltas else weight
    return merged


def _ends(layer: str, target: str) -> bool:
    return layer == target or layer.endswith(f".{target}")


def head_of(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """The layer that makes the K outputs, with its name.

    Raises:
        InputError: there is none outside the trunk that is linear.
    """
    trunk = f"{model.base_model_prefix}."
    labels = model.config.num_labels
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith(trunk) and module.out_features == labels
    ]
    if not found:
        raise InputError(f"{type(model).__name__} has no linear layer with {labels} outputs outside its trunk")
    return found[-1]
