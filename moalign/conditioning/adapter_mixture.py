"""Tell the policy its preference through its weights: one trainable LoRA per objective, mixed by the preference."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel, set_seed

from frontier.errors import InputError
from frontier.objectives import check_objectives


def add_adapters(model: PreTrainedModel, objectives: Sequence[str], config: LoraConfig, seed: int = 0) -> PeftModel:
    """Put one fresh LoRA per objective on a base model (parameter-space conditioning, CLP, [Wang et al., 2024](https://huggingface.co/papers/2407.15762)).

    Each adapter starts from its own random A and B = 0, so that the policy starts as the reference at every preference.

    Args:
        model (`PreTrainedModel`): the base; its layers are wrapped in place, as `peft.get_peft_model` does.
        objectives (`Sequence[str]`): names of the adapters.
        config (`LoraConfig`): of every adapter.
        seed (`int`, *optional*, defaults to 0): of the random A.

    Raises:
        InputError: an objective cannot name an adapter, or is given twice.
    """
    check_objective_names(objectives)
    set_seed(seed)
    peft_model: PeftModel | None = None
    for name in objectives:
        own = dataclasses.replace(config)  # PEFT writes the resolved target modules into the config it is given
        if peft_model is None:
            peft_model = get_peft_model(model, own, adapter_name=name)
        else:
            peft_model.add_adapter(name, own)
    assert peft_model is not None  # check_objective_names refuses an empty list
    return peft_model


def check_objective_names(objectives: Sequence[str]) -> None:
    """Objectives name folders and modules, so they are kept to letters, digits, `_` and `-`.

    Raises:
        InputError: with the name and what is allowed.
    """
    for name in check_objectives(objectives):
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name in ("default", "ref"):
            raise InputError(
                f"objective '{name}' cannot name an adapter: allowed are letters, digits, '_' and '-', except the names 'default' and 'ref' "
                "that PEFT and TRL use themselves"
            )
        if "lora_" in name:
            raise InputError(
                f"objective '{name}' contains 'lora_', which PEFT uses to tell its parameters from the model's"
            )


def load_base(name_or_path: str | Path) -> PreTrainedModel:
    """The base model in float32 or its own dtype, for training on it."""
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(str(name_or_path), dtype="auto")
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"cannot load the base model '{name_or_path}': {reason}") from error
