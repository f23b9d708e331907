"""Refuse, by name and with the reason, adapters whose mixture would not be exact."""

from collections.abc import Sequence
from typing import Any, cast

from peft import PeftModel
from peft.tuners.lora import Embedding as LoraEmbedding
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraConfig, LoraLayer
from peft.tuners.lora.variants import DoraEmbeddingVariant, DoraLinearVariant
from peft.utils import AuxiliaryTrainingWrapper, ModulesToSaveWrapper
from torch import nn
from transformers import PreTrainedModel

from frontier.errors import InputError
from frontier.realize.adapters.embedding import SteerableEmbedding
from frontier.realize.adapters.linear import SteerableLinear
from frontier.realize.adapters.saved import is_affine_in_parameters

# These initialisations move part of W0 into the adapter, so that two of them do not share one base.
OWN_BASE = ("pissa", "olora", "loftq", "corda", "lora_ga")


def check_config(model: PeftModel, name: str) -> None:
    """Refuse what the configuration already tells.

    Raises:
        InputError: with the field and why.
    """
    if name not in model.peft_config:
        raise InputError(f"the model has no adapter '{name}': it has {', '.join(model.peft_config)}")
    config = model.peft_config[name]
    if not isinstance(config, LoraConfig):
        raise InputError(f"adapter '{name}' is {config.peft_type}, only LoRA adapters can be mixed")
    refused = {
        f"bias='{config.bias}'": (
            config.bias != "none",
            "PEFT writes the trained biases over the base's, where every other adapter sees them (lora_bias=True gives an adapter its own)",
        ),
        "target_parameters": (bool(config.target_parameters), "parameters of no linear layer see no rows"),
        "trainable_token_indices": (bool(config.trainable_token_indices), "single tokens are replaced, not added to"),
        "layer_replication": (bool(config.layer_replication), "the adapter changes which layers the base has"),
        f"init_lora_weights='{config.init_lora_weights}'": (
            str(config.init_lora_weights).startswith(OWN_BASE),
            "part of the base moved into the adapter, so that no other adapter has the same base",
        ),
    }
    for field, (used, why) in refused.items():
        if used:
            raise InputError(f"adapter '{name}' uses {field}, which cannot be mixed exactly: {why}")


def check_variants(path: str, module: LoraLayer, names: Sequence[str]) -> None:
    """Refuse LoRA on other than linear and embedding layers, and variants other than DoRA.

    Raises:
        InputError: with the layer and what it carries.
    """
    # Exactly these: subclasses, such as those of quantised layers, compute otherwise.
    if type(module) not in (LoraLinear, SteerableLinear, LoraEmbedding, SteerableEmbedding):
        kind = f"{type(module).__module__}.{type(module).__name__}"
        raise InputError(
            f"layer '{path}' carries a {kind}: only LoRA on linear layers and the input embedding can be mixed exactly per row"
        )
    exact = (DoraLinearVariant, DoraEmbeddingVariant)
    variants = {n: type(v).__name__ for n, v in module.lora_variant.items() if n in names and type(v) not in exact}
    if variants:
        raise InputError(f"layer '{path}' uses {variants}: of LoRA's variants only DoRA can be mixed exactly")


def check_embedding(model: PeftModel, path: str, module: nn.Module, base: Any) -> None:
    """Refuse embeddings that look up something other than each row's tokens.

    Raises:
        InputError: with the layer and why.
    """
    if cast("PreTrainedModel", model.get_base_model()).get_input_embeddings() is not module:
        raise InputError(
            f"layer '{path}' is an embedding, but not of the input tokens: positions are shared by all rows, so no row can have its own"
        )
    if base.max_norm is not None:
        raise InputError(f"embedding '{path}' has max_norm, which is not linear in its weights")


def check_saved(model: PeftModel, path: str, module: AuxiliaryTrainingWrapper) -> None:
    """Refuse wrapped modules whose outputs do not mix as their parameters do.

    Raises:
        InputError: with the module and why.
    """
    if not isinstance(module, ModulesToSaveWrapper):
        raise InputError(f"module '{path}' is a {type(module).__name__}, which cannot be mixed exactly")
    base = module.original_module
    if not is_affine_in_parameters(base):
        raise InputError(
            f"module '{path}' in modules_to_save is a {type(base).__name__}: only modules that are linear in their parameters "
            "(linear layers, embeddings, norms) can be mixed exactly per row"
        )
    if isinstance(base, nn.Embedding):
        check_embedding(model, path, module, base)
